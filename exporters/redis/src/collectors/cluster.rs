//! The cluster from the view of one node: fields of INFO and CLUSTER INFO, which keep their names.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};
use tokio::task::coop::consume_budget;

use super::fields::BY_KEY;
use crate::client::Session;
use crate::info::{Info, number};

const HELP: &str = "The field of INFO or CLUSTER INFO with this name; for a state, whether it is ok.";

pub(super) struct Cluster;

#[async_trait]
impl Collector<Session> for Cluster {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn help(&self) -> &'static str {
        "State of the cluster, on its nodes."
    }

    fn source(&self) -> &'static str {
        "`INFO ALL` and `CLUSTER INFO`"
    }

    fn families(&self) -> Vec<Desc> {
        vec![Desc::gauge("redis_cluster_<field>", HELP, &[]).field("cluster_<field>")]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        fields(&session.info, out).await;
        if let Some(cluster) = &session.cluster {
            fields(cluster.as_ref().map_err(Clone::clone)?, out).await;
        }
        Ok(())
    }
}

async fn fields(info: &Info, out: &mut Families) {
    for (key, value) in info.fields().filter(|(key, _)| key.starts_with("cluster_")) {
        consume_budget().await;
        let Some(value) = number(value) else { continue };
        match BY_KEY.get(key) {
            Some(field) => out.push(&field.desc, &[], value),
            None => out.push(&Desc::dynamic(Kind::Gauge, format!("redis_{key}"), HELP, &[]), &[], value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::client::session;

    #[test]
    fn fields_of_both_commands() {
        let mut session = session("cluster_enabled:1\ncluster_connections:0\n");
        let text =
            "cluster_state:fail\r\ncluster_slots_fail:3\r\ncluster_stats_messages_sent:7\r\ntotal_cluster_links:1\r\n";
        session.cluster = Some(Ok(Info::parse(text.to_owned())));
        assert_eq!(
            page(&Cluster, &session),
            "redis_cluster_connections 0\nredis_cluster_enabled 1\nredis_cluster_messages_sent_total 7\n\
             redis_cluster_slots_fail 3\nredis_cluster_state 0\n"
        );
    }
}

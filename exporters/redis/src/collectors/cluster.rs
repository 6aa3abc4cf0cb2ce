//! What a node of a cluster says about it: INFO's and CLUSTER INFO's fields, which keep their names.

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};

use super::fields::BY_KEY;
use crate::client::Session;
use crate::info::{Info, number};

const HELP: &str = "Field of this name of INFO or CLUSTER INFO; a state is 1 if it is ok and 0 if it is not.";

pub(super) struct Cluster;

#[async_trait]
impl Collector<Session> for Cluster {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn help(&self) -> &'static str {
        "CLUSTER INFO of a node of a cluster."
    }

    fn families(&self) -> Vec<Desc> {
        vec![Desc::gauge("redis_cluster_<field>", HELP, &[])]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        fields(&session.info, out);
        if let Some(cluster) = &session.cluster {
            fields(cluster.as_ref().map_err(Clone::clone)?, out);
        }
        Ok(())
    }
}

fn fields(info: &Info, out: &mut Families) {
    for (key, value) in info.fields().filter(|(key, _)| key.starts_with("cluster_")) {
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
    fn both_infos() {
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

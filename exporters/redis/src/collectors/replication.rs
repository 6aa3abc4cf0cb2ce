//! On a replica the link to its master, on a master its replicas.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};
use tokio::task::coop::consume_budget;

use crate::client::Session;
use crate::info::{is_numbered, part, parts};

const MASTER: &[&str] = &["master_host", "master_port"];
const SLAVE: &[&str] = &["slave_ip", "slave_port", "slave_state"];

static LINK_UP: Desc = Desc::gauge("redis_master_link_up", "Whether the replica's link to its master is up.", MASTER)
    .field("master_link_status");
static LAST_IO: Desc = Desc::gauge(
    "redis_master_last_io_seconds_ago",
    "Seconds since the replica last received data from its master, -1 while the link is down.",
    MASTER,
)
.field("master_last_io_seconds_ago");
static SYNC_IN_PROGRESS: Desc = Desc::gauge(
    "redis_master_sync_in_progress",
    "Whether a full synchronization from the master is in progress.",
    MASTER,
)
.field("master_sync_in_progress");
static REPLICA_OFFSET: Desc =
    Desc::gauge("redis_slave_repl_offset", "Replication offset of the replica.", MASTER).field("slave_repl_offset");
static SLAVE_OFFSET: Desc =
    Desc::gauge("redis_connected_slave_offset_bytes", "Replication offset that this replica has acknowledged.", SLAVE)
        .field("slave<n> offset");
static SLAVE_LAG: Desc =
    Desc::gauge("redis_connected_slave_lag_seconds", "Seconds since this replica last acknowledged its offset.", SLAVE)
        .field("slave<n> lag");
static SLAVE_INFO: Desc = Desc::info(
    "redis_slave_info",
    "Address of the master; on replicas only.",
    &["master_host", "master_port", "read_only"],
)
.field("master_host");

pub(super) struct Replication;

#[async_trait]
impl Collector<Session> for Replication {
    fn name(&self) -> &'static str {
        "replication"
    }

    fn help(&self) -> &'static str {
        "The link to the master, or the connected replicas."
    }

    fn source(&self) -> &'static str {
        "`INFO ALL`"
    }

    fn families(&self) -> Vec<Desc> {
        [&LINK_UP, &LAST_IO, &SYNC_IN_PROGRESS, &REPLICA_OFFSET, &SLAVE_OFFSET, &SLAVE_LAG, &SLAVE_INFO]
            .map(Clone::clone)
            .to_vec()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        // KeyDB follows several masters: the fields of each follow its host and port.
        let (mut host, mut port) = ("", "");
        for (key, value) in session.info.fields() {
            consume_budget().await;
            let number = value.parse::<f64>().ok();
            let desc = match master_field(key) {
                Some("host") => {
                    host = value;
                    continue;
                }
                Some("port") => {
                    port = value;
                    continue;
                }
                Some("link_status") => {
                    out.push(&LINK_UP, &[host, port], f64::from(value == "up"));
                    continue;
                }
                Some("last_io_seconds_ago") => &LAST_IO,
                Some("sync_in_progress") => &SYNC_IN_PROGRESS,
                _ if key == "slave_repl_offset" => &REPLICA_OFFSET,
                _ => {
                    if is_numbered(key, "slave") {
                        slave(value, out);
                    }
                    continue;
                }
            };
            if let Some(number) = number {
                out.push(desc, &[host, port], number);
            }
        }
        let text = |key| session.info.get(key).unwrap_or_default();
        if text("role") == "slave" {
            out.push(&SLAVE_INFO, &[text("master_host"), text("master_port"), text("slave_read_only")], 1.0);
        }
        Ok(())
    }
}

/// What follows `master_` or, where there are several, `master_1_`.
fn master_field(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("master_")?;
    match rest.split_once('_') {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => Some(rest),
        _ => Some(rest),
    }
}

fn slave(value: &str, out: &mut Families) {
    let text = |name| parts(value).find(|(key, _)| *key == name).map_or("", |(_, value)| value);
    let labels = [text("ip"), text("port"), text("state")];
    if let Some(offset) = part(value, "offset") {
        out.push(&SLAVE_OFFSET, &labels, offset);
    }
    if let Some(lag) = part(value, "lag") {
        out.push(&SLAVE_LAG, &labels, lag);
    }
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::client::session;

    #[test]
    fn a_replica() {
        let session = session(
            "role:slave\nmaster_host:10.0.0.1\nmaster_port:6379\nmaster_link_status:down\nmaster_last_io_seconds_ago:-1\n\
             master_sync_in_progress:0\nslave_read_repl_offset:14\nslave_repl_offset:14\nslave_priority:100\nslave_read_only:1\n\
             master_replid:8371b4fb\nmaster_repl_offset:14\n",
        );
        assert_eq!(
            page(&Replication, &session),
            "redis_master_last_io_seconds_ago{master_host=\"10.0.0.1\",master_port=\"6379\"} -1\n\
             redis_master_link_up{master_host=\"10.0.0.1\",master_port=\"6379\"} 0\n\
             redis_master_sync_in_progress{master_host=\"10.0.0.1\",master_port=\"6379\"} 0\n\
             redis_slave_info{master_host=\"10.0.0.1\",master_port=\"6379\",read_only=\"1\"} 1\n\
             redis_slave_repl_offset{master_host=\"10.0.0.1\",master_port=\"6379\"} 14\n"
        );
    }

    #[test]
    fn a_master_with_a_replica_and_a_broken_line() {
        let session = session(
            "role:master\nconnected_slaves:2\nslave0:ip=10.0.0.2,port=6379,state=online,offset=1751844676,lag=1\n\
             slave1:10.0.0.3,6379,online\nslave2:ip=::1,port=6380,state=wait_bgsave,offset=0,lag=0\n",
        );
        assert_eq!(
            page(&Replication, &session),
            "redis_connected_slave_lag_seconds{slave_ip=\"10.0.0.2\",slave_port=\"6379\",slave_state=\"online\"} 1\n\
             redis_connected_slave_lag_seconds{slave_ip=\"::1\",slave_port=\"6380\",slave_state=\"wait_bgsave\"} 0\n\
             redis_connected_slave_offset_bytes{slave_ip=\"10.0.0.2\",slave_port=\"6379\",slave_state=\"online\"} 1751844676\n\
             redis_connected_slave_offset_bytes{slave_ip=\"::1\",slave_port=\"6380\",slave_state=\"wait_bgsave\"} 0\n"
        );
    }

    #[test]
    fn keydb_with_two_masters() {
        let session = session(
            "role:active-replica\nmaster_host:a\nmaster_port:1\nmaster_link_status:up\nmaster_1_host:b\nmaster_1_port:2\n\
             master_1_link_status:down\n",
        );
        assert_eq!(
            page(&Replication, &session),
            "redis_master_link_up{master_host=\"a\",master_port=\"1\"} 1\n\
             redis_master_link_up{master_host=\"b\",master_port=\"2\"} 0\n"
        );
    }
}

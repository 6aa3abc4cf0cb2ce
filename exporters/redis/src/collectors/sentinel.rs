//! The masters that a Sentinel monitors.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};
use tokio::task::coop::consume_budget;

use crate::client::Session;
use crate::info::{is_numbered, part, parts};

/// Numeric fields.
static NUMBERS: [Desc; 5] = [
    Desc::gauge("redis_sentinel_masters", "Current number of masters that this Sentinel monitors.", &[])
        .field("sentinel_masters"),
    Desc::gauge(
        "redis_sentinel_tilt",
        "Whether the Sentinel is in TILT mode: its clock is unreliable, and it only monitors.",
        &[],
    )
    .field("sentinel_tilt"),
    Desc::gauge("redis_sentinel_running_scripts", "Current number of scripts of the Sentinel that run.", &[])
        .field("sentinel_running_scripts"),
    Desc::gauge("redis_sentinel_scripts_queue_length", "Current number of queued scripts of the Sentinel.", &[])
        .field("sentinel_scripts_queue_length"),
    Desc::gauge("redis_sentinel_simulate_failure_flags", "Flags of the failures that the Sentinel simulates.", &[])
        .field("sentinel_simulate_failure_flags"),
];
const MASTER: &[&str] = &["master_name", "master_address"];
static STATUS: Desc = Desc::gauge(
    "redis_sentinel_master_status",
    "Whether the Sentinel reports this master as ok.",
    &["master_name", "master_address", "master_status"],
)
.field("master<n> status");
static SLAVES: Desc = Desc::gauge("redis_sentinel_master_slaves", "Current number of replicas of this master.", MASTER)
    .field("master<n> slaves");
static SENTINELS: Desc =
    Desc::gauge("redis_sentinel_master_sentinels", "Current number of Sentinels that monitor this master.", MASTER)
        .field("master<n> sentinels");

pub(super) struct Sentinel;

#[async_trait]
impl Collector<Session> for Sentinel {
    fn name(&self) -> &'static str {
        "sentinel"
    }

    fn help(&self) -> &'static str {
        "The masters that a Sentinel monitors."
    }

    fn source(&self) -> &'static str {
        "`INFO ALL`"
    }

    fn families(&self) -> Vec<Desc> {
        NUMBERS.iter().chain([&STATUS, &SLAVES, &SENTINELS]).cloned().collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for (key, value) in session.info.fields() {
            consume_budget().await;
            if let Some(desc) = NUMBERS.iter().find(|desc| desc.field == key) {
                if let Ok(value) = value.parse() {
                    out.push(desc, &[], value);
                }
            } else if is_numbered(key, "master") {
                let text = |name| parts(value).find(|(key, _)| *key == name).map_or("", |(_, value)| value);
                let (name, address, status) = (text("name"), text("address"), text("status"));
                out.push(&STATUS, &[name, address, status], f64::from(status == "ok"));
                for (desc, count) in [(&SLAVES, "slaves"), (&SENTINELS, "sentinels")] {
                    if let Some(count) = part(value, count) {
                        out.push(desc, &[name, address], count);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::client::session;

    #[test]
    fn masters() {
        let session = session(
            "sentinel_masters:2\nsentinel_tilt:0\nmaster0:name=a,status=ok,address=10.0.0.1:6379,slaves=2,sentinels=3\n\
             master1:name=b,status=odown,address=10.0.0.2:6379,slaves=0,sentinels=3\nmaster_host:x\n",
        );
        assert_eq!(
            page(&Sentinel, &session),
            "redis_sentinel_master_sentinels{master_name=\"a\",master_address=\"10.0.0.1:6379\"} 3\n\
             redis_sentinel_master_sentinels{master_name=\"b\",master_address=\"10.0.0.2:6379\"} 3\n\
             redis_sentinel_master_slaves{master_name=\"a\",master_address=\"10.0.0.1:6379\"} 2\n\
             redis_sentinel_master_slaves{master_name=\"b\",master_address=\"10.0.0.2:6379\"} 0\n\
             redis_sentinel_master_status{master_name=\"a\",master_address=\"10.0.0.1:6379\",master_status=\"ok\"} 1\n\
             redis_sentinel_master_status{master_name=\"b\",master_address=\"10.0.0.2:6379\",master_status=\"odown\"} 0\n\
             redis_sentinel_masters 2\nredis_sentinel_tilt 0\n"
        );
    }
}

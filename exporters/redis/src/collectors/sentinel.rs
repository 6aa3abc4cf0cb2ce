//! The masters that a Sentinel watches.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::client::Session;
use crate::info::{is_numbered, part, parts};

/// Fields that are one number, under their own names.
static NUMBERS: [(&str, Desc); 5] = [
    ("sentinel_masters", Desc::gauge("redis_sentinel_masters", "Masters that this Sentinel watches.", &[])),
    (
        "sentinel_tilt",
        Desc::gauge("redis_sentinel_tilt", "1 while the Sentinel distrusts its clock and acts on nothing.", &[]),
    ),
    (
        "sentinel_running_scripts",
        Desc::gauge("redis_sentinel_running_scripts", "Scripts of the Sentinel that run.", &[]),
    ),
    (
        "sentinel_scripts_queue_length",
        Desc::gauge("redis_sentinel_scripts_queue_length", "Scripts of the Sentinel that wait to run.", &[]),
    ),
    (
        "sentinel_simulate_failure_flags",
        Desc::gauge("redis_sentinel_simulate_failure_flags", "Flags of the failures that the Sentinel simulates.", &[]),
    ),
];
static STATUS: Desc = Desc::gauge(
    "redis_sentinel_master_status",
    "1 if the Sentinel sees this master as ok, 0 in any other status.",
    &["master_name", "master_address", "master_status"],
);
static SLAVES: Desc =
    Desc::gauge("redis_sentinel_master_slaves", "Replicas of this master.", &["master_name", "master_address"]);
static SENTINELS: Desc = Desc::gauge(
    "redis_sentinel_master_sentinels",
    "Sentinels that watch this master.",
    &["master_name", "master_address"],
);

pub(super) struct Sentinel;

#[async_trait]
impl Collector<Session> for Sentinel {
    fn name(&self) -> &'static str {
        "sentinel"
    }

    fn help(&self) -> &'static str {
        "The masters that a Sentinel watches."
    }

    fn families(&self) -> Vec<Desc> {
        NUMBERS.iter().map(|(_, desc)| desc).chain([&STATUS, &SLAVES, &SENTINELS]).cloned().collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for (key, value) in session.info.fields() {
            if let Some((_, desc)) = NUMBERS.iter().find(|(name, _)| *name == key) {
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

//! The numeric fields of INFO, and the server's version and role.

use std::borrow::Cow;
use std::time::SystemTime;

use exporter_toolkit::{BoxError, Collector, Desc, Families, Kind, async_trait};
use tokio::task::coop::consume_budget;

use super::fields::{BY_KEY, FIELDS};
use crate::client::Session;
use crate::info::{Info, number};

const INSTANCE_INFO: &str = "redis_instance_info";
const INSTANCE_INFO_HELP: &str =
    "Version, role and identity of the server; on Valkey with valkey_version and valkey_release_stage.";
/// Labels that the family always has. They are keys of INFO.
const INSTANCE_LABELS: [&str; 10] = [
    "role",
    "redis_version",
    "redis_build_id",
    "redis_mode",
    "os",
    "maxmemory_policy",
    "tcp_port",
    "run_id",
    "process_id",
    "master_replid",
];
/// Labels that it has if INFO has the key.
const VALKEY_LABELS: [&str; 2] = ["valkey_version", "valkey_release_stage"];

static START_TIME: Desc = Desc::gauge(
    "redis_start_time_seconds",
    "Unix time of the server's start, from its uptime and the exporter's clock.",
    &[],
)
.field("uptime_in_seconds");
static IO_THREAD_TIME: Desc = Desc::counter(
    "redis_active_time_io_thread_seconds_total",
    "Total seconds for which this I/O thread was active.",
    &["thread"],
)
.field("used_active_time_io_thread_<thread>");
static HZ: Desc =
    Desc::gauge("redis_hz", "Current frequency of the server's background tasks, per second.", &[]).field("hz");
static CONFIGURED_HZ: Desc =
    Desc::gauge("redis_configured_hz", "Configured frequency of the server's background tasks, per second.", &[])
        .field("configured_hz");

pub(super) struct InfoFields;

#[async_trait]
impl Collector<Session> for InfoFields {
    fn name(&self) -> &'static str {
        "info"
    }

    fn help(&self) -> &'static str {
        "Numeric fields of INFO, and version and role of the server."
    }

    fn source(&self) -> &'static str {
        "`INFO ALL`"
    }

    fn families(&self) -> Vec<Desc> {
        let mut families: Vec<_> = FIELDS.iter().map(|field| field.desc.clone()).collect();
        families.extend([START_TIME.clone(), HZ.clone(), CONFIGURED_HZ.clone(), IO_THREAD_TIME.clone()]);
        families.push(Desc::info(INSTANCE_INFO, INSTANCE_INFO_HELP, &INSTANCE_LABELS));
        families
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for (key, value) in session.info.fields() {
            consume_budget().await;
            if let Some(field) = BY_KEY.get(key) {
                if let Some(value) = number(value) {
                    out.push(&field.desc, &[], value / field.divisor);
                }
                continue;
            }
            let Ok(value) = value.parse::<f64>() else { continue };
            match key {
                "hz" => out.push(&HZ, &[], value),
                "configured_hz" => out.push(&CONFIGURED_HZ, &[], value),
                _ => {
                    let thread = key.strip_prefix("used_active_time_io_thread_");
                    if let Some(thread) = thread.filter(|thread| thread.bytes().all(|byte| byte.is_ascii_digit())) {
                        out.push(&IO_THREAD_TIME, &[thread], value);
                    }
                }
            }
        }
        if let Some(uptime) = session.info.number("uptime_in_seconds") {
            // Whole seconds, like the uptime.
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
            out.push(&START_TIME, &[], now as f64 - uptime);
        }
        instance_info(&session.info, out);
        Ok(())
    }
}

fn instance_info(info: &Info, out: &mut Families) {
    let mut labels = INSTANCE_LABELS.to_vec();
    labels.extend(VALKEY_LABELS.into_iter().filter(|label| info.get(label).is_some()));
    let values: Vec<&str> = labels.iter().map(|label| info.get(label).unwrap_or_default()).collect();
    out.dynamic_family(Cow::Borrowed(INSTANCE_INFO), Cow::Borrowed(INSTANCE_INFO_HELP), Kind::Info, &labels)
        .push(&values, 1.0);
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::client::session;

    #[test]
    fn fields_become_families_with_the_names_of_the_go_exporter() {
        let session = session(
            "# Memory\r\nused_memory:1048576\r\nused_memory_human:1.00M\r\nmaxmemory:0\r\nlatest_fork_usec:1500\r\n\
             aof_last_write_status:ok\r\nrdb_last_bgsave_status:err\r\nhz:10\r\nused_active_time_io_thread_1:2.5\r\n\
             total_commands_processed:12\r\nno_such_field:1\r\nconnected_clients:many\r\n",
        );
        assert_eq!(
            page(&InfoFields, &session),
            "redis_active_time_io_thread_seconds_total{thread=\"1\"} 2.5\n\
             redis_aof_last_write_status 1\n\
             redis_commands_processed_total 12\n\
             redis_hz 10\n\
             redis_instance_info{role=\"\",redis_version=\"\",redis_build_id=\"\",redis_mode=\"\",os=\"\",maxmemory_policy=\"\",\
             tcp_port=\"\",run_id=\"\",process_id=\"\",master_replid=\"\"} 1\n\
             redis_latest_fork_seconds 0.0015\n\
             redis_memory_max_bytes 0\n\
             redis_memory_used_bytes 1048576\n\
             redis_rdb_last_bgsave_status 0\n"
        );
    }

    #[test]
    fn valkey_has_two_more_labels() {
        let session = session("role:master\nredis_version:7.2.4\nvalkey_version:8.1.1\nvalkey_release_stage:ga\n");
        let page = page(&InfoFields, &session);
        assert!(page.contains("redis_version=\"7.2.4\"") && page.contains("valkey_version=\"8.1.1\""), "{page}");
        assert!(page.contains("valkey_release_stage=\"ga\"} 1\n"), "{page}");
    }
}

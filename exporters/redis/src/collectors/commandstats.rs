//! Calls, time, errors and latencies by command.

use std::collections::HashMap;

use exporter_toolkit::{BoxError, Collector, Desc, Families, SummaryValue, async_trait};
use tokio::task::coop::consume_budget;

use crate::client::Session;
use crate::info::{part, parts};

static CALLS: Desc = Desc::counter("redis_commands_total", "Total number of calls of the command.", &["cmd"])
    .field("cmdstat_<cmd> calls");
static DURATION: Desc =
    Desc::counter("redis_commands_duration_seconds_total", "Total seconds of all calls of the command.", &["cmd"])
        .field("cmdstat_<cmd> usec");
static REJECTED: Desc = Desc::counter(
    "redis_commands_rejected_calls_total",
    "Total number of calls of the command that were refused before they ran.",
    &["cmd"],
)
.field("cmdstat_<cmd> rejected_calls");
static FAILED: Desc =
    Desc::counter("redis_commands_failed_calls_total", "Total number of calls of the command that failed.", &["cmd"])
        .field("cmdstat_<cmd> failed_calls");
static ERRORS: Desc =
    Desc::counter("redis_errors_total", "Total number of error replies by their first word.", &["err"])
        .field("errorstat_<err> count");
static LATENCY: Desc = Desc::summary(
    "redis_latency_percentiles_usec",
    "Microseconds per call of the command. The quantiles are percentiles of latency-tracking-info-percentiles.",
    &["cmd"],
)
.field("latency_percentiles_usec_<cmd>");

pub(super) struct CommandStats;

#[async_trait]
impl Collector<Session> for CommandStats {
    fn name(&self) -> &'static str {
        "commandstats"
    }

    fn help(&self) -> &'static str {
        "Calls, durations, latencies and errors by command, and errors by type."
    }

    fn source(&self) -> &'static str {
        "`INFO ALL`"
    }

    fn families(&self) -> Vec<Desc> {
        [&CALLS, &DURATION, &REJECTED, &FAILED, &ERRORS, &LATENCY].map(Clone::clone).to_vec()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let mut totals = HashMap::new();
        let mut latencies = Vec::new();
        for (key, value) in session.info.fields() {
            consume_budget().await;
            if let Some(command) = key.strip_prefix("cmdstat_") {
                let (Some(calls), Some(microseconds)) = (part(value, "calls"), part(value, "usec")) else { continue };
                totals.insert(command, (calls, microseconds));
                out.push(&CALLS, &[command], calls);
                out.push(&DURATION, &[command], microseconds / 1e6);
                // Since 6.2.
                for (desc, name) in [(&REJECTED, "rejected_calls"), (&FAILED, "failed_calls")] {
                    if let Some(calls) = part(value, name) {
                        out.push(desc, &[command], calls);
                    }
                }
            } else if let Some(error) = key.strip_prefix("errorstat_") {
                if let Some(count) = part(value, "count") {
                    out.push(&ERRORS, &[error], count);
                }
            } else if let Some(command) = key.strip_prefix("latency_percentiles_usec_") {
                latencies.push((command, value));
            }
        }
        for (command, value) in latencies {
            consume_budget().await;
            let Some(&(calls, sum)) = totals.get(command) else { continue };
            let quantiles = parts(value)
                .filter_map(|(name, value)| Some((name.strip_prefix('p')?.parse().ok()?, value.parse().ok()?)))
                .collect();
            let summary = SummaryValue { quantiles, sum, count: calls as u64 };
            out.family(&LATENCY).push_summary(&[command], summary);
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
    fn commands_errors_and_latencies() {
        let session = session(
            "cmdstat_config|get:calls=2,usec=1500,usec_per_call=750.00,rejected_calls=1,failed_calls=0\n\
             cmdstat_broken:calls=,usec=1\n\
             errorstat_ERR:count=3\n\
             latency_percentiles_usec_config|get:p50=626.687,p99=700.5,p99.9=701\n\
             latency_percentiles_usec_unknown:p50=1\n",
        );
        assert_eq!(
            page(&CommandStats, &session),
            "redis_commands_duration_seconds_total{cmd=\"config|get\"} 0.0015\n\
             redis_commands_failed_calls_total{cmd=\"config|get\"} 0\n\
             redis_commands_rejected_calls_total{cmd=\"config|get\"} 1\n\
             redis_commands_total{cmd=\"config|get\"} 2\n\
             redis_errors_total{err=\"ERR\"} 3\n\
             redis_latency_percentiles_usec{cmd=\"config|get\",quantile=\"50\"} 626.687\n\
             redis_latency_percentiles_usec{cmd=\"config|get\",quantile=\"99\"} 700.5\n\
             redis_latency_percentiles_usec{cmd=\"config|get\",quantile=\"99.9\"} 701\n\
             redis_latency_percentiles_usec_sum{cmd=\"config|get\"} 1500\n\
             redis_latency_percentiles_usec_count{cmd=\"config|get\"} 2\n"
        );
    }

    #[test]
    fn servers_before_6_2_have_fewer_fields() {
        assert_eq!(
            page(&CommandStats, &session("cmdstat_get:calls=21,usec=175,usec_per_call=8.33\n")),
            "redis_commands_duration_seconds_total{cmd=\"get\"} 0.000175\nredis_commands_total{cmd=\"get\"} 21\n"
        );
    }
}

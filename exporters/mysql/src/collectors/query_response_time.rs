//! The distribution of statement durations, counted by MariaDB's plugin QUERY_RESPONSE_TIME and by Percona Server.

use exporter_toolkit::{BoxError, Collector, Desc, Families, HistogramValue, async_trait};

use crate::rows::Rows;
use crate::session::Session;

/// Lists the existing tables: Percona Server and newer versions of MariaDB count reads and writes separately.
const TABLES: &str = "SHOW TABLES FROM information_schema LIKE 'QUERY_RESPONSE_TIME%'";

/// A table with the columns `time` (a bucket's upper bound), `count` and `total` (seconds). The server has at most 44
/// buckets.
struct ResponseTimes {
    table: &'static str,
    statement: &'static str,
    family: Desc,
}

static RESPONSE_TIMES: [ResponseTimes; 3] = [
    ResponseTimes {
        table: "query_response_time",
        statement: "SELECT time, count, total FROM information_schema.query_response_time",
        family: Desc::histogram(
            "mysql_info_schema_query_response_time_seconds",
            "Duration of statements, in seconds; the buckets depend on query_response_time_range_base.",
            &[],
        ),
    },
    ResponseTimes {
        table: "query_response_time_read",
        statement: "SELECT time, count, total FROM information_schema.query_response_time_read",
        family: Desc::histogram(
            "mysql_info_schema_read_query_response_time_seconds",
            "Duration of read statements, in seconds.",
            &[],
        ),
    },
    ResponseTimes {
        table: "query_response_time_write",
        statement: "SELECT time, count, total FROM information_schema.query_response_time_write",
        family: Desc::histogram(
            "mysql_info_schema_write_query_response_time_seconds",
            "Duration of write statements, in seconds.",
            &[],
        ),
    },
];

pub(super) struct QueryResponseTime;

#[async_trait]
impl Collector<Session> for QueryResponseTime {
    fn name(&self) -> &'static str {
        "info_schema.query_response_time"
    }

    fn help(&self) -> &'static str {
        "Distribution of statement durations; requires query_response_time_stats=ON."
    }

    fn source(&self) -> &'static str {
        "information_schema.query_response_time, query_response_time_read, query_response_time_write"
    }

    fn families(&self) -> Vec<Desc> {
        RESPONSE_TIMES.iter().map(|times| times.family.clone()).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        // Without the plugin, there is no such variable.
        let stats = session.variables().await?.rows.lookup("query_response_time_stats");
        if !stats.is_some_and(|state| state.eq_ignore_ascii_case("ON") || state == "1") {
            return Ok(());
        }
        let tables = session.query(TABLES).await?;
        for ResponseTimes { table, statement, family } in &RESPONSE_TIMES {
            if tables.iter().filter_map(|row| row.get(0)).any(|name| name.eq_ignore_ascii_case(table)) {
                let rows = session.query(*statement).await?;
                out.family(family).push_histogram(&[], histogram(&rows));
            }
        }
        Ok(())
    }
}

fn histogram(rows: &Rows) -> HistogramValue {
    let mut histogram = HistogramValue { buckets: Vec::new(), sum: 0.0, count: 0 };
    for row in rows.iter() {
        histogram.count += row.get(1).and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
        // The last row has `TOO LONG` in both columns and only a count; the encoder adds its bucket, +Inf.
        histogram.sum += row.number(2).unwrap_or(0.0);
        histogram.buckets.extend(row.number(0).map(|bound| (bound, histogram.count)));
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_cumulative_and_the_last_bucket_is_infinite() {
        let mut rows = Rows::new(["TIME", "COUNT", "TOTAL"].map(str::to_owned));
        for row in [
            ["      0.000001", "0", "      0.000000"],
            ["      0.000010", "17", "      0.000094"],
            ["1000000.000000", "2", "      3.500000"],
            ["TOO LONG", "1", "TOO LONG"],
        ] {
            rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        }
        let mut out = Families::default();
        out.family(&RESPONSE_TIMES[0].family).push_histogram(&[], histogram(&rows));
        assert_eq!(
            exporter_toolkit::testing::page(out),
            "\
# TYPE mysql_info_schema_query_response_time_seconds histogram
mysql_info_schema_query_response_time_seconds_bucket{le=\"1e-06\"} 0
mysql_info_schema_query_response_time_seconds_bucket{le=\"1e-05\"} 17
mysql_info_schema_query_response_time_seconds_bucket{le=\"1e+06\"} 19
mysql_info_schema_query_response_time_seconds_bucket{le=\"+Inf\"} 20
mysql_info_schema_query_response_time_seconds_sum 3.500094
mysql_info_schema_query_response_time_seconds_count 20
"
        );
    }
}

//! How long statements take, as MariaDB's plugin QUERY_RESPONSE_TIME and Percona Server count it.

use exporter_toolkit::{BoxError, Collector, Desc, Families, HistogramValue, async_trait};

use crate::rows::Rows;
use crate::session::Session;

/// Which of the tables there are: Percona Server and newer MariaDBs tell reads and writes apart.
const TABLES: &str = "SHOW TABLES FROM information_schema LIKE 'QUERY_RESPONSE_TIME%'";

/// A table of `time` (a bucket's upper bound), `count` and `total` (seconds). The server has at most 44 buckets.
struct Table {
    name: &'static str,
    statement: &'static str,
    family: Desc,
}

static FAMILIES: [Table; 3] = [
    Table {
        name: "query_response_time",
        statement: "SELECT time, count, total FROM information_schema.query_response_time",
        family: Desc::histogram(
            "mysql_info_schema_query_response_time_seconds",
            "How long statements took, in the buckets of query_response_time_range_base.",
            &[],
        ),
    },
    Table {
        name: "query_response_time_read",
        statement: "SELECT time, count, total FROM information_schema.query_response_time_read",
        family: Desc::histogram(
            "mysql_info_schema_read_query_response_time_seconds",
            "How long reading statements took.",
            &[],
        ),
    },
    Table {
        name: "query_response_time_write",
        statement: "SELECT time, count, total FROM information_schema.query_response_time_write",
        family: Desc::histogram(
            "mysql_info_schema_write_query_response_time_seconds",
            "How long writing statements took.",
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
        "How long statements take, where the server counts it (query_response_time_stats=ON)."
    }

    fn families(&self) -> Vec<Desc> {
        FAMILIES.iter().map(|table| table.family.clone()).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        // Without the plugin there is no such variable, and nothing more is asked.
        let stats = session.variables().await?.rows.lookup("query_response_time_stats");
        if !stats.is_some_and(|state| state.eq_ignore_ascii_case("ON") || state == "1") {
            return Ok(());
        }
        let tables = session.query(TABLES).await?;
        for table in &FAMILIES {
            if tables.iter().filter_map(|row| row.get(0)).any(|name| name.eq_ignore_ascii_case(table.name)) {
                let rows = session.query(table.statement).await?;
                out.family(&table.family).push_histogram(&[], histogram(&rows));
            }
        }
        Ok(())
    }
}

fn histogram(rows: &Rows) -> HistogramValue {
    let mut histogram = HistogramValue { buckets: Vec::new(), sum: 0.0, count: 0 };
    for row in rows.iter() {
        histogram.count += row.get(1).and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
        // The last row is `TOO LONG` in both columns: it has a count only, and the encoder makes its bucket, +Inf.
        histogram.sum += row.number(2).unwrap_or(0.0);
        histogram.buckets.extend(row.number(0).map(|bound| (bound, histogram.count)));
    }
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_what_took_too_long_has_no_bound() {
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
        out.family(&FAMILIES[0].family).push_histogram(&[], histogram(&rows));
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

//! `performance_schema.events_statements_summary_by_digest`: the statements that took the most time.

use exporter_toolkit::{BoxError, Collector, Desc, Families, SummaryValue, async_trait};

use super::table::{Measure, Table};
use super::{Options, PICOSECONDS, literal, rows};
use crate::rows::Rows;
use crate::session::Session;

const LABELS: &[&str] = &["schema", "digest", "digest_text"];

/// What every server has. The first two are the summary's count and sum, too.
const TABLE: Table = Table {
    name: "perf_schema.eventsstatements",
    help: "Statements by their digest, those that took the most time, from performance_schema.events_statements_summary_by_digest.",
    from: "performance_schema.events_statements_summary_by_digest",
    // The third one, the digest's text, is as long as the flag says.
    labels: &["SCHEMA_NAME", "DIGEST", "DIGEST_TEXT"],
    measures: &[
        counter("mysql_perf_schema_events_statements_total", "Executions, by digest.", 1.0, &[("COUNT_STAR", "")]),
        counter(
            "mysql_perf_schema_events_statements_seconds_total",
            "Time that executions took, by digest.",
            PICOSECONDS,
            &[("SUM_TIMER_WAIT", "")],
        ),
        counter(
            "mysql_perf_schema_events_statements_lock_time_seconds_total",
            "Time that executions waited for locks on tables, by digest.",
            PICOSECONDS,
            &[("SUM_LOCK_TIME", "")],
        ),
        counter("mysql_perf_schema_events_statements_errors_total", "Errors, by digest.", 1.0, &[("SUM_ERRORS", "")]),
        counter(
            "mysql_perf_schema_events_statements_warnings_total",
            "Warnings, by digest.",
            1.0,
            &[("SUM_WARNINGS", "")],
        ),
        counter(
            "mysql_perf_schema_events_statements_rows_affected_total",
            "Rows changed, by digest.",
            1.0,
            &[("SUM_ROWS_AFFECTED", "")],
        ),
        counter(
            "mysql_perf_schema_events_statements_rows_sent_total",
            "Rows returned, by digest.",
            1.0,
            &[("SUM_ROWS_SENT", "")],
        ),
        counter(
            "mysql_perf_schema_events_statements_rows_examined_total",
            "Rows read, by digest.",
            1.0,
            &[("SUM_ROWS_EXAMINED", "")],
        ),
        counter(
            "mysql_perf_schema_events_statements_tmp_disk_tables_total",
            "Temporary tables on disk, by digest.",
            1.0,
            &[("SUM_CREATED_TMP_DISK_TABLES", "")],
        ),
        counter(
            "mysql_perf_schema_events_statements_tmp_tables_total",
            "Temporary tables, by digest.",
            1.0,
            &[("SUM_CREATED_TMP_TABLES", "")],
        ),
        counter(
            "mysql_perf_schema_events_statements_sort_merge_passes_total",
            "Merge passes of sorts, by digest.",
            1.0,
            &[("SUM_SORT_MERGE_PASSES", "")],
        ),
        counter(
            "mysql_perf_schema_events_statements_sort_rows_total",
            "Rows sorted, by digest.",
            1.0,
            &[("SUM_SORT_ROWS", "")],
        ),
        counter(
            "mysql_perf_schema_events_statements_no_index_used_total",
            "Executions that read a whole table, by digest.",
            1.0,
            &[("SUM_NO_INDEX_USED", "")],
        ),
    ],
    mysql_since: None,
};

/// What MySQL has since 8.0.28, behind the columns above.
const MYSQL_SINCE: (u16, u16, u16) = (8, 0, 28);
const MYSQL_COLUMNS: &str = ", SUM_CPU_TIME, QUANTILE_95, QUANTILE_99, QUANTILE_999";
const CPU_TIME: Desc = Desc::counter(
    "mysql_perf_schema_events_statements_cpu_time_seconds_total",
    "Processor time that executions took, by digest; MySQL 8.0.28 and later.",
    LABELS,
);
const LATENCY: Desc = Desc::summary(
    "mysql_perf_schema_events_statements_latency",
    "Time that an execution took, by digest. As in mysqld_exporter, the quantiles 0.95, 0.99 and 0.999 are labelled 95, 99 and 999; MySQL \
     8.0.28 and later has them.",
    LABELS,
);
/// In the order of their columns, under the peer's labels.
const QUANTILES: [f64; 3] = [95.0, 99.0, 999.0];

const fn counter(
    name: &'static str,
    help: &'static str,
    unit: f64,
    columns: &'static [(&'static str, &'static str)],
) -> Measure {
    Measure { desc: Desc::counter(name, help, LABELS), unit, columns }
}

pub(super) struct EventsStatements;

#[async_trait]
impl Collector<Session> for EventsStatements {
    fn name(&self) -> &'static str {
        TABLE.name
    }

    fn help(&self) -> &'static str {
        TABLE.help
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        TABLE.families().into_iter().chain([CPU_TIME, LATENCY]).collect()
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let has_quantiles = session.version().is_mysql_since(MYSQL_SINCE);
        let statement = statement(&session.options().perf_schema, has_quantiles);
        write(&rows(session, statement).await?, out);
        Ok(())
    }
}

fn statement(options: &Options, has_quantiles: bool) -> String {
    let excluded = options.exclude_schemas.iter().map(|schema| format!(", {}", literal(schema))).collect::<String>();
    let columns: Vec<&str> =
        TABLE.measures.iter().flat_map(|measure| measure.columns).map(|(column, _)| *column).collect();
    format!(
        "SELECT SCHEMA_NAME, DIGEST, LEFT(DIGEST_TEXT, {text}), {columns}{more} FROM {from} \
         WHERE SCHEMA_NAME NOT IN ('mysql', 'performance_schema', 'information_schema'{excluded}) \
         AND LAST_SEEN > NOW() - INTERVAL {age} SECOND ORDER BY SUM_TIMER_WAIT DESC LIMIT {limit}",
        text = options.digest_text,
        columns = columns.join(", "),
        more = if has_quantiles { MYSQL_COLUMNS } else { "" },
        from = TABLE.from,
        age = options.digest_age,
        limit = options.digest_limit,
    )
}

fn write(rows: &Rows, out: &mut Families) {
    TABLE.write(rows, "", out);
    let first = TABLE.labels.len();
    let behind = first + TABLE.measures.len();
    for row in rows.iter() {
        let labels: Vec<&str> = (0..first).map(|column| row.get(column).unwrap_or_default()).collect();
        let seconds = |column: usize| Some(row.get(column)?.parse::<f64>().ok()? / PICOSECONDS);
        if let Some(cpu_time) = seconds(behind) {
            out.push(&CPU_TIME, &labels, cpu_time);
        }
        if let (Some(Ok(count)), Some(sum)) = (row.get(first).map(str::parse), seconds(first + 1)) {
            let columns = behind + 1..;
            let quantiles =
                QUANTILES.into_iter().zip(columns).filter_map(|(label, column)| Some((label, seconds(column)?)));
            let value = SummaryValue { quantiles: quantiles.collect(), sum, count };
            out.family(&LATENCY).push_summary(&labels, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(flags: &[&str]) -> Options {
        #[derive(clap::Parser)]
        struct Command {
            #[command(flatten)]
            options: Options,
        }
        <Command as clap::Parser>::parse_from(["test"].iter().chain(flags)).options
    }

    fn written(row: &[&str]) -> Vec<String> {
        let mut rows = Rows::new((0..row.len()).map(|column| column.to_string()));
        rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        let mut out = Families::default();
        write(&rows, &mut out);
        exporter_toolkit::testing::samples(out)
    }

    const MARIADB: [&str; 16] = [
        "shop",
        "5f",
        "SELECT ?",
        "4",
        "6000000000000",
        "1000000000000",
        "5",
        "6",
        "7",
        "8",
        "9",
        "10",
        "11",
        "12",
        "13",
        "14",
    ];

    #[test]
    fn what_the_server_lacks_is_absent() {
        let labels = "schema=\"shop\",digest=\"5f\",digest_text=\"SELECT ?\"";
        let expected = [
            ("errors_total", "5"),
            ("latency_sum", "6"),
            ("latency_count", "4"),
            ("lock_time_seconds_total", "1"),
            ("no_index_used_total", "14"),
            ("rows_affected_total", "7"),
            ("rows_examined_total", "9"),
            ("rows_sent_total", "8"),
            ("seconds_total", "6"),
            ("sort_merge_passes_total", "12"),
            ("sort_rows_total", "13"),
            ("tmp_disk_tables_total", "10"),
            ("tmp_tables_total", "11"),
            ("total", "4"),
            ("warnings_total", "6"),
        ]
        .map(|(family, value)| format!("mysql_perf_schema_events_statements_{family}{{{labels}}} {value}"));
        assert_eq!(written(&MARIADB), expected);
    }

    #[test]
    fn mysql_has_processor_time_and_quantiles_under_the_peers_labels() {
        let more = ["2000000000000", "3000000000000", "4000000000000", "5000000000000"];
        let samples = written(&[MARIADB.as_slice(), &more].concat());
        let labels = "schema=\"shop\",digest=\"5f\",digest_text=\"SELECT ?\"";
        for expected in [
            format!("mysql_perf_schema_events_statements_cpu_time_seconds_total{{{labels}}} 2"),
            format!("mysql_perf_schema_events_statements_latency{{{labels},quantile=\"95\"}} 3"),
            format!("mysql_perf_schema_events_statements_latency{{{labels},quantile=\"99\"}} 4"),
            format!("mysql_perf_schema_events_statements_latency{{{labels},quantile=\"999\"}} 5"),
        ] {
            assert!(samples.contains(&expected), "{expected}\n{samples:#?}");
        }
    }

    #[test]
    fn the_statement_is_bounded_by_the_flags() {
        let of = |flags| statement(&options(flags), false);
        assert!(of(&[]).contains("LEFT(DIGEST_TEXT, 120), COUNT_STAR, SUM_TIMER_WAIT, "));
        assert!(of(&[]).ends_with(
            "WHERE SCHEMA_NAME NOT IN ('mysql', 'performance_schema', 'information_schema') \
             AND LAST_SEEN > NOW() - INTERVAL 86400 SECOND ORDER BY SUM_TIMER_WAIT DESC LIMIT 250"
        ));
        let changed = of(&[
            "--collect.perf_schema.eventsstatements.limit=3",
            "--collect.perf_schema.eventsstatements.timelimit=60",
            "--collect.perf_schema.eventsstatements.digest_text_limit=7",
            "--collect.perf_schema.eventsstatements.exclude_schemas=a'",
            "--collect.perf_schema.eventsstatements.exclude_schemas=b",
        ]);
        assert!(changed.contains("LEFT(DIGEST_TEXT, 7)"));
        assert!(changed.contains("'information_schema', _utf8mb4 X'6127', _utf8mb4 X'62') AND"));
        assert!(changed.ends_with("INTERVAL 60 SECOND ORDER BY SUM_TIMER_WAIT DESC LIMIT 3"));
        assert!(
            statement(&options(&[]), true)
                .contains("SUM_NO_INDEX_USED, SUM_CPU_TIME, QUANTILE_95, QUANTILE_99, QUANTILE_999 FROM")
        );
    }
}

//! `performance_schema.events_statements_summary_by_digest`: the statements with the most total time.

use clap::{ArgMatches, Args as _, Command, FromArgMatches as _};
use exporter_toolkit::{BoxError, Collector, Desc, Families, SummaryValue, async_trait};

use crate::collectors::select::{Measure, Select};
use crate::rows::Rows;
use crate::session::Session;
use crate::sql::{PICOSECONDS, literal};

const LABELS: &[&str] = &["schema", "digest", "digest_text"];

/// The columns that every server has. The first two are also the count and the sum of the summary.
const SELECT: Select = Select {
    from: "performance_schema.events_statements_summary_by_digest",
    labels: &["SCHEMA_NAME", "DIGEST", "DIGEST_TEXT"],
    measures: &[
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_total",
                "Total number of executions, by digest.",
                LABELS,
            ),
            "COUNT_STAR",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_seconds_total",
                "Total time spent on executions, in seconds, by digest.",
                LABELS,
            ),
            "SUM_TIMER_WAIT",
        )
        .divided_by(PICOSECONDS),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_lock_time_seconds_total",
                "Total time spent waiting for table locks, in seconds, by digest.",
                LABELS,
            ),
            "SUM_LOCK_TIME",
        )
        .divided_by(PICOSECONDS),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_errors_total",
                "Total number of errors, by digest.",
                LABELS,
            ),
            "SUM_ERRORS",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_warnings_total",
                "Total number of warnings, by digest.",
                LABELS,
            ),
            "SUM_WARNINGS",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_rows_affected_total",
                "Total number of rows changed, by digest.",
                LABELS,
            ),
            "SUM_ROWS_AFFECTED",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_rows_sent_total",
                "Total number of rows returned, by digest.",
                LABELS,
            ),
            "SUM_ROWS_SENT",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_rows_examined_total",
                "Total number of rows examined, by digest.",
                LABELS,
            ),
            "SUM_ROWS_EXAMINED",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_tmp_disk_tables_total",
                "Total number of temporary tables created on disk, by digest.",
                LABELS,
            ),
            "SUM_CREATED_TMP_DISK_TABLES",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_tmp_tables_total",
                "Total number of temporary tables created, by digest.",
                LABELS,
            ),
            "SUM_CREATED_TMP_TABLES",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_sort_merge_passes_total",
                "Total number of sort merge passes, by digest.",
                LABELS,
            ),
            "SUM_SORT_MERGE_PASSES",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_sort_rows_total",
                "Total number of rows sorted, by digest.",
                LABELS,
            ),
            "SUM_SORT_ROWS",
        ),
        Measure::one(
            Desc::counter(
                "mysql_perf_schema_events_statements_no_index_used_total",
                "Total number of executions that used no index, by digest.",
                LABELS,
            ),
            "SUM_NO_INDEX_USED",
        ),
    ],
};

/// MySQL 8.0.28 and later has more columns, selected after the others.
const MYSQL_SINCE: (u16, u16, u16) = (8, 0, 28);
const MYSQL_COLUMNS: &str = ", SUM_CPU_TIME, QUANTILE_95, QUANTILE_99, QUANTILE_999";
const CPU_TIME: Desc = Desc::counter(
    "mysql_perf_schema_events_statements_cpu_time_seconds_total",
    "Total CPU time spent on executions, in seconds, by digest; MySQL 8.0.28 and later.",
    LABELS,
);
const LATENCY: Desc = Desc::summary(
    "mysql_perf_schema_events_statements_latency",
    "Duration of an execution, in seconds, by digest; quantiles (MySQL 8.0.28) have mysqld_exporter's labels 95, 99, 999.",
    LABELS,
);
/// In the order of their columns, with the peer's labels.
const QUANTILES: [f64; 3] = [95.0, 99.0, 999.0];

#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Collectors")]
pub(super) struct Options {
    /// Maximum number of statement digests; those with the most total time are kept
    #[arg(long = "collect.perf_schema.eventsstatements.limit", value_name = "DIGESTS", default_value_t = 250)]
    digest_limit: u32,

    /// Maximum age in seconds since a digest was last seen
    #[arg(long = "collect.perf_schema.eventsstatements.timelimit", value_name = "SECONDS", default_value_t = 86_400)]
    digest_age: u32,

    /// Maximum length of a digest's text, in characters
    #[arg(
        long = "collect.perf_schema.eventsstatements.digest_text_limit",
        value_name = "CHARACTERS",
        default_value_t = 120
    )]
    digest_text: u32,

    /// Schema whose statements are excluded, in addition to mysql, performance_schema and information_schema;
    /// repeatable
    #[arg(long = "collect.perf_schema.eventsstatements.exclude_schemas", value_name = "SCHEMA")]
    exclude_schemas: Vec<String>,
}

pub(super) struct EventsStatements {
    pub(super) options: Options,
}

#[async_trait]
impl Collector<Session> for EventsStatements {
    fn name(&self) -> &'static str {
        "perf_schema.eventsstatements"
    }

    fn help(&self) -> &'static str {
        "Statements by digest, those with the most total time first."
    }

    fn source(&self) -> &'static str {
        SELECT.table()
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        SELECT.families().into_iter().chain([CPU_TIME, LATENCY]).collect()
    }

    fn augment_args(&self, command: Command) -> Command {
        Options::augment_args(command)
    }

    fn configure(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.options.update_from_arg_matches(matches)
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let has_quantiles = session.version().is_mysql_since(MYSQL_SINCE);
        let statement = statement(&self.options, has_quantiles);
        write(&session.query_if_table_exists(statement).await?, out);
        Ok(())
    }
}

fn statement(options: &Options, has_quantiles: bool) -> String {
    let excluded = options.exclude_schemas.iter().map(|schema| format!(", {}", literal(schema))).collect::<String>();
    format!(
        "SELECT {columns}{more} FROM {from} \
         WHERE SCHEMA_NAME NOT IN ('mysql', 'performance_schema', 'information_schema'{excluded}) \
         AND LAST_SEEN > NOW() - INTERVAL {age} SECOND ORDER BY SUM_TIMER_WAIT DESC LIMIT {limit}",
        columns = SELECT.columns().replace("DIGEST_TEXT", &format!("LEFT(DIGEST_TEXT, {})", options.digest_text)),
        more = if has_quantiles { MYSQL_COLUMNS } else { "" },
        from = SELECT.from,
        age = options.digest_age,
        limit = options.digest_limit,
    )
}

fn write(rows: &Rows, out: &mut Families) {
    SELECT.write(rows, "", out);
    let first = SELECT.labels.len();
    let behind = SELECT.width();
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
        struct Flags {
            #[command(flatten)]
            options: Options,
        }
        <Flags as clap::Parser>::parse_from(["test"].iter().chain(flags)).options
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
    fn columns_that_the_server_lacks_are_absent() {
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
    fn mysql_has_cpu_time_and_quantiles_with_the_peers_labels() {
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
    fn the_flags_limit_the_statement() {
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

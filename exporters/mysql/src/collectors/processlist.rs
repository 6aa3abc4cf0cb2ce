//! `information_schema.processlist`: the server's threads by command and state, by user and by client host.

use std::collections::BTreeMap;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, ArgMatches, Args as _, Command, FromArgMatches as _};
use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::rows::Rows;
use crate::session::Session;

const THREADS: Desc = Desc::gauge(
    "mysql_info_schema_processlist_threads",
    "Current number of threads, by command and state.",
    &["command", "state"],
);
const SECONDS: Desc = Desc::gauge(
    "mysql_info_schema_processlist_seconds",
    "Total time that the current threads have been in their states, in seconds, by command and state.",
    &["command", "state"],
);
const BY_USER: Desc = Desc::gauge(
    "mysql_info_schema_processlist_processes_by_user",
    "Current number of threads, by user.",
    &["mysql_user"],
);
const BY_HOST: Desc = Desc::gauge(
    "mysql_info_schema_processlist_processes_by_host",
    "Current number of threads, by client host.",
    &["client_host"],
);

/// Maximum label sets of one family: the hosts of an elastic pool are unbounded. The rest is summed up as [`OTHERS`].
const MAX_GROUPS: usize = 1000;
const OTHERS: &str = "other";

#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
#[command(next_help_heading = "Collectors")]
pub(super) struct Options {
    /// Minimum time in seconds that a counted thread has been in its state
    #[arg(long = "collect.info_schema.processlist.min_time", value_name = "SECONDS", default_value_t = 0)]
    min_time: u32,

    /// Export the number of threads by user
    #[arg(long = "collect.info_schema.processlist.processes_by_user", value_name = "BOOL", default_value_t = true,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new(), overrides_with = "not_by_user")]
    by_user: bool,

    #[arg(long = "no-collect.info_schema.processlist.processes_by_user", overrides_with = "by_user", hide = true)]
    not_by_user: bool,

    /// Export the number of threads by client host
    #[arg(long = "collect.info_schema.processlist.processes_by_host", value_name = "BOOL", default_value_t = true,
        action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_parser = BoolishValueParser::new(), overrides_with = "not_by_host")]
    by_host: bool,

    #[arg(long = "no-collect.info_schema.processlist.processes_by_host", overrides_with = "by_host", hide = true)]
    not_by_host: bool,
}

pub(super) struct Processlist {
    pub(super) options: Options,
}

#[async_trait]
impl Collector<Session> for Processlist {
    fn name(&self) -> &'static str {
        "info_schema.processlist"
    }

    fn help(&self) -> &'static str {
        "Threads by command, state, user and client host."
    }

    fn source(&self) -> &'static str {
        "information_schema.processlist"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![THREADS, SECONDS, BY_USER, BY_HOST]
    }

    fn augment_args(&self, command: Command) -> Command {
        Options::augment_args(command)
    }

    fn configure(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.options.update_from_arg_matches(matches)
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let options = &self.options;
        // The server aggregates: 10,000 connections of an application's pool are a few rows.
        // The port is after the last colon: an IPv6 address has more of them.
        let host = "IF(LOCATE(':', host) > 0, LEFT(host, CHAR_LENGTH(host) - LOCATE(':', REVERSE(host))), host)";
        let statement = format!(
            "SELECT user, {host}, COALESCE(command, ''), COALESCE(state, ''), COUNT(*), SUM(time) \
             FROM information_schema.processlist WHERE id != CONNECTION_ID() AND time >= {} GROUP BY 1, 2, 3, 4",
            options.min_time
        );
        write(options, &session.query(statement).await?, out);
        Ok(())
    }
}

fn write(options: &Options, rows: &Rows, out: &mut Families) {
    let mut states: BTreeMap<(String, String), (f64, f64)> = BTreeMap::new();
    let mut users: BTreeMap<&str, f64> = BTreeMap::new();
    let mut hosts: BTreeMap<&str, f64> = BTreeMap::new();
    for row in rows.iter() {
        let text = |column| row.get(column).unwrap_or_default();
        let (threads, seconds) = (row.number(4).unwrap_or(0.0), row.number(5).unwrap_or(0.0));
        let sums = states.entry((sanitized(text(2)), sanitized(text(3)))).or_default();
        sums.0 += threads;
        sums.1 += seconds;
        *users.entry(text(0)).or_default() += threads;
        // A thread of the server.
        let host = Some(text(1)).filter(|host| !host.is_empty()).unwrap_or("unknown");
        *hosts.entry(host).or_default() += threads;
    }
    for ((command, state), (threads, seconds)) in states {
        out.push(&THREADS, &[&command, &state], threads);
        out.push(&SECONDS, &[&command, &state], seconds);
    }
    if options.by_user && !options.not_by_user {
        write_groups(&BY_USER, users, out);
    }
    if options.by_host && !options.not_by_host {
        write_groups(&BY_HOST, hosts, out);
    }
}

fn write_groups(desc: &Desc, mut groups: BTreeMap<&str, f64>, out: &mut Families) {
    if groups.len() > MAX_GROUPS {
        // Cut by name, not by count, so that each scrape has the same series.
        let first_cut = groups.keys().nth(MAX_GROUPS - 1).copied().unwrap_or_default();
        let others: f64 = groups.split_off(first_cut).values().sum();
        *groups.entry(OTHERS).or_default() += others;
    }
    for (group, threads) in groups {
        out.push(desc, &[group], threads);
    }
}

/// A command or state as mysqld_exporter spells it: `Waiting on empty queue` is `waiting_on_empty_queue`.
fn sanitized(state: &str) -> String {
    if state.is_empty() {
        return "unknown".to_owned();
    }
    let kept = state.chars().filter(|c| !matches!(c, ';' | ',' | ':' | '.' | '(' | ')'));
    kept.map(|c| if matches!(c, ' ' | '-') { '_' } else { c }).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use exporter_toolkit::testing;

    use super::*;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        options: Options,
    }

    fn written(flags: &[&str], answer: &[[&str; 6]]) -> Vec<String> {
        let options = <Flags as clap::Parser>::parse_from(std::iter::once(&"test").chain(flags)).options;
        let mut rows = Rows::new((0..6).map(|column| column.to_string()));
        for row in answer {
            rows.push(row.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        }
        let mut out = Families::default();
        write(&options, &rows, &mut out);
        testing::samples(out)
    }

    #[test]
    fn threads_are_counted_by_state_user_and_host() {
        let answer = [
            ["app", "10.0.0.1", "Query", "Sending data", "2", "7"],
            ["app", "10.0.0.2", "Query", "Sending data", "1", "1"],
            ["event_scheduler", "", "Daemon", "Waiting for next activation (idle)", "1", "-5"],
            ["repl", "db2", "Binlog Dump", "", "1", "3600"],
        ];
        assert_eq!(
            written(&[], &answer),
            [
                r#"mysql_info_schema_processlist_processes_by_host{client_host="10.0.0.1"} 2"#,
                r#"mysql_info_schema_processlist_processes_by_host{client_host="10.0.0.2"} 1"#,
                r#"mysql_info_schema_processlist_processes_by_host{client_host="db2"} 1"#,
                r#"mysql_info_schema_processlist_processes_by_host{client_host="unknown"} 1"#,
                r#"mysql_info_schema_processlist_processes_by_user{mysql_user="app"} 3"#,
                r#"mysql_info_schema_processlist_processes_by_user{mysql_user="event_scheduler"} 1"#,
                r#"mysql_info_schema_processlist_processes_by_user{mysql_user="repl"} 1"#,
                r#"mysql_info_schema_processlist_seconds{command="binlog_dump",state="unknown"} 3600"#,
                r#"mysql_info_schema_processlist_seconds{command="daemon",state="waiting_for_next_activation_idle"} -5"#,
                r#"mysql_info_schema_processlist_seconds{command="query",state="sending_data"} 8"#,
                r#"mysql_info_schema_processlist_threads{command="binlog_dump",state="unknown"} 1"#,
                r#"mysql_info_schema_processlist_threads{command="daemon",state="waiting_for_next_activation_idle"} 1"#,
                r#"mysql_info_schema_processlist_threads{command="query",state="sending_data"} 3"#,
            ]
        );
    }

    #[test]
    fn users_and_hosts_can_be_disabled() {
        let answer = [["app", "h", "Sleep", "", "1", "1"]];
        let families = |flags: &[&str]| written(flags, &answer).len();
        let (user, host) =
            ("collect.info_schema.processlist.processes_by_user", "collect.info_schema.processlist.processes_by_host");
        assert_eq!(families(&[&format!("--no-{user}"), &format!("--no-{host}")]), 2);
        assert_eq!(families(&[&format!("--{user}=false")]), 3);
        // The last one wins.
        assert_eq!(families(&[&format!("--no-{user}"), &format!("--{user}"), &format!("--{host}")]), 4);
    }

    #[test]
    fn hosts_above_the_limit_are_summed_up() {
        let hosts: Vec<String> = (0..MAX_GROUPS + 500).map(|host| format!("host{host:05}")).collect();
        let answer: Vec<_> = hosts.iter().map(|host| ["app", host, "Sleep", "", "2", "1"]).collect();
        let samples = written(&[], &answer);
        let by_host: Vec<_> = samples.iter().filter(|sample| sample.contains("client_host=")).collect();
        assert_eq!(by_host.len(), MAX_GROUPS);
        assert_eq!(by_host[0], r#"mysql_info_schema_processlist_processes_by_host{client_host="host00000"} 2"#);
        assert!(
            samples
                .contains(&r#"mysql_info_schema_processlist_processes_by_host{client_host="other"} 1002"#.to_owned())
        );
    }
}

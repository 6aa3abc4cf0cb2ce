//! One file per collector. All of them read the response in the session, and none waits for anything.

mod backends;
mod csv;
mod frontends;
mod health;
mod listeners;
mod modules;
mod process;
mod resolvers;
mod rows;
mod servers;
mod stick_tables;

use exporter_toolkit::{Collector, HealthCollector};

use crate::target::Session;

pub(crate) fn all() -> Vec<Box<dyn Collector<Session>>> {
    vec![
        Box::new(process::Process),
        Box::new(frontends::Frontends),
        Box::new(backends::Backends),
        Box::new(servers::Servers),
        Box::new(listeners::Listeners),
        Box::new(modules::Modules),
        Box::new(stick_tables::StickTables),
        Box::new(resolvers::Resolvers),
        Box::new(HealthCollector::<health::Health>::default()),
        Box::new(csv::Csv),
    ]
}

#[cfg(test)]
mod test_kit {
    use std::sync::Arc;

    use exporter_toolkit::Collector;

    use crate::columns::Naming;
    use crate::options::Options;
    use crate::runtime::Runtime;
    use crate::stat::Stat;
    use crate::target::Session;

    /// A session with this response to `show stat`.
    pub(super) fn session(csv: &str, naming: Naming) -> Session {
        with_options(csv, Options { naming, ..Options::default() })
    }

    pub(super) fn with_options(csv: &str, options: Options) -> Session {
        Session {
            stat: Stat::parse(csv).unwrap(),
            runtime: None,
            options: Arc::new(options),
            selection: Arc::default(),
            failures: Arc::default(),
            history: None,
            _memory: None,
        }
    }

    /// With these responses before `show stat`.
    pub(super) fn with_runtime(mut session: Session, responses: &str) -> Session {
        session.runtime = Some(Runtime::parse(responses).unwrap());
        session
    }

    /// The samples of the collector in the text format.
    pub(super) async fn lines(collector: &dyn Collector<Session>, session: &Session) -> Vec<String> {
        exporter_toolkit::testing::samples(exporter_toolkit::testing::collect(collector, session).await)
    }
}

#[cfg(test)]
mod tests {
    use super::test_kit::{lines, session};
    use super::*;
    use crate::columns::Naming;

    /// An unknown column, missing columns, times, empty fields, and the trailing comma.
    const CSV: &str = "# pxname,svname,brand_new,scur,slim,hrsp_2xx,qtime,status,type,\n\
                       fe,FRONTEND,7,1,100,5,,OPEN,0,\n\
                       be,one,7,2,,6,1500,UP 3/5,2,\n\
                       be,BACKEND,7,3,10,6,20,UP,1,\n\
                       fe,sock-1,7,1,100,,,OPEN,3,\n\n";

    #[tokio::test]
    async fn the_same_response_with_both_namings() {
        let native = session(CSV, Naming::Native);
        assert_eq!(
            lines(&servers::Servers, &native).await,
            [
                r#"haproxy_server_current_sessions{proxy="be",server="one"} 2"#,
                r#"haproxy_server_http_responses_total{proxy="be",server="one",code="2xx"} 6"#,
                r#"haproxy_server_queue_time_average_seconds{proxy="be",server="one"} 1.5"#,
                r#"haproxy_server_status{proxy="be",server="one",state="DOWN"} 0"#,
                r#"haproxy_server_status{proxy="be",server="one",state="UP"} 1"#,
                r#"haproxy_server_status{proxy="be",server="one",state="MAINT"} 0"#,
                r#"haproxy_server_status{proxy="be",server="one",state="DRAIN"} 0"#,
                r#"haproxy_server_status{proxy="be",server="one",state="NOLB"} 0"#,
            ]
        );
        let exporter = session(CSV, Naming::Exporter);
        assert_eq!(
            lines(&servers::Servers, &exporter).await,
            [
                r#"haproxy_server_current_sessions{backend="be",server="one"} 2"#,
                r#"haproxy_server_http_queue_time_average_seconds{backend="be",server="one"} 1.5"#,
                r#"haproxy_server_http_responses_total{backend="be",server="one",code="2xx"} 6"#,
                r#"haproxy_server_up{backend="be",server="one"} 1"#,
            ]
        );
        assert_eq!(
            lines(&frontends::Frontends, &exporter).await,
            [
                r#"haproxy_frontend_current_sessions{frontend="fe"} 1"#,
                r#"haproxy_frontend_http_responses_total{frontend="fe",code="2xx"} 5"#,
                r#"haproxy_frontend_limit_sessions{frontend="fe"} 100"#,
            ]
        );
        assert!(
            lines(&backends::Backends, &exporter).await.contains(&r#"haproxy_backend_up{backend="be"} 1"#.to_owned())
        );
        assert_eq!(lines(&listeners::Listeners, &exporter).await, [""; 0]);
        assert!(
            lines(&listeners::Listeners, &native)
                .await
                .contains(&r#"haproxy_listener_status{proxy="fe",listener="sock-1",state="OPEN"} 1"#.to_owned())
        );
    }

    #[tokio::test]
    async fn an_unreadable_value_is_absent_and_counted() {
        let csv = "# pxname,svname,scur,smax,status,type,\nbe,one,many,4,ASLEEP,2,\nbe,torn\n";
        let session = session(csv, Naming::Native);
        assert_eq!(
            lines(&servers::Servers, &session).await,
            [r#"haproxy_server_max_sessions{proxy="be",server="one"} 4"#]
        );
        assert_eq!(lines(&super::csv::Csv, &session).await, ["haproxy_exporter_csv_parse_failures_total 2"]);
        assert_eq!(session.stat.broken, 1);
    }

    #[test]
    fn every_declared_family_is_unique_within_one_naming() {
        for collector in all() {
            let mut seen = std::collections::HashSet::new();
            for desc in collector.families() {
                assert!(seen.insert((desc.name.clone(), desc.labels)), "{} of {}", desc.name, collector.name());
            }
        }
    }

    #[test]
    fn a_family_comes_from_one_field_or_from_one_per_code() {
        for table in [&frontends::NUMBERS, &backends::NUMBERS, &servers::NUMBERS, &listeners::NUMBERS] {
            for naming in [Naming::Native, Naming::Exporter] {
                let mut seen = std::collections::HashSet::new();
                for (desc, column) in table.families(naming) {
                    assert!(seen.insert((desc.name.as_ref(), column.code)), "{}", desc.name);
                }
            }
        }
    }

    #[test]
    fn counters_end_in_total() {
        for collector in [
            &servers::Servers as &dyn Collector<Session>,
            &backends::Backends,
            &frontends::Frontends,
            &listeners::Listeners,
        ] {
            for desc in collector.families().iter().filter(|desc| !desc.field.is_empty()) {
                assert_eq!(
                    desc.kind == exporter_toolkit::Kind::Counter,
                    desc.name.ends_with("_total"),
                    "{}",
                    desc.name
                );
            }
        }
    }
}

//! What logging in costs, measured where the exporter makes a connection anew, and whether it works.

use exporter_toolkit::{BoxError, CheckStatus, Collector, Desc, Families, async_trait};

use super::health::LOGIN;
use crate::logins::Summary;
use crate::session::Session;

const DURATION: Desc = Desc::gauge(
    "mysql_exporter_login_duration_seconds",
    "How long the exporter's newest login took: the network, TLS and authentication. Connections are kept, and each is made anew after a minute.",
    &[],
);
const LOGINS: Desc = Desc::counter(
    "mysql_exporter_logins_total",
    "Logins of the exporter at this server, by their result.",
    &["result"],
);

pub(super) struct Logins;

#[async_trait]
impl Collector<Session> for Logins {
    fn name(&self) -> &'static str {
        "logins"
    }

    fn help(&self) -> &'static str {
        "What the exporter's logins cost, and the check of them."
    }

    fn families(&self) -> Vec<Desc> {
        vec![DURATION, LOGINS]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        write(session.logins(), out);
        Ok(())
    }
}

fn write(logins: Summary, out: &mut Families) {
    out.push(&LOGINS, &["ok"], logins.succeeded as f64);
    out.push(&LOGINS, &["failed"], logins.failed as f64);
    if let Some(duration) = logins.duration {
        out.push(&DURATION, &[], duration.as_secs_f64());
    }
    let milliseconds = logins.duration.unwrap_or_default().as_secs_f64() * 1000.0;
    match logins.error {
        Some(error) => out.check(LOGIN, CheckStatus::Fail, format!("the newest login failed: {error}")),
        None => out.check(LOGIN, CheckStatus::Ok, format!("the newest login took {milliseconds:.1} ms")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use exporter_toolkit::testing;

    use super::*;

    fn written(error: Option<&str>) -> Families {
        let mut out = Families::default();
        let duration = Some(Duration::from_millis(5));
        write(Summary { succeeded: 2, failed: 1, duration, error: error.map(str::to_owned) }, &mut out);
        out
    }

    #[test]
    fn a_login_that_fails_is_told_while_older_connections_still_answer() {
        assert_eq!(
            testing::samples(written(None)),
            [
                "mysql_exporter_login_duration_seconds 0.005",
                r#"mysql_exporter_logins_total{result="failed"} 1"#,
                r#"mysql_exporter_logins_total{result="ok"} 2"#,
            ]
        );
        let [(name, status, reason)] = &testing::checks(written(None))[..] else { panic!() };
        assert_eq!((*name, *status, reason.as_str()), ("login", CheckStatus::Ok, "the newest login took 5.0 ms"));
        let [(_, status, reason)] = &testing::checks(written(Some("no room")))[..] else { panic!() };
        assert_eq!((*status, reason.as_str()), (CheckStatus::Fail, "the newest login failed: no room"));
    }
}

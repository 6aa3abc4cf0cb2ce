//! The duration and the success of logins, measured on each new connection of the exporter.

use exporter_toolkit::{BoxError, CheckDef, CheckStatus, Collector, Desc, Families, async_trait};

use crate::login_stats::LoginStats;
use crate::session::Session;

const DURATION: Desc = Desc::gauge(
    "mysql_exporter_login_duration_seconds",
    "Duration of the exporter's newest successful login (network, TLS, authentication), in seconds.",
    &[],
);
const LOGINS: Desc = Desc::counter(
    "mysql_exporter_logins_total",
    "Total number of the exporter's logins to this server, by result.",
    &["result"],
);

const NEW_LOGIN: CheckDef = CheckDef {
    name: "new_login",
    help: "Whether the exporter's newest login succeeded. It fails while the metrics come over a connection from before.",
    essential: false,
};

pub(super) struct Logins;

#[async_trait]
impl Collector<Session> for Logins {
    fn name(&self) -> &'static str {
        "logins"
    }

    fn help(&self) -> &'static str {
        "Duration and success of the exporter's logins."
    }

    fn source(&self) -> &'static str {
        "new connections of the exporter"
    }

    fn families(&self) -> Vec<Desc> {
        vec![DURATION, LOGINS]
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        &[&NEW_LOGIN]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        write(session.logins(), out);
        Ok(())
    }
}

fn write(logins: LoginStats, out: &mut Families) {
    out.push(&LOGINS, &["ok"], logins.succeeded as f64);
    out.push(&LOGINS, &["failed"], logins.failed as f64);
    if let Some(duration) = logins.duration {
        out.push(&DURATION, &[], duration.as_secs_f64());
    }
    let milliseconds = logins.duration.unwrap_or_default().as_secs_f64() * 1000.0;
    match logins.error {
        Some(error) => out.check(&NEW_LOGIN, CheckStatus::Fail, format!("the newest login failed: {error}")),
        None => out.check(&NEW_LOGIN, CheckStatus::Ok, format!("the newest login took {milliseconds:.1} ms")),
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
        write(LoginStats { succeeded: 2, failed: 1, duration, error: error.map(str::to_owned) }, &mut out);
        out
    }

    #[test]
    fn a_failed_login_fails_the_check() {
        assert_eq!(
            testing::samples(written(None)),
            [
                "mysql_exporter_login_duration_seconds 0.005",
                r#"mysql_exporter_logins_total{result="failed"} 1"#,
                r#"mysql_exporter_logins_total{result="ok"} 2"#,
            ]
        );
        let [(name, status, reason)] = &testing::checks(written(None))[..] else { panic!() };
        assert_eq!((*name, *status, reason.as_str()), ("new_login", CheckStatus::Ok, "the newest login took 5.0 ms"));
        let [(_, status, reason)] = &testing::checks(written(Some("no room")))[..] else { panic!() };
        assert_eq!((*status, reason.as_str()), (CheckStatus::Fail, "the newest login failed: no room"));
    }
}

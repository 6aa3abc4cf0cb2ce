//! The expiry of the server's TLS certificate.

use exporter_toolkit::flags::positive;
use exporter_toolkit::{CheckDef, CheckStatus, Finding};
use jiff::Timestamp;

use crate::rows::Rows;
use crate::value::parse;

pub(super) const CERTIFICATE: CheckDef = CheckDef {
    name: "certificate",
    help: "Whether the server's TLS certificate is valid, and expires soon (--health.certificate-warn, --health.certificate-fail). Absent \
           without a certificate; on MariaDB also if the exporter does not connect with TLS.",
    essential: false,
};

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (check `certificate`) when the server's TLS certificate expires within this many days
    #[arg(long = "health.certificate-warn", value_name = "DAYS", default_value_t = 30.0, value_parser = positive)]
    certificate_warn: f64,

    /// Fail (check `certificate`) when the server's TLS certificate expires within this many days
    #[arg(long = "health.certificate-fail", value_name = "DAYS", default_value_t = 7.0, value_parser = positive)]
    certificate_fail: f64,
}

const DAY: f64 = 86_400.0;

/// `None` without a certificate.
pub(super) fn find(status: &Rows, now: Timestamp, thresholds: Thresholds) -> Option<Finding> {
    let expiry = status.lookup("ssl_server_not_after")?;
    let days_until = |date| Some((parse(date)? - now.as_second() as f64) / DAY);
    let days = days_until(expiry)?;
    if let Some(start) = status.lookup("ssl_server_not_before")
        && days_until(start).is_some_and(|days| days > 0.0)
    {
        let reason =
            format!("the server's TLS certificate is not valid before {start}: clients that verify it cannot connect");
        return Some((CheckStatus::Fail, reason));
    }
    let status = if days < thresholds.certificate_fail {
        CheckStatus::Fail
    } else if days < thresholds.certificate_warn {
        CheckStatus::Warn
    } else {
        CheckStatus::Ok
    };
    let reason = if days < 0.0 {
        format!(
            "the server's TLS certificate expired {:.1} days ago ({expiry}): clients that verify it cannot connect",
            -days
        )
    } else {
        format!("the server's TLS certificate expires in {days:.1} days ({expiry})")
    };
    Some((status, reason))
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Fail, Ok, Warn};
    use exporter_toolkit::flags::defaults;

    use super::*;

    #[test]
    fn a_certificate_that_expires_soon_warns_and_then_fails() {
        let now: Timestamp = "2035-08-01T12:00:00Z".parse().unwrap();
        let found = |expiry| find(&Rows::pairs(&[("Ssl_server_not_after", expiry)]), now, defaults());
        let expires = "the server's TLS certificate expires in";
        assert_eq!(
            found("Aug  9 12:00:00 2035 GMT"),
            Some((Warn, format!("{expires} 8.0 days (Aug  9 12:00:00 2035 GMT)")))
        );
        assert_eq!(found("Aug  8 00:00:00 2035 GMT").unwrap().0, Fail);
        assert_eq!(found("Sep  1 12:00:00 2035 GMT").unwrap().0, Ok);
        let (status, reason) = found("Jul 31 12:00:00 2035 GMT").unwrap();
        assert_eq!(status, Fail);
        assert!(reason.contains("expired 1.0 days ago"), "{reason}");
        let dates = [
            ("Ssl_server_not_before", "Aug  2 12:00:00 2035 GMT"),
            ("Ssl_server_not_after", "Aug  9 12:00:00 2036 GMT"),
        ];
        let (status, reason) = find(&Rows::pairs(&dates), now, defaults()).unwrap();
        assert_eq!(status, Fail);
        assert!(reason.contains("is not valid before Aug  2 12:00:00 2035 GMT"), "{reason}");
        // A server without TLS.
        assert_eq!(found(""), None);
        assert_eq!(find(&Rows::pairs(&[]), now, defaults()), None);
    }
}

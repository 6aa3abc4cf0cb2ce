//! When the certificate ends that the server shows its TLS clients.

use exporter_toolkit::CheckStatus;
use jiff::Timestamp;

use super::{Finding, Thresholds};
use crate::rows::Rows;
use crate::value::parse;

const DAY: f64 = 86_400.0;

/// `None` where the server has none.
pub(super) fn find(status: &Rows, now: Timestamp, thresholds: Thresholds) -> Option<Finding> {
    let end = status.lookup("ssl_server_not_after")?;
    let days = (parse(end)? - now.as_second() as f64) / DAY;
    let status = if days < thresholds.certificate_fail {
        CheckStatus::Fail
    } else if days < thresholds.certificate_warn {
        CheckStatus::Warn
    } else {
        CheckStatus::Ok
    };
    let reason = if days < 0.0 {
        format!("the server's TLS certificate ended {:.1} days ago ({end}): clients that check it are refused", -days)
    } else {
        format!("the server's TLS certificate ends in {days:.1} days ({end})")
    };
    Some((status, reason))
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Fail, Ok, Warn};

    use super::*;

    #[test]
    fn a_certificate_has_an_end() {
        let now: Timestamp = "2035-08-01T12:00:00Z".parse().unwrap();
        let found = |end| find(&Rows::pairs(&[("Ssl_server_not_after", end)]), now, Thresholds::defaults());
        let ends = "the server's TLS certificate ends in";
        assert_eq!(
            found("Aug  9 12:00:00 2035 GMT"),
            Some((Warn, format!("{ends} 8.0 days (Aug  9 12:00:00 2035 GMT)")))
        );
        assert_eq!(found("Aug  8 00:00:00 2035 GMT").unwrap().0, Fail);
        assert_eq!(found("Sep  1 12:00:00 2035 GMT").unwrap().0, Ok);
        let (status, reason) = found("Jul 31 12:00:00 2035 GMT").unwrap();
        assert_eq!(status, Fail);
        assert!(reason.contains("ended 1.0 days ago"), "{reason}");
        // A server without TLS.
        assert_eq!(found(""), None);
        assert_eq!(find(&Rows::pairs(&[]), now, Thresholds::defaults()), None);
    }
}

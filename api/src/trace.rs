//! The trace id of a request: the caller's, from W3C `traceparent`, or a new one.

use std::fmt;

use axum::http::HeaderMap;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TraceId(u128);

impl TraceId {
    pub(crate) fn of_request(headers: &HeaderMap) -> Self {
        headers
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .and_then(Self::from_traceparent)
            .unwrap_or_else(|| Self(Uuid::new_v4().as_u128()))
    }

    /// <https://www.w3.org/TR/trace-context/#traceparent-header>: a version that we don't know may append fields, and
    /// is read as if it were 00.
    fn from_traceparent(header: &str) -> Option<Self> {
        let mut fields = header.split('-');
        let version = lower_hex(fields.next()?, 2)?;
        let trace = lower_hex(fields.next()?, 32)?;
        let parent = lower_hex(fields.next()?, 16)?;
        lower_hex(fields.next()?, 2)?;
        let longer = fields.next().is_some();
        (version != 0xff && trace != 0 && parent != 0 && !(version == 0 && longer)).then_some(Self(trace))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

fn lower_hex(text: &str, length: usize) -> Option<u128> {
    let valid = text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if valid { u128::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn takes_the_callers_trace() {
        for header in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-brings"),
        ] {
            assert_eq!(TraceId::from_traceparent(&header).unwrap().to_string(), TRACE, "{header}");
        }
    }

    #[test]
    fn refuses_what_the_standard_refuses() {
        for header in [
            String::new(),
            TRACE.to_owned(),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{TRACE}0-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-é"),
            format!("+0-{TRACE}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(TraceId::from_traceparent(&header), None, "{header}");
        }
    }

    #[test]
    fn makes_a_new_trace_when_there_is_none() {
        let (a, b) = (TraceId::of_request(&HeaderMap::new()), TraceId::of_request(&HeaderMap::new()));
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), 32);
    }
}

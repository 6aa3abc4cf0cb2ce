//! From a snapshot to bytes: the text format 0.0.4 and OpenMetrics 1.0.
//!
//! A series has the same name and labels in both formats. OpenMetrics has rules for names that a drop-in series cannot
//! always follow. Then the type is downgraded and the name is kept: a counter without `_total` becomes `unknown`, and a
//! state set whose label is not the family's name becomes a `gauge`.
//!
//! Integers are printed without an exponent: `1234567`, where Go prints `1.234567e+06`. The value is the same.

use crate::desc::Kind;
use crate::family::{Family, Rows};
use crate::snapshot::Snapshot;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `text/plain; version=0.0.4`
    Text,
    /// `application/openmetrics-text; version=1.0.0`
    OpenMetrics,
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// The whole page.
pub fn encode(snapshot: &Snapshot, format: Format) -> Vec<u8> {
    let mut page = Vec::with_capacity(snapshot.encoded_size());
    encode_in_chunks(snapshot, format, &mut page, usize::MAX, &mut |_| {});
    page
}

/// Passes `chunk` to `take` whenever it holds `size` bytes or a little more. The end of the page remains in `chunk`.
/// A page of 20,000 tables has 12 MB, which need not be in memory at once.
pub(crate) fn encode_in_chunks(
    snapshot: &Snapshot,
    format: Format,
    chunk: &mut Vec<u8>,
    size: usize,
    take: &mut dyn FnMut(&mut Vec<u8>),
) {
    for (name, family) in snapshot.families() {
        encode_header(chunk, snapshot, name, family, format);
        encode_rows(chunk, name.as_bytes(), family, &mut |chunk| {
            if chunk.len() >= size {
                take(chunk);
            }
        });
    }
    if format == Format::OpenMetrics {
        chunk.extend_from_slice(b"# EOF\n");
    }
}

fn encode_header(out: &mut Vec<u8>, snapshot: &Snapshot, name: &str, family: &Family, format: Format) {
    let (name, kind) = match format {
        Format::Text => (name, text_type(family.kind)),
        Format::OpenMetrics => openmetrics_name_and_type(snapshot, name, family),
    };
    out.extend_from_slice(b"# HELP ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    push_help(out, &family.help, format);
    out.extend_from_slice(b"\n# TYPE ");
    out.extend_from_slice(name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(kind.as_bytes());
    out.push(b'\n');
}

fn text_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge | Kind::Info | Kind::StateSet => "gauge",
        Kind::Untyped => "untyped",
        Kind::Summary => "summary",
        Kind::Histogram => "histogram",
    }
}

/// The family's name in OpenMetrics, which is the series' name without the suffix of its type, and the type.
fn openmetrics_name_and_type<'a>(snapshot: &Snapshot, name: &'a str, family: &Family) -> (&'a str, &'static str) {
    match family.kind {
        Kind::Counter => {
            without_suffix(snapshot, name, "_total", "_info").map_or((name, "unknown"), |short| (short, "counter"))
        }
        Kind::Info => {
            without_suffix(snapshot, name, "_info", "_total").map_or((name, "gauge"), |short| (short, "info"))
        }
        Kind::StateSet if family.last_label() == Some(name) => (name, "stateset"),
        Kind::Gauge | Kind::StateSet => (name, "gauge"),
        Kind::Untyped => (name, "unknown"),
        Kind::Summary => (name, "summary"),
        Kind::Histogram => (name, "histogram"),
    }
}

/// The name without the suffix of its type, or `None` if another family has or would have that name: a family name is
/// unique in OpenMetrics, a family `x` of counters also owns `x_created`, and a histogram `x` owns `x_sum`. If both
/// `x_total` and `x_info` exist, both keep their suffix.
fn without_suffix<'a>(snapshot: &Snapshot, name: &'a str, suffix: &str, other_suffix: &str) -> Option<&'a str> {
    let short = name.strip_suffix(suffix).filter(|short| !short.is_empty())?;
    let taken = ["", other_suffix, "_created"].iter().any(|end| snapshot.contains(&format!("{short}{end}")))
        || snapshot.owner_of_series(short).is_some()
        || short.strip_suffix("_created").is_some_and(|counter| snapshot.contains(&format!("{counter}_total")));
    (!taken).then_some(short)
}

fn encode_rows(out: &mut Vec<u8>, name: &[u8], family: &Family, row_done: &mut impl FnMut(&mut Vec<u8>)) {
    match &family.rows {
        Rows::Scalar(rows) => {
            for row in rows {
                line(out, name, b"", family.labels(row), None, row.value);
                row_done(out);
            }
        }
        Rows::Histogram(rows) => {
            for row in rows {
                let (labels, value) = (family.labels(row), &row.value);
                for (bound, count) in &value.buckets {
                    // The encoder adds the +Inf bucket itself, so that there is always exactly one.
                    if bound.is_finite() {
                        line(out, name, b"_bucket", labels, Some(("le", *bound)), *count as f64);
                    }
                }
                line(out, name, b"_bucket", labels, Some(("le", f64::INFINITY)), value.count as f64);
                line(out, name, b"_sum", labels, None, value.sum);
                line(out, name, b"_count", labels, None, value.count as f64);
                row_done(out);
            }
        }
        Rows::Summary(rows) => {
            for row in rows {
                let (labels, value) = (family.labels(row), &row.value);
                for (quantile, at) in &value.quantiles {
                    line(out, name, b"", labels, Some(("quantile", *quantile)), *at);
                }
                line(out, name, b"_sum", labels, None, value.sum);
                line(out, name, b"_count", labels, None, value.count as f64);
                row_done(out);
            }
        }
        Rows::Shared(all) => {
            let mut begin = name.to_vec();
            begin.push(b'{');
            for rows in all {
                rows.for_each(|labels, last_label, value| {
                    out.extend_from_slice(&begin);
                    out.extend_from_slice(labels.as_bytes());
                    out.extend_from_slice(last_label.as_bytes());
                    out.extend_from_slice(b"} ");
                    push_number(out, value);
                    out.push(b'\n');
                    row_done(out);
                });
            }
        }
    }
}

fn line(out: &mut Vec<u8>, name: &[u8], suffix: &[u8], labels: &str, extra: Option<(&str, f64)>, value: f64) {
    out.extend_from_slice(name);
    out.extend_from_slice(suffix);
    if !labels.is_empty() || extra.is_some() {
        out.push(b'{');
        out.extend_from_slice(labels.as_bytes());
        if let Some((label, bound)) = extra {
            if !labels.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(label.as_bytes());
            out.extend_from_slice(b"=\"");
            push_bound(out, bound);
            out.push(b'"');
        }
        out.push(b'}');
    }
    out.push(b' ');
    push_number(out, value);
    out.push(b'\n');
}

fn push_number(out: &mut Vec<u8>, value: f64) {
    // Most samples of most pages.
    if value == 0.0 {
        return out.push(b'0');
    }
    // Up to 2^53 a float holds every integer exactly, and an integer prints three times faster.
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
}

/// A number in `le` or `quantile`, spelled as Go's exporters do, because the spelling is part of the series' identity:
/// `1e-09`, `1.048576e+06`.
fn push_bound(out: &mut Vec<u8>, bound: f64) {
    let shortest = format!("{bound:e}");
    match shortest.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?))) {
        Some((digits, exponent)) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            out.extend_from_slice(format!("{digits}e{sign}{:02}", exponent.unsigned_abs()).as_bytes());
        }
        _ => push_number(out, bound),
    }
}

fn push_help(out: &mut Vec<u8>, help: &str, format: Format) {
    for b in help.bytes() {
        match b {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' if format == Format::OpenMetrics => out.extend_from_slice(b"\\\""),
            b => out.push(b),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::desc::Desc;
    use crate::family::{HistogramValue, SummaryValue};
    use crate::writer::FamilyWriter;

    fn all_types() -> Snapshot {
        let mut out = FamilyWriter::default();
        out.push(&Desc::counter("a_requests_total", "Requests.", &["code"]), &["200"], 1_234_567.0);
        out.push(&Desc::counter("b_reads_processed", "A peer's counter without _total.", &[]), &[], 0.5);
        out.push(&Desc::gauge("c_temperature", "Back\\slash, \"quotes\",\na second line.", &[]), &[], f64::NAN);
        out.push(&Desc::untyped("d_threads", "Untyped.", &[]), &[], f64::NEG_INFINITY);
        out.push(&Desc::info("e_build_info", "Info.", &["version"]), &["1"], 1.0);
        let states = Desc::state_set("f_status", "State set.", &["status"]);
        out.family(&states).push_states(&[], &["down", "up"], "up");
        let states = Desc::state_set("g_status", "State set with OpenMetrics' own label.", &["g_status"]);
        out.family(&states).push_states(&[], &["down", "up"], "up");
        let histogram = HistogramValue { buckets: vec![(0.8, 1), (1.0, 3)], sum: 2.5, count: 4 };
        out.family(&Desc::histogram("h_seconds", "Histogram.", &["route"])).push_histogram(&["/"], histogram);
        let summary = SummaryValue { quantiles: vec![(0.5, 1e-7), (0.99, 1e21)], sum: 2.5, count: 4 };
        out.family(&Desc::summary("i_seconds", "Summary.", &[])).push_summary(&[], summary);
        // `j_total` cannot be `j` in OpenMetrics: that name is taken.
        out.push(&Desc::counter("j_total", "Counter.", &[]), &[], 1.0);
        out.push(&Desc::gauge("j", "Gauge.", &[]), &[], 1.0);
        // Neither of the two can be `k`, and `l` would own `l_created`.
        out.push(&Desc::counter("k_total", "Counter.", &[]), &[], 1.0);
        out.push(&Desc::info("k_info", "Info.", &["a"]), &["1"], 1.0);
        out.push(&Desc::counter("l_total", "Counter.", &[]), &[], u64::MAX as f64);
        out.push(&Desc::gauge("l_created", "Gauge.", &[]), &[], 9_007_199_254_740_994.0);
        Snapshot::assemble([Arc::new(out.finish())]).0
    }

    #[test]
    fn text_format() {
        let text = String::from_utf8(encode(&all_types(), Format::Text)).unwrap();
        assert_eq!(text, include_str!("../testdata/all_types.prom"));
    }

    #[test]
    fn openmetrics_format() {
        let text = String::from_utf8(encode(&all_types(), Format::OpenMetrics)).unwrap();
        assert_eq!(text, include_str!("../testdata/all_types.openmetrics"));
    }

    #[test]
    fn bounds_are_spelled_as_in_go() {
        for (bound, expected) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (0.0001, "0.0001"),
            (0.000_025, "2.5e-05"),
            (1e-9, "1e-09"),
            (1.5e-300, "1.5e-300"),
            (-1.0, "-1"),
            (100_000.0, "100000"),
            (999_999.5, "999999.5"),
            (1e6, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (1e21, "1e+21"),
            (f64::INFINITY, "+Inf"),
        ] {
            let mut out = Vec::new();
            push_bound(&mut out, bound);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn series_are_the_same_in_both_formats() {
        let series = |format| {
            let text = String::from_utf8(encode(&all_types(), format)).unwrap();
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(series(Format::Text), series(Format::OpenMetrics));
    }

    #[test]
    fn the_size_estimate_is_an_upper_bound() {
        let snapshot = all_types();
        let estimate = snapshot.encoded_size();
        let actual = encode(&snapshot, Format::OpenMetrics).len();
        assert!(actual <= estimate && estimate <= 3 * actual, "{actual} bytes, estimated {estimate}");
    }
}

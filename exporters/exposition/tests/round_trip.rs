//! Whatever a collector writes, a strict parser reads the same samples back from the page, in both formats.
//!
//! `arbtest` makes random families with names, labels, helps and values of any content, and prints a seed when a case
//! fails: put it into `arbtest(…).seed(0x…)` to run that case again.

#![expect(clippy::expect_used, clippy::panic, reason = "a failed test panics")]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arbtest::arbitrary::{self, Unstructured};
use arbtest::arbtest;
use exposition::{FamilyWriter, Format, HistogramValue, Kind, Loss, Snapshot, SummaryValue, encode};

const KINDS: [Kind; 7] =
    [Kind::Counter, Kind::Gauge, Kind::Untyped, Kind::Summary, Kind::Histogram, Kind::Info, Kind::StateSet];

/// Sample name and labels.
type Series = (String, Vec<(String, String)>);

/// What the page must have.
#[derive(Default)]
struct Expected {
    /// The first declaration of each family.
    families: HashMap<String, (Kind, Vec<String>)>,
    helps: HashMap<String, String>,
    /// Families and labels of the rows that are kept.
    rows: HashSet<Series>,
    samples: BTreeMap<String, f64>,
    dropped: u64,
}

impl Expected {
    fn sample(&mut self, name: String, labels: &[(String, String)], value: f64) {
        self.samples.insert(format!("{name} {labels:?}"), value);
    }
}

#[test]
fn a_strict_parser_reads_the_same_samples_back() {
    arbtest(|u| {
        let mut expected = Expected::default();
        let mut batches = Vec::new();
        let mut writer = FamilyWriter::default();
        for _ in 0..u.int_in_range(0..=12)? {
            write_family(u, &mut writer, &mut expected)?;
        }
        batches.push(Arc::new(writer.finish()));
        let batch_losses: Vec<Loss> = batches.iter().flat_map(|batch| batch.losses().to_vec()).collect();
        let (snapshot, lost) = Snapshot::assemble(batches);
        let dropped: u64 =
            batch_losses.iter().chain(lost.iter().map(|(_, loss)| loss)).map(|loss| loss.dropped.total()).sum();
        assert_eq!(dropped, expected.dropped, "{batch_losses:?} {lost:?}");
        assert_eq!(snapshot.sample_count(), expected.rows.len());
        for format in [Format::Text, Format::OpenMetrics] {
            let page = String::from_utf8(encode(&snapshot, format)).unwrap();
            let parsed = parse(&page, format);
            let keys = |samples: &BTreeMap<String, f64>| samples.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(&parsed.samples), keys(&expected.samples), "{page}");
            for (series, value) in &expected.samples {
                let read = parsed.samples[series];
                assert!(read == *value || read.is_nan() && value.is_nan(), "{series} is {read}, not {value}");
            }
            for (family, help) in parsed.helps {
                let names = ["", "_total", "_info"].map(|suffix| format!("{family}{suffix}"));
                assert!(names.iter().any(|name| expected.helps.get(name) == Some(&help)), "{family}: {help:?}");
            }
        }
        Ok(())
    })
    .budget_ms(2000);
}

fn write_family(u: &mut Unstructured<'_>, writer: &mut FamilyWriter, expected: &mut Expected) -> arbitrary::Result<()> {
    let kind = *u.choose(&KINDS)?;
    // A histogram `x` has series `x_sum`; no other family gets such a name here.
    let compound = matches!(kind, Kind::Histogram | Kind::Summary);
    let name = if u.ratio(1, 10)? {
        u.arbitrary::<String>()?
    } else {
        let beginning = if compound { "compound_" } else { "" };
        let ending = if compound { "" } else { u.choose(&["", "_total", "_info", "_created"])? };
        format!("{beginning}{}{ending}", *u.choose(&["a", "b", "a_b", "ab:c", "_", "A9"])?)
    };
    let labels: Vec<String> = (0..u.int_in_range(0..=3)?)
        .map(|_| {
            let known = ["a", "b", "state", "le", "quantile", "__name__", "A_9", "a-b", ""];
            Ok(if u.ratio(1, 10)? { u.arbitrary::<String>()? } else { (*u.choose(&known)?).to_owned() })
        })
        .collect::<arbitrary::Result<_>>()?;
    let help = text(u)?;
    // A second declaration that differs keeps nothing.
    let first = expected.families.get(&name);
    let conflicts = first.is_some_and(|first| *first != (kind, labels.clone()));
    let label_names: Vec<&str> = labels.iter().map(String::as_str).collect();
    let family = writer.dynamic_family(name.clone().into(), help.clone().into(), kind, &label_names);
    expected.families.entry(name.clone()).or_insert((kind, labels.clone()));
    expected.helps.entry(name.clone()).or_insert(help);
    for _ in 0..u.int_in_range(0..=4)? {
        let width = if u.ratio(1, 20)? { u.int_in_range(0..=4)? } else { labels.len() };
        let values: Vec<String> = (0..width).map(|_| text(u)).collect::<arbitrary::Result<_>>()?;
        let label_values: Vec<&str> = values.iter().map(String::as_str).collect();
        let pairs: Vec<(String, String)> = labels.iter().cloned().zip(values.clone()).collect();
        // Now and then a value of the wrong type for the family.
        let pushed = if u.ratio(1, 20)? { *u.choose(&KINDS)? } else { kind };
        let row = (name.clone(), pairs.clone());
        let same_type = match pushed {
            Kind::Histogram | Kind::Summary => pushed == kind,
            _ => !matches!(kind, Kind::Histogram | Kind::Summary),
        };
        let value = scalar(u, kind)?;
        let is_of_kind = matches!(pushed, Kind::Histogram | Kind::Summary)
            || match kind {
                Kind::Counter => value >= 0.0,
                Kind::Info => value == 1.0,
                Kind::StateSet => value == 0.0 || value == 1.0,
                _ => true,
            };
        let kept = !conflicts
            && is_valid(&name, kind, &labels)
            && width == labels.len()
            && same_type
            && is_of_kind
            && !expected.rows.contains(&row);
        if kept {
            expected.rows.insert(row);
        } else {
            expected.dropped += 1;
        }
        match pushed {
            Kind::Histogram => {
                let bounds: HashSet<i16> = u.arbitrary()?;
                let buckets: Vec<(f64, u64)> =
                    bounds.iter().map(|&bound| (f64::from(bound) * 1e-5, u64::from(bound.unsigned_abs()))).collect();
                let value = HistogramValue { buckets, sum: number(u)?, count: u64::from(u.arbitrary::<u32>()?) };
                if kept {
                    let infinity = (f64::INFINITY, value.count);
                    for (bound, count) in value.buckets.iter().chain([&infinity]) {
                        let labels = with_number(&pairs, "le", *bound);
                        expected.sample(format!("{name}_bucket"), &labels, *count as f64);
                    }
                    expected.sample(format!("{name}_sum"), &pairs, value.sum);
                    expected.sample(format!("{name}_count"), &pairs, value.count as f64);
                }
                family.push_histogram(&label_values, value);
            }
            Kind::Summary => {
                let quantiles = vec![(0.5, number(u)?), (0.99, number(u)?)];
                let value = SummaryValue { quantiles, sum: number(u)?, count: u64::from(u.arbitrary::<u32>()?) };
                if kept {
                    for (quantile, at) in &value.quantiles {
                        expected.sample(name.clone(), &with_number(&pairs, "quantile", *quantile), *at);
                    }
                    expected.sample(format!("{name}_sum"), &pairs, value.sum);
                    expected.sample(format!("{name}_count"), &pairs, value.count as f64);
                }
                family.push_summary(&label_values, value);
            }
            _ => {
                if kept {
                    expected.sample(name.clone(), &pairs, value);
                }
                family.push(&label_values, value);
            }
        }
    }
    Ok(())
}

fn with_number(labels: &[(String, String)], label: &str, number: f64) -> Vec<(String, String)> {
    labels.iter().cloned().chain([(label.to_owned(), format!("{number:?}"))]).collect()
}

/// Text with everything that needs escaping or looks like the format's own syntax.
fn text(u: &mut Unstructured<'_>) -> arbitrary::Result<String> {
    let special = ['\\', '"', '\n', '\r', '\0', '{', '}', ',', '=', '#', ' ', 'n', '\u{2028}', 'é', '🙂'];
    (0..u.int_in_range(0..=6)?)
        .map(|_| if u.ratio(3, 4)? { Ok(*u.choose(&special)?) } else { u.arbitrary::<char>() })
        .collect()
}

fn number(u: &mut Unstructured<'_>) -> arbitrary::Result<f64> {
    if u.arbitrary()? { u.arbitrary() } else { Ok(u.arbitrary::<i64>()? as f64) }
}

/// Mostly a value that the type has.
fn scalar(u: &mut Unstructured<'_>, kind: Kind) -> arbitrary::Result<f64> {
    let any = number(u)?;
    if u.ratio(1, 10)? {
        return Ok(any);
    }
    Ok(match kind {
        Kind::Counter if any.is_nan() => 0.0,
        Kind::Counter => any.abs(),
        Kind::Info => 1.0,
        Kind::StateSet => f64::from(u.arbitrary::<bool>()?),
        _ => any,
    })
}

fn is_valid(name: &str, kind: Kind, labels: &[String]) -> bool {
    let distinct = labels.iter().collect::<HashSet<_>>().len() == labels.len();
    let reserved = |label: &str| match kind {
        Kind::Histogram => label == "le",
        Kind::Summary => label == "quantile",
        _ => false,
    };
    is_name(name, ":") && distinct && labels.iter().all(|label| is_label(label) && !reserved(label))
}

fn is_label(name: &str) -> bool {
    is_name(name, "") && !name.starts_with("__")
}

fn is_name(name: &str, also: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || also.contains(c);
    !name.is_empty() && name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[derive(Default)]
struct Page {
    samples: BTreeMap<String, f64>,
    helps: Vec<(String, String)>,
}

/// Panics at anything that the format does not allow.
fn parse(page: &str, format: Format) -> Page {
    let openmetrics = format == Format::OpenMetrics;
    let body = if openmetrics { page.strip_suffix("# EOF\n").expect("the end mark") } else { page };
    assert!(body.is_empty() || body.ends_with('\n'), "{body:?}");
    let mut families: HashSet<&str> = HashSet::new();
    let mut parsed = Page::default();
    let mut lines = body.split_terminator('\n').peekable();
    while let Some(line) = lines.next() {
        let (family, help) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')).expect("a HELP line");
        assert!(is_name(family, ":") && families.insert(family), "{family} has two blocks, or is not a name");
        parsed.helps.push((family.to_owned(), unescape(help, if openmetrics { "\\\"n" } else { "\\n" })));
        let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")).expect("a TYPE line");
        let kind = kind.strip_prefix(family).and_then(|rest| rest.strip_prefix(' ')).expect("the family's type");
        assert!(lines.peek().is_some_and(|line| !line.starts_with('#')), "{family} has no samples");
        while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
            let (name, labels, value) = parse_sample(line, kind);
            let suffix = name.strip_prefix(family).expect("a sample of this family");
            let suffixes: &[&str] = match kind {
                "counter" if openmetrics => &["_total"],
                "info" if openmetrics => &["_info"],
                "histogram" => &["_bucket", "_sum", "_count"],
                "summary" => &["", "_sum", "_count"],
                "counter" | "gauge" => &[""],
                "unknown" | "stateset" if openmetrics => &[""],
                "untyped" if !openmetrics => &[""],
                other => panic!("{family} has the type {other}"),
            };
            assert!(suffixes.contains(&suffix), "{name} is not a series of the {kind} {family}");
            if kind == "stateset" {
                assert!(labels.iter().any(|(label, _)| label == family), "{line}");
            }
            let series = format!("{name} {labels:?}");
            assert!(parsed.samples.insert(series, value).is_none(), "{line} is there twice");
        }
    }
    parsed
}

fn parse_sample(line: &str, kind: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(['{', ' ']).expect("a name and a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name, ":"), "{line}");
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, value) = rest.split_once("=\"").expect("a label");
            assert!(is_label(label) && !labels.iter().any(|(other, _)| other == label), "{line}");
            let mut backslash = false;
            let end = value.find(|c: char| {
                let ends = c == '"' && !backslash;
                backslash = c == '\\' && !backslash;
                ends
            });
            let (value, after) = value.split_at(end.expect("the end of a label value"));
            let mut value = unescape(value, "\\\"n");
            if matches!((kind, label), ("histogram", "le") | ("summary", "quantile")) {
                value = format!("{:?}", value.parse::<f64>().expect("a bound"));
            }
            labels.push((label.to_owned(), value));
            match after.strip_prefix("\",") {
                Some(next) => rest = next,
                None => {
                    rest = after.strip_prefix("\"}").expect("the end of the labels");
                    break;
                }
            }
        }
    }
    let value = rest.strip_prefix(' ').expect("a blank before the value");
    let spelled = matches!(value, "NaN" | "+Inf" | "-Inf");
    assert!(spelled || value.chars().all(|c| c.is_ascii_digit() || "+-.e".contains(c)), "{line}");
    (name.to_owned(), labels, value.parse().expect("a number"))
}

fn unescape(text: &str, escapes: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        let escaped = chars.next().expect("a character after a backslash");
        assert!(escapes.contains(escaped), "\\{escaped} is not an escape");
        out.push(if escaped == 'n' { '\n' } else { escaped });
    }
    out
}

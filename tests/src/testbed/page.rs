//! A strict reader of the text format 0.0.4, so that tests assert on series and not on strings.
//!
//! Prometheus forgives much; this doesn't: a family's lines stand together with HELP and TYPE once and first, no
//! series comes twice, every line is complete.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Error;

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
    pub timestamp: Option<i64>,
}

/// HELP and TYPE of a family; a family without TYPE is untyped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Family {
    pub help: Option<String>,
    pub kind: Option<String>,
}

#[derive(Clone, Debug, Default)]
pub struct Page {
    samples: Vec<Sample>,
    families: BTreeMap<String, Family>,
}

impl Page {
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut reader = Reader::default();
        for (number, line) in text.split_inclusive('\n').enumerate() {
            let read = match line.strip_suffix('\n') {
                Some(line) => reader.line(line),
                None => Err("no line feed at the end".to_owned()),
            };
            read.map_err(|reason| Error::Page { line: number + 1, reason: format!("{reason}: {line:?}") })?;
        }
        Ok(reader.page)
    }

    /// In the page's order.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub fn families(&self) -> &BTreeMap<String, Family> {
        &self.families
    }

    /// `counter`, `gauge`, …; `None` if there is no such family or it has no TYPE.
    pub fn kind(&self, family: &str) -> Option<&str> {
        self.families.get(family)?.kind.as_deref()
    }

    /// Whether any series has this name.
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|sample| sample.name == name)
    }

    /// All series of a name that have at least these labels.
    pub fn matching(&self, name: &str, labels: &[(&str, &str)]) -> Vec<&Sample> {
        let has =
            |sample: &Sample| labels.iter().all(|(key, value)| sample.labels.get(*key).is_some_and(|v| v == value));
        self.samples.iter().filter(|sample| sample.name == name && has(sample)).collect()
    }

    /// The value of the one series with this name and exactly these labels; the error lists the near misses.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64, Error> {
        let wanted: BTreeMap<String, String> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let of_name = self.matching(name, &[]);
        match of_name.iter().find(|sample| sample.labels == wanted) {
            Some(sample) => Ok(sample.value),
            None if of_name.is_empty() => Err(Error::Series(format!("the page has no series {name}"))),
            None => {
                let others: Vec<_> = of_name.iter().map(|sample| &sample.labels).collect();
                Err(Error::Series(format!("the page has no series {name}{wanted:?}, only {others:?}")))
            }
        }
    }

    /// An error unless that series has this value: for `eventually`.
    pub fn expect(&self, name: &str, labels: &[(&str, &str)], wanted: f64) -> Result<(), Error> {
        let value = self.value(name, labels)?;
        if value == wanted || (value.is_nan() && wanted.is_nan()) {
            return Ok(());
        }
        Err(Error::Series(format!("{name}{labels:?} is {value}, not {wanted}")))
    }
}

#[derive(Default)]
struct Reader {
    page: Page,
    /// The family that the lines belong to now; one that was left must not come back.
    current: String,
    left: BTreeSet<String>,
    seen: BTreeSet<String>,
    sampled: bool,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            let help = unescape(help, false)?;
            let family = self.metadata(name)?;
            return set_once(&mut family.help, help);
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("no type")?;
            if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
                return Err("no such type".to_owned());
            }
            let family = self.metadata(name)?;
            return set_once(&mut family.kind, kind.to_owned());
        }
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let sample = sample(line)?;
        let family = self.family_of(&sample);
        self.enter(&family)?;
        self.sampled = true;
        if !self.seen.insert(format!("{} {:?}", sample.name, sample.labels)) {
            return Err("this series came before".to_owned());
        }
        self.page.families.entry(family).or_default();
        self.page.samples.push(sample);
        Ok(())
    }

    fn metadata(&mut self, name: &str) -> Result<&mut Family, String> {
        if !is_metric_name(name) {
            return Err(format!("{name:?} is not a metric name"));
        }
        self.enter(name)?;
        if self.sampled {
            return Err("after the family's first sample".to_owned());
        }
        Ok(self.page.families.entry(name.to_owned()).or_default())
    }

    fn enter(&mut self, family: &str) -> Result<(), String> {
        if self.current == family {
            return Ok(());
        }
        self.left.insert(std::mem::replace(&mut self.current, family.to_owned()));
        self.sampled = false;
        if self.left.contains(family) { Err("its family's lines don't stand together".to_owned()) } else { Ok(()) }
    }

    /// The suffixes belong to the current family only if its type has them.
    fn family_of(&self, sample: &Sample) -> String {
        let suffixes: &[&str] = match self.page.kind(&self.current) {
            Some("histogram") => &["_bucket", "_sum", "_count"],
            Some("summary") => &["_sum", "_count"],
            _ => &[],
        };
        let base = suffixes.iter().filter_map(|suffix| sample.name.strip_suffix(suffix)).find(|b| *b == self.current);
        base.unwrap_or(&sample.name).to_owned()
    }
}

fn set_once(slot: &mut Option<String>, value: String) -> Result<(), String> {
    if slot.replace(value).is_some() { Err("for the second time".to_owned()) } else { Ok(()) }
}

fn sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if !is_metric_name(name) {
        return Err(format!("{name:?} is not a metric name"));
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let rest = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let (value, timestamp) = match rest.split_once(' ') {
        Some((value, timestamp)) => (value, Some(timestamp.parse().map_err(|_| "the timestamp is not an integer")?)),
        None => (rest, None),
    };
    Ok(Sample { name: name.to_owned(), labels, value: number(value)?, timestamp })
}

fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, value) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_label_name(name) {
            return Err(format!("{name:?} is not a label name"));
        }
        let end = closing_quote(value).ok_or("a label's value without an end")?;
        let (value, after) = value.split_at(end);
        if labels.insert(name.to_owned(), unescape(value, true)?).is_some() {
            return Err(format!("the label {name} comes twice"));
        }
        rest = after.strip_prefix('"').unwrap_or(after);
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None if rest.starts_with('}') => {}
            None => return Err("neither , nor } after a label".to_owned()),
        }
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let found = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        found
    })
}

fn unescape(text: &str, quotes: bool) -> Result<String, String> {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        result.push(match char {
            '\\' => match chars.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some('"') if quotes => '"',
                other => return Err(format!("no such escape: \\{}", other.map_or(String::new(), String::from))),
            },
            char => char,
        });
    }
    Ok(result)
}

/// As Go's ParseFloat takes it; Rust's parser also takes `infinity` and `nan`, which are not valid.
fn number(text: &str) -> Result<f64, String> {
    match text {
        "NaN" => Ok(f64::NAN),
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().map_err(|_| format!("{text:?} is not a number"))
        }
        _ => Err(format!("{text:?} is not a number")),
    }
}

fn is_metric_name(name: &str) -> bool {
    !name.starts_with(|char: char| char.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

fn is_label_name(name: &str) -> bool {
    is_metric_name(name) && !name.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_exporters_write() {
        let page = Page::parse(
            "# HELP a_total It\\ncounts.\n# TYPE a_total counter\na_total{x=\"1\",y=\"q\\\"}\\\\\"} 1e+06\na_total 2\n\
             # TYPE h histogram\nh_bucket{le=\"+Inf\"} 3\nh_sum 0.5\nh_count 3\nplain -Inf 1700000000000\n",
        )
        .unwrap();
        assert_eq!(page.value("a_total", &[("y", "q\"}\\"), ("x", "1")]).unwrap(), 1e6);
        assert_eq!(page.families()["a_total"].help.as_deref(), Some("It\ncounts."));
        assert_eq!(page.kind("h"), Some("histogram"));
        assert_eq!(page.matching("h_bucket", &[("le", "+Inf")]).len(), 1);
        assert_eq!(page.samples().last().unwrap().timestamp, Some(1_700_000_000_000));
        assert_eq!(page.families().keys().collect::<Vec<_>>(), ["a_total", "h", "plain"]);
        page.expect("plain", &[], f64::NEG_INFINITY).unwrap();
    }

    #[test]
    fn refuses_what_is_not_the_format() {
        for (text, reason) in [
            ("a 1", "no line feed"),
            ("a\n", "no value"),
            ("a  1\n", "not a number"),
            ("a nan\n", "not a number"),
            ("1a 1\n", "not a metric name"),
            ("a{x=\"1\"\n", "neither"),
            ("a{x=\"1} 1\n", "without an end"),
            ("a{x:y=\"1\"} 1\n", "not a label name"),
            ("a{x=\"1\",x=\"2\"} 1\n", "comes twice"),
            ("a{x=\"\\t\"} 1\n", "no such escape"),
            ("a 1\na 2\n", "came before"),
            ("a 1\nb 1\na{x=\"1\"} 1\n", "stand together"),
            ("a 1\n# TYPE a gauge\n", "after the family's first sample"),
            ("# TYPE a gauge\n# TYPE a gauge\n", "second time"),
            ("# TYPE a info\n", "no such type"),
            ("a 1 1.5\n", "not an integer"),
        ] {
            let error = Page::parse(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_missing_series_is_named_with_its_neighbours() {
        let page = Page::parse("up{job=\"a\"} 1\n").unwrap();
        let error = page.value("up", &[("job", "b")]).unwrap_err().to_string();
        assert!(error.contains(r#"up{"job": "b"}"#) && error.contains(r#"{"job": "a"}"#), "{error}");
    }
}

//! Exporters' pages with other values: the fault of a service that the local stack cannot have, such as a full disk of
//! the machine, injected between its exporter and Prometheus.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use medassist_stack::{Error, Layout, http};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The value of a series.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value {
    Is(f64),
    /// A counter that grows by so much a second, from the fault on.
    Grows(f64),
    /// A value that begins here and changes by so much a second.
    Line(f64, f64),
    /// A Unix time so many seconds before the scrape.
    Ago(f64),
}

/// Series by name, or by name and labels as the page writes them. One that the page does not have is added to it.
pub(crate) type Edits = &'static [(&'static str, Value)];

const CALM: (&str, Edits) =
    ("node", &[("node_cpu_seconds_total{mode=\"idle\"}", Value::Grows(1000.0)), ("node_load5", Value::Is(0.0))]);

#[derive(Debug)]
struct Doctored {
    upstream: Option<String>,
    edits: Edits,
    delay: Duration,
    since: Instant,
}

#[derive(Debug)]
pub(crate) struct Pages {
    address: SocketAddr,
    layout: Layout,
    doctored: Arc<Mutex<BTreeMap<String, Doctored>>>,
    server: JoinHandle<()>,
}

impl Pages {
    pub(crate) async fn start(layout: &Layout) -> Result<Self, Error> {
        let failed = || Error::io("cannot serve pages");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let doctored = Arc::default();
        let router = axum::Router::new().route("/{job}", axum::routing::get(serve)).with_state(Arc::clone(&doctored));
        let server = tokio::spawn(async move {
            // It ends with the task.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, layout: layout.clone(), doctored, server })
    }

    /// The repository's targets, with this stack's ports; none if the local stack has none.
    fn targets(&self, job: &str) -> Result<String, Error> {
        let file = self.layout.repository().join(format!("prometheus/targets/local/{job}.yml"));
        let text = fs::read_to_string(file).unwrap_or_else(|_| "[]\n".to_owned());
        let pattern = regex::Regex::new(r"127\.0\.0\.1:(\d+)").map_err(|error| Error::Stack(error.to_string()))?;
        let moved = |found: &regex::Captures<'_>| {
            format!("127.0.0.1:{}", found[1].parse::<u16>().unwrap_or(0) + self.layout.offset())
        };
        Ok(pattern.replace_all(&text, moved).into_owned())
    }

    fn write(&self, job: &str, text: &str) -> Result<(), Error> {
        let file = self.layout.config(&format!("prometheus/targets/{job}.yml"));
        fs::write(&file, text).map_err(Error::file("cannot write", file))
    }

    /// Prometheus scrapes the job's first target from here, with these values and so much later.
    pub(crate) fn doctor(&self, job: &str, edits: Edits, delay: Duration) -> Result<(), Error> {
        let text = self.targets(job)?;
        let target = text.lines().find_map(|line| line.strip_prefix("- targets: [\"")?.strip_suffix("\"]"));
        let instance = text.lines().find_map(|line| line.split("instance: ").nth(1)?.split([',', '}']).next());
        let rest = text.split("\n- ").skip(1).map(|entry| format!("- {entry}\n")).collect::<String>();
        let upstream = target.map(|address| format!("http://{address}/metrics"));
        let page = Doctored { upstream, edits, delay, since: Instant::now() };
        self.doctored.lock().unwrap_or_else(PoisonError::into_inner).insert(job.to_owned(), page);
        let text = format!(
            "- targets: [\"{}\"]\n  labels: {{instance: {}, __metrics_path__: /{job}}}\n{rest}",
            self.address,
            instance.unwrap_or(job)
        );
        self.write(job, &text)
    }

    /// The job has the repository's targets again.
    pub(crate) fn restore(&self, job: &str) -> Result<(), Error> {
        if job == CALM.0 {
            return self.calm();
        }
        self.write(job, &self.targets(job)?)?;
        self.doctored.lock().unwrap_or_else(PoisonError::into_inner).remove(job);
        Ok(())
    }

    /// The machine looks idle, however busy it is: its own load would make alerts fire.
    pub(crate) fn calm(&self) -> Result<(), Error> {
        self.doctor(CALM.0, CALM.1, Duration::ZERO)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(State(all): State<Arc<Mutex<BTreeMap<String, Doctored>>>>, Path(job): Path<String>) -> Response {
    let found = {
        let all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&job).map(|page| (page.upstream.clone(), page.edits, page.delay, page.since))
    };
    let Some((upstream, edits, delay, since)) = found else { return StatusCode::NOT_FOUND.into_response() };
    tokio::time::sleep(delay).await;
    let (text, kind) = match upstream {
        None => (String::new(), "text/plain; version=0.0.4".to_owned()),
        Some(url) => match http::get_within(&url, &[], Duration::from_secs(1)).await {
            Ok(reply) if reply.status == 200 => (reply.text(), reply.header("content-type").to_owned()),
            Ok(_) | Err(_) => return StatusCode::BAD_GATEWAY.into_response(),
        },
    };
    ([(header::CONTENT_TYPE, kind)], edited(&text, edits, since.elapsed())).into_response()
}

fn edited(page: &str, edits: Edits, since: Duration) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let value = |value: Value, before: f64| match value {
        Value::Is(value) => value,
        // After the first scrape: a counter that appears with a value has not increased.
        Value::Grows(rate) => before + (rate * since.as_secs_f64()).floor(),
        Value::Line(from, rate) => from + rate * since.as_secs_f64(),
        Value::Ago(seconds) => now - seconds,
    };
    let (page, end) = page.strip_suffix("# EOF\n").map_or((page, ""), |page| (page, "# EOF\n"));
    let mut missing: Vec<_> = edits.iter().collect();
    let mut result = String::new();
    for line in page.lines() {
        let split = line.rsplit_once(' ').filter(|_| !line.starts_with('#'));
        let edit = split.and_then(|(series, _)| edits.iter().find(|(wanted, _)| is(series, wanted)));
        match (split, edit) {
            (Some((series, before)), Some((wanted, new))) => {
                missing.retain(|(name, _)| name != wanted);
                let new = value(*new, before.parse().unwrap_or(0.0));
                result += &format!("{series} {new}\n");
            }
            _ => result += &format!("{line}\n"),
        }
    }
    for (series, new) in missing {
        result += &format!("{series} {}\n", value(*new, 0.0));
    }
    result + end
}

/// `wanted` is the series' name, or the name and labels that the series has, in any order.
fn is(series: &str, wanted: &str) -> bool {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let (wanted_name, wanted_labels) = wanted.split_once('{').unwrap_or((wanted, "}"));
    name == wanted_name
        && wanted_labels.trim_end_matches('}').split(',').all(|label| label.is_empty() || labels.contains(label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_replaced_and_series_added() {
        let page = "# HELP a b\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\nab 5\n# EOF\n";
        let edits: Edits = &[("a{y=\"2\"}", Value::Is(7.0)), ("ab", Value::Grows(2.0)), ("c", Value::Grows(1.0))];
        let expected = "# HELP a b\na{x=\"1\",y=\"2\"} 7\na{x=\"2\"} 4\nab 25\nc 10\n# EOF\n";
        assert_eq!(edited(page, edits, Duration::from_secs(10)), expected);
    }
}

//! The stack under test, and what is observed of an alert: pending, firing, notified, resolved.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use medassist_stack::{Error, Layout, eventually, http, service, services};
use medassist_tests::testbed::{Delivery, LocalStack, Recorder};
use serde_json::Value;
use tokio::time::sleep;

use crate::fault::{Fault, Injected, Site};
use crate::page::Pages;
use crate::report::Outcome;
use crate::table::{Case, Drill, Until};
use crate::{ENDS, FIRES, scale};

const POLL: Duration = Duration::from_millis(200);
/// An alert can be notified so long before its state is read here.
const LAG: Duration = Duration::from_secs(1);
/// Longer than the longest shortened range, after which what an earlier fault left is over.
const QUIET: Duration = Duration::from_secs(120);

pub(crate) struct Harness {
    stack: LocalStack,
    pages: Pages,
    /// The webhook of all severities, the pager and the dead man's switch.
    webhook: Recorder,
}

impl Harness {
    /// `scaled`: with shorter waits.
    pub(crate) async fn start(scaled: bool) -> Result<Self, Error> {
        let stack = LocalStack::new()?;
        let webhook = Recorder::start().await?;
        let layout = stack.layout();
        let own = layout.alertmanager_targets();
        fs::create_dir_all(&own).map_err(Error::file("cannot create", &own))?;
        for (name, path) in [("webhook_url", "/"), ("dead_mans_switch_url", "/switch")] {
            write(&own.join(name), &webhook.url(path))?;
        }
        let up = stack.run(&["up"])?;
        if !up.status.success() {
            return Err(Error::Stack(String::from_utf8_lossy(&up.stderr).into_owned()));
        }
        let pages = Pages::start(layout).await?;
        let harness = Self { stack, pages, webhook };
        if scaled {
            harness.scale().await?;
            harness.pages.calm()?;
        }
        Ok(harness)
    }

    fn layout(&self) -> &Layout {
        self.stack.layout()
    }

    async fn scale(&self) -> Result<(), Error> {
        let rules = self.layout().config("prometheus/rules");
        for entry in fs::read_dir(&rules).map_err(Error::file("cannot read", &rules))?.flatten() {
            rewrite(&entry.path(), scale::rules)?;
        }
        rewrite(&self.layout().config("prometheus/prometheus.yml"), scale::prometheus)?;
        rewrite(&self.layout().config("alertmanager/alertmanager.yml"), scale::alertmanager)?;
        let alertmanager = format!("http://127.0.0.1:{}/-/reload", service("alertmanager")?.port(self.layout()));
        for url in [services::prometheus_url(self.layout(), "/-/reload"), alertmanager] {
            let reply = http::post_json(&url, &[], &Value::Null).await?;
            if reply.status != 200 {
                return Err(Error::Stack(format!("{url}: {}", reply.text())));
            }
        }
        Ok(())
    }

    fn site(&self) -> Site<'_> {
        Site { layout: self.layout(), pages: &self.pages, webhook: &self.webhook }
    }

    /// Names and states of the alerts that Prometheus has.
    async fn alerts(&self) -> Result<Vec<(String, String)>, Error> {
        let reply = http::get(&services::prometheus_url(self.layout(), "/api/v1/alerts")).await?.json();
        let alerts = reply["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(alerts.iter().map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["state"]))).collect())
    }

    /// When the alert was first delivered with this status since that moment.
    fn delivered(&self, alert: &str, status: &str, since: SystemTime) -> Option<Duration> {
        let deliveries = self.webhook.deliveries();
        let matches = |alerts: &Value| {
            let mut alerts = alerts.as_array().into_iter().flatten();
            alerts.any(|sent| sent["labels"]["alertname"] == alert && sent["status"] == status)
        };
        let mut later = deliveries.iter().filter_map(|sent| Some((sent.at.duration_since(since).ok()?, sent)));
        later.find(|(_, sent)| sent.accepted && matches(&sent.body["alerts"])).map(|(after, _)| after)
    }

    /// Whether there is such a rule.
    pub(crate) fn has(&self, alert: &str) -> bool {
        let files = fs::read_dir(self.layout().config("prometheus/rules")).into_iter().flatten().flatten();
        let line = format!("- alert: {alert}\n");
        files.filter_map(|entry| fs::read_to_string(entry.path()).ok()).any(|text| text.contains(&line))
    }

    /// One outcome per alert. A fault that cannot be injected is a problem of each.
    pub(crate) async fn fire(&self, case: &Case, alerts: &[&'static str]) -> Vec<Outcome> {
        if alerts.is_empty() {
            return Vec::new();
        }
        let mut outcomes: Vec<Outcome> = alerts
            .iter()
            .map(|alert| Outcome {
                alert,
                fault: case.what,
                pending: None,
                firing: None,
                notified: None,
                resolved: None,
                problem: None,
            })
            .collect();
        if let Err(error) = self.observe(case, &mut outcomes).await {
            for outcome in outcomes.iter_mut().filter(|outcome| outcome.problem.is_none()) {
                outcome.problem = Some(error.to_string());
            }
        }
        outcomes
    }

    async fn observe(&self, case: &Case, outcomes: &mut [Outcome]) -> Result<(), Error> {
        if !matches!(case.fault, Fault::Nothing) {
            self.quiet(outcomes).await?;
        }
        let since = SystemTime::now();
        let injected = self.site().inject(&case.fault).await;
        let mut injected = Some(match injected {
            Ok(injected) => injected,
            Err(error) => {
                self.site().undo(&case.fault, Vec::new()).await?;
                return Err(error);
            }
        });
        let end = Instant::now() + FIRES;
        loop {
            // An error is Prometheus or Alertmanager being down, which some faults bring about.
            let active = self.alerts().await.unwrap_or_default();
            let now = since.elapsed().unwrap_or_default();
            for outcome in &mut *outcomes {
                let states = active.iter().filter(|(name, _)| name == outcome.alert);
                for (_, state) in states {
                    // An alert without `for` is never pending.
                    outcome.pending.get_or_insert(now);
                    if state == "firing" {
                        outcome.firing.get_or_insert(now);
                    }
                }
                // Not one that was on its way before: an earlier fault may have had the same alert.
                if let (Some(firing), None) = (outcome.firing, outcome.notified) {
                    let earliest = firing.saturating_sub(LAG);
                    let after = self.delivered(outcome.alert, "firing", since + earliest);
                    outcome.notified = after.map(|after| earliest + after);
                }
            }
            let all = |seen: fn(&Outcome) -> bool| outcomes.iter().all(seen);
            if matches!(case.until, Until::Firing) && all(|outcome| outcome.firing.is_some()) {
                self.undo(case, &mut injected).await?;
            }
            if all(|outcome| outcome.notified.is_some()) || Instant::now() > end {
                break;
            }
            sleep(POLL).await;
        }
        self.undo(case, &mut injected).await?;
        let undone = SystemTime::now();
        if !matches!(case.fault, Fault::Nothing) {
            self.await_end(outcomes, since, undone).await;
        }
        for outcome in &mut *outcomes {
            let missing = match (outcome.firing, outcome.notified, outcome.resolved) {
                (None, None, _) => Some("did not fire"),
                (_, None, _) => Some("was not notified"),
                (_, _, None) if !matches!(case.fault, Fault::Nothing) => Some("did not resolve"),
                _ => None,
            };
            outcome.problem = missing.map(str::to_owned);
        }
        Ok(())
    }

    async fn undo(&self, case: &Case, injected: &mut Option<Vec<Injected>>) -> Result<(), Error> {
        match injected.take() {
            Some(injected) => self.site().undo(&case.fault, injected).await,
            None => Ok(()),
        }
    }

    async fn await_end(&self, outcomes: &mut [Outcome], since: SystemTime, undone: SystemTime) {
        let end = Instant::now() + ENDS;
        while Instant::now() < end {
            for outcome in &mut *outcomes {
                let Some(notified) = outcome.notified.filter(|_| outcome.resolved.is_none()) else { continue };
                let resolved = self.delivered(outcome.alert, "resolved", since + notified);
                let before = undone.duration_since(since).unwrap_or_default();
                outcome.resolved = resolved.map(|after| (notified + after).saturating_sub(before));
            }
            // What was not notified has nothing to resolve.
            if outcomes.iter().all(|outcome| outcome.resolved.is_some() || outcome.notified.is_none()) {
                break;
            }
            sleep(POLL).await;
        }
    }

    /// Waits until none of them is left of an earlier fault.
    async fn quiet(&self, outcomes: &[Outcome]) -> Result<(), Error> {
        let wanted: BTreeSet<&str> = outcomes.iter().map(|outcome| outcome.alert).collect();
        eventually(QUIET, "the alerts are inactive before the fault", async || {
            let active = self.alerts().await.map_err(|error| error.to_string())?;
            let left: Vec<_> = active.iter().filter(|(name, _)| wanted.contains(name.as_str())).collect();
            let open: Vec<_> = wanted.iter().filter(|alert| self.is_open(alert)).collect();
            if left.is_empty() && open.is_empty() { Ok(()) } else { Err(format!("{left:?}, to be resolved: {open:?}")) }
        })
        .await
    }

    /// Whether the last notification of the alert says that it fires. If it fires again before its end was notified,
    /// Alertmanager has nothing new to notify.
    fn is_open(&self, alert: &str) -> bool {
        let deliveries = self.webhook.deliveries();
        let status = |sent: &Delivery| {
            let alerts = sent.body["alerts"].as_array().into_iter().flatten();
            let found: Vec<&Value> = alerts.filter(|sent| sent["labels"]["alertname"] == alert).collect();
            (!found.is_empty()).then(|| found.iter().any(|sent| sent["status"] == "firing"))
        };
        deliveries.iter().rev().filter(|sent| sent.accepted).find_map(status).unwrap_or(false)
    }

    /// From the fault to the first notification of one of the drill's alerts, and which. The stack is whole again
    /// afterwards.
    pub(crate) async fn detect(&self, drill: &Drill) -> Result<(Duration, String), Error> {
        let none_active = async || {
            let active = self.alerts().await.map_err(|error| error.to_string())?;
            let left: Vec<_> = active.iter().filter(|(name, _)| drill.alerts.contains(&name.as_str())).collect();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        };
        eventually(QUIET, "no alert of the drill is active", none_active).await?;
        // The fault must not always hit the same moment between two scrapes: a pseudo-random part of 15 s.
        let phase = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
        sleep(Duration::from_micros(u64::from(phase % 15_000_000))).await;
        let since = SystemTime::now();
        let injected = self.site().inject(&drill.fault).await?;
        let first = eventually(FIRES, "one of its alerts is notified", async || {
            let found = drill.alerts.iter().filter_map(|alert| Some((self.delivered(alert, "firing", since)?, *alert)));
            found.min().ok_or("nothing delivered")
        })
        .await;
        self.site().undo(&drill.fault, injected).await?;
        let (after, alert) = first?;
        eventually(ENDS, "its alerts end", none_active).await?;
        // What it resolves must be delivered before the next fault.
        eventually(ENDS, "the end is notified", async || {
            self.delivered(alert, "resolved", since).map(drop).ok_or("nothing delivered")
        })
        .await?;
        Ok((after, alert.to_owned()))
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(Error::file("cannot write", path))
}

fn rewrite(path: &Path, with: fn(&str) -> String) -> Result<(), Error> {
    let text = fs::read_to_string(path).map_err(Error::file("cannot read", path))?;
    write(path, &with(&text))
}

//! METRICS.md: every family of an exporter, from the tables that the code runs on.

use std::fmt::Write as _;

use crate::exporter::Exporter;
use crate::family::{Desc, Kind};
use crate::gather::OwnFamilies;
use crate::{health, process};

/// The exporter's METRICS.md, as `--print-metrics` prints it.
pub fn metrics_markdown<E: Exporter>() -> String {
    let mut page = format!(
        "# Families of `{program}`\n\nMade by `{program} --print-metrics`. A part in angle brackets is known at run time only. Info families and \
         state sets are gauges in the text format 0.0.4.\n",
        program = E::PROGRAM
    );
    let collectors = E::collectors();
    for collector in &collectors {
        let default = if collector.enabled_by_default() { "on" } else { "off" };
        section(
            &mut page,
            &format!("Collector `{}`", collector.name()),
            &format!("{}{} Default: {default}.", collector.help(), source(collector.source())),
            &collector.families(),
        );
    }
    let own = OwnFamilies::of::<E>();
    let mut families: Vec<Desc> = own.all().into_iter().cloned().collect();
    families.extend(health::families(E::NAMESPACE));
    families.extend(process::FAMILIES);
    section(
        &mut page,
        "The exporter itself",
        "On every page; build, reloads, counters and `process_*` not on `/probe`.",
        &families,
    );
    page.push_str("\n## Health checks\n\n| Check | Essential | What it says |\n|---|---|---|\n");
    let checks = collectors.iter().flat_map(|collector| collector.checks().iter().copied());
    for check in std::iter::once(E::OPEN_CHECK).chain(checks).chain(E::checks()) {
        let essential = if check.essential { "yes" } else { "no" };
        let _ = writeln!(page, "| `{}` | {essential} | {} |", check.name, cell(check.help));
    }
    page
}

fn source(source: &str) -> String {
    if source.is_empty() { String::new() } else { format!(" Source: {source}.") }
}

fn section(page: &mut String, title: &str, text: &str, families: &[Desc]) {
    let _ = write!(page, "\n## {title}\n\n{text}\n");
    if families.is_empty() {
        return;
    }
    let with_fields = families.iter().any(|family| !family.field.is_empty());
    let (title, line) = if with_fields { (" Field |", "---|") } else { ("", "") };
    let _ = write!(page, "\n| Family | Type | Labels |{title} Help |\n|---|---|---|{line}---|\n");
    for family in families {
        let field = match (with_fields, family.field) {
            (false, _) => String::new(),
            (true, "") => "  |".to_owned(),
            (true, field) => format!(" `{}` |", cell(field)),
        };
        let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} |{field} {} |",
            family.name,
            type_name(family.kind),
            labels.join(", "),
            cell(&family.help)
        );
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Untyped => "untyped",
        Kind::Summary => "summary",
        Kind::Histogram => "histogram",
        Kind::Info => "info",
        Kind::StateSet => "state set",
    }
}

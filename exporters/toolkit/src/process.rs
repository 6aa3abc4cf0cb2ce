//! The exporter's own `process_*` series.

use exposition::{Desc, FamilyBatch, FamilyWriter};
use service_kit::process::{self, Metric};

pub(crate) const FAMILIES: [Desc; 6] = {
    let [a, b, c, d, e, f] = process::METRICS;
    [desc(a), desc(b), desc(c), desc(d), desc(e), desc(f)]
};

const fn desc(metric: Metric) -> Desc {
    if metric.is_counter {
        Desc::counter(metric.name, metric.help, &[])
    } else {
        Desc::gauge(metric.name, metric.help, &[])
    }
}

pub(crate) fn batch() -> FamilyBatch {
    let mut out = FamilyWriter::default();
    for (metric, value) in process::read() {
        out.push(&desc(metric), &[], value);
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use exposition::{Format, Snapshot, encode};

    use super::*;

    #[test]
    fn every_family_is_on_the_page() {
        let page = String::from_utf8(encode(&Snapshot::assemble([Arc::new(batch())]).0, Format::Text)).unwrap();
        for family in FAMILIES {
            let line = page.lines().find(|line| line.starts_with(&format!("{} ", family.name)));
            let value: f64 = line.and_then(|line| line.rsplit(' ').next()).unwrap().parse().unwrap();
            assert!(value > 0.0, "{} is {value}", family.name);
        }
    }
}

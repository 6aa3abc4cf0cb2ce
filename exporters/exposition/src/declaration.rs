//! What the name and the labels of a family must be.

use crate::desc::Kind;
use crate::loss::Problem;

/// Why a family of this declaration has no samples.
pub(crate) fn problem(name: &str, kind: Kind, labels: &[&str]) -> Option<Problem> {
    // The encoders add this label themselves.
    let reserved = match kind {
        Kind::Histogram => "le",
        Kind::Summary => "quantile",
        _ => "",
    };
    if !is_metric_name(name) {
        return Some(Problem::FamilyName);
    }
    labels.iter().enumerate().find_map(|(i, label)| {
        if !is_label_name(label) {
            Some(Problem::LabelName((*label).to_owned()))
        } else if *label == reserved {
            Some(Problem::ReservedLabel(reserved))
        } else {
            labels[..i].contains(label).then(|| Problem::LabelTwice((*label).to_owned()))
        }
    })
}

fn is_metric_name(name: &str) -> bool {
    is_name(name, |b| b == b':')
}

fn is_label_name(name: &str) -> bool {
    !name.starts_with("__") && is_name(name, |_| false)
}

fn is_name(name: &str, is_also_allowed: impl Fn(u8) -> bool) -> bool {
    name.starts_with(|first: char| !first.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || is_also_allowed(b))
}

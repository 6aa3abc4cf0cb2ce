//! A collector writes only what it declares. METRICS.md and the rules rely on the declarations.

use crate::exporter::Collector;
use crate::family::Families;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Undeclared {
    #[error("the collector {collector} wrote the family {family}, which is not in its families()")]
    Family { collector: &'static str, family: String },
    #[error("the collector {collector} reported the check {check}, which is not in its checks()")]
    Check { collector: &'static str, check: &'static str },
}

/// An error that names the first family or check that the collector wrote without declaring it.
pub(crate) fn verify<S>(collector: &dyn Collector<S>, written: &Families) -> Result<(), Undeclared> {
    let declared = collector.families();
    if let Some(family) = written.names().find(|name| !declared.iter().any(|desc| is_instance(name, &desc.name))) {
        return Err(Undeclared::Family { collector: collector.name(), family: family.to_owned() });
    }
    match written.checks().iter().find(|result| !collector.checks().contains(&result.check)) {
        Some(result) => Err(Undeclared::Check { collector: collector.name(), check: result.check.name }),
        None => Ok(()),
    }
}

/// Whether this is the declared name. A part in angle brackets, `mysql_global_status_<variable>`, is any text.
fn is_instance(name: &str, declared: &str) -> bool {
    match declared.split_once('<').and_then(|(prefix, rest)| Some((prefix, rest.split_once('>')?.1))) {
        Some((prefix, suffix)) => {
            name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix(suffix)).is_some_and(|part| !part.is_empty())
        }
        None => name == declared,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_their_declarations() {
        for (name, declared, expected) in [
            ("redis_up", "redis_up", true),
            ("redis_up", "redis_uptime", false),
            ("mysql_global_status_uptime", "mysql_global_status_<variable>", true),
            ("mysql_global_status_", "mysql_global_status_<variable>", false),
            ("mysql_innodb_x_total", "mysql_innodb_<metric>_total", true),
            ("mysql_innodb_x", "mysql_innodb_<metric>_total", false),
        ] {
            assert_eq!(is_instance(name, declared), expected, "{name} of {declared}");
        }
    }
}

//! Servers that go down and up again.

use exporter_toolkit::flags::positive;
use exporter_toolkit::{CheckDef, CheckStatus, Finding};

use super::reason::{count, joined, path, span};
use crate::history::Changes;

pub(super) static FLAPPING: CheckDef = CheckDef {
    name: "flapping",
    help: "Warns when a server went down `--health.flaps` times in the last 5 to 10 minutes, maintenance included. Absent in \
           the first scrape and on `/probe`.",
    essential: false,
};

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (check `flapping`) when a server went down this many times in the last 5 to 10 minutes
    #[arg(long = "health.flaps", value_name = "COUNT", default_value_t = 3.0, value_parser = positive)]
    flaps: f64,
}

pub(super) fn find(downs: &Changes<'_, f64>, thresholds: Thresholds) -> Finding {
    let mut flapping: Vec<_> = downs.objects.iter().filter(|server| server.value >= thresholds.flaps).collect();
    flapping.sort_by(|a, b| b.value.total_cmp(&a.value));
    let since = span(downs.span);
    if flapping.is_empty() {
        return (CheckStatus::Ok, format!("no server flapped in {since}"));
    }
    let list = joined(&flapping, ", ", |server| {
        format!("{} went down {} times", path(server.proxy, server.name), count(server.value))
    });
    (CheckStatus::Warn, format!("in {since}: {list}"))
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::checks_with;
    use super::*;

    fn between(before: [u32; 2], after: [u32; 2]) -> Finding {
        let page = |[a, b]: [u32; 2]| format!("# pxname,svname,chkdown,type,\nbe,a,{a},2,\nbe,b,{b},2,\n");
        checks_with(&[&page(before), &page(after)], None, |_| ())["flapping"].clone()
    }

    #[test]
    fn a_server_that_goes_down_again_and_again_warns() {
        assert_eq!(between([100, 0], [102, 0]).0, CheckStatus::Ok);
        let reason = "in 1 s: be/b went down 4 times, be/a went down 3 times";
        assert_eq!(between([100, 0], [103, 4]), (CheckStatus::Warn, reason.to_owned()));
    }

    #[test]
    fn a_restart_of_haproxy_is_not_flapping() {
        assert_eq!(between([100, 50], [0, 1]).0, CheckStatus::Ok);
    }
}

//! Whether a Galera node is a synced member of the primary component, the part of the cluster that accepts statements.

use exporter_toolkit::flags::positive;
use exporter_toolkit::{CheckDef, CheckStatus, Finding};

use crate::history::Trend;
use crate::rows::Rows;

pub(super) const GALERA: CheckDef = CheckDef {
    name: "galera",
    help: "Whether a Galera node is synced and in the primary component, and how long flow control pauses it \
           (--health.flow-control-warn). Fails if the node refuses statements. Absent where the node is in no cluster.",
    essential: true,
};

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (check `galera`) when Galera's flow control pauses replication for this percentage of the time
    #[arg(long = "health.flow-control-warn", value_name = "PERCENT", default_value_t = 10.0, value_parser = positive)]
    flow_control_warn: f64,
}

/// `wsrep_local_state` of a node that replicates and accepts statements.
const SYNCED: &str = "4";
const DONOR: &str = "2";

/// `None` where the node is in no cluster.
pub(super) fn find(status: &Rows, variables: &Rows, trend: Option<Trend>, thresholds: Thresholds) -> Option<Finding> {
    let is_on =
        |rows: &Rows, name| rows.lookup(name).is_some_and(|value| value.eq_ignore_ascii_case("ON") || value == "1");
    let provider = variables.lookup("wsrep_provider")?;
    if provider.is_empty() || provider.eq_ignore_ascii_case("none") {
        return None;
    }
    if !is_on(variables, "wsrep_on") {
        let reason = "node is in a cluster, but wsrep_on=OFF: the writes of new sessions stay on this node";
        return is_on(status, "wsrep_connected").then(|| (CheckStatus::Warn, reason.to_owned()));
    }
    let text = |name| status.lookup(name).unwrap_or("unknown");
    let (component, nodes) = (text("wsrep_cluster_status"), text("wsrep_cluster_size"));
    let state = text("wsrep_local_state");
    let fail = |reason: String| Some((CheckStatus::Fail, format!("{reason}, so it refuses statements")));
    if !is_on(status, "wsrep_connected") {
        return fail("node is not connected to its cluster (wsrep_connected=OFF)".to_owned());
    }
    if !component.eq_ignore_ascii_case("Primary") {
        let advice = "reconnect the other nodes, or if they are lost, bootstrap from the most advanced node \
                      (pc.bootstrap=YES in wsrep_provider_options)";
        return fail(format!(
            "node is outside the primary component (wsrep_cluster_status={component}, wsrep_cluster_size={nodes})"
        ))
        .map(|(status, reason)| (status, format!("{reason}: {advice}")));
    }
    if !is_on(status, "wsrep_ready") {
        return fail(format!("node is not ready (wsrep_ready=OFF, state {})", state_name(state)));
    }
    if let Some(rejects) = variables.lookup("wsrep_reject_queries").filter(|value| !value.eq_ignore_ascii_case("NONE"))
    {
        return fail(format!("node is set to wsrep_reject_queries={rejects}"));
    }
    if state == DONOR && is_on(variables, "wsrep_sst_donor_rejects_queries") {
        return fail(format!("node is in state {} with wsrep_sst_donor_rejects_queries=ON", state_name(state)));
    }
    if state != SYNCED {
        return Some((
            CheckStatus::Warn,
            format!("node is in state {}, not Synced: it lags behind the cluster", state_name(state)),
        ));
    }
    let paused = trend.map_or(0.0, |trend| 100.0 * trend.flow_control_paused);
    if paused >= thresholds.flow_control_warn {
        let advice = "find the node with a long wsrep_local_recv_queue; it is too slow, or runs a long DDL";
        return Some((
            CheckStatus::Warn,
            format!("flow control pauses replication for {paused:.0} % of the time: {advice}"),
        ));
    }
    Some((CheckStatus::Ok, format!("node is synced in a primary component of {nodes}")))
}

fn state_name(state: &str) -> &str {
    match state {
        "0" => "Initialized",
        "1" => "Joining",
        DONOR => "Donor/Desynced",
        "3" => "Joined",
        SYNCED => "Synced",
        state => state,
    }
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Fail, Ok, Warn};
    use exporter_toolkit::flags::defaults;

    use super::*;

    const SYNCED_NODE: [(&str, &str); 5] = [
        ("wsrep_cluster_status", "Primary"),
        ("wsrep_cluster_size", "3"),
        ("wsrep_connected", "ON"),
        ("wsrep_ready", "ON"),
        ("wsrep_local_state", "4"),
    ];
    const NODE: [(&str, &str); 4] = [
        ("wsrep_on", "ON"),
        ("wsrep_provider", "/usr/lib/galera/libgalera_smm.so"),
        ("wsrep_reject_queries", "NONE"),
        ("wsrep_sst_donor_rejects_queries", "OFF"),
    ];

    fn changed<'a, const N: usize>(rows: [(&'a str, &'a str); N], changes: &[(&str, &'a str)]) -> Rows {
        let value =
            |(name, value)| changes.iter().find(|(of, _)| *of == name).map_or((name, value), |(_, to)| (name, *to));
        Rows::pairs(&rows.map(value))
    }

    fn found(status: &[(&str, &str)], variables: &[(&str, &str)]) -> Option<Finding> {
        find(&changed(SYNCED_NODE, status), &changed(NODE, variables), None, defaults())
    }

    #[test]
    fn a_node_that_refuses_statements_fails() {
        for (status, variables, expected) in [
            (
                &[("wsrep_cluster_status", "non-Primary"), ("wsrep_ready", "OFF")][..],
                &[][..],
                "outside the primary component",
            ),
            (&[("wsrep_cluster_status", "Disconnected"), ("wsrep_connected", "OFF")], &[], "not connected"),
            (&[("wsrep_ready", "OFF"), ("wsrep_local_state", "1")], &[], "not ready (wsrep_ready=OFF, state Joining)"),
            (&[], &[("wsrep_reject_queries", "ALL")], "wsrep_reject_queries=ALL"),
            (&[("wsrep_local_state", "2")], &[("wsrep_sst_donor_rejects_queries", "ON")], "Donor/Desynced with"),
        ] {
            let (status, reason) = found(status, variables).unwrap();
            assert_eq!(status, Fail, "{reason}");
            assert!(reason.contains(expected) && reason.contains(", so it refuses statements"), "{reason}");
        }
    }

    #[test]
    fn a_node_that_lags_warns() {
        for (state, name) in [("2", "Donor/Desynced"), ("3", "Joined")] {
            let (status, reason) = found(&[("wsrep_local_state", state)], &[]).unwrap();
            assert_eq!(status, Warn);
            assert!(reason.starts_with(&format!("node is in state {name}, not Synced")), "{reason}");
        }
    }

    #[test]
    fn paused_replication_warns() {
        let paused = |flow_control_paused| {
            let trend = Some(Trend { flow_control_paused, ..Trend::default() });
            find(&changed(SYNCED_NODE, &[]), &changed(NODE, &[]), trend, defaults()).unwrap()
        };
        let (status, reason) = paused(0.34);
        assert_eq!(status, Warn);
        assert!(reason.starts_with("flow control pauses replication for 34 % of the time: "), "{reason}");
        assert_eq!(paused(0.05).0, Ok);
    }

    #[test]
    fn a_synced_node_is_ok_and_without_wsrep_there_is_no_check() {
        assert_eq!(found(&[], &[]), Some((Ok, "node is synced in a primary component of 3".to_owned())));
        assert_eq!(found(&[("wsrep_connected", "OFF")], &[("wsrep_on", "OFF")]), None);
        let (status, reason) = found(&[], &[("wsrep_on", "OFF")]).unwrap();
        assert!(status == Warn && reason.contains("wsrep_on=OFF"), "{reason}");
        assert_eq!(found(&[], &[("wsrep_provider", "none")]), None);
        assert_eq!(find(&Rows::pairs(&[]), &Rows::pairs(&[]), None, defaults()), None);
    }
}

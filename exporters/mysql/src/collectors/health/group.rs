//! Whether a member of a replication group (MySQL's Group Replication) is active, and its group has a majority.

use exporter_toolkit::{CheckDef, CheckStatus, Finding};

use crate::error::Error;
use crate::rows::{Row, Rows};

pub(super) const GROUP_REPLICATION: CheckDef = CheckDef {
    name: "group_replication",
    help: "Whether a member of a replication group is ONLINE and its group has a majority. Needs SELECT on \
           performance_schema.replication_group_members. Absent without group_replication_group_name.",
    essential: false,
};

/// The role of this server in its replication group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The server belongs to no group.
    NotConfigured,
    Primary,
    /// Read-only by intent.
    Secondary,
    /// Offline, recovering or in error: read-only until it is active again.
    Outside,
    /// The members can't be read.
    Unknown,
}

/// The rows of `performance_schema.replication_group_members`; `None` if the server belongs to no group.
pub(super) fn find(members: Option<Result<&Rows, &Error>>, server_uuid: &str) -> (Role, Option<Finding>) {
    let rows = match members {
        None => return (Role::NotConfigured, None),
        Some(Ok(rows)) => rows,
        Some(Err(error)) => {
            let reason = format!("the state of this member of a replication group is unknown: {error}");
            return (Role::Unknown, Some((CheckStatus::Warn, reason)));
        }
    };
    let column = |row: &Row<'_>, name| {
        let index = rows.columns().position(|column| column.eq_ignore_ascii_case(name))?;
        row.get(index).map(str::to_ascii_uppercase)
    };
    let state = |row: &Row<'_>| column(row, "MEMBER_STATE").unwrap_or_default();
    // A member that was never started is listed alone and without its id.
    let own = rows.iter().find(|row| column(row, "MEMBER_ID").is_some_and(|id| id.eq_ignore_ascii_case(server_uuid)));
    let Some(own) = own.or_else(|| rows.iter().next().filter(|_| rows.len() == 1)) else {
        let reason = "the state of this member of a replication group is unknown: performance_schema does not list it";
        return (Role::Unknown, Some((CheckStatus::Warn, reason.to_owned())));
    };
    let fail = |reason: String| (CheckStatus::Fail, reason);
    match &*state(&own) {
        "ONLINE" => {}
        "RECOVERING" => {
            let reason =
                "member is RECOVERING: it reads the group's transactions, and its data are old until it is ONLINE";
            return (Role::Outside, Some((CheckStatus::Warn, reason.to_owned())));
        }
        other => {
            let advice =
                "it does not replicate, and its data get old: read its error log, then START GROUP_REPLICATION";
            return (Role::Outside, Some(fail(format!("member is {other}: {advice}"))));
        }
    }
    // Versions before 8.0.2 have no roles; every ONLINE member that is read-only is a secondary then.
    let role = if column(&own, "MEMBER_ROLE").as_deref() == Some("PRIMARY") { Role::Primary } else { Role::Secondary };
    let (all, unreachable) = (rows.len(), rows.iter().filter(|row| state(row) == "UNREACHABLE").count());
    let found = if 2 * unreachable >= all {
        let advice = "writes wait until they return; if they are lost, set group_replication_force_members";
        fail(format!("{unreachable} of {all} members are UNREACHABLE, so the group has no majority: {advice}"))
    } else if unreachable > 0 {
        (CheckStatus::Warn, format!("{unreachable} of {all} members are UNREACHABLE, and the group soon expels them"))
    } else if all == 1 {
        let reason = "member is ONLINE, but alone in its group: no other member has its data or can replace it";
        (CheckStatus::Warn, reason.to_owned())
    } else {
        let role = if role == Role::Primary { "PRIMARY" } else { "SECONDARY" };
        (CheckStatus::Ok, format!("{role} member is ONLINE in a group of {all}"))
    };
    (role, Some(found))
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Fail, Ok, Warn};

    use super::*;

    fn found(members: &[[&str; 3]]) -> (Role, CheckStatus, String) {
        let mut rows = Rows::new(["MEMBER_ID", "MEMBER_STATE", "MEMBER_ROLE"].map(str::to_owned));
        for member in members {
            rows.push(member.iter().map(|cell| Some(cell.as_bytes()))).unwrap();
        }
        let (role, finding) = find(Some(Result::Ok(&rows)), "u1");
        let (status, reason) = finding.unwrap();
        (role, status, reason)
    }

    const ONLINE: [&str; 3] = ["u1", "ONLINE", "PRIMARY"];

    #[test]
    fn a_member_that_does_not_replicate_fails() {
        for state in ["OFFLINE", "ERROR"] {
            let (role, status, reason) = found(&[["u1", state, ""], ["u2", "ONLINE", "PRIMARY"]]);
            assert_eq!((role, status), (Role::Outside, Fail));
            assert!(reason.starts_with(&format!("member is {state}: it does not replicate")), "{reason}");
        }
        // Never started.
        assert_eq!(found(&[["", "OFFLINE", ""]]).1, Fail);
        let (role, status, _) = found(&[["u1", "RECOVERING", "SECONDARY"], ["u2", "ONLINE", "PRIMARY"]]);
        assert_eq!((role, status), (Role::Outside, Warn));
    }

    #[test]
    fn a_lost_majority_fails() {
        let (_, status, reason) = found(&[ONLINE, ["u2", "UNREACHABLE", "SECONDARY"]]);
        assert_eq!(status, Fail);
        assert!(reason.starts_with("1 of 2 members are UNREACHABLE, so the group has no majority"), "{reason}");
        let online = ["u3", "ONLINE", "SECONDARY"];
        assert_eq!(found(&[ONLINE, ["u2", "UNREACHABLE", "SECONDARY"], online]).1, Warn);
    }

    #[test]
    fn an_active_member_is_ok_unless_it_is_alone() {
        let (role, status, reason) = found(&[ONLINE, ["u2", "ONLINE", "SECONDARY"]]);
        assert_eq!((role, status, &*reason), (Role::Primary, Ok, "PRIMARY member is ONLINE in a group of 2"));
        let (role, status, _) = found(&[["u1", "ONLINE", "SECONDARY"], ["u2", "ONLINE", "PRIMARY"]]);
        assert_eq!((role, status), (Role::Secondary, Ok));
        assert_eq!(found(&[ONLINE]).1, Warn);
    }

    #[test]
    fn an_unknown_state_warns() {
        let rows = Rows::default();
        let (role, finding) = find(Some(Result::Ok(&rows)), "u1");
        assert_eq!((role, finding.unwrap().0), (Role::Unknown, Warn));
        assert_eq!(find(None, "u1"), (Role::NotConfigured, None));
    }
}

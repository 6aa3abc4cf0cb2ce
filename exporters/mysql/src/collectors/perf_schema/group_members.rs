//! `performance_schema.replication_group_members`: all columns as labels; newer versions of MySQL have more.

use std::borrow::Cow;

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::replication::GROUP_MEMBERS_STATEMENT;
use crate::rows::Rows;
use crate::session::Session;

/// The first version with group replication.
const MYSQL_SINCE: (u16, u16, u16) = (5, 7, 17);

/// The labels of MySQL 8.0.27 and later.
const MEMBER: Desc = Desc::info(
    "mysql_perf_schema_replication_group_member_info",
    "Information about a member of the replication group; the labels are the server's columns.",
    &[
        "channel_name",
        "member_id",
        "member_host",
        "member_port",
        "member_state",
        "member_role",
        "member_version",
        "member_communication_stack",
    ],
);

pub(super) struct GroupMembers;

#[async_trait]
impl Collector<Session> for GroupMembers {
    fn name(&self) -> &'static str {
        "perf_schema.replication_group_members"
    }

    fn help(&self) -> &'static str {
        "Members of the replication group."
    }

    fn source(&self) -> &'static str {
        "performance_schema.replication_group_members"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![MEMBER]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        if session.version().is_mysql_since(MYSQL_SINCE) {
            write(&session.query_if_table_exists(GROUP_MEMBERS_STATEMENT).await?, out);
        }
        Ok(())
    }
}

fn write(rows: &Rows, out: &mut Families) {
    let names: Vec<String> = rows.columns().map(str::to_ascii_lowercase).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let Desc { name, help, kind, .. } = MEMBER;
    for row in rows.iter() {
        let values: Vec<&str> = (0..names.len()).map(|column| row.get(column).unwrap_or_default()).collect();
        out.dynamic_family(Cow::clone(&name), Cow::clone(&help), kind, &names).push(&values, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_labels() {
        let mut rows = Rows::new(["CHANNEL_NAME", "MEMBER_ID", "MEMBER_STATE"].map(str::to_owned));
        rows.push([Some(b"group_replication_applier".as_slice()), Some(b"u1"), Some(b"ONLINE")].into_iter()).unwrap();
        rows.push([Some(b"group_replication_applier".as_slice()), Some(b"u2"), None].into_iter()).unwrap();
        assert_eq!(
            crate::collectors::testing::page(write, &rows),
            "\
# TYPE mysql_perf_schema_replication_group_member_info gauge
mysql_perf_schema_replication_group_member_info{channel_name=\"group_replication_applier\",member_id=\"u1\",member_state=\"ONLINE\"} 1
mysql_perf_schema_replication_group_member_info{channel_name=\"group_replication_applier\",member_id=\"u2\",member_state=\"\"} 1
"
        );
    }
}

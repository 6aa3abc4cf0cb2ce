//! Stick tables, from `show table`: over the runtime socket only.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::selection::Part;
use crate::target::Session;

const SIZE: Desc =
    Desc::gauge("haproxy_sticktable_size", "Limit of entries of the stick table.", &["name", "type"]).field("size");
const USED: Desc =
    Desc::gauge("haproxy_sticktable_used", "Current number of entries in the stick table.", &["name", "type"])
        .field("used");

pub(super) struct StickTables;

#[async_trait]
impl Collector<Session> for StickTables {
    fn name(&self) -> &'static str {
        "sticktables"
    }

    fn help(&self) -> &'static str {
        "Stick tables: size and use; over the runtime socket only."
    }

    fn source(&self) -> &'static str {
        "`show table`"
    }

    fn families(&self) -> Vec<Desc> {
        vec![SIZE, USED]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        for table in session.runtime.iter().flat_map(|runtime| &runtime.tables) {
            for (desc, value) in [(&SIZE, table.size), (&USED, table.used)] {
                if let Some(value) = value.filter(|_| session.exports(Part::StickTable, desc)) {
                    out.push(desc, &[&table.name, &table.kind], value);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_kit::{lines, session, with_runtime};
    use super::*;
    use crate::columns::Naming;

    #[tokio::test]
    async fn size_and_use_by_name_and_type() {
        let session = session("# pxname,svname,type,\n", Naming::Native);
        assert_eq!(lines(&StickTables, &session).await, [""; 0]);
        let session = with_runtime(session, "Name: x\n\n# table: be, type: string, size:100, used:7\n");
        assert_eq!(
            lines(&StickTables, &session).await,
            [
                r#"haproxy_sticktable_size{name="be",type="string"} 100"#,
                r#"haproxy_sticktable_used{name="be",type="string"} 7"#,
            ]
        );
    }
}

//! `SHOW ENGINE INNODB STATUS`: a report for operators. Two of its lines have numbers that no table has.

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};

use crate::rows::Rows;
use crate::session::Session;

const QUERIES_INSIDE: Desc =
    Desc::gauge("mysql_engine_innodb_queries_inside_innodb", "Current number of queries inside InnoDB.", &[]);
const QUERIES_QUEUED: Desc =
    Desc::gauge("mysql_engine_innodb_queries_in_queue", "Current number of queries that wait to enter InnoDB.", &[]);
const READ_VIEWS: Desc = Desc::gauge(
    "mysql_engine_innodb_read_views_open_inside_innodb",
    "Current number of open read views inside InnoDB.",
    &[],
);

pub(super) struct EngineInnodbStatus;

#[async_trait]
impl Collector<Session> for EngineInnodbStatus {
    fn name(&self) -> &'static str {
        "engine_innodb_status"
    }

    fn help(&self) -> &'static str {
        "Queries and read views inside InnoDB."
    }

    fn source(&self) -> &'static str {
        "SHOW ENGINE INNODB STATUS"
    }

    fn enabled_by_default(&self) -> bool {
        false
    }

    fn families(&self) -> Vec<Desc> {
        vec![QUERIES_INSIDE, QUERIES_QUEUED, READ_VIEWS]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        write(&session.query("SHOW ENGINE INNODB STATUS").await?, out);
        Ok(())
    }
}

/// One row: type, name and the report, which the server keeps below 1 MiB.
fn write(rows: &Rows, out: &mut Families) {
    let report = rows.iter().next().and_then(|row| row.get(2)).unwrap_or_default();
    for line in report.lines() {
        if let Some((inside, rest)) = line.split_once(" queries inside InnoDB, ") {
            push(&QUERIES_INSIDE, inside, out);
            push(&QUERIES_QUEUED, rest.split(' ').next().unwrap_or_default(), out);
        } else if let Some((views, _)) = line.split_once(" read views open inside InnoDB") {
            push(&READ_VIEWS, views, out);
        }
    }
}

fn push(desc: &Desc, number: &str, out: &mut Families) {
    if let Ok(number) = number.trim().parse::<u64>() {
        out.push(desc, &[], number as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_of_the_report_are_parsed() {
        let mut rows = Rows::new(["Type", "Name", "Status"].map(str::to_owned));
        let report = "\n--------------\nROW OPERATIONS\n--------------\n3 queries inside InnoDB, 2 queries in queue\n\
                      1 read views open inside InnoDB\nProcess ID=42, Main thread ID=140 , state: sleeping\n";
        rows.push([Some(b"InnoDB".as_slice()), Some(b""), Some(report.as_bytes())].into_iter()).unwrap();
        let page = super::super::testing::page(write, &rows);
        let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                "mysql_engine_innodb_queries_in_queue 2",
                "mysql_engine_innodb_queries_inside_innodb 3",
                "mysql_engine_innodb_read_views_open_inside_innodb 1",
            ]
        );
    }
}

//! Caches that are too small for the work: open tables, and temporary tables that go to disk.

use exporter_toolkit::CheckStatus;

use super::{Finding, Thresholds};
use crate::history::Trend;
use crate::rows::Rows;

/// The share of temporary tables on disk that is normal: those with a TEXT or BLOB column go there at once.
const ON_DISK_PERCENT: f64 = 25.0;

pub(super) fn table_cache(
    status: &Rows,
    variables: &Rows,
    trend: Option<Trend>,
    thresholds: Thresholds,
) -> Option<Finding> {
    let open = status.lookup_number("open_tables")?;
    let size = variables.lookup_number("table_open_cache")?;
    let opens = trend?.opened_tables;
    let reason = format!("{open} tables are open of {size} in table_open_cache, and {opens:.1} are opened a second");
    // While there is room, tables are opened because they are new.
    Some(match open >= size && opens >= thresholds.table_opens_warn {
        true => (CheckStatus::Warn, format!("{reason}: raise table_open_cache")),
        false => (CheckStatus::Ok, reason),
    })
}

pub(super) fn temp_tables(trend: Option<Trend>, thresholds: Thresholds) -> Option<Finding> {
    let Trend { temp_tables: all, temp_tables_on_disk: on_disk, .. } = trend?;
    let percent = if all > 0.0 { 100.0 * on_disk / all } else { 0.0 };
    let reason = format!("{on_disk:.1} of {all:.1} temporary tables a second go to disk ({percent:.0} %)");
    Some(match on_disk >= thresholds.temp_tables_warn && percent >= ON_DISK_PERCENT {
        true => (
            CheckStatus::Warn,
            format!(
                "{reason}: look for statements that sort or group much, or raise tmp_table_size and max_heap_table_size"
            ),
        ),
        false => (CheckStatus::Ok, reason),
    })
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Ok, Warn};

    use super::*;

    fn trend(opened_tables: f64, temp_tables: f64, temp_tables_on_disk: f64) -> Option<Trend> {
        Some(Trend { connections: 0.0, opened_tables, temp_tables, temp_tables_on_disk })
    }

    #[test]
    fn a_full_cache_that_opens_tables_all_the_time_is_too_small() {
        let found = |open: &str, opens: f64| {
            let status = Rows::pairs(&[("Open_tables", open)]);
            let variables = Rows::pairs(&[("table_open_cache", "400")]);
            table_cache(&status, &variables, trend(opens, 0.0, 0.0), Thresholds::defaults()).unwrap()
        };
        let (status, reason) = found("400", 35.2);
        let expected =
            "400 tables are open of 400 in table_open_cache, and 35.2 are opened a second: raise table_open_cache";
        assert_eq!((status, &*reason), (Warn, expected));
        assert_eq!(found("400", 0.1).0, Ok);
        assert_eq!(found("300", 35.2).0, Ok);
        let rows = Rows::pairs(&[("Open_tables", "1"), ("table_open_cache", "1")]);
        assert_eq!(table_cache(&rows, &rows, None, Thresholds::defaults()), None);
    }

    #[test]
    fn many_temporary_tables_on_disk_are_pressure() {
        let found = |all, on_disk| temp_tables(trend(0.0, all, on_disk), Thresholds::defaults()).unwrap();
        let (status, reason) = found(40.0, 12.0);
        assert_eq!(status, Warn);
        assert!(reason.starts_with("12.0 of 40.0 temporary tables a second go to disk (30 %): look for"), "{reason}");
        assert_eq!(found(400.0, 12.0).0, Ok);
        // Scrapes make some themselves.
        assert_eq!(found(0.5, 0.5).0, Ok);
        assert_eq!(found(0.0, 0.0), (Ok, "0.0 of 0.0 temporary tables a second go to disk (0 %)".to_owned()));
        assert_eq!(temp_tables(None, Thresholds::defaults()), None);
    }
}

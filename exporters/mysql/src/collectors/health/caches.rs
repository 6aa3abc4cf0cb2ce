//! Caches that are too small for the load: open tables, and temporary tables that are written to disk.

use exporter_toolkit::flags::positive;
use exporter_toolkit::{CheckDef, CheckStatus, Finding};

use crate::history::Trend;
use crate::rows::Rows;

pub(super) const TABLE_CACHE: CheckDef = CheckDef {
    name: "table_cache",
    help: "Whether table_open_cache is full while the server keeps opening tables (--health.table-opens-warn). Absent in the \
           exporter's first minute.",
    essential: false,
};

pub(super) const TEMP_TABLES: CheckDef = CheckDef {
    name: "temp_tables",
    help: "Whether many temporary tables are created on disk (--health.temp-tables-warn). Absent in the exporter's first minute.",
    essential: false,
};

#[derive(clap::Args, Clone, Copy, Debug)]
#[group(skip)]
pub(super) struct Thresholds {
    /// Warn (check `table_cache`) when this many tables are opened per second while table_open_cache is full
    #[arg(long = "health.table-opens-warn", value_name = "PER_SECOND", default_value_t = 10.0, value_parser = positive)]
    table_opens_warn: f64,

    /// Warn (check `temp_tables`) when this many temporary tables per second, and at least 25 % of all, are created on
    /// disk
    #[arg(long = "health.temp-tables-warn", value_name = "PER_SECOND", default_value_t = 10.0, value_parser = positive)]
    temp_tables_warn: f64,
}

/// The normal share of temporary tables on disk: those with a TEXT or BLOB column are created there.
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
    let reason = format!("{open} of {size} entries of table_open_cache in use, {opens:.1} tables opened per second");
    // Before the cache is full, tables are opened for the first time.
    Some(match open >= size && opens >= thresholds.table_opens_warn {
        true => (CheckStatus::Warn, format!("{reason}: raise table_open_cache")),
        false => (CheckStatus::Ok, reason),
    })
}

pub(super) fn temp_tables(trend: Option<Trend>, thresholds: Thresholds) -> Option<Finding> {
    let Trend { temp_tables: all, temp_tables_on_disk: on_disk, .. } = trend?;
    let percent = if all > 0.0 { 100.0 * on_disk / all } else { 0.0 };
    let reason = format!("{on_disk:.1} of {all:.1} temporary tables per second created on disk ({percent:.0} %)");
    let advice = "find statements with large sorts or groupings, or raise tmp_table_size and max_heap_table_size";
    Some(match on_disk >= thresholds.temp_tables_warn && percent >= ON_DISK_PERCENT {
        true => (CheckStatus::Warn, format!("{reason}: {advice}")),
        false => (CheckStatus::Ok, reason),
    })
}

#[cfg(test)]
mod tests {
    use CheckStatus::{Ok, Warn};
    use exporter_toolkit::flags::defaults;

    use super::*;

    fn trend(opened_tables: f64, temp_tables: f64, temp_tables_on_disk: f64) -> Option<Trend> {
        Some(Trend { opened_tables, temp_tables, temp_tables_on_disk, ..Trend::default() })
    }

    #[test]
    fn a_full_cache_with_many_opened_tables_is_too_small() {
        let found = |open: &str, opens: f64| {
            let status = Rows::pairs(&[("Open_tables", open)]);
            let variables = Rows::pairs(&[("table_open_cache", "400")]);
            table_cache(&status, &variables, trend(opens, 0.0, 0.0), defaults()).unwrap()
        };
        let (status, reason) = found("400", 35.2);
        let expected =
            "400 of 400 entries of table_open_cache in use, 35.2 tables opened per second: raise table_open_cache";
        assert_eq!((status, &*reason), (Warn, expected));
        assert_eq!(found("400", 0.1).0, Ok);
        assert_eq!(found("300", 35.2).0, Ok);
        let rows = Rows::pairs(&[("Open_tables", "1"), ("table_open_cache", "1")]);
        assert_eq!(table_cache(&rows, &rows, None, defaults()), None);
    }

    #[test]
    fn many_temporary_tables_on_disk_warn() {
        let found = |all, on_disk| temp_tables(trend(0.0, all, on_disk), defaults()).unwrap();
        let (status, reason) = found(40.0, 12.0);
        assert_eq!(status, Warn);
        let expected = "12.0 of 40.0 temporary tables per second created on disk (30 %): find";
        assert!(reason.starts_with(expected), "{reason}");
        assert_eq!(found(400.0, 12.0).0, Ok);
        // The scrapes themselves create some.
        assert_eq!(found(0.5, 0.5).0, Ok);
        assert_eq!(found(0.0, 0.0), (Ok, "0.0 of 0.0 temporary tables per second created on disk (0 %)".to_owned()));
        assert_eq!(temp_tables(None, defaults()), None);
    }
}

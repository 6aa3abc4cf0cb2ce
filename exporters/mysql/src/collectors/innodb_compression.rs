//! `information_schema.innodb_cmp` and `innodb_cmpmem`: compressed InnoDB pages, by page size.

use exporter_toolkit::Desc;

use super::select::{Measure, Select};
use super::table::{Requires, Table};

const PAGE_SIZE: &[&str] = &["page_size"];
const PAGE_SIZE_AND_POOL: &[&str] = &["page_size", "buffer_pool"];

pub(super) const INNODB_CMP: Table = Table {
    name: "info_schema.innodb_cmp",
    help: "Compression of InnoDB pages.",
    enabled_by_default: true,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "information_schema.innodb_cmp",
        labels: PAGE_SIZE,
        measures: &[
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_innodb_cmp_compress_ops_total",
                    "Total number of page compressions.",
                    PAGE_SIZE,
                ),
                "compress_ops",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_innodb_cmp_compress_ops_ok_total",
                    "Total number of successful page compressions.",
                    PAGE_SIZE,
                ),
                "compress_ops_ok",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_innodb_cmp_compress_time_seconds_total",
                    "Total time spent compressing pages, in seconds.",
                    PAGE_SIZE,
                ),
                "compress_time",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_innodb_cmp_uncompress_ops_total",
                    "Total number of page decompressions.",
                    PAGE_SIZE,
                ),
                "uncompress_ops",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_innodb_cmp_uncompress_time_seconds_total",
                    "Total time spent decompressing pages, in seconds.",
                    PAGE_SIZE,
                ),
                "uncompress_time",
            ),
        ],
    },
};

pub(super) const INNODB_CMPMEM: Table = Table {
    name: "info_schema.innodb_cmpmem",
    help: "Compressed InnoDB pages in the buffer pool.",
    enabled_by_default: true,
    requires: Requires::Nothing,
    opens_tables: false,
    select: Select {
        from: "information_schema.innodb_cmpmem",
        labels: &["page_size", "buffer_pool_instance"],
        measures: &[
            // The peer's names and types, although the first two can decrease.
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_innodb_cmpmem_pages_used_total",
                    "Current number of blocks in use.",
                    PAGE_SIZE_AND_POOL,
                ),
                "pages_used",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_innodb_cmpmem_pages_free_total",
                    "Current number of free blocks.",
                    PAGE_SIZE_AND_POOL,
                ),
                "pages_free",
            ),
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_innodb_cmpmem_relocation_ops_total",
                    "Total number of block relocations.",
                    PAGE_SIZE_AND_POOL,
                ),
                "relocation_ops",
            ),
            // Microseconds by the server's manual. The peer converts them as milliseconds, and a series must mean the
            // same in both.
            Measure::one(
                Desc::counter(
                    "mysql_info_schema_innodb_cmpmem_relocation_time_seconds_total",
                    "Total time spent relocating blocks, as mysqld_exporter converts it: the server's microseconds / 1000.",
                    PAGE_SIZE_AND_POOL,
                ),
                "relocation_time",
            )
            .divided_by(1000.0),
        ],
    },
};

#[cfg(test)]
mod tests {
    use super::super::select::samples;
    use super::*;

    #[test]
    fn families_are_filled_from_the_columns_of_their_names() {
        for table in [INNODB_CMP, INNODB_CMPMEM] {
            for family in table.select.families() {
                assert!(family.name.contains(family.field), "{} is filled from {}", family.name, family.field);
            }
        }
    }

    #[test]
    fn a_row_is_a_series_in_each_family() {
        let samples = samples(&INNODB_CMPMEM.select, "", &["16384", "0", "3", "4", "5", "1500"].map(Some));
        let sample = |name, value| {
            format!("mysql_info_schema_innodb_cmpmem_{name}_total{{page_size=\"16384\",buffer_pool=\"0\"}} {value}")
        };
        assert!(samples.contains(&sample("pages_used", "3")));
        assert!(samples.contains(&sample("relocation_time_seconds", "1.5")));
    }
}

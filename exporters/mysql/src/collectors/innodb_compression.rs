//! `information_schema.innodb_cmp` and `innodb_cmpmem`: compressed InnoDB pages, by page size: there are five, and at most 64 instances of the buffer pool.

use exporter_toolkit::Desc;

use super::table::Table;

pub(super) const INNODB_CMP: Table = Table {
    name: "info_schema.innodb_cmp",
    help: "Compression of InnoDB pages, from information_schema.innodb_cmp.",
    by_default: true,
    switches: &[],
    opens_tables: false,
    statement: "SELECT page_size, compress_ops, compress_ops_ok, compress_time, uncompress_ops, uncompress_time \
                FROM information_schema.innodb_cmp",
    labels: 1,
    families: &[
        (
            Desc::counter("mysql_info_schema_innodb_cmp_compress_ops_total", "Compressions of pages.", &["page_size"]),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_innodb_cmp_compress_ops_ok_total",
                "Compressions of pages that succeeded.",
                &["page_size"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_innodb_cmp_compress_time_seconds_total",
                "Time spent compressing pages.",
                &["page_size"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_innodb_cmp_uncompress_ops_total",
                "Decompressions of pages.",
                &["page_size"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_innodb_cmp_uncompress_time_seconds_total",
                "Time spent decompressing pages.",
                &["page_size"],
            ),
            1.0,
        ),
    ],
};

pub(super) const INNODB_CMPMEM: Table = Table {
    name: "info_schema.innodb_cmpmem",
    help: "Compressed InnoDB pages in the buffer pool, from information_schema.innodb_cmpmem.",
    by_default: true,
    switches: &[],
    opens_tables: false,
    statement: "SELECT page_size, buffer_pool_instance, pages_used, pages_free, relocation_ops, relocation_time \
                FROM information_schema.innodb_cmpmem",
    labels: 2,
    families: &[
        // Peer's names: the first two are no counters by their nature.
        (
            Desc::counter(
                "mysql_info_schema_innodb_cmpmem_pages_used_total",
                "Blocks in use.",
                &["page_size", "buffer_pool"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_innodb_cmpmem_pages_free_total",
                "Blocks that are free.",
                &["page_size", "buffer_pool"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_innodb_cmpmem_relocation_ops_total",
                "Relocations of blocks.",
                &["page_size", "buffer_pool"],
            ),
            1.0,
        ),
        (
            Desc::counter(
                "mysql_info_schema_innodb_cmpmem_relocation_time_seconds_total",
                "Time spent relocating blocks.",
                &["page_size", "buffer_pool"],
            ),
            // Microseconds by the server's manual; the peer takes them for milliseconds, and a series means the same in both.
            1000.0,
        ),
    ],
};

#[cfg(test)]
mod tests {
    use super::super::table::written;
    use super::*;

    #[test]
    fn columns_become_families_in_their_order() {
        for table in [INNODB_CMP, INNODB_CMPMEM] {
            let columns = table.statement.split(" FROM ").next().unwrap().trim_start_matches("SELECT ").split(", ");
            for (column, (desc, _)) in columns.clone().skip(table.labels).zip(table.families) {
                assert!(desc.name.contains(column), "{} is filled from {column}", desc.name);
            }
            assert_eq!(columns.count(), table.labels + table.families.len());
        }
    }

    #[test]
    fn a_row_is_a_series_in_each_family() {
        let samples = written(&INNODB_CMPMEM, &["16384", "0", "3", "4", "5", "1500"].map(Some));
        let sample = |name, value| {
            format!("mysql_info_schema_innodb_cmpmem_{name}_total{{page_size=\"16384\",buffer_pool=\"0\"}} {value}")
        };
        assert!(samples.contains(&sample("pages_used", "3")));
        assert!(samples.contains(&sample("relocation_time_seconds", "1.5")));
    }
}

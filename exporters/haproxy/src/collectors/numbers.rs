//! The numeric fields of `show stat`, for all scopes.

use exporter_toolkit::Families;

use crate::columns::{Scope, Table};
use crate::stat::{Row, number};
use crate::target::Session;

/// Writes the numbers of these rows, family by family.
pub(super) fn write_numbers(session: &Session, table: &Table, rows: &[Row<'_>], out: &mut Families) {
    for (desc, column) in table.families(session.options.naming) {
        let Some(index) = session.stat.column(column.field) else { continue };
        let family = out.family(desc);
        for row in rows {
            let text = row.field(index);
            // HAProxy leaves some fields empty: the HTTP responses of a TCP proxy, the limit of an unlimited server.
            if text.is_empty() {
                continue;
            }
            let Some(value) = number(text) else {
                session.failures.add(1);
                continue;
            };
            let (labels, count) = labels(table.scope, row, column.code);
            family.push(&labels[..count], value / column.divisor);
        }
    }
}

fn labels<'a>(scope: Scope, row: &Row<'a>, code: Option<&'a str>) -> ([&'a str; 3], usize) {
    let (proxy, name, code_value) = (row.proxy(), row.name(), code.unwrap_or_default());
    match (scope, code) {
        (Scope::Frontend | Scope::Backend, _) => ([proxy, code_value, ""], 1 + usize::from(code.is_some())),
        (Scope::Server | Scope::Listener, _) => ([proxy, name, code_value], 2 + usize::from(code.is_some())),
    }
}

//! For the tests of collectors.

use exporter_toolkit::Families;

use crate::rows::Rows;

/// The page that `write` makes of an answer.
pub(super) fn page(write: fn(&Rows, &mut Families), answer: &Rows) -> String {
    let mut out = Families::default();
    write(answer, &mut out);
    exporter_toolkit::testing::page(out)
}

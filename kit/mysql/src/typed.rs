//! Rows as types. The driver's own conversions panic if a column has another type than expected, and quote the row: a
//! migration that went wrong would log what users wrote.

use mysql_async::prelude::FromRow;
use mysql_async::{Error, FromRowError, Row};

#[derive(Debug, thiserror::Error)]
#[error("the columns of an answer don't have the expected types; was the table changed by hand?")]
struct UnexpectedTypes;

/// The row as a tuple of its columns.
pub fn typed<T: FromRow>(row: Row) -> Result<T, Error> {
    mysql_async::from_row_opt(row).map_err(|FromRowError(_)| Error::Other(Box::new(UnexpectedTypes)))
}

#[cfg(test)]
mod tests {
    use mysql_async::consts::ColumnType;
    use mysql_async::{Column, Value};
    use mysql_common::row::new_row;

    use super::*;

    #[test]
    fn another_type_is_an_error_that_quotes_nothing() {
        let columns = [(); 2].map(|()| Column::new(ColumnType::MYSQL_TYPE_VAR_STRING));
        let row = || new_row(vec![Value::from("patient@example.org"), Value::NULL], columns.to_vec().into());
        assert_eq!(typed::<(String, Option<u8>)>(row()).unwrap(), ("patient@example.org".to_owned(), None));
        for error in [typed::<(u8, Option<u8>)>(row()).unwrap_err(), typed::<(String, String)>(row()).unwrap_err()] {
            assert!(!format!("{error} {error:?}").contains("patient"), "{error:?}");
        }
    }
}

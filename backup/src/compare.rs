//! Compares a dump with the server's own list of objects.

use std::collections::BTreeSet;

use crate::scan::{Databases, Objects};

/// What the dump lacks of each database, by the server's lists before and after it. Objects may come and go meanwhile:
/// what is in both lists must be in the dump. What only the dump has came and went.
pub(crate) fn missing(before: &Databases, dumped: &Databases, after: &Databases) -> Vec<(String, String)> {
    let none = Objects::default();
    before
        .iter()
        .filter_map(|(database, before)| {
            let what = match dumped.get(database) {
                Some(dumped) => lacks(before, dumped, after.get(database).unwrap_or(&none)),
                None => Some("it is not in the dump".to_owned()),
            };
            what.map(|what| (database.clone(), what))
        })
        .collect()
}

fn lacks(before: &Objects, dumped: &Objects, after: &Objects) -> Option<String> {
    for (kind, before, dumped, after) in [
        ("table", &before.tables, &dumped.tables, &after.tables),
        ("view", &before.views, &dumped.views, &after.views),
        // Their names say what they are.
        ("", &before.routines, &dumped.routines, &after.routines),
        ("event", &before.events, &dumped.events, &after.events),
        ("library", &before.libraries, &dumped.libraries, &after.libraries),
    ] {
        let both: BTreeSet<&String> = before.intersection(after).collect();
        if let Some(name) = both.into_iter().find(|name| !dumped.contains(*name)) {
            return Some(format!("{kind} `{name}` is not in the dump").trim_start().to_owned());
        }
    }
    let triggers = before.triggers.min(after.triggers);
    (dumped.triggers < triggers)
        .then(|| format!("the dump has {} triggers, and the server has {triggers}", dumped.triggers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(tables: &[&str], triggers: u64) -> Databases {
        let tables = tables.iter().map(|&name| name.to_owned()).collect();
        Databases::from([("app".to_owned(), Objects { tables, triggers, ..Objects::default() })])
    }

    #[test]
    fn a_complete_dump_lacks_nothing() {
        let all = with(&["a", "b"], 1);
        assert!(missing(&all, &all, &all).is_empty());
    }

    #[test]
    fn what_came_or_went_meanwhile_may_be_in_it_or_not() {
        let (old, new) = (with(&["a", "gone"], 1), with(&["a", "new"], 2));
        for tables in [&["a"][..], &["a", "gone"], &["a", "new"], &["a", "gone", "new", "temporary"]] {
            assert!(missing(&old, &with(tables, 1), &new).is_empty());
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let all = with(&["a", "b"], 2);
        for (dumped, what) in [
            (with(&["a"], 2), "table `b` is not in the dump"),
            (with(&["a", "b"], 1), "the dump has 1 triggers, and the server has 2"),
            (Databases::new(), "it is not in the dump"),
        ] {
            assert_eq!(missing(&all, &dumped, &all), [("app".to_owned(), what.to_owned())]);
        }
    }
}

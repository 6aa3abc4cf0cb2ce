//! The recovery point of each database: a partial backup lacks some.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

/// Databases of one backup that have a series of their own. More would be more labels than anybody looks at.
pub(crate) const MAX_DATABASES: usize = 200;

/// The names of the databases in a backup. Backups with the same databases share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct DatabaseNames(Arc<[Box<str>]>);

impl DatabaseNames {
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str> + Clone, others: &Self) -> Self {
        if names.clone().eq(others.0.iter().map(|name| &**name)) {
            return others.clone();
        }
        Self(names.map(Box::from).collect())
    }
}

/// The newest recovery point of each database that the newest backup should have.
#[derive(Debug, Default)]
pub(crate) struct RecoveryPoints {
    seen_newest: bool,
    points: BTreeMap<Box<str>, Option<Timestamp>>,
}

impl RecoveryPoints {
    /// Backups are added from the newest to the oldest. `missing` are databases that it should have and lacks.
    pub(crate) fn add(&mut self, present: &DatabaseNames, missing: &[Box<str>], recovery_point: Timestamp) {
        if !self.seen_newest {
            self.seen_newest = true;
            self.points.extend(missing.iter().map(|name| (name.clone(), None)));
            self.points.extend(present.0.iter().map(|name| (name.clone(), Some(recovery_point))));
            return;
        }
        for (name, point) in self.points.iter_mut().filter(|(_, point)| point.is_none()) {
            *point = present.0.contains(name).then_some(recovery_point);
        }
    }

    pub(crate) fn finish(self) -> Vec<(Box<str>, Option<Timestamp>)> {
        self.points.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_is_missing_keeps_its_older_recovery_point() {
        let names = |names: &[&str]| DatabaseNames::new(names.iter().copied(), &DatabaseNames::default());
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut points = RecoveryPoints::default();
        points.add(&names(&["app", "pay"]), &["old".into(), "new".into()], at(300));
        points.add(&names(&["app", "dropped"]), &["old".into()], at(200));
        points.add(&names(&["app", "old"]), &[], at(100));
        points.add(&names(&["app", "old"]), &[], at(50));
        let expected = [("app", Some(300)), ("new", None), ("old", Some(100)), ("pay", Some(300))];
        assert_eq!(points.finish(), expected.map(|(name, second)| (name.into(), second.map(at))));
    }

    #[test]
    fn equal_names_are_held_once() {
        let first = DatabaseNames::new(["a", "b"].into_iter(), &DatabaseNames::default());
        let second = DatabaseNames::new(["a", "b"].into_iter(), &first);
        assert!(Arc::ptr_eq(&first.0, &second.0));
        assert!(!Arc::ptr_eq(&first.0, &DatabaseNames::new(["a"].into_iter(), &first).0));
    }
}

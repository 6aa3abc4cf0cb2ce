//! Which statements of a dump a restore runs, and under which name of the database.

use std::collections::BTreeSet;

use crate::{kind::Kind, statements::Statement};

/// What to restore.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    /// By their names in the backup.
    pub(crate) databases: BTreeSet<String>,
    /// Only these tables, with their rows and triggers. Empty: all objects.
    pub(crate) tables: BTreeSet<String>,
    /// The other name of the one database.
    pub(crate) rename: Option<String>,
}

impl Scope {
    /// The name on the target.
    pub(crate) fn target_of<'a>(&'a self, database: &'a str) -> &'a str {
        self.rename.as_deref().unwrap_or(database)
    }
}

/// Follows a dump, statement by statement.
#[derive(Debug)]
pub(crate) struct Filter {
    scope: Scope,
    /// `None` before the first database.
    database: Option<String>,
    table: Option<String>,
    /// Objects of a renamed database whose text still has its old name.
    pub(crate) old_names: Vec<String>,
}

impl Filter {
    pub(crate) fn new(scope: Scope) -> Self {
        Self { scope, database: None, table: None, old_names: Vec::new() }
    }

    /// The database and the table that are being loaded, for errors and progress.
    pub(crate) fn place(&self) -> String {
        match (&self.database, &self.table) {
            (Some(database), Some(table)) => format!("`{database}`.`{table}`"),
            (Some(database), None) => format!("`{database}`"),
            (None, _) => "the header".to_owned(),
        }
    }

    /// The statement to run, if any.
    pub(crate) fn apply(&mut self, statement: &Statement<'_>) -> Option<Vec<u8>> {
        let kind = Kind::of(statement);
        match &kind {
            Kind::CreateDatabase(name) => {
                self.enter(name);
                return self.is_selected().then(|| self.renamed(statement.text, name));
            }
            Kind::Use(name) => {
                self.enter(name);
                return self.is_selected().then(|| format!("USE {}", quoted(self.scope.target_of(name))).into_bytes());
            }
            Kind::CreateTable(name) | Kind::CreateSequence(name) | Kind::OfTable(name) | Kind::Insert(name) => {
                self.table = Some(name.clone());
            }
            Kind::View(name) | Kind::Placeholder(name) => self.table = Some(name.clone()),
            Kind::Routine(name) | Kind::Event(name) | Kind::Library(name) => self.table = Some(name.clone()),
            Kind::Trigger | Kind::DropBody | Kind::Other => {}
        }
        if self.database.is_some() && !(self.is_selected() && self.is_wanted(&kind)) {
            return None;
        }
        Some(self.with_new_name(&kind, statement.text))
    }

    fn enter(&mut self, database: &str) {
        self.database = Some(database.to_owned());
        self.table = None;
    }

    fn is_selected(&self) -> bool {
        self.database.as_ref().is_some_and(|name| self.scope.databases.contains(name))
    }

    fn is_wanted(&self, kind: &Kind) -> bool {
        if self.scope.tables.is_empty() {
            return true;
        }
        match kind {
            Kind::CreateTable(_) | Kind::CreateSequence(_) | Kind::OfTable(_) | Kind::Insert(_) | Kind::Trigger => {
                self.table.as_ref().is_some_and(|table| self.scope.tables.contains(table))
            }
            Kind::Other => true,
            _ => false,
        }
    }

    /// `SHOW CREATE TABLE` qualifies sequences with the database. The text of views and bodies is the user's own, which
    /// is not changed.
    fn with_new_name(&mut self, kind: &Kind, text: &[u8]) -> Vec<u8> {
        let (Some(_), Some(database)) = (&self.scope.rename, &self.database) else { return text.to_vec() };
        let old = format!("{}.", quoted(database));
        match kind {
            Kind::CreateTable(_) => {
                let new = format!("{}.", quoted(self.scope.target_of(database)));
                replace(text, old.as_bytes(), new.as_bytes())
            }
            Kind::Trigger => {
                let text = rename_trigger(text, database, self.scope.target_of(database));
                if memchr::memmem::find(&text, old.as_bytes()).is_some() {
                    self.old_names.push(format!("a trigger of {}", self.place()));
                }
                text
            }
            Kind::View(_) | Kind::Routine(_) | Kind::Event(_)
                if memchr::memmem::find(text, old.as_bytes()).is_some() =>
            {
                self.old_names.push(self.place());
                text.to_vec()
            }
            _ => text.to_vec(),
        }
    }

    fn renamed(&self, text: &[u8], database: &str) -> Vec<u8> {
        let new = quoted(self.scope.target_of(database));
        replace(text, quoted(database).as_bytes(), new.as_bytes())
    }
}

/// MariaDB keeps the head of a trigger as the user wrote it, perhaps `TRIGGER a.name BEFORE INSERT ON a.t`.
fn rename_trigger(text: &[u8], database: &str, new: &str) -> Vec<u8> {
    let body = memchr::memmem::find(&text.to_ascii_lowercase(), b"for each row").unwrap_or(text.len());
    let (head, body) = text.split_at(body);
    let new = format!(" {}.", quoted(new));
    let head = replace(head, format!(" {database}.").as_bytes(), new.as_bytes());
    let mut head = replace(&head, format!(" {}.", quoted(database)).as_bytes(), new.as_bytes());
    head.extend_from_slice(body);
    head
}

/// A name in backticks.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn replace(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, old) {
        result.extend_from_slice(&rest[..at]);
        result.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    result.extend_from_slice(rest);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statements::{Item, Splitter};

    const DUMP: &[u8] = include_bytes!("../../fixtures/mariadb.sql");

    fn run(scope: Scope) -> (Vec<String>, Vec<String>) {
        let mut filter = Filter::new(scope);
        let mut found = Vec::new();
        let mut splitter = Splitter::new(1 << 20);
        splitter
            .feed(DUMP, |item| {
                if let Item::Statement(statement) = item
                    && let Some(text) = filter.apply(&statement)
                {
                    found.push(String::from_utf8(text).unwrap());
                }
                Ok::<(), ()>(())
            })
            .unwrap();
        (found, filter.old_names)
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn other_databases_are_left_out() {
        let (found, _) = run(Scope { databases: names(&["odd-db name.1"]), ..Scope::default() });
        assert!(found.iter().any(|text| text.starts_with("CREATE TABLE `t 1`")));
        assert!(!found.iter().any(|text| text.contains("account") || text.contains("twice")));
        assert!(found.iter().any(|text| text.contains("FOREIGN_KEY_CHECKS=0")), "the header is run");
    }

    #[test]
    fn a_table_comes_with_its_rows_and_triggers_alone() {
        let scope = Scope { databases: names(&["fx"]), tables: names(&["account"]), ..Scope::default() };
        let (found, _) = run(scope);
        let about = |word: &str| found.iter().filter(|text| text.contains(word)).count();
        assert_eq!((about("CREATE TABLE"), about("INSERT INTO"), about("TRIGGER t")), (2, 1, 2));
        assert_eq!((about("VIEW"), about("FUNCTION"), about("EVENT"), about("ticket")), (0, 0, 0, 0));
    }

    #[test]
    fn the_head_of_a_trigger_may_name_the_database() {
        let trigger = b"/*!50003 TRIGGER a.t1 BEFORE INSERT ON `a`.t FOR EACH ROW SET NEW.x = (SELECT 1 FROM a.u)";
        let renamed = rename_trigger(trigger, "a", "b");
        assert_eq!(
            String::from_utf8(renamed).unwrap(),
            "/*!50003 TRIGGER `b`.t1 BEFORE INSERT ON `b`.t FOR EACH ROW SET NEW.x = (SELECT 1 FROM a.u)"
        );
    }

    #[test]
    fn a_database_gets_another_name() {
        let scope = Scope { databases: names(&["fx"]), rename: Some("o`ther".to_owned()), ..Scope::default() };
        let (found, old_names) = run(scope);
        assert!(found.iter().any(|text| text.starts_with("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `o``ther`")));
        assert_eq!(found.iter().filter(|text| *text == "USE `o``ther`").count(), 2);
        assert!(found.iter().any(|text| text.contains("DEFAULT nextval(`o``ther`.`ticket_no`)")));
        assert!(!found.iter().any(|text| text.contains("`fx`")) && old_names.is_empty(), "{old_names:?}");
    }
}

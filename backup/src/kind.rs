//! What a statement of a dump is about. `mysqldump` and `mariadb-dump` write the same few forms.

use crate::statements::Statement;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Use(String),
    CreateDatabase(String),
    CreateTable(String),
    CreateSequence(String),
    /// `DROP`, `ALTER`, `SETVAL` or `INSERT` of this table or sequence.
    OfTable(String),
    Insert(String),
    /// A view's stand-in, so that other views can refer to it, and the `DROP` of a view.
    Placeholder(String),
    View(String),
    Trigger,
    /// With its kind: `function f`.
    Routine(String),
    Event(String),
    Library(String),
    /// `DROP` of a routine, an event or a library.
    DropBody,
    Other,
}

impl Kind {
    pub(crate) fn of(statement: &Statement<'_>) -> Self {
        let text = statement.text;
        let after = |prefix: &str| text.strip_prefix(prefix.as_bytes());
        let name = |rest: &[u8]| leading_name(rest).map(|(name, _)| name);
        let named = |rest: Option<&[u8]>, kind: fn(String) -> Self| rest.and_then(name).map(kind);
        match text.first() {
            Some(b'I' | b'R') => named(after("INSERT INTO ").or_else(|| after("REPLACE INTO ")), Self::Insert),
            Some(b'U') => named(after("USE "), Self::Use),
            Some(b'D') => {
                named(after("DROP TABLE IF EXISTS ").or_else(|| after("DROP SEQUENCE IF EXISTS ")), Self::OfTable)
                    .or_else(|| named(after("DO SETVAL("), Self::OfTable))
                    .or_else(|| after("DROP LIBRARY ").map(|_| Self::DropBody))
            }
            Some(b'C') => {
                if let Some(rest) = after("CREATE TABLE ") {
                    named(Some(rest.strip_prefix(b"IF NOT EXISTS ").unwrap_or(rest)), Self::CreateTable)
                } else if let Some(rest) = after("CREATE SEQUENCE ") {
                    named(Some(rest), Self::CreateSequence)
                } else if after("CREATE DATABASE ").is_some() {
                    let quote = text.iter().position(|byte| *byte == b'`').unwrap_or(text.len());
                    named(text.get(quote..), Self::CreateDatabase)
                } else {
                    routine(text)
                }
            }
            Some(b'/') => comment(text),
            _ => None,
        }
        .unwrap_or(Self::Other)
    }
}

fn comment(text: &[u8]) -> Option<Kind> {
    let after = |prefix: &str| text.strip_prefix(prefix.as_bytes());
    let name = |rest: &[u8]| leading_name(rest).map(|(name, _)| name);
    let placeholder = ["CREATE VIEW ", "CREATE TABLE ", "DROP VIEW IF EXISTS ", "DROP TABLE IF EXISTS "];
    if let Some(rest) =
        after("/*!50001 ").and_then(|rest| placeholder.iter().find_map(|p| rest.strip_prefix(p.as_bytes())))
    {
        name(rest).map(Kind::Placeholder)
    } else if after("/*!50001 CREATE ALGORITHM").is_some() {
        find(text, b"*/\n/*!50001 VIEW ").and_then(name).map(Kind::View)
    } else if let Some(rest) = after("/*!40000 ALTER TABLE ") {
        name(rest).map(Kind::OfTable)
    } else if after("/*!50003 CREATE*/").is_some() {
        Some(Kind::Trigger)
    } else if after("/*!50106 CREATE*/").is_some() {
        find(text, b"/*!50106 EVENT ").and_then(name).map(Kind::Event)
    } else if after("/*!50003 DROP ").is_some() || after("/*!50106 DROP ").is_some() {
        Some(Kind::DropBody)
    } else {
        None
    }
}

/// `CREATE DEFINER=… [AGGREGATE] FUNCTION name`, and so on.
fn routine(text: &[u8]) -> Option<Kind> {
    let mut rest = text.strip_prefix(b"CREATE ")?;
    rest = rest.strip_prefix(b"OR REPLACE ").unwrap_or(rest);
    if rest.starts_with(b"DEFINER=") {
        rest = definer(rest)?.1.trim_ascii_start();
    }
    rest = rest.strip_prefix(b"AGGREGATE ").unwrap_or(rest);
    for (word, kind) in [
        ("FUNCTION ", "function"),
        ("PROCEDURE ", "procedure"),
        ("PACKAGE BODY ", "package body"),
        ("PACKAGE ", "package"),
        ("LIBRARY ", "library"),
    ] {
        if let Some(rest) = rest.strip_prefix(word.as_bytes()) {
            let name = leading_name(rest.strip_prefix(b"IF NOT EXISTS ").unwrap_or(rest))?.0;
            return Some(if kind == "library" { Kind::Library(name) } else { Kind::Routine(format!("{kind} {name}")) });
        }
    }
    None
}

/// The account after the first `DEFINER=`, as `user@host`, and what follows it.
pub(crate) fn definer(text: &[u8]) -> Option<(String, &[u8])> {
    let (user, rest) = leading_name(find(text, b"DEFINER=")?)?;
    match rest.strip_prefix(b"@").and_then(leading_name) {
        Some((host, rest)) => Some((format!("{user}@{host}"), rest)),
        // A role.
        None => Some((user, rest)),
    }
}

fn find<'a>(text: &'a [u8], what: &[u8]) -> Option<&'a [u8]> {
    memchr::memmem::find(text, what).map(|at| &text[at + what.len()..])
}

/// The name at the start, in backticks or double quotes (doubled inside) or bare, and what follows it.
fn leading_name(text: &[u8]) -> Option<(String, &[u8])> {
    let &quote = text.first()?;
    if !matches!(quote, b'`' | b'"' | b'\'') {
        let end = text.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'(').unwrap_or(text.len());
        return (end > 0).then(|| (String::from_utf8_lossy(&text[..end]).into_owned(), &text[end..]));
    }
    let mut name = Vec::new();
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        if byte == quote {
            if text.get(at + 1) != Some(&quote) {
                return Some((String::from_utf8_lossy(&name).into_owned(), &text[at + 1..]));
            }
            at += 1;
        }
        name.push(byte);
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Kind {
        Kind::of(&Statement { text: text.as_bytes(), len: 0, rows: 0, in_body: false })
    }

    #[test]
    fn every_form_of_the_clients_is_recognised() {
        let s = str::to_owned;
        for (text, expected) in [
            ("USE `od``d`", Kind::Use(s("od`d"))),
            ("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `app` /*!40100 DEFAULT */", Kind::CreateDatabase(s("app"))),
            ("CREATE TABLE `a b` (\n `x` int)", Kind::CreateTable(s("a b"))),
            ("CREATE TABLE IF NOT EXISTS `general_log` (", Kind::CreateTable(s("general_log"))),
            ("CREATE SEQUENCE `sq` start with 7", Kind::CreateSequence(s("sq"))),
            ("DO SETVAL(`sq`, 1007, 0)", Kind::OfTable(s("sq"))),
            ("DROP TABLE IF EXISTS `a`", Kind::OfTable(s("a"))),
            ("/*!40000 ALTER TABLE `a` DISABLE KEYS */", Kind::OfTable(s("a"))),
            ("INSERT INTO `a` (`b`) VALUES (1)", Kind::Insert(s("a"))),
            ("/*!50001 DROP VIEW IF EXISTS `v`*/", Kind::Placeholder(s("v"))),
            ("/*!50001 CREATE VIEW `v` AS SELECT\n 1 AS `x`*/", Kind::Placeholder(s("v"))),
            (
                "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`a`@`%` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 1 */",
                Kind::View(s("v")),
            ),
            ("/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`h`*/ /*!50003 TRIGGER t2 BEFORE", Kind::Trigger),
            ("/*!50106 CREATE*/ /*!50117 DEFINER=`r`@`h`*/ /*!50106 EVENT `e 1` ON", Kind::Event(s("e 1"))),
            ("CREATE DEFINER=`r`@`h` FUNCTION `f`(n INT)", Kind::Routine(s("function f"))),
            ("CREATE DEFINER=\"r\"@\"h\" PACKAGE BODY \"pk\" AS", Kind::Routine(s("package body pk"))),
            ("CREATE LIBRARY `l`\n LANGUAGE", Kind::Library(s("l"))),
            ("/*!50003 DROP FUNCTION IF EXISTS `f` */", Kind::DropBody),
            ("SET @saved_cs_client = 1", Kind::Other),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
    }

    #[test]
    fn definers_are_accounts_or_roles() {
        let of = |text: &'static str| definer(text.as_bytes()).map(|(account, _)| account);
        assert_eq!(of("/*!50013 DEFINER=`do``c`@`%` SQL").as_deref(), Some("do`c@%"));
        assert_eq!(of("CREATE DEFINER=`staff` PROCEDURE").as_deref(), Some("staff"));
        assert_eq!(of("SELECT 1"), None);
    }
}

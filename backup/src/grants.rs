//! Parses `SHOW GRANTS`, to check before the dump whether the dump will contain everything.
//!
//! The dump itself does not show it: without TRIGGER, or without the right to read routines, the clients omit those
//! objects and still exit with 0, and `information_schema` hides the same objects from the same user.

/// The grants of one user, in the server's own order (a MySQL partial revoke follows what it restricts).
pub(crate) struct Grants(Vec<Grant>);

struct Grant {
    revoke: bool,
    privileges: Vec<String>,
    scope: Scope,
}

enum Scope {
    Global,
    /// A pattern as for `LIKE`.
    Database(String),
    Table(String, String),
}

impl Grants {
    /// Lines that grant no privilege on data (roles, proxies, single routines) are skipped.
    pub(crate) fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Self {
        Self(lines.into_iter().filter_map(parse_line).collect())
    }

    pub(crate) fn global(&self, privilege: &str) -> bool {
        self.holds(privilege, |scope| matches!(scope, Scope::Global))
    }

    pub(crate) fn on_database(&self, database: &str, privilege: &str) -> bool {
        self.holds(privilege, |scope| match scope {
            Scope::Global => true,
            Scope::Database(pattern) => like(pattern, database),
            Scope::Table(..) => false,
        })
    }

    pub(crate) fn on_table(&self, database: &str, table: &str, privilege: &str) -> bool {
        self.holds(privilege, |scope| match scope {
            Scope::Global => true,
            Scope::Database(pattern) => like(pattern, database),
            Scope::Table(d, t) => d == database && t == table,
        })
    }

    fn holds(&self, privilege: &str, covers: impl Fn(&Scope) -> bool) -> bool {
        self.0
            .iter()
            .filter(|grant| grant.privileges.iter().any(|p| p == privilege || p == "ALL PRIVILEGES"))
            .filter(|grant| covers(&grant.scope))
            .fold(false, |_, grant| !grant.revoke)
    }
}

fn parse_line(line: &str) -> Option<Grant> {
    let (revoke, rest) = match line.strip_prefix("GRANT ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("REVOKE ")?),
    };
    let (privileges, rest) = rest.split_once(" ON ")?;
    let scope = if rest.starts_with("*.*") {
        Scope::Global
    } else {
        let (database, rest) = parse_quoted(rest)?;
        let rest = rest.strip_prefix('.')?;
        if rest.starts_with('*') { Scope::Database(database) } else { Scope::Table(database, parse_quoted(rest)?.0) }
    };
    Some(Grant { revoke, privileges: split_list(privileges), scope })
}

/// MySQL writes `, ` between static privileges, and `,` between dynamic ones.
fn split_list(privileges: &str) -> Vec<String> {
    privileges.split(',').map(|privilege| privilege.trim().to_owned()).collect()
}

/// Splits a name in backticks (doubled inside) from what follows it.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text.strip_prefix('`')?;
    loop {
        let (part, after) = rest.split_once('`')?;
        name.push_str(part);
        match after.strip_prefix('`') {
            Some(inner) => {
                name.push('`');
                rest = inner;
            }
            None => return Some((name, after)),
        }
    }
}

/// `LIKE` as grants use it: `%`, `_`, and `\` before either. Linear in space, quadratic in time at worst, on names of
/// 64 characters.
fn like(pattern: &str, name: &str) -> bool {
    enum Token {
        Any,
        One,
        Exactly(char),
    }
    let mut tokens = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        tokens.push(match c {
            '%' => Token::Any,
            '_' => Token::One,
            '\\' => Token::Exactly(chars.next().unwrap_or('\\')),
            c => Token::Exactly(c),
        });
    }
    // `reached[i]`: the first i characters can be matched by the tokens so far.
    let name: Vec<char> = name.chars().collect();
    let mut reached = vec![false; name.len() + 1];
    reached[0] = true;
    for token in tokens {
        let mut next = vec![false; name.len() + 1];
        for i in 0..=name.len() {
            next[i] = match &token {
                Token::Any => reached[i] || (i > 0 && next[i - 1]),
                Token::One => i > 0 && reached[i - 1],
                Token::Exactly(c) => i > 0 && reached[i - 1] && name[i - 1] == *c,
            };
        }
        reached = next;
    }
    reached[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grants_of_mariadb_are_understood() {
        let grants = Grants::parse([
            "GRANT `reader` TO `backup`@`127.0.0.1`",
            "GRANT USAGE ON *.* TO `backup`@`127.0.0.1` IDENTIFIED BY PASSWORD '*94BD'",
            "GRANT SELECT, SHOW VIEW, EVENT, TRIGGER ON `med\\_%`.* TO `backup`@`127.0.0.1`",
            "GRANT SELECT ON `mysql`.`proc` TO `backup`@`127.0.0.1`",
            "GRANT SELECT (`a`), INSERT ON `o``dd`.`t` TO `backup`@`127.0.0.1`",
            "GRANT EXECUTE ON PROCEDURE `app`.`p` TO `backup`@`127.0.0.1`",
        ]);
        assert!(grants.on_database("med_app", "SHOW VIEW"));
        assert!(!grants.on_database("medXapp", "SHOW VIEW"), "an escaped underscore is not a wildcard");
        assert!(!grants.on_database("med_app", "INSERT"));
        assert!(grants.on_table("mysql", "proc", "SELECT"));
        assert!(!grants.on_database("mysql", "SELECT"));
        assert!(grants.on_table("o`dd", "t", "INSERT"));
        assert!(!grants.on_table("o`dd", "t", "SELECT"), "a column is not the table");
        assert!(!grants.global("SELECT"));
    }

    #[test]
    fn grants_of_mysql_are_understood() {
        let grants = Grants::parse([
            "GRANT SELECT, TRIGGER ON *.* TO `backup`@`%`",
            "GRANT FLUSH_TABLES,SHOW_ROUTINE ON *.* TO `backup`@`%`",
            "GRANT ALL PRIVILEGES ON `app`.* TO `backup`@`%`",
            "REVOKE SELECT ON `secret`.* FROM `backup`@`%`",
        ]);
        assert!(grants.global("SHOW_ROUTINE"));
        assert!(grants.on_database("app", "EVENT"));
        assert!(grants.on_database("other", "SELECT"));
        assert!(!grants.on_database("other", "EVENT"));
        assert!(!grants.on_database("secret", "SELECT"), "a partial revoke takes away");
        assert!(grants.on_database("secret", "TRIGGER"));
    }

    #[test]
    fn patterns_match_like_like() {
        for (pattern, name, matches) in [
            ("app", "app", true),
            ("app", "apple", false),
            ("%", "", true),
            ("a%c", "abbc", true),
            ("a%c", "abcd", false),
            ("_", "ä", true),
            ("%a%a%", "banana", true),
            ("\\%", "x", false),
            ("", "x", false),
        ] {
            assert_eq!(like(pattern, name), matches, "{pattern} {name}");
        }
    }
}

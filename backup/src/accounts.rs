//! Users, roles and grants of a server as statements, so that a restore can make the accounts that definers need.
//!
//! They are in the backup as comments before the dump: a plain load ignores them, and `mysql-backup restore` runs them.

use mysql_async::{Conn, prelude::Queryable as _};
use mysql_kit::error_code;

use crate::{manifest::Flavour, scan::ACCOUNT_PREFIX};

/// The servers' own accounts, and root, which every server has.
const SYSTEM_USERS: [&str; 5] = ["root", "mariadb.sys", "mysql.sys", "mysql.session", "mysql.infoschema"];

/// One statement that creates an account or grants it something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AccountStatement {
    /// As `user@host`, or a role's name.
    pub(crate) account: String,
    pub(crate) sql: String,
}

impl AccountStatement {
    /// The line of a backup.
    pub(crate) fn to_line(&self) -> String {
        // JSON has no line ends, whatever is in a name.
        let pair = serde_json::json!([self.account, self.sql]);
        format!("{ACCOUNT_PREFIX}{pair}\n")
    }

    pub(crate) fn parse(comment: &[u8]) -> Option<Self> {
        let json = comment.strip_prefix(ACCOUNT_PREFIX.as_bytes())?;
        let (account, sql) = serde_json::from_slice(json).ok()?;
        Some(Self { account, sql })
    }
}

/// The accounts, or `None` if the user may not read them all: it needs SELECT on the database `mysql`.
pub(crate) async fn read(
    connection: &mut Conn,
    flavour: Flavour,
) -> mysql_async::Result<Option<(u64, Vec<AccountStatement>)>> {
    match read_all(connection, flavour).await {
        Ok(accounts) => Ok(Some(accounts)),
        Err(error) if error_code::of(&error).is_some_and(error_code::is_privilege_missing) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn read_all(connection: &mut Conn, flavour: Flavour) -> mysql_async::Result<(u64, Vec<AccountStatement>)> {
    // Roles first: users are granted them.
    let list = match flavour {
        Flavour::MariaDb => "SELECT User, Host, is_role = 'Y' FROM mysql.user ORDER BY is_role DESC, User, Host",
        Flavour::MySql => {
            // Hashes of passwords are bytes, which no text keeps.
            connection.query_drop("SET SESSION print_identified_with_as_hex = ON").await?;
            "SELECT User, Host, account_locked = 'Y' AND authentication_string = '' FROM mysql.user ORDER BY 3 DESC, 1, 2"
        }
    };
    let users: Vec<(String, String, bool)> = connection.query(list).await?;
    let (mut create, mut grant, mut count) = (Vec::new(), Vec::new(), 0);
    for (user, host, is_role) in users {
        // MariaDB's PUBLIC exists on every server, too.
        if SYSTEM_USERS.contains(&user.as_str()) || (is_role && user == "PUBLIC") {
            continue;
        }
        count += 1;
        let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
        let is_bare_role = is_role && flavour == Flavour::MariaDb;
        let (account, name) = if is_bare_role {
            (user.clone(), quoted(&user))
        } else {
            (format!("{user}@{host}"), format!("{}@{}", quoted(&user), quoted(&host)))
        };
        let statement = |sql: String| AccountStatement { account: account.clone(), sql };
        if is_bare_role {
            create.push(statement(format!("CREATE ROLE IF NOT EXISTS {name}")));
        } else {
            let sql: Option<String> = connection.query_first(format!("SHOW CREATE USER {name}")).await?;
            create.extend(sql.map(|sql| statement(sql.replacen("CREATE USER", "CREATE USER IF NOT EXISTS", 1))));
        }
        let grants: Vec<String> = connection.query(format!("SHOW GRANTS FOR {name}")).await?;
        // In MariaDB the first line repeats the password's hash, which would set it again.
        grant.extend(grants.into_iter().map(|sql| statement(without_password(&sql))));
    }
    create.append(&mut grant);
    Ok((count, create))
}

fn without_password(grant: &str) -> String {
    let Some((head, tail)) = grant.split_once(" IDENTIFIED ") else { return grant.to_owned() };
    let rest = [" WITH GRANT OPTION", " REQUIRE "].into_iter().find_map(|word| tail.find(word).map(|at| &tail[at..]));
    format!("{head}{}", rest.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_survives_a_round_trip() {
        let statement = AccountStatement { account: "a\n@%".to_owned(), sql: "GRANT 'x'\n;".to_owned() };
        let line = statement.to_line();
        assert_eq!(line.matches('\n').count(), 1);
        assert_eq!(AccountStatement::parse(line.trim_end().as_bytes()), Some(statement));
        assert_eq!(AccountStatement::parse(b"-- Host: localhost"), None);
    }

    #[test]
    fn a_grant_sets_no_password() {
        for (grant, without) in [
            ("GRANT USAGE ON *.* TO `b`@`%` IDENTIFIED BY PASSWORD '*B6'", "GRANT USAGE ON *.* TO `b`@`%`"),
            (
                "GRANT ALL PRIVILEGES ON *.* TO `b`@`%` IDENTIFIED VIA ed25519 USING 'x' WITH GRANT OPTION",
                "GRANT ALL PRIVILEGES ON *.* TO `b`@`%` WITH GRANT OPTION",
            ),
            ("GRANT SELECT ON `a`.* TO `b`@`%`", "GRANT SELECT ON `a`.* TO `b`@`%`"),
        ] {
            assert_eq!(without_password(grant), without);
        }
    }
}

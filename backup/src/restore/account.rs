//! The accounts that a restore creates.

use std::collections::BTreeSet;

use crate::{
    accounts::AccountStatement,
    manifest::Success,
    restore::{
        error::RestoreError,
        filter::{Scope, quoted},
        policy::AccountPolicy,
        target::Target,
    },
};

/// Creates accounts that are not there, and returns the grants that failed: their tables may follow.
pub(crate) async fn create(
    policy: AccountPolicy,
    saved: &Success,
    scope: &Scope,
    target: &mut Target<'_>,
    list: Vec<AccountStatement>,
    notes: &mut Vec<String>,
) -> Result<Vec<AccountStatement>, RestoreError> {
    let definers: BTreeSet<&str> = saved.definers.iter().map(String::as_str).collect();
    let wanted: BTreeSet<String> = match policy {
        AccountPolicy::None => return Ok(Vec::new()),
        AccountPolicy::All => list.iter().map(|statement| statement.account.clone()).collect(),
        AccountPolicy::Definers if !scope.tables.is_empty() => return Ok(Vec::new()),
        AccountPolicy::Definers => with_roles(&list, definers.iter().map(|&name| name.to_owned()).collect()),
    };
    let mut missing = BTreeSet::new();
    for account in wanted.iter().map(String::as_str).chain(definers) {
        let (user, host) = account.rsplit_once('@').unwrap_or((account, ""));
        // MySQL's roles are accounts with a host, MariaDB's have none.
        if !target.has_account(user, host).await? {
            missing.insert(account.to_owned());
        }
    }
    let mut later = Vec::new();
    for statement in &list {
        if missing.contains(&statement.account) && target.try_run(&statement.sql).await.is_err() {
            later.push(statement.clone());
        }
    }
    for account in &missing {
        let is_saved = list.iter().any(|statement| statement.account == *account);
        match account.rsplit_once('@') {
            _ if is_saved => notes.push(format!("created the account {account}")),
            Some((user, host)) => {
                target
                    .run(&format!("CREATE USER IF NOT EXISTS {}@{} ACCOUNT LOCK", quoted(user), quoted(host)))
                    .await?;
                notes.push(format!(
                    "created the account {account}, locked and without privileges: it is a definer, and the backup \
                     has no accounts; grant it what its views and routines need"
                ));
            }
            None => target.run(&format!("CREATE ROLE IF NOT EXISTS {}", quoted(account))).await?,
        }
    }
    Ok(later)
}

/// These accounts and the roles that they are granted, and so on.
fn with_roles(list: &[AccountStatement], mut wanted: BTreeSet<String>) -> BTreeSet<String> {
    let names: BTreeSet<&String> = list.iter().map(|statement| &statement.account).collect();
    loop {
        let roles: Vec<String> = list
            .iter()
            .filter(|statement| wanted.contains(&statement.account))
            .filter_map(|statement| statement.sql.strip_prefix("GRANT `")?.split_once(" TO "))
            .flat_map(|(roles, _)| names.iter().filter(move |name| format!("`{roles},").contains(&written(name))))
            .map(|name| (*name).clone())
            .collect();
        let before = wanted.len();
        wanted.extend(roles);
        if wanted.len() == before {
            return wanted;
        }
    }
}

/// An account as SHOW GRANTS writes it in a list.
fn written(account: &str) -> String {
    match account.rsplit_once('@') {
        Some((user, host)) => format!("{}@{},", quoted(user), quoted(host)),
        None => format!("{},", quoted(account)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_wanted_accounts_are_wanted() {
        let of = |account: &str, sql: &str| AccountStatement { account: account.to_owned(), sql: sql.to_owned() };
        let list = [
            of("staff@%", "CREATE USER `staff`@`%`"),
            of("chief@%", "GRANT `staff`@`%` TO `chief`@`%`"),
            of("nurse", "CREATE ROLE `nurse`"),
            of("doctor@%", "GRANT SELECT ON `a`.* TO `doctor`@`%`"),
            of("doctor@%", "GRANT `chief`@`%`,`nurse` TO `doctor`@`%`"),
            of("other@%", "GRANT SELECT ON `a`.* TO `other`@`%`"),
        ];
        let wanted = with_roles(&list, BTreeSet::from(["doctor@%".to_owned()]));
        let names: Vec<&str> = wanted.iter().map(String::as_str).collect();
        assert_eq!(names, ["chief@%", "doctor@%", "nurse", "staff@%"]);
    }
}

//! Keys of each database.

use std::collections::HashSet;

use exporter_toolkit::{BoxError, Collector, Desc, Families, async_trait};
use tokio::task::coop::consume_budget;

use crate::client::Session;
use crate::info::{is_numbered, part};

static KEYS: Desc =
    Desc::gauge("redis_db_keys", "Current number of keys in the database.", &["db"]).field("db<n> keys");
static EXPIRING: Desc =
    Desc::gauge("redis_db_keys_expiring", "Current number of keys in the database with an expiry.", &["db"])
        .field("db<n> expires");
static CACHED: Desc = Desc::gauge(
    "redis_db_keys_cached",
    "Current number of keys of the database in memory, with storage behind it (KeyDB FLASH).",
    &["db"],
)
.field("db<n> cached_keys");
static AVERAGE_TTL: Desc = Desc::gauge(
    "redis_db_avg_ttl_seconds",
    "Average time to live of the keys with an expiry, estimated by the server.",
    &["db"],
)
.field("db<n> avg_ttl");

/// The default of Redis, for servers that refuse CONFIG GET.
const DEFAULT_DATABASES: usize = 16;

/// The server chooses the number of databases, so it needs a bound here.
const MAX_EMPTY_DATABASES: usize = 10_000;

pub(super) struct Keyspace;

#[async_trait]
impl Collector<Session> for Keyspace {
    fn name(&self) -> &'static str {
        "keyspace"
    }

    fn help(&self) -> &'static str {
        "Keys of each database; empty databases have 0."
    }

    fn source(&self) -> &'static str {
        "`INFO ALL`"
    }

    fn families(&self) -> Vec<Desc> {
        vec![KEYS.clone(), EXPIRING.clone(), CACHED.clone(), AVERAGE_TTL.clone()]
    }

    async fn collect(&self, session: &Session, out: &mut Families) -> Result<(), BoxError> {
        let mut seen = HashSet::new();
        for (database, value) in session.info.fields().filter(|(key, _)| is_numbered(key, "db")) {
            consume_budget().await;
            let (Some(keys), Some(expiring)) = (part(value, "keys"), part(value, "expires")) else { continue };
            seen.insert(database);
            out.push(&KEYS, &[database], keys);
            out.push(&EXPIRING, &[database], expiring);
            if let Some(milliseconds) = part(value, "avg_ttl") {
                out.push(&AVERAGE_TTL, &[database], milliseconds / 1000.0);
            }
            if let Some(cached) = part(value, "cached_keys") {
                out.push(&CACHED, &[database], cached);
            }
        }
        // INFO leaves out empty databases. Rules such as `redis_db_keys{db="db0"} == 0` need them.
        let databases = databases(session);
        for number in 0..databases.min(MAX_EMPTY_DATABASES) {
            consume_budget().await;
            let database = format!("db{number}");
            if !seen.contains(database.as_str()) {
                out.push(&KEYS, &[&database], 0.0);
                out.push(&EXPIRING, &[&database], 0.0);
            }
        }
        if databases > MAX_EMPTY_DATABASES {
            return Err(format!(
                "the server has {databases} databases: empty ones from db{MAX_EMPTY_DATABASES} on are left out; \
                 lower its setting `databases`, or disable this collector"
            )
            .into());
        }
        Ok(())
    }
}

fn databases(session: &Session) -> usize {
    if session.info.get("redis_mode") == Some("sentinel") {
        return 0;
    }
    if session.info.get("cluster_enabled") == Some("1") {
        return 1;
    }
    session.setting("databases").and_then(|number| number.parse().ok()).unwrap_or(DEFAULT_DATABASES)
}

#[cfg(test)]
mod tests {
    use super::super::page;
    use super::*;
    use crate::client::session;

    #[test]
    fn empty_databases_are_filled_in() {
        let mut session = session("db1:keys=5,expires=2,avg_ttl=99490\ndb_size:3\ndb2:keys=x,expires=1\n");
        session.config = Ok(vec![("databases".to_owned(), "2".to_owned())]);
        assert_eq!(
            page(&Keyspace, &session),
            "redis_db_avg_ttl_seconds{db=\"db1\"} 99.49\n\
             redis_db_keys{db=\"db0\"} 0\nredis_db_keys{db=\"db1\"} 5\n\
             redis_db_keys_expiring{db=\"db0\"} 0\nredis_db_keys_expiring{db=\"db1\"} 2\n"
        );
    }

    #[test]
    fn a_hostile_number_of_databases_is_an_error() {
        use futures::FutureExt as _;

        let mut session = session("db0:keys=1,expires=0\n");
        session.config = Ok(vec![("databases".to_owned(), "99999999999".to_owned())]);
        let mut out = Families::default();
        let error = Keyspace.collect(&session, &mut out).now_or_never().unwrap().unwrap_err().to_string();
        assert!(error.contains("99999999999 databases"), "{error}");
        assert_eq!(exporter_toolkit::testing::samples(out).len(), 2 * MAX_EMPTY_DATABASES);
    }

    #[test]
    fn how_many_databases_there_are() {
        assert_eq!(databases(&session("redis_mode:standalone\n")), 16);
        assert_eq!(databases(&session("redis_mode:cluster\ncluster_enabled:1\n")), 1);
        assert_eq!(databases(&session("redis_mode:sentinel\n")), 0);
    }

    #[test]
    fn keydb_counts_cached_keys() {
        let session = session("cluster_enabled:1\ndb0:keys=1,expires=0,avg_ttl=0,cached_keys=1\n");
        assert!(page(&Keyspace, &session).contains("redis_db_keys_cached{db=\"db0\"} 1\n"));
    }
}

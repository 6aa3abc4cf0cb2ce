//! `basic_auth_users` of the web configuration: users with bcrypt hashes of their passwords.
//!
//! A check takes tens of milliseconds of CPU time by design. So checks run on the blocking pool, one at a time, and the
//! number of waiting checks has a bound. A password that was right is cached, so a scraper pays for one check only.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bcrypt::HashParts;
use hyper::header::HeaderValue;
use ring::hmac;
use ring::rand::SystemRandom;
use service_kit::lock::lock;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::error::KeyError;

/// Maximum number of cached passwords: more users than such a file usually has. bcrypt reads 72 bytes of a password, so
/// a longer one has unlimited right spellings, which must not fill the memory.
const MAX_CACHED: usize = 100;

/// Maximum number of checks that wait for the running one. At a cost of 10, about 50 ms, the last one waits for 1.5 s.
const MAX_WAITING: usize = 32;

/// How long a request waits for the checks before it, and then for its own, which takes about 4 s at a cost of 16.
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);

/// Each step doubles the time of a check. 16 takes about 4 s, and a running check cannot be cancelled.
const MAX_COST: u32 = 16;

/// Salt and digest of the hash for users that do not exist. Any will do.
const SALT_AND_DIGEST: &str = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Granted,
    Denied,
    /// Too many other checks are waiting.
    Busy,
}

pub(crate) struct Users {
    hashes: HashMap<String, String>,
    /// Checked for an unknown user, so that the response time does not reveal which users exist.
    unknown_user_hash: String,
    cache_key: hmac::Key,
    cache: Mutex<VecDeque<hmac::Tag>>,
    waiting: Semaphore,
    running: Arc<Semaphore>,
}

impl Users {
    /// `None` if no user is listed: requests then need no user.
    pub(crate) fn new(users: BTreeMap<String, String>) -> Result<Option<Self>, KeyError> {
        let mut highest = 0;
        for (user, hash) in &users {
            let error = |reason: String| KeyError::new(format!("basic_auth_users.{user}"), reason);
            let parts: HashParts = hash.parse().map_err(|_| {
                error(
                    "not a valid bcrypt hash; create one with `htpasswd -nBC 10 \"\"` (it starts with $2y$)".to_owned(),
                )
            })?;
            let cost = parts.get_cost();
            if !(4..=MAX_COST).contains(&cost) {
                return Err(error(format!("bcrypt cost {cost} is out of range; use 4 to {MAX_COST}, usually 10")));
            }
            highest = highest.max(cost);
        }
        if users.is_empty() {
            return Ok(None);
        }
        let cache_key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| KeyError::new("basic_auth_users", "cannot get random numbers from the operating system"))?;
        Ok(Some(Self {
            hashes: users.into_iter().collect(),
            unknown_user_hash: format!("$2y${highest:02}${SALT_AND_DIGEST}"),
            cache_key,
            cache: Mutex::default(),
            waiting: Semaphore::new(MAX_WAITING + 1),
            running: Arc::new(Semaphore::new(1)),
        }))
    }

    /// Checks the header `Authorization`.
    pub(crate) async fn access(&self, authorization: Option<&HeaderValue>) -> Access {
        let Some((user, password)) = authorization.and_then(credentials) else { return Access::Denied };
        let known = self.hashes.get(&user);
        let hash = known.unwrap_or(&self.unknown_user_hash);
        let credentials = joined([user.as_bytes(), &password, hash.as_bytes()]);
        if self.is_cached(&credentials) {
            return Access::Granted;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else { return Access::Busy };
        let Ok(Ok(permit)) = timeout(CHECK_TIMEOUT, Arc::clone(&self.running).acquire_owned()).await else {
            return Access::Busy;
        };
        // After a start, several scrapers arrive at once: the first one's check serves the others.
        if self.is_cached(&credentials) {
            return Access::Granted;
        }
        let hash = hash.clone();
        let check = tokio::task::spawn_blocking(move || {
            // Released when the check ends, even if its client has left by then.
            let _permit = permit;
            bcrypt::verify(&password, &hash).unwrap_or(false)
        });
        match timeout(CHECK_TIMEOUT, check).await {
            Ok(Ok(true)) if known.is_some() => {
                self.add_to_cache(&credentials);
                Access::Granted
            }
            Ok(_) => Access::Denied,
            // All threads of the pool are blocked by a hung file system.
            Err(_) => Access::Busy,
        }
    }

    /// Each comparison takes constant time. Without the key, the cached tags reveal nothing about the passwords.
    fn is_cached(&self, credentials: &[u8]) -> bool {
        self.cache().iter().any(|tag| hmac::verify(&self.cache_key, credentials, tag.as_ref()).is_ok())
    }

    fn add_to_cache(&self, credentials: &[u8]) {
        let mut cache = self.cache();
        if cache.len() == MAX_CACHED {
            cache.pop_front();
        }
        cache.push_back(hmac::sign(&self.cache_key, credentials));
    }

    fn cache(&self) -> MutexGuard<'_, VecDeque<hmac::Tag>> {
        lock(&self.cache)
    }
}

/// User and password of `Basic …`. A password need not be UTF-8. The configuration has UTF-8 users only.
fn credentials(authorization: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = authorization.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let (user, password) = decoded.split_at(colon);
    Some((String::from_utf8_lossy(user).into_owned(), password[1..].to_vec()))
}

/// Includes the lengths: `a` + `bc` must differ from `ab` + `c`.
fn joined(parts: [&[u8]; 3]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_be_bytes());
        all.extend_from_slice(part);
    }
    all
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn users(users: &[(&str, &str, u32)]) -> Users {
        let users =
            users.iter().map(|(user, password, cost)| ((*user).to_owned(), bcrypt::hash(password, *cost).unwrap()));
        Users::new(users.collect()).unwrap().unwrap()
    }

    fn basic(user: &str, password: &str) -> HeaderValue {
        HeaderValue::from_str(&format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))).unwrap()
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_known_user_is_accepted() {
        let users = users(&[("me", "right:one", 4), ("", "empty", 4)]);
        for (user, password, access) in [
            ("me", "right:one", Access::Granted),
            ("me", "right:one", Access::Granted),
            ("", "empty", Access::Granted),
            ("me", "wrong", Access::Denied),
            ("me", "", Access::Denied),
            ("me", "empty", Access::Denied),
            ("you", "right:one", Access::Denied),
            ("ME", "right:one", Access::Denied),
        ] {
            assert_eq!(users.access(Some(&basic(user, password))).await, access, "{user} {password}");
        }
        // At this cost, `fakepassword` matches the hash for unknown users.
        let costly = self::users(&[("me", "right", 10)]);
        assert!(bcrypt::verify("fakepassword", &costly.unknown_user_hash).unwrap());
        assert_eq!(costly.access(Some(&basic("you", "fakepassword"))).await, Access::Denied);
        assert_eq!(users.access(None).await, Access::Denied);
        for header in ["", "Basic", "Basic ", "Basic !!!", "Bearer bWU6cmlnaHQ6b25l", "Basic bWU"] {
            assert_eq!(users.access(Some(&HeaderValue::from_str(header).unwrap())).await, Access::Denied, "{header:?}");
        }
        let lower = HeaderValue::from_static("basic bWU6cmlnaHQ6b25l");
        assert_eq!(users.access(Some(&lower)).await, Access::Granted);
    }

    #[tokio::test]
    async fn only_right_passwords_are_cached_and_cached_ones_are_fast() {
        let users = users(&[("me", "right", 10)]);
        let timed = async |password: String| {
            let started = Instant::now();
            let access = users.access(Some(&basic("me", &password))).await;
            (access, started.elapsed())
        };
        let (access, first) = timed("right".to_owned()).await;
        assert_eq!(access, Access::Granted);
        // The fastest of several attempts, so that a busy machine does not fail this test.
        let mut again = first;
        for _ in 0..20 {
            again = again.min(timed("right".to_owned()).await.1);
        }
        assert!(again < first / 10, "{again:?} after {first:?}");
        for i in 0..3 {
            timed(format!("wrong {i}")).await;
        }
        assert_eq!(users.cache().len(), 1);
    }

    #[tokio::test]
    async fn an_unknown_user_takes_as_long_as_a_known_one() {
        let users = users(&[("me", "right", 9)]);
        let mut known = Duration::MAX;
        let mut unknown = Duration::MAX;
        for i in 0..5 {
            for (user, least) in [("me", &mut known), ("nobody", &mut unknown)] {
                let started = Instant::now();
                users.access(Some(&basic(user, &format!("wrong {i}")))).await;
                *least = started.elapsed().min(*least);
            }
        }
        assert!(unknown > known / 2 && known > unknown / 2, "known {known:?}, unknown {unknown:?}");
    }

    #[tokio::test]
    async fn many_wrong_passwords_are_refused_and_do_not_affect_cached_users() {
        let users = users(&[("me", "right", 8)]);
        let me = basic("me", "right");
        assert_eq!(users.access(Some(&me)).await, Access::Granted);
        let requests: Vec<_> = (0..MAX_WAITING + 20).map(|i| basic("me", &format!("wrong {i}"))).collect();
        let requests = futures::future::join_all(requests.iter().map(|header| users.access(Some(header))));
        let (answers, mine) = futures::future::join(requests, users.access(Some(&me))).await;
        assert_eq!(mine, Access::Granted);
        // How many depends on the checks that end meanwhile. Without the bound it would be none.
        let count = |wanted| answers.iter().filter(|access| **access == wanted).count();
        let (busy, denied) = (count(Access::Busy), count(Access::Denied));
        assert!(busy > 0 && denied > 0 && busy + denied == answers.len(), "{busy} busy, {denied} denied");
        assert_eq!(users.access(Some(&basic("me", "wrong"))).await, Access::Denied, "the queue is empty again");
    }

    #[test]
    fn the_cache_is_bounded() {
        let users = users(&[("me", "right", 4)]);
        for i in 0..MAX_CACHED + 5 {
            users.add_to_cache(&joined([b"me", &i.to_be_bytes(), b"hash"]));
        }
        assert_eq!(users.cache().len(), MAX_CACHED);
        assert!(!users.is_cached(&joined([b"me", &0usize.to_be_bytes(), b"hash"])));
        assert!(users.is_cached(&joined([b"me", &MAX_CACHED.to_be_bytes(), b"hash"])));
        assert!(!users.is_cached(&joined([b"m", &MAX_CACHED.to_be_bytes(), b"hash"])));
    }

    #[test]
    fn an_invalid_hash_is_reported_by_its_user_and_not_shown() {
        let error = |hash: &str| {
            let users = BTreeMap::from([("me".to_owned(), hash.to_owned())]);
            Users::new(users).err().unwrap().to_string()
        };
        let plain = error("my plain password");
        assert!(plain.starts_with("basic_auth_users.me: ") && !plain.contains("plain password"), "{plain}");
        assert!(error(&format!("$2y$31${SALT_AND_DIGEST}")).contains("bcrypt cost 31"));
        assert!(Users::new(BTreeMap::new()).unwrap().is_none());
    }
}

//! `basic_auth_users` of the web configuration: who may ask, by bcrypt hashes.
//!
//! A check costs tens of milliseconds of a processor by design. So it runs on the blocking pool, one at a time, with a bound on those that
//! wait; a password that was right once is remembered, so that a scraper pays for it once and not at every scrape.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bcrypt::HashParts;
use hyper::header::HeaderValue;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::web_config::Wrong;

/// Right passwords that are remembered: as many users as a file like this is for. bcrypt sees 72 bytes, so that longer ones have no end of
/// right spellings, which must not fill the memory.
const REMEMBERED: usize = 100;

/// Checks that may wait for the one that runs. At a cost of 10, some 50 ms, the last of them waits for a second and a half.
const WAITING: usize = 32;

/// How long a request waits for its turn, and then for its check, at the most; with a cost of 16 it takes most of the second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Each step doubles the time: 16 takes some 4 s, and a check can't be ended once it has begun.
const MAX_COST: u32 = 16;

/// Ends the hash for users that do not exist: a salt and a digest as good as any.
const SALT_AND_DIGEST: &str = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Granted,
    Denied,
    /// Too many others are being checked.
    Busy,
}

pub(crate) struct Users {
    hashes: HashMap<String, String>,
    /// Checked in place of an unknown user's, so that the time of an answer does not tell which users exist.
    nobody: String,
    key: hmac::Key,
    remembered: Mutex<VecDeque<hmac::Tag>>,
    waiting: Semaphore,
    running: Arc<Semaphore>,
}

impl Users {
    /// `None` where nobody is listed: then everybody may ask.
    pub(crate) fn new(users: BTreeMap<String, String>) -> Result<Option<Self>, Wrong> {
        let mut highest = 0;
        for (user, hash) in &users {
            let wrong = |reason: String| Wrong::new(format!("basic_auth_users.{user}"), reason);
            let parts: HashParts = hash.parse().map_err(|_| {
                wrong("this is no bcrypt hash; `htpasswd -nBC 10 \"\"` makes one, which begins with $2y$".to_owned())
            })?;
            let cost = parts.get_cost();
            if !(4..=MAX_COST).contains(&cost) {
                return Err(wrong(format!("a cost of {cost} is not between 4 and {MAX_COST}; 10 is usual")));
            }
            highest = highest.max(cost);
        }
        if users.is_empty() {
            return Ok(None);
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Wrong::new("basic_auth_users", "the operating system gives no random numbers"))?;
        Ok(Some(Self {
            hashes: users.into_iter().collect(),
            nobody: format!("$2y${highest:02}${SALT_AND_DIGEST}"),
            key,
            remembered: Mutex::default(),
            waiting: Semaphore::new(WAITING + 1),
            running: Arc::new(Semaphore::new(1)),
        }))
    }

    /// Whether the header `Authorization` lets its sender in.
    pub(crate) async fn access(&self, authorization: Option<&HeaderValue>) -> Access {
        let Some((user, password)) = authorization.and_then(credentials) else { return Access::Denied };
        let known = self.hashes.get(&user);
        let hash = known.unwrap_or(&self.nobody);
        let credentials = joined([user.as_bytes(), &password, hash.as_bytes()]);
        if self.is_remembered(&credentials) {
            return Access::Granted;
        }
        let Ok(_waiting) = self.waiting.try_acquire() else { return Access::Busy };
        let Ok(Ok(turn)) = timeout(PATIENCE, Arc::clone(&self.running).acquire_owned()).await else {
            return Access::Busy;
        };
        // Ten scrapers come at once after a start: the first one's check serves the others.
        if self.is_remembered(&credentials) {
            return Access::Granted;
        }
        let hash = hash.clone();
        let check = tokio::task::spawn_blocking(move || {
            // Given back when the check ends, even if its client has left by then.
            let _turn = turn;
            bcrypt::verify(&password, &hash).unwrap_or(false)
        });
        match timeout(PATIENCE, check).await {
            Ok(Ok(true)) if known.is_some() => {
                self.remember(&credentials);
                Access::Granted
            }
            Ok(_) => Access::Denied,
            // All threads of the pool hang in a file system.
            Err(_) => Access::Busy,
        }
    }

    /// Each comparison takes the same time, whatever it finds; the key keeps the memory from being a list of fast hashes.
    fn is_remembered(&self, credentials: &[u8]) -> bool {
        self.remembered().iter().any(|tag| hmac::verify(&self.key, credentials, tag.as_ref()).is_ok())
    }

    fn remember(&self, credentials: &[u8]) {
        let mut remembered = self.remembered();
        if remembered.len() == REMEMBERED {
            remembered.pop_front();
        }
        remembered.push_back(hmac::sign(&self.key, credentials));
    }

    fn remembered(&self) -> MutexGuard<'_, VecDeque<hmac::Tag>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// User and password of `Basic …`. A password need not be UTF-8; a user that isn't one can't be in the file.
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

/// With their lengths: `a` + `bc` must not be `ab` + `c`.
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
    async fn the_right_password_of_a_known_user_and_nothing_else() {
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
        // At this cost that is the password of the hash for nobody.
        let costly = self::users(&[("me", "right", 10)]);
        assert!(bcrypt::verify("fakepassword", &costly.nobody).unwrap());
        assert_eq!(costly.access(Some(&basic("you", "fakepassword"))).await, Access::Denied);
        assert_eq!(users.access(None).await, Access::Denied);
        for header in ["", "Basic", "Basic ", "Basic !!!", "Bearer bWU6cmlnaHQ6b25l", "Basic bWU"] {
            assert_eq!(users.access(Some(&HeaderValue::from_str(header).unwrap())).await, Access::Denied, "{header:?}");
        }
        let lower = HeaderValue::from_static("basic bWU6cmlnaHQ6b25l");
        assert_eq!(users.access(Some(&lower)).await, Access::Granted);
    }

    #[tokio::test]
    async fn only_right_passwords_are_remembered_and_they_are_quick() {
        let users = users(&[("me", "right", 10)]);
        let timed = async |password: String| {
            let started = Instant::now();
            let access = users.access(Some(&basic("me", &password))).await;
            (access, started.elapsed())
        };
        let (access, first) = timed("right".to_owned()).await;
        assert_eq!(access, Access::Granted);
        // As quick as the machine can be once, so that a busy one does not fail this.
        let mut again = first;
        for _ in 0..20 {
            again = again.min(timed("right".to_owned()).await.1);
        }
        assert!(again < first / 10, "{again:?} after {first:?}");
        for i in 0..3 {
            timed(format!("wrong {i}")).await;
        }
        assert_eq!(users.remembered().len(), 1);
    }

    #[tokio::test]
    async fn an_unknown_user_takes_the_time_of_a_known_one() {
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
    async fn a_flood_of_wrong_passwords_is_refused_and_shuts_nobody_out_who_was_in() {
        let users = users(&[("me", "right", 8)]);
        let me = basic("me", "right");
        assert_eq!(users.access(Some(&me)).await, Access::Granted);
        let flood: Vec<_> = (0..WAITING + 20).map(|i| basic("me", &format!("wrong {i}"))).collect();
        let flood = futures::future::join_all(flood.iter().map(|header| users.access(Some(header))));
        let (answers, mine) = futures::future::join(flood, users.access(Some(&me))).await;
        assert_eq!(mine, Access::Granted);
        assert_eq!(answers.iter().filter(|access| **access == Access::Busy).count(), 19);
        assert_eq!(users.access(Some(&basic("me", "wrong"))).await, Access::Denied, "the queue is empty again");
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let users = users(&[("me", "right", 4)]);
        for i in 0..REMEMBERED + 5 {
            users.remember(&joined([b"me", &i.to_be_bytes(), b"hash"]));
        }
        assert_eq!(users.remembered().len(), REMEMBERED);
        assert!(!users.is_remembered(&joined([b"me", &0usize.to_be_bytes(), b"hash"])));
        assert!(users.is_remembered(&joined([b"me", &REMEMBERED.to_be_bytes(), b"hash"])));
        assert!(!users.is_remembered(&joined([b"m", &REMEMBERED.to_be_bytes(), b"hash"])));
    }

    #[test]
    fn a_wrong_hash_is_named_by_its_user_and_not_shown() {
        let error = |hash: &str| {
            let users = BTreeMap::from([("me".to_owned(), hash.to_owned())]);
            Users::new(users).err().unwrap().to_string()
        };
        let plain = error("my plain password");
        assert!(plain.starts_with("basic_auth_users.me: ") && !plain.contains("plain password"), "{plain}");
        assert!(error(&format!("$2y$31${SALT_AND_DIGEST}")).contains("a cost of 31"));
        assert!(Users::new(BTreeMap::new()).unwrap().is_none());
    }
}

//! Whether the web configuration admits a request.

use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap};

use crate::config::WebConfig;
use crate::users::Access;

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("too many requests; rate_limit in --web.config.file is exceeded")]
    RateLimit,
    /// The response needs a `WWW-Authenticate` header with the scheme `Basic`.
    #[error("user and password required")]
    Unauthorized,
    #[error("too many password checks are in progress; try again")]
    Busy,
}

impl Refusal {
    pub fn status(self) -> StatusCode {
        match self {
            Self::RateLimit => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl WebConfig {
    /// Checks the rate limit, then the user.
    pub async fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.admit_rate()?;
        let Some(users) = &self.users else { return Ok(()) };
        match users.access(headers.get(AUTHORIZATION)).await {
            Access::Granted => Ok(()),
            Access::Denied => Err(Refusal::Unauthorized),
            Access::Busy => Err(Refusal::Busy),
        }
    }

    /// Checks the rate limit only, for a path that authenticates its clients in another way.
    pub fn admit_rate(&self) -> Result<(), Refusal> {
        match &self.rate_limit {
            Some(limit) if !limit.try_acquire() => Err(Refusal::RateLimit),
            _ => Ok(()),
        }
    }

    /// Sets the configured headers of a response.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use hyper::header::HeaderValue;

    use super::*;
    use crate::rate_limit::RateLimit;
    use crate::users::Users;

    #[tokio::test]
    async fn the_rate_limit_comes_before_the_user() {
        let users = BTreeMap::from([("me".to_owned(), bcrypt::hash("right", 4).unwrap())]);
        let config = WebConfig {
            users: Users::new(users).unwrap(),
            rate_limit: Some(RateLimit::new(std::time::Duration::from_secs(3600), 2)),
            ..WebConfig::default()
        };
        let nobody = HeaderMap::new();
        // me:right
        let me = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic bWU6cmlnaHQ="))]);
        assert_eq!(config.admit(&nobody).await, Err(Refusal::Unauthorized));
        assert_eq!(config.admit(&me).await, Ok(()));
        assert_eq!(config.admit(&me).await, Err(Refusal::RateLimit));
        assert_eq!(config.admit_rate(), Err(Refusal::RateLimit));
    }

    #[tokio::test]
    async fn the_default_admits_everybody_and_sets_no_headers() {
        for file in [None, Some(PathBuf::new())] {
            let config = crate::ActiveConfig::load(file).unwrap().current();
            assert_eq!(config.admit(&HeaderMap::new()).await, Ok(()));
            let mut headers = HeaderMap::new();
            config.set_headers(&mut headers);
            assert!(headers.is_empty());
        }
    }
}

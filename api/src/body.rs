//! A request's body: whole, of bounded size (the router's `DefaultBodyLimit`), within bounded time.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::StatusCode,
};
use tokio::time::timeout;

use crate::problem::Problem;

/// Shorter than the request timeout, so that a slow client counts as a client error and not as a failure of the API.
const READ_TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Body(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match timeout(READ_TIMEOUT, Bytes::from_request(request, state)).await {
            Ok(body) => Ok(Self(body?)),
            Err(_) => Err(Problem::body_too_slow()),
        }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => Self::body_too_large(),
            _ => Self::bad_request("the body could not be read to its end"),
        }
    }
}

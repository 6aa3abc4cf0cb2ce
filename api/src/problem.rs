//! Errors of requests: the response to the client (`application/problem+json`, RFC 9457), and the details for the log.
//!
//! A handler returns a [`Problem`]; `observe` turns it into the response, because only it has the request's trace ID.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use web_kit::Refusal;

use crate::trace::TraceId;

/// Value of Retry-After. A restart of MySQL takes longer, but clients should retry soon after it.
const RETRY_AFTER_SECONDS: u32 = 5;

#[derive(Debug, Clone)]
pub(crate) struct Problem {
    status: StatusCode,
    /// The last part of the problem's `type`; stable, for programs.
    kind: &'static str,
    /// For people; never contains text from a third party.
    detail: String,
    /// For the log only.
    cause: Option<String>,
    retry: bool,
}

impl Problem {
    fn new(status: StatusCode, kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status, kind, detail: detail.into(), cause: None, retry: false }
    }

    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", detail)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", "missing or invalid bearer token")
    }

    /// A request that `--web.config.file` does not admit.
    pub(crate) fn refused(refusal: Refusal) -> Self {
        let (kind, retry) = match refusal {
            Refusal::RateLimit => ("rate-limit-exceeded", true),
            Refusal::Unauthorized => ("unauthorized", false),
            Refusal::Busy => ("unavailable", true),
        };
        Self { retry, ..Self::new(refusal.status(), kind, refusal.to_string()) }
    }

    pub(crate) fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-route", "no such path")
    }

    pub(crate) fn no_such_payment() -> Self {
        Self::new(StatusCode::NOT_FOUND, "no-such-payment", "there is no payment with this id")
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "the Allow header lists what this path takes")
    }

    pub(crate) fn body_too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", "the body is over the limit")
    }

    pub(crate) fn body_too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow", "the body did not arrive in time")
    }

    pub(crate) fn idempotency_key_reused() -> Self {
        let detail = "this Idempotency-Key already belongs to a different request: use a new key for a new payment";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", detail)
    }

    pub(crate) fn still_in_progress(cause: impl ToString) -> Self {
        let detail = "a request with this Idempotency-Key is still in progress: retry with the same key";
        let problem = Self::new(StatusCode::CONFLICT, "still-in-progress", detail);
        Self { cause: Some(cause.to_string()), retry: true, ..problem }
    }

    pub(crate) fn unavailable(cause: impl ToString) -> Self {
        let detail =
            "the service cannot do this right now: retry after the given time, a payment with the same Idempotency-Key";
        let problem = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
        Self { cause: Some(cause.to_string()), retry: true, ..problem }
    }

    pub(crate) fn internal(cause: impl ToString) -> Self {
        let problem = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "internal error of the service");
        Self { cause: Some(cause.to_string()), ..problem }
    }

    /// For logs: it has nothing of the request in it.
    pub(crate) fn kind(&self) -> &'static str {
        self.kind
    }

    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Writes the body into `response`, and keeps the headers that were set on the way (`Allow`).
    pub(crate) fn render(&self, trace: TraceId, response: &mut Response) {
        let body = json!({
            "type": format!("urn:medassist:problem:{}", self.kind),
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "trace_id": trace.to_string(),
        });
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.remove(header::CONTENT_LENGTH);
        if self.retry {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.entry(header::WWW_AUTHENTICATE).or_insert(HeaderValue::from_static("Bearer"));
        }
        *response.body_mut() = body.to_string().into();
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

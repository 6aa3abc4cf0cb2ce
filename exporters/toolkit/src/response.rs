//! Responses with a short body.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

pub(crate) type Body = Response<Full<Bytes>>;

pub(crate) fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Body {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

pub(crate) fn text(status: StatusCode, body: impl Into<Bytes>) -> Body {
    response(status, "text/plain; charset=utf-8", body)
}

pub(crate) fn method_not_allowed(allowed: &'static str) -> Body {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("method not allowed; use {allowed}\n"));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

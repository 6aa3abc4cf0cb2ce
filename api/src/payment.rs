//! Payments: recorded exactly once per Idempotency-Key, whatever retries on the way and whichever replica is asked.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State, rejection::PathRejection},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use jiff::Timestamp;
use mysql_async::{Value, prelude::Queryable};
use mysql_kit::{error_code, typed};
use serde::{Deserialize, Serialize};
use service_kit::hex;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    app::App,
    body::Body,
    db::{Db, DbError, Session, datetime, timestamp, whole_micros},
    problem::Problem,
};

/// A payment never changes, so this only bounds what Redis holds.
const CACHE_TTL: Duration = Duration::from_secs(300);

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An unknown field is an error: where money moves, a misspelt field must not be ignored.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Request {
    consultation_id: String,
    amount_cents: i64,
    currency: String,
}

#[derive(Debug, Serialize)]
struct Payment {
    id: Uuid,
    #[serde(flatten)]
    request: Request,
    created_at: Timestamp,
}

impl Request {
    fn parse(body: &[u8]) -> Result<Self, Problem> {
        let request: Self = serde_json::from_slice(body)
            .map_err(|error| Problem::bad_request(format!("the body is not a payment: {error}")))?;
        let id = &request.consultation_id;
        if id.is_empty() || id.len() > 64 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(Problem::bad_request("consultation_id must be 1 to 64 characters of A-Z a-z 0-9 - _ ."));
        }
        if request.amount_cents <= 0 {
            return Err(Problem::bad_request("amount_cents must be more than 0"));
        }
        if request.currency.len() != 3 || !request.currency.bytes().all(|b| b.is_ascii_uppercase()) {
            return Err(Problem::bad_request("currency must be three capitals, such as EUR (ISO 4217)"));
        }
        Ok(request)
    }

    /// Of what was read rather than of its bytes: a client that retries may spell the same JSON in another way.
    fn fingerprint(&self) -> String {
        let mut digest = Sha256::new();
        // Neither text can contain the separator.
        digest.update(format!("payment\n{}\n{}\n{}", self.consultation_id, self.amount_cents, self.currency));
        hex::lower(digest.finalize())
    }
}

/// One header of 1 to 255 visible characters; what it means is the client's business.
fn idempotency_key(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let key = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    };
    key.filter(|key| (1..=255).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())).ok_or_else(|| {
        Problem::bad_request(
            "send one Idempotency-Key header of 1 to 255 visible ASCII characters, new for each payment",
        )
    })
}

pub(crate) async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Body, Problem>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let request = Request::parse(&body?.0)?;
    let recorded = record(&app.db, key, request).await?;
    let location = format!("/api/payment/{}", recorded.id);
    let mut response = (
        StatusCode::CREATED,
        [(header::CONTENT_TYPE, "application/json".to_owned()), (header::LOCATION, location)],
        recorded.body,
    )
        .into_response();
    if recorded.replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

struct Recorded {
    id: Uuid,
    body: String,
    replayed: bool,
}

/// The UNIQUE key decides who is first: the loser waits for the winner's INSERT to end, then reads its answer.
async fn record(db: &Db, key: &str, request: Request) -> Result<Recorded, Problem> {
    let fingerprint = request.fingerprint();
    let payment = Payment { id: Uuid::new_v4(), request, created_at: whole_micros(Timestamp::now()) };
    let body = serde_json::to_string(&payment).map_err(Problem::internal)?;
    let mut session = db.session().await?;
    match insert(&mut session, key, &fingerprint, &payment, &body).await {
        Ok(()) => Ok(Recorded { id: payment.id, body, replayed: false }),
        Err(error) if error.code() == Some(error_code::DUP_ENTRY) => {
            let (id, first_fingerprint, body) =
                first_answer(&mut session, key).await?.ok_or_else(|| Problem::unavailable(error))?;
            if first_fingerprint != fingerprint {
                return Err(Problem::idempotency_key_reused());
            }
            let id = Uuid::parse_str(&id).map_err(Problem::internal)?;
            Ok(Recorded { id, body, replayed: true })
        }
        // The winner has not ended within the lock's time-out: its server is stuck on the disk, or its commit on a
        // replica.
        Err(error) if error.code() == Some(error_code::LOCK_WAIT_TIMEOUT) => Err(Problem::still_in_progress(error)),
        Err(error) => Err(error.into()),
    }
}

async fn insert(
    session: &mut Session,
    key: &str,
    fingerprint: &str,
    payment: &Payment,
    body: &str,
) -> Result<(), DbError> {
    let Session { conn, deadline } = session;
    let insert = conn.exec_drop(
        "INSERT INTO payment
           (id, idempotency_key, fingerprint, consultation_id, amount_cents, currency, created_at, response_body)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            payment.id.to_string(),
            key,
            fingerprint,
            &payment.request.consultation_id,
            payment.request.amount_cents,
            &payment.request.currency,
            datetime(payment.created_at),
            body,
        ),
    );
    deadline.run("record a payment", insert).await
}

async fn first_answer(session: &mut Session, key: &str) -> Result<Option<(String, String, String)>, DbError> {
    let Session { conn, deadline } = session;
    let select = async {
        let select = "SELECT id, fingerprint, response_body FROM payment WHERE idempotency_key = ?";
        conn.exec_first(select, (key,)).await?.map(typed).transpose()
    };
    deadline.run("read the first answer to an idempotency key", select).await
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| Problem::no_such_payment())?;
    let id = Uuid::parse_str(&id).map_err(|_| Problem::no_such_payment())?;
    let cache_key = format!("medassist:payment:{id}");
    let body = match app.cache.get(&cache_key).await {
        Some(body) => body,
        None => {
            let payment = read(&app.db, id).await?.ok_or_else(Problem::no_such_payment)?;
            let body = serde_json::to_string(&payment).map_err(Problem::internal)?;
            app.cache.set(&cache_key, &body, CACHE_TTL).await;
            body
        }
    };
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

async fn read(db: &Db, id: Uuid) -> Result<Option<Payment>, Problem> {
    let Session { mut conn, deadline } = db.session().await?;
    let select = async {
        let select = "SELECT consultation_id, amount_cents, currency, created_at FROM payment WHERE id = ?";
        conn.exec_first(select, (id.to_string(),)).await?.map(typed).transpose()
    };
    let row: Option<(String, i64, String, Value)> = deadline.run("read a payment", select).await?;
    let Some((consultation_id, amount_cents, currency, created_at)) = row else {
        return Ok(None);
    };
    let created_at = timestamp(&created_at).ok_or_else(|| Problem::internal("payment.created_at is not a time"))?;
    Ok(Some(Payment { id, request: Request { consultation_id, amount_cents, currency }, created_at }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(body: &str) -> String {
        Request::parse(body.as_bytes()).unwrap().fingerprint()
    }

    #[test]
    fn the_fingerprint_is_of_the_request_not_of_its_spelling() {
        let first = fingerprint(r#"{"consultation_id":"c-1","amount_cents":4900,"currency":"EUR"}"#);
        assert_eq!(first, fingerprint(r#"{ "currency": "EUR", "amount_cents": 4900, "consultation_id": "c-1" }"#));
        for other in [
            r#"{"consultation_id":"c-1","amount_cents":4901,"currency":"EUR"}"#,
            r#"{"consultation_id":"c-1","amount_cents":4900,"currency":"USD"}"#,
            r#"{"consultation_id":"c-2","amount_cents":4900,"currency":"EUR"}"#,
        ] {
            assert_ne!(first, fingerprint(other), "{other}");
        }
    }

    #[test]
    fn a_request_that_is_not_exactly_a_payment_is_refused() {
        for body in [
            "",
            "{}",
            "[]",
            r#"{"consultation_id":"c","amount_cents":0,"currency":"EUR"}"#,
            r#"{"consultation_id":"c","amount_cents":-1,"currency":"EUR"}"#,
            r#"{"consultation_id":"c","amount_cents":1.5,"currency":"EUR"}"#,
            r#"{"consultation_id":"c","amount_cents":9223372036854775808,"currency":"EUR"}"#,
            r#"{"consultation_id":"c","amount_cents":1,"currency":"eur"}"#,
            r#"{"consultation_id":"","amount_cents":1,"currency":"EUR"}"#,
            r#"{"consultation_id":"a b","amount_cents":1,"currency":"EUR"}"#,
            r#"{"consultation_id":"c","amount_cents":1,"currency":"EUR","ammount":2}"#,
        ] {
            assert!(Request::parse(body.as_bytes()).is_err(), "{body}");
        }
    }

    #[test]
    fn the_key_is_one_visible_header() {
        let headers = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append("idempotency-key", HeaderValue::from_static(value));
            });
            headers
        };
        assert_eq!(idempotency_key(&headers(&["a-1"])).unwrap(), "a-1");
        for bad in [&[][..], &[""], &["a b"], &["a", "a"]] {
            assert!(idempotency_key(&headers(bad)).is_err(), "{bad:?}");
        }
        let long: HeaderMap =
            [(HeaderName::from_static("idempotency-key"), "k".repeat(256).parse().unwrap())].into_iter().collect();
        assert!(idempotency_key(&long).is_err());
    }

    #[test]
    fn the_longest_answer_fits_its_column() {
        let request = Request { consultation_id: "c".repeat(64), amount_cents: i64::MAX, currency: "EUR".into() };
        let created_at = "2026-11-22T18:09:24.123456Z".parse().unwrap();
        let body = serde_json::to_string(&Payment { id: Uuid::max(), request, created_at }).unwrap();
        assert!(body.len() <= 1024 && body.is_ascii(), "{} bytes", body.len());
    }
}

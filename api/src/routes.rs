//! The paths of the API, as metrics and logs name them.

use axum::extract::MatchedPath;

pub(crate) const LIVEZ: &str = "/livez";
pub(crate) const READYZ: &str = "/readyz";
pub(crate) const HEALTH: &str = "/health";
pub(crate) const PAYMENTS: &str = "/api/payment";
pub(crate) const PAYMENT: &str = "/api/payment/{id}";
pub(crate) const WEBHOOK: &str = "/api/webhook/alert";
pub(crate) const ALERTS: &str = "/api/alerts";
const ROUTES: [&str; 7] = [LIVEZ, READYZ, HEALTH, PAYMENTS, PAYMENT, WEBHOOK, ALERTS];

const UNMATCHED: &str = "unmatched";

/// The route's template, so that metrics and logs have no ids in them.
pub(crate) fn template(matched: Option<&MatchedPath>) -> &'static str {
    matched.and_then(|path| ROUTES.into_iter().find(|route| *route == path.as_str())).unwrap_or(UNMATCHED)
}

/// A load balancer requests these every second or so.
pub(crate) fn is_health_check(route: &str) -> bool {
    [LIVEZ, READYZ, HEALTH].contains(&route)
}

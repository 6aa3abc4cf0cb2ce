//! Why a scrape has no page.

use super::running::MAX_GATHERS;
use super::turns::MAX_TURNS;
use crate::exporter::BoxError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum GatherError {
    #[error("{MAX_GATHERS} scrapes of other collectors are running; try again later, or scrape fewer at a time")]
    TooMany,
    #[error("probes of other targets block too many threads (a bug in the exporter, see its log); try again later")]
    TooManyBlocked,
    #[error("{MAX_TURNS} probes of other targets are running and none of them gave way; scrape fewer at a time")]
    NoTurn,
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Target(BoxError),
    #[error("{0} (a bug in the exporter)")]
    Panicked(String),
    #[error("internal error during the scrape (a bug in the exporter); see its log")]
    Aborted,
}

//! The collector `health`, which all exporters have: checks of what the other collectors read, and no series.

use async_trait::async_trait;
use clap::{ArgMatches, Args, Command, FromArgMatches as _};

use crate::check::CheckDef;
use crate::exporter::{BoxError, Collector};
use crate::family::{Desc, Families};

/// The health checks of one exporter.
#[async_trait]
pub trait HealthChecks: Send + Sync + 'static {
    type Session: Send + Sync;
    /// The flags for the limits; `()` without flags.
    type Thresholds: Args + Send + Sync;

    const HELP: &'static str;
    const SOURCE: &'static str;
    const CHECKS: &'static [&'static CheckDef];

    /// Reports the checks. After an error the results so far are kept, and the collector's success is 0.
    async fn report(session: &Self::Session, thresholds: &Self::Thresholds, out: &mut Families)
    -> Result<(), BoxError>;
}

/// The collector `health` with these checks.
pub struct HealthCollector<C: HealthChecks> {
    thresholds: Option<C::Thresholds>,
}

impl<C: HealthChecks> Default for HealthCollector<C> {
    fn default() -> Self {
        Self { thresholds: None }
    }
}

#[async_trait]
impl<C: HealthChecks> Collector<C::Session> for HealthCollector<C> {
    fn name(&self) -> &'static str {
        "health"
    }

    fn help(&self) -> &'static str {
        C::HELP
    }

    fn source(&self) -> &'static str {
        C::SOURCE
    }

    fn families(&self) -> Vec<Desc> {
        Vec::new()
    }

    fn checks(&self) -> &'static [&'static CheckDef] {
        C::CHECKS
    }

    fn augment_args(&self, command: Command) -> Command {
        C::Thresholds::augment_args(command)
    }

    fn configure(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.thresholds = Some(C::Thresholds::from_arg_matches(matches)?);
        Ok(())
    }

    async fn collect(&self, session: &C::Session, out: &mut Families) -> Result<(), BoxError> {
        let thresholds = self.thresholds.as_ref().ok_or("the flags of the collector health were never read")?;
        C::report(session, thresholds, out).await
    }
}

//! Runs the job again and again. Slots are a fixed period apart; a run that takes longer than the period skips the
//! slots it missed, so there are never two at once. A failed run is repeated within its slot.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::{
    blocking::storage,
    error::RunError,
    run::{Job, ShutdownSignal, run, stopped},
    store::last_success,
};

/// Between the first failure and its repetition; doubled after each further one.
const FIRST_RETRY: Duration = Duration::from_secs(15);

/// Returns after a stop signal; a current run ends as interrupted.
pub async fn every(job: &Job, period: Duration, stop: &mut ShutdownSignal) {
    // From the files and not from memory: a restart neither skips a slot nor adds a run.
    let (directory, name) = (job.directory.clone(), job.name.clone());
    let last = tokio::select! {
        last = storage("list the backups", job.timeout, move || Ok(last_success(&directory, &name))) => last,
        () = stopped(stop) => return,
    };
    let delay = until_first(last.unwrap_or_default(), period, Timestamp::now());
    tracing::info!(
        backup = %job.name,
        period_seconds = period.as_secs_f64(),
        first_in_seconds = delay.as_secs_f64(),
        "waiting for the first slot"
    );
    let mut slots = interval_at(Instant::now() + delay, period);
    slots.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let slot = tokio::select! {
            biased;
            () = stopped(stop) => return,
            slot = slots.tick() => slot,
        };
        let start = Instant::now();
        run_slot(job, period, slot + period, stop).await;
        if start.elapsed() > period {
            tracing::warn!(
                backup = %job.name,
                duration_seconds = start.elapsed().as_secs_f64(),
                period_seconds = period.as_secs_f64(),
                "run took longer than the period; slots skipped"
            );
        }
    }
}

/// Runs until there is a backup, with growing pauses, up to the next slot.
async fn run_slot(job: &Job, period: Duration, next: Instant, stop: &mut ShutdownSignal) {
    let mut pause = FIRST_RETRY.min(period / 8);
    loop {
        match run(job, stop).await {
            // What a partial run lacks, it would lack again.
            Ok(manifest) if manifest.saved().is_some() => return,
            Err(error @ RunError::AlreadyRunning { .. }) => {
                tracing::warn!(backup = %job.name, %error, "slot skipped");
                return;
            }
            Ok(_) | Err(_) => {}
        }
        if *stop.borrow() || Instant::now() + pause >= next {
            return;
        }
        tracing::info!(backup = %job.name, seconds = pause.as_secs_f64(), "retrying within the slot");
        tokio::select! {
            () = stopped(stop) => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause *= 2;
    }
}

/// One period after the last good run's start; at once when that has passed, or lies in the future because the clock
/// was set back.
fn until_first(last_success: Option<Timestamp>, period: Duration, now: Timestamp) -> Duration {
    last_success
        .and_then(|last| Duration::try_from(now.duration_since(last)).ok())
        .map_or(Duration::ZERO, |age| period.saturating_sub(age))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_slot_follows_the_last_good_run() {
        let now: Timestamp = "2026-11-22T18:00:00Z".parse().unwrap();
        let period = Duration::from_mins(15);
        for (last, minutes) in [
            (None, 0),
            (Some("2026-11-22T17:55:00Z"), 10),
            (Some("2026-11-22T17:45:00Z"), 0),
            (Some("2026-11-20T17:45:00Z"), 0),
            (Some("2026-11-22T19:00:00Z"), 0),
        ] {
            let last = last.map(|last| last.parse().unwrap());
            assert_eq!(until_first(last, period, now), Duration::from_mins(minutes), "{last:?}");
        }
    }
}

//! Deadlines for a process that may stand still: paused by an operator or by the host of its virtual machine. When it goes on, every timer has run
//! out, and the answers that came meanwhile are there, unread.

use std::pin::pin;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// A timer that fires so late tells of a stall: on a busy machine it is a few milliseconds.
const STALLED: Duration = Duration::from_millis(250);
/// For the work then: some statements' time, and well under what is left of HAProxy's patience.
const GRACE: Duration = Duration::from_millis(500);

/// As [`timeout_at`], but a stall's time does not count against the work.
pub(crate) async fn deadline<T>(at: Instant, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    match timeout_at(at, &mut work).await {
        Err(_) if at.elapsed() > STALLED => timeout_at(Instant::now() + GRACE, work).await,
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;
    use tokio::time::advance;

    const PATIENCE: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_ends_at_its_deadline() {
        let at = Instant::now() + PATIENCE;
        assert!(deadline(at, std::future::pending::<()>()).await.is_err());
        // Tokio's timers have milliseconds.
        assert!(at.elapsed() <= Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_stall_the_work_goes_on() {
        let (answer, answered) = oneshot::channel();
        let work = tokio::spawn(deadline(Instant::now() + PATIENCE, answered));
        tokio::task::yield_now().await;
        advance(2 * PATIENCE).await;
        tokio::time::sleep(GRACE / 2).await;
        answer.send(7).unwrap();
        assert_eq!(work.await.unwrap().unwrap(), Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn but_not_for_ever() {
        let work = tokio::spawn(deadline(Instant::now() + PATIENCE, std::future::pending::<()>()));
        tokio::task::yield_now().await;
        advance(2 * PATIENCE).await;
        let begin = Instant::now();
        assert!(work.await.unwrap().is_err());
        assert!(begin.elapsed() <= 2 * GRACE);
    }
}

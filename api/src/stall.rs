//! Deadlines that survive a pause of the process (SIGSTOP, a suspended virtual machine). After a pause every timer has
//! expired, although the responses may have arrived meanwhile. `make pause` and the API's tests do this.

use std::pin::pin;
use std::time::Duration;

use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};

/// A timer that fires this late means a pause: on a busy machine it is a few milliseconds.
const PAUSED: Duration = Duration::from_millis(250);
/// Additional time after a pause: enough for some statements, and well below HAProxy's timeout.
const GRACE: Duration = Duration::from_millis(500);

/// As [`timeout_at`], but a pause gives the work [`GRACE`] more.
pub(crate) async fn deadline<T>(at: Instant, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = pin!(work);
    match timeout_at(at, &mut work).await {
        Err(_) if at.elapsed() > PAUSED => timeout_at(Instant::now() + GRACE, work).await,
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;
    use tokio::time::advance;

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn slow_work_ends_at_its_deadline() {
        let at = Instant::now() + TIMEOUT;
        assert!(deadline(at, std::future::pending::<()>()).await.is_err());
        // Tokio's timers have milliseconds.
        assert!(at.elapsed() <= Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn work_continues_after_a_pause() {
        let (answer, answered) = oneshot::channel();
        let work = tokio::spawn(deadline(Instant::now() + TIMEOUT, answered));
        tokio::task::yield_now().await;
        advance(2 * TIMEOUT).await;
        tokio::time::sleep(GRACE / 2).await;
        answer.send(7).unwrap();
        assert_eq!(work.await.unwrap().unwrap(), Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn the_extension_after_a_pause_is_bounded() {
        let work = tokio::spawn(deadline(Instant::now() + TIMEOUT, std::future::pending::<()>()));
        tokio::task::yield_now().await;
        advance(2 * TIMEOUT).await;
        let begin = Instant::now();
        assert!(work.await.unwrap().is_err());
        assert!(begin.elapsed() <= 2 * GRACE);
    }
}

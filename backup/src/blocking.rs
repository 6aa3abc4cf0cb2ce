//! Calls that block, off the runtime's thread: a file system that hangs must not hold timeouts, signals or the push.

use std::time::Duration;

use tokio::task;

use crate::error::RunError;

/// For one call of the file system. A disk that needs longer is as good as gone.
const STORAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs on its own thread. A panic there continues here.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: only when the runtime shuts down, and then this is not polled.
            Err(_) => std::future::pending().await,
        },
    }
}

/// A [`storage`] call that no flag limits further.
pub(crate) async fn storage_call<T: Send + 'static>(
    action: &'static str,
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    storage(action, STORAGE_TIMEOUT, work).await
}

/// Runs a call of the file system, for at most 30 s or `timeout`. A call that hangs keeps its thread.
pub(crate) async fn storage<T: Send + 'static>(
    action: &'static str,
    timeout: Duration,
    work: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    let limit = timeout.min(STORAGE_TIMEOUT);
    match tokio::time::timeout(limit, blocking(work)).await {
        Ok(result) => result,
        Err(_) => Err(RunError::StorageHung { action, limit }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_call_that_hangs_ends_at_its_limit() {
        let (end, wait) = mpsc::channel::<()>();
        let hung = storage("list", Duration::from_millis(20), move || Ok(wait.recv().is_ok()));
        let error = hung.await.unwrap_err();
        assert!(matches!(error, RunError::StorageHung { action: "list", .. }), "{error}");
        drop(end);
        assert!(storage("list", Duration::from_mins(1), || Ok(true)).await.unwrap());
    }
}

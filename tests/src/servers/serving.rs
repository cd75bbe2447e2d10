//! What servers share that are no programs but threads of the test.

use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::sync::oneshot;

/// After a connection that could not be taken.
const PAUSE: Duration = Duration::from_millis(50);

/// A server on a thread of its own. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Serving {
    /// Dropped to stop it.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    /// Starts a thread of this name that serves until it is dropped.
    pub(super) fn start<F>(name: &str, serve: impl FnOnce() -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve() => {}
                    _ = stopped => {}
                }
            });
            // What is asked of others on threads need not be waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed already.
            _ = thread.join();
        }
    }
}

/// Takes connections for ever. One that is gone before it is taken is nothing to us; without descriptors it is better to
/// wait.
pub(super) async fn take_all<C>(mut accept: impl AsyncFnMut() -> io::Result<C>, take: impl Fn(C)) {
    loop {
        match accept().await {
            Ok(connection) => take(connection),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Instant};

    use super::*;

    #[test]
    fn an_error_that_lasts_is_met_with_patience() {
        let asked = Arc::new(Mutex::new(0));
        let asking = Arc::clone(&asked);
        let start = Instant::now();
        let serve = async move || {
            let accept = async || {
                *lock(&asking) += 1;
                Err::<(), _>(io::Error::other("no descriptors"))
            };
            take_all(accept, |()| {}).await;
        };
        let serving = Serving::start("tested", serve).expect("starts");
        while *lock(&asked) < 3 {
            assert!(start.elapsed() < Duration::from_secs(20), "it is not tried again");
            thread::yield_now();
        }
        assert!(start.elapsed() >= PAUSE * 2, "three times in {:?}", start.elapsed());
        // It ends although nothing else would end it.
        drop(serving);
        assert_eq!(Arc::strong_count(&asked), 1);
    }
}

//! What k6 and the script said in one worker, kept in the store while it goes on: the invocation's own log has it too, but
//! this is found by run and worker.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lambdaload_adapters::k6::{Listener, Message};
use lambdaload_core::ports::{Clock, ObjectStore};

/// Bytes that are kept, at most: scripts that log each iteration would otherwise store as much as they measure.
const LIMIT: usize = 1024 * 1024;

/// Between two looks at whether there is something new to store.
const PAUSE: Duration = Duration::from_secs(5);

/// The log of one worker.
#[derive(Clone, Default)]
pub(crate) struct WorkerLog {
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    text: String,
    /// Lines beyond the limit.
    dropped: u64,
    is_stored: bool,
}

impl WorkerLog {
    /// Hears what k6 and the script say, with all secrets masked.
    pub(crate) fn listener(&self) -> Listener {
        let log = self.clone();
        Arc::new(move |message: &Message| log.hear(&message.to_string()))
    }

    fn hear(&self, line: &str) {
        let mut said = self.lock();
        if said.text.len() + line.len() < LIMIT {
            said.text.push_str(line);
            said.text.push('\n');
            said.is_stored = false;
        } else {
            said.dropped += 1;
            // A script that logs for hours must not have the same megabyte stored every few seconds.
            said.is_stored &= !said.dropped.is_power_of_two();
        }
    }

    /// Stores what is new every few seconds, without end. A log that cannot be stored is no reason to end a test.
    pub(crate) async fn keep(&self, clock: &dyn Clock, store: &dyn ObjectStore, key: &str) -> Infallible {
        loop {
            clock.sleep(PAUSE).await;
            self.store(store, key).await;
        }
    }

    /// Stores what is new.
    pub(crate) async fn store(&self, store: &dyn ObjectStore, key: &str) {
        let Some(text) = self.unstored() else { return };
        if store.put(key, text.into_bytes()).await.is_err() {
            self.lock().is_stored = false;
        }
    }

    /// All that was said, if some of it is not stored; from now on it counts as stored.
    fn unstored(&self) -> Option<String> {
        let mut said = self.lock();
        if said.is_stored || said.text.is_empty() {
            return None;
        }
        said.is_stored = true;
        let more = match said.dropped {
            0 => String::new(),
            lines => format!("… and at least {lines} more lines, which were not kept\n"),
        };
        Some(said.text.clone() + &more)
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_stored_once() {
        let log = WorkerLog::default();
        assert_eq!(log.unstored(), None);
        log.hear("one");
        log.hear("two");
        assert_eq!(log.unstored().as_deref(), Some("one\ntwo\n"));
        assert_eq!(log.unstored(), None);
        log.hear("three");
        assert_eq!(log.unstored().as_deref(), Some("one\ntwo\nthree\n"));
    }

    #[test]
    fn a_log_has_an_end() {
        let log = WorkerLog::default();
        let line = "x".repeat(LIMIT / 4);
        (0..9).for_each(|_| log.hear(&line));
        let text = log.unstored().unwrap_or_default();
        assert!(text.len() <= LIMIT + 100, "{}", text.len());
        assert!(text.ends_with("… and at least 6 more lines, which were not kept\n"), "{}", &text[text.len() - 60..]);
        // And is not stored again and again.
        let stored_again = (0..10_000).filter(|_| {
            log.hear(&line);
            log.unstored().is_some()
        });
        assert!(stored_again.count() < 15);
    }
}

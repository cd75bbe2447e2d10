//! What a runtime may say to a worker while it works.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A notice that the process is about to be ended, which comes as a signal. Whoever hears the signal gives it; the worker
/// then stops its k6 gently, uploads everything and closes.
#[derive(Clone, Debug, Default)]
pub struct Notice(Arc<AtomicBool>);

impl Notice {
    /// Has the worker leave. Saying so again changes nothing.
    pub fn give(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was given.
    pub fn is_given(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

//! The live view where there is no terminal: a line now and then.

use std::time::Duration;

use lambdaload_core::{live::LiveState, ports::Timestamp};

use super::words;

/// Time between two lines when nothing special happens.
const PERIOD: Duration = Duration::from_secs(10);

/// The same from [`LONG`] on: nobody reads ten thousand lines of one run.
const LONG_PERIOD: Duration = Duration::from_mins(1);
const LONG: Duration = Duration::from_mins(10);

/// Decides which live states become lines.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// When the last line was written.
    at: Option<Timestamp>,
    /// What it said of the run.
    status: String,
    /// What it said of lost workers.
    lost: u32,
}

impl Log {
    /// The line for this state, if it is time for one: after ten seconds, later in a long run after a minute, with a change of the run's status and with
    /// every worker that is lost.
    pub(super) fn next(&mut self, state: &LiveState) -> Option<String> {
        let changed = state.status != self.status || state.workers.lost > self.lost;
        let is_long = state.elapsed_ms.is_some_and(|elapsed| Duration::from_millis(elapsed) >= LONG);
        let period = if is_long { LONG_PERIOD } else { PERIOD };
        let due = self.at.is_none_or(|last| state.at.since(last) >= period);
        if !changed && !due {
            return None;
        }
        self.at = Some(state.at);
        self.status.clone_from(&state.status);
        self.lost = state.workers.lost;
        Some(line(state))
    }
}

/// A run at one moment in one line.
pub(super) fn line(state: &LiveState) -> String {
    let mut parts = vec![words::progress(state), format!("workers {}", words::workers(&state.workers))];
    parts.extend(words::lost(&state.workers));
    if state.elapsed_ms.is_some() {
        parts.extend(words::load(state));
        parts.extend(state.latency.as_ref().map(|latency| {
            let mut percentiles = words::latency(latency);
            percentiles.retain(|part| !part.starts_with("p50") && !part.starts_with("p99"));
            percentiles.join(" ")
        }));
        parts.extend(words::failed(state).map(|failed| format!("failed {failed}")));
        parts.extend(words::checks(state));
        let crossed = state.thresholds.iter().filter(|threshold| !threshold.passed).count();
        if !state.thresholds.is_empty() {
            parts.push(format!("thresholds {crossed} of {} crossed so far", state.thresholds.len()));
        }
    }
    parts.join("   ")
}

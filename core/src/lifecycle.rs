//! Where a run is, and what may happen next. Total: every pair of state and event has an answer.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Recorded; nothing else is known to exist.
    Created,
    /// Plan and archive are stored.
    Validated,
    /// Waits for room.
    Queued,
    /// Workers have been launched and get ready.
    Initializing,
    /// The common start has been set.
    Running,
    /// Iterations are over or have been stopped: teardown, closing records, verdict.
    Finishing,
    /// The verdict is written. Nothing changes any more.
    Concluded,
}

/// Why a run was stopped before its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Abort {
    /// Who or what stopped it.
    pub cause: AbortCause,
    /// What happened, for people.
    pub message: String,
    /// Whether k6 is killed at once instead of asked to stop.
    pub at_once: bool,
}

/// Who or what stopped a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AbortCause {
    /// A person: Ctrl-C or `lambdaload stop`.
    User,
    /// A threshold with `abortOnFail`.
    Threshold,
    /// The script: an exception in init code or `setup()`, or `exec.test.abort()`.
    Script,
    /// A lost worker, a store that could not be written, and the like.
    System,
    /// A deadline.
    Deadline,
}

/// A run's whole state: its phase, and why it is being stopped if it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// How far it has come.
    pub phase: Phase,
    /// The first root cause for stopping it; what follows from our own stop never masks it.
    pub abort: Option<Abort>,
}

/// What can happen to a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunEvent {
    /// Plan and archive are stored.
    Validated,
    /// It has to wait for room.
    Queued,
    /// Its workers are being launched.
    Launched,
    /// All are ready; T0 is set.
    Started,
    /// No worker runs iterations any more.
    IterationsEnded,
    /// It is to stop.
    Abort(Abort),
    /// The verdict is written.
    Concluded,
}

/// An event that cannot happen in a state: some other party was faster, or there is a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a run that is {phase} cannot take the event {event:?}")]
pub struct Illegal {
    /// The state's phase.
    pub phase: Phase,
    /// The event.
    pub event: RunEvent,
}

impl RunState {
    /// A run that was just recorded.
    pub fn new() -> Self {
        Self { phase: Phase::Created, abort: None }
    }

    /// The state after `event`. An event that has already happened changes nothing, since every edge may repeat.
    pub fn next(&self, event: RunEvent) -> Result<Self, Illegal> {
        use Phase as P;
        let phase = match (self.phase, &event) {
            (P::Created | P::Validated, RunEvent::Validated) => P::Validated,
            (P::Validated | P::Queued, RunEvent::Queued) => P::Queued,
            (P::Validated | P::Queued | P::Initializing, RunEvent::Launched) => P::Initializing,
            // A run that is being stopped never starts.
            (P::Initializing | P::Running, RunEvent::Started) if self.abort.is_none() => P::Running,
            (P::Initializing | P::Running | P::Finishing, RunEvent::IterationsEnded) => P::Finishing,
            (P::Concluded, RunEvent::Abort(_)) => return Err(Illegal { phase: self.phase, event }),
            (phase, RunEvent::Abort(_)) => phase,
            (_, RunEvent::Concluded) => P::Concluded,
            (phase, _) => return Err(Illegal { phase, event }),
        };
        let abort = match (&self.abort, event) {
            (None, RunEvent::Abort(abort)) => Some(abort),
            // A later stop can only hurry the first one.
            (Some(first), RunEvent::Abort(later)) => {
                Some(Abort { at_once: first.at_once || later.at_once, ..first.clone() })
            }
            (abort, _) => abort.clone(),
        };
        Ok(Self { phase, abort })
    }

    /// The state in the words of k6's cloud: `running`, `finished`, `aborted (by user)`.
    pub fn status(&self) -> String {
        match (&self.abort, self.phase) {
            (Some(Abort { cause: AbortCause::Deadline, .. }), Phase::Concluded) => "timed out".to_owned(),
            (Some(abort), Phase::Concluded) => format!("aborted ({})", abort.cause),
            (Some(abort), _) => format!("stopping ({})", abort.cause),
            (None, Phase::Concluded) => "finished".to_owned(),
            (None, phase) => phase.to_string(),
        }
    }
}

impl Default for RunState {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Validated => "validated",
            Self::Queued => "queued",
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::Finishing => "finishing",
            Self::Concluded => "concluded",
        })
    }
}

impl fmt::Display for AbortCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "by user",
            Self::Threshold => "by threshold",
            Self::Script => "by script",
            Self::System => "by system",
            Self::Deadline => "by deadline",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abort(cause: AbortCause, at_once: bool) -> RunEvent {
        RunEvent::Abort(Abort { cause, message: "x".into(), at_once })
    }

    fn after(events: &[RunEvent]) -> Result<RunState, Illegal> {
        events.iter().try_fold(RunState::new(), |state, event| state.next(event.clone()))
    }

    const WAY: [RunEvent; 5] =
        [RunEvent::Validated, RunEvent::Launched, RunEvent::Started, RunEvent::IterationsEnded, RunEvent::Concluded];

    #[test]
    fn the_usual_way_with_every_step_twice() {
        let twice: Vec<RunEvent> = WAY.iter().flat_map(|e| [e.clone(), e.clone()]).collect();
        let end = after(&twice).expect("legal");
        assert_eq!((end.phase, end.status()), (Phase::Concluded, "finished".to_owned()));
    }

    #[test]
    fn nothing_changes_a_concluded_run() {
        let end = after(&WAY).expect("legal");
        for event in [RunEvent::Validated, RunEvent::Launched, RunEvent::Started, abort(AbortCause::User, true)] {
            assert!(end.next(event.clone()).is_err(), "{event:?}");
        }
    }

    #[test]
    fn the_first_cause_wins_and_a_later_stop_hurries() {
        let state = after(&[
            RunEvent::Validated,
            RunEvent::Launched,
            abort(AbortCause::Script, false),
            abort(AbortCause::User, true),
        ]);
        let found = state.expect("legal").abort.expect("aborted");
        assert_eq!((found.cause, found.at_once), (AbortCause::Script, true));
    }

    #[test]
    fn a_stopped_run_never_starts() {
        let state = after(&[RunEvent::Validated, RunEvent::Launched, abort(AbortCause::User, false)]).expect("legal");
        assert!(state.next(RunEvent::Started).is_err());
        assert_eq!(state.status(), "stopping (by user)");
        assert_eq!(state.next(RunEvent::Concluded).expect("legal").status(), "aborted (by user)");
    }
}

//! What went wrong with a worker, in words.

use std::time::Duration;

use crate::{
    k6::exit::{ProcessExit, code},
    ports::{GeneratorControl, GeneratorError, HookError, StoreError},
    records::{Failure, FailureKind},
    run::work::{Shared, lock},
};

/// A failure without an end of k6 and without its words.
pub(super) fn failure(kind: FailureKind, message: String) -> Failure {
    Failure { kind, message, exit: None, log: Vec::new() }
}

pub(super) fn store_failure(error: &StoreError) -> Failure {
    failure(FailureKind::Store, error.to_string())
}

pub(super) fn start_failure(error: &GeneratorError) -> Failure {
    let (exit, log) = match error {
        GeneratorError::Refused { exit, log } => (Some(*exit), log.clone()),
        GeneratorError::NotFound(_) | GeneratorError::Process { .. } => (None, Vec::new()),
    };
    Failure { kind: FailureKind::K6DidNotStart, message: format!("k6 could not be started: {error}"), exit, log }
}

/// A failure of k6 itself, told from how it ended.
pub(super) fn exit_failure(
    kind: FailureKind,
    exit: ProcessExit,
    when: &str,
    control: &dyn GeneratorControl,
) -> Failure {
    let message = format!("k6 {}{when} ({exit})", exit.meaning());
    Failure { kind, message, exit: Some(exit), log: control.log() }
}

pub(super) fn hung(shared: &Shared<'_>, control: &dyn GeneratorControl, what: &str, deadline: Duration) -> Failure {
    let vus = lock(&shared.run).plan.worker_vus(lock(&shared.record).index);
    Failure {
        kind: FailureKind::K6Hung,
        message: format!("k6 {what} within {} s (with {vus} VUs) and was ended", deadline.as_secs()),
        exit: None,
        log: control.log(),
    }
}

pub(super) fn hook_failure(
    kind: FailureKind,
    hook: &str,
    error: &HookError,
    control: &dyn GeneratorControl,
) -> Failure {
    let exit = match error {
        // k6's own words; an exception of the script may speak of time too.
        HookError::Script(message) if message.contains("() execution timed out after") => Some(match kind {
            FailureKind::Teardown => code::TEARDOWN_TIMEOUT,
            _ => code::SETUP_TIMEOUT,
        }),
        HookError::Script(message) if message.starts_with("test aborted") => Some(code::SCRIPT_ABORTED),
        HookError::Script(_) => Some(code::SCRIPT_EXCEPTION),
        HookError::Generator(_) => None,
    };
    Failure { kind, message: format!("{hook} failed: {error}"), exit: exit.map(ProcessExit::Code), log: control.log() }
}

pub(super) fn k6_failure(control: &dyn GeneratorControl, message: String) -> Failure {
    Failure { log: control.log(), ..failure(FailureKind::K6Failed, message) }
}

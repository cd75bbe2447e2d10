//! What an invocation fails with: Lambda stores it as type and message, and people read it in logs and verdicts.

use std::{error::Error, fmt};

use lambda_runtime::{Diagnostic, tracing};

/// Why an invocation has failed.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: &'static str,
    message: String,
}

impl Failure {
    /// A use-case could not be carried out.
    pub(crate) fn of(error: &dyn Error) -> Self {
        Self { kind: "lambdaload.Failed", message: error.to_string() }
    }

    /// The event was none of ours.
    pub(crate) fn event(error: &dyn fmt::Display) -> Self {
        Self { kind: "lambdaload.UnknownEvent", message: format!("the event cannot be read: {error}") }
    }
}

impl From<Failure> for Diagnostic {
    fn from(Failure { kind, message }: Failure) -> Self {
        tracing::error!(kind, message);
        Self { error_type: kind.to_owned(), error_message: message }
    }
}

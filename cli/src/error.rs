//! What people see when a command cannot do what it was asked: sorted here, at the edge, and written in one form.

/// Errors of the machinery, whatever they are in detail. It stands before the modules that use it.
macro_rules! infrastructure {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::from_error(exit::INFRASTRUCTURE, &error)
            }
        })*
    };
}

mod aws;

use std::{error::Error, fmt::Write as _, io, path::Path};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use lambdaload_adapters::k6::find::K6NotFound;
use lambdaload_core::{
    ports::{GeneratorError, LedgerError, StoreError},
    run::{
        UpdateError, aggregate::AggregateError, prepare::PrepareError, reap::ReapError, scale::ScaleError,
        start::StartError, watch::WatchError, work::WorkError,
    },
};

use crate::{
    exit, k6_options,
    printer::harmless,
    similar::{self, BUILT_IN_METRICS},
};

/// Why a command ended without a result.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the command exits with.
    pub(crate) exit: i32,
    /// What happened, in one line without a full stop.
    pub(crate) headline: String,
    /// Where, what was found, what others said.
    pub(crate) details: Vec<String>,
    /// What to do about it.
    pub(crate) hints: Vec<String>,
}

impl Failure {
    /// What was asked for is not valid; the person who asked can change it.
    pub(crate) fn not_valid(headline: impl Into<String>) -> Self {
        Self { exit: exit::NOT_VALID, headline: headline.into(), details: Vec::new(), hints: Vec::new() }
    }

    /// Something that a run needs is missing or broke.
    pub(crate) fn infrastructure(headline: impl Into<String>) -> Self {
        Self { exit: exit::INFRASTRUCTURE, ..Self::not_valid(headline) }
    }

    /// A person stopped it before there was anything to judge.
    pub(crate) fn stopped(headline: impl Into<String>) -> Self {
        Self { exit: exit::STOPPED, ..Self::not_valid(headline) }
    }

    /// A file or folder that could not be used; the message names it.
    pub(crate) fn file(operation: &str, path: &Path, error: &io::Error) -> Self {
        Self::infrastructure(format!("cannot {operation} {}", path.display())).detail(error.to_string())
    }

    /// A signal handler that could not be installed, and the like.
    pub(crate) fn cannot_start(error: &io::Error) -> Self {
        Self::infrastructure("lambdaload cannot start").detail(error.to_string())
    }

    /// An error of another layer: its first line is the headline, all others and its sources are details.
    ///
    /// What somebody is not allowed in an account is told in a form of its own, whatever it was needed for.
    pub(crate) fn from_error(exit: i32, error: &(dyn Error + 'static)) -> Self {
        if let Some(failure) = Self::of_missing_permission(error) {
            return failure;
        }
        let text = error.to_string();
        let mut lines = text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
        let mut failure = Self { exit, ..Self::not_valid(lines.next().unwrap_or_default()) };
        failure.details.extend(lines);
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Many errors repeat their cause in their own words.
            if !text.contains(&cause_text) && !failure.details.contains(&cause_text) {
                failure.details.push(cause_text);
            }
            source = cause.source();
        }
        failure
    }

    /// Why a test could not be prepared; `script` is how the user named it.
    pub(crate) fn not_prepared(error: &PrepareError, script: &Path) -> Self {
        match error {
            PrepareError::Generator(GeneratorError::Refused { exit, log }) => {
                let known = |message: &String| {
                    Self::unknown_metric(message, script).or_else(|| Self::removed_executor(message, script))
                };
                if let Some(failure) = log.iter().find_map(known) {
                    return failure;
                }
                let (meaning, code) = (exit.meaning(), exit.to_string());
                let code = if meaning.contains(&code) { String::new() } else { format!(" ({code})") };
                Self {
                    exit: error.exit_code(),
                    details: log.iter().map(|message| format!("k6 says: {message}")).collect(),
                    ..Self::not_valid(format!("{}: k6 {meaning}{code}", script.display()))
                }
            }
            PrepareError::Generator(other) => Self::from_error(exit::INFRASTRUCTURE, other),
            other => Self::from_error(other.exit_code(), other),
        }
    }

    /// k6's most usual refusal, in which its own message names neither the place nor what may have been meant.
    fn unknown_metric(message: &str, script: &Path) -> Option<Self> {
        let (_, rest) = message.split_once("invalid threshold defined on ")?;
        let (key, reason) = rest.split_once("; reason: ").filter(|(_, reason)| reason.starts_with("no metric name"))?;
        let metric = key.split('{').next().unwrap_or(key);
        let failure = Self::not_valid("threshold on an unknown metric")
            .detail(format!("{key}   in {}, options.thresholds", script.display()))
            .detail(format!("k6 says: {reason}"));
        Some(match similar::one_of(metric, BUILT_IN_METRICS) {
            Some(name) => failure.hint(format!("did you mean {name}?")),
            None => failure.hint("a metric of your own must be made in init code: new Trend(…), new Counter(…)"),
        })
    }

    /// An executor that k6 2.0 has dropped; k6 itself only says that it knows no such thing.
    fn removed_executor(message: &str, script: &Path) -> Option<Self> {
        message.contains("unknown executor type 'externally-controlled'").then(|| {
            Self::not_valid("this k6 has no externally-controlled executor: k6 2.0 has removed it")
                .detail(format!("a scenario in {} uses it", script.display()))
                .hint("use a k6 1.x (--k6 PATH), or write down how the load changes: stages of ramping-vus or ramping-arrival-rate")
        })
    }

    /// A flag that k6 has and we do not, if that is what was wrong with the command line.
    pub(crate) fn flag_of_k6(error: &clap::Error) -> Option<Self> {
        match (error.kind(), error.get(ContextKind::InvalidArg)) {
            (ErrorKind::UnknownArgument, Some(ContextValue::String(flag))) => {
                let headline = format!("{flag} is a flag of k6 that lambdaload does not take");
                Some(Self { exit: exit::USAGE, ..Self::not_valid(headline) }.detail(k6_options::refusal(flag)?))
            }
            _ => None,
        }
    }

    /// With one more detail.
    pub(crate) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.details.push(detail.into());
        self
    }

    /// With something to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The lines behind `error: `: headline, then details, then hints.
    pub(crate) fn lines(&self) -> String {
        let mut text = format!("{}\n", self.headline);
        for line in self.details.iter().chain(&self.hints).flat_map(|part| part.lines()) {
            let _ = writeln!(text, "  {line}");
        }
        harmless(&text).into_owned()
    }
}

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let exit = if matches!(error, LedgerError::NoSuchRun(_)) { exit::NOT_VALID } else { exit::INFRASTRUCTURE };
        Self::from_error(exit, &error)
    }
}

impl From<UpdateError> for Failure {
    fn from(error: UpdateError) -> Self {
        match error {
            UpdateError::Ledger(error) => error.into(),
            UpdateError::Illegal(error) => Self::from_error(exit::INFRASTRUCTURE, &error),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Update(error) => error.into(),
            StartError::Store(error) => error.into(),
        }
    }
}

impl From<WatchError> for Failure {
    fn from(error: WatchError) -> Self {
        match error {
            WatchError::Ledger(error) => error.into(),
            other @ (WatchError::AggregatorSilent { .. } | WatchError::Unended { .. }) => {
                Self::from_error(exit::INFRASTRUCTURE, &other)
            }
        }
    }
}

impl From<ScaleError> for Failure {
    fn from(error: ScaleError) -> Self {
        match error {
            ScaleError::Ledger(error) => error.into(),
            late @ ScaleError::Unconfirmed { .. } => Self::from_error(exit::INFRASTRUCTURE, &late),
            refused => Self::from_error(exit::NOT_VALID, &refused),
        }
    }
}

impl From<ReapError> for Failure {
    fn from(error: ReapError) -> Self {
        match error {
            ReapError::Update(error) => error.into(),
            ReapError::Aggregate(error) => error.into(),
        }
    }
}

infrastructure!(StoreError, AggregateError, WorkError, K6NotFound, GeneratorError);

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the ledger cannot be read: {0}\nits folder is .lambdaload")]
    struct Outer(#[source] Inner);

    #[derive(Debug, thiserror::Error)]
    #[error("file is not a database")]
    struct Inner;

    #[test]
    fn one_form_for_all() {
        let failure = Failure::not_valid("no such script: chekout.js")
            .detail("looked in this folder")
            .hint("did you mean checkout.js?");
        assert_eq!(
            failure.lines(),
            "no such script: chekout.js\n  looked in this folder\n  did you mean checkout.js?\n"
        );
    }

    #[test]
    fn an_unknown_metric_gets_a_suggestion() {
        let message = r#"invalid threshold defined on http_req_durations{name:cart}; reason: no metric name "http_req_durations" found"#;
        let failure = Failure::unknown_metric(message, Path::new("checkout.js")).expect("is one");
        insta::assert_snapshot!(failure.lines(), @r#"
        threshold on an unknown metric
          http_req_durations{name:cart}   in checkout.js, options.thresholds
          k6 says: no metric name "http_req_durations" found
          did you mean http_req_duration?
        "#);
        assert!(Failure::unknown_metric("another message", Path::new("a.js")).is_none());
    }

    #[test]
    fn an_executor_that_k6_has_dropped_is_named() {
        let message =
            "could not initialize 'a.js': could not load JS test: unknown executor type 'externally-controlled'";
        let failure = Failure::removed_executor(message, Path::new("a.js")).expect("is one");
        insta::assert_snapshot!(failure.lines(), @r#"
        this k6 has no externally-controlled executor: k6 2.0 has removed it
          a scenario in a.js uses it
          use a k6 1.x (--k6 PATH), or write down how the load changes: stages of ramping-vus or ramping-arrival-rate
        "#);
        assert!(Failure::removed_executor("unknown executor type 'constant-vu'", Path::new("a.js")).is_none());
    }

    #[test]
    fn causes_are_told_once() {
        let failure = Failure::from_error(exit::INFRASTRUCTURE, &Outer(Inner));
        assert_eq!(failure.lines(), "the ledger cannot be read: file is not a database\n  its folder is .lambdaload\n");
    }
}

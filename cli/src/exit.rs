//! What the command exits with: k6's own codes with k6's meanings, and few of lambdaload's own.
//!
//! A pipeline that was written for `k6 run` needs no change. lambdaload's own 96 is next to k6's range and used by no
//! version of k6.

use std::process::ExitCode;

use lambdaload_core::{judge, k6::exit::code};

/// Done; of a run: all thresholds hold, or it has none.
pub(crate) const OK: i32 = code::OK;
/// The command line cannot be read.
pub(crate) const USAGE: i32 = 2;
/// The measurement cannot be believed.
pub(crate) const VERDICT_INVALID: i32 = judge::INVALID;
/// What a run needs is missing or broke: k6, the folder, the ledger, the AWS account, a worker's start. k6 uses it for a failed cloud
/// run.
pub(crate) const INFRASTRUCTURE: i32 = 97;
/// What was asked for is not valid; nothing was started.
pub(crate) const NOT_VALID: i32 = code::INVALID_CONFIG;
/// A person or a signal stopped it.
pub(crate) const STOPPED: i32 = code::EXTERNAL_ABORT;

/// A code and what it means.
pub(crate) struct Meaning {
    /// The code.
    pub(crate) code: i32,
    /// In words, for people.
    pub(crate) words: &'static str,
}

/// All exit codes.
pub(crate) const TABLE: [Meaning; 15] = [
    Meaning { code: OK, words: "passed, or the script has no thresholds" },
    Meaning { code: USAGE, words: "the command line cannot be read" },
    Meaning { code: VERDICT_INVALID, words: "invalid: the measurement is not complete and cannot be believed" },
    Meaning { code: INFRASTRUCTURE, words: "k6, a worker, the folder, the ledger or the AWS account failed" },
    Meaning { code: code::THRESHOLDS_FAILED, words: "a threshold was crossed" },
    Meaning { code: code::SETUP_TIMEOUT, words: "setup() took too long" },
    Meaning { code: code::TEARDOWN_TIMEOUT, words: "teardown() took too long" },
    Meaning { code: code::STOPPED_BY_REST, words: "k6 was stopped through its REST API" },
    Meaning {
        code: NOT_VALID,
        words: "the script, an option, the config file or a run's id is not valid; nothing was started",
    },
    Meaning { code: STOPPED, words: "stopped by Ctrl-C, a signal or `lambdaload stop`" },
    Meaning { code: code::SCRIPT_EXCEPTION, words: "an exception in the script's init code, setup() or teardown()" },
    Meaning { code: code::SCRIPT_ABORTED, words: "the script called exec.test.abort()" },
    Meaning { code: code::GO_PANIC, words: "k6 itself crashed" },
    Meaning { code: code::MARKED_AS_FAILED, words: "the script called exec.test.fail()" },
    Meaning { code: code::UNREADABLE_FLAG, words: "k6 cannot read the value of one of its flags; nothing was started" },
];

/// The table for `--help`.
pub(crate) fn help() -> String {
    let lines = TABLE.iter().map(|meaning| format!("  {:>3}  {}", meaning.code, meaning.words));
    std::iter::once("Exit codes:".to_owned()).chain(lines).collect::<Vec<_>>().join("\n")
}

/// The code as the operating system takes it. A number that is no exit code cannot be a success.
pub(crate) fn process_code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_none_has_two_meanings() {
        assert!(TABLE.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(help().contains("\n   99  a threshold was crossed\n"));
    }

    #[test]
    fn no_odd_number_becomes_a_success() {
        assert_eq!(process_code(256), ExitCode::FAILURE);
        assert_eq!(process_code(-1), ExitCode::FAILURE);
        assert_eq!(process_code(99), ExitCode::from(99));
    }
}

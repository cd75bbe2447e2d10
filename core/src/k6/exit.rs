//! How a k6 process ended, and what its exit codes mean.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// k6's exit codes, by the meaning k6 gives them (all versions since 1.1).
pub mod code {
    /// The test ran; with thresholds, all passed.
    pub const OK: i32 = 0;
    /// A threshold was crossed.
    pub const THRESHOLDS_FAILED: i32 = 99;
    /// `setup()` did not end in time.
    pub const SETUP_TIMEOUT: i32 = 100;
    /// `teardown()` did not end in time.
    pub const TEARDOWN_TIMEOUT: i32 = 101;
    /// The test was stopped through the REST API.
    pub const STOPPED_BY_REST: i32 = 103;
    /// The options, a threshold or a flag are not valid.
    pub const INVALID_CONFIG: i32 = 104;
    /// A signal, or an output, asked k6 to stop.
    pub const EXTERNAL_ABORT: i32 = 105;
    /// The REST API could not listen.
    pub const CANNOT_START_REST: i32 = 106;
    /// An exception in the script's init code, `setup()` or `teardown()`.
    pub const SCRIPT_EXCEPTION: i32 = 107;
    /// The script called `exec.test.abort()`.
    pub const SCRIPT_ABORTED: i32 = 108;
    /// k6 itself panicked.
    pub const GO_PANIC: i32 = 109;
    /// The script called `exec.test.fail()`.
    pub const MARKED_AS_FAILED: i32 = 110;
    /// The value of a flag could not be read, among other errors without a code of their own.
    pub const UNREADABLE_FLAG: i32 = 255;
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessExit {
    /// By itself, with a code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl ProcessExit {
    /// What the exit means, in words that complete «k6 …».
    pub fn meaning(self) -> String {
        let words = match self {
            Self::Signal(9) => "was killed by signal 9 (often: the machine ran out of memory)",
            Self::Signal(signal) => return format!("was killed by signal {signal}"),
            Self::Code(code) => match code {
                code::OK => "ended well",
                code::THRESHOLDS_FAILED => "crossed a threshold",
                code::SETUP_TIMEOUT => "did not finish setup() in time",
                code::TEARDOWN_TIMEOUT => "did not finish teardown() in time",
                code::STOPPED_BY_REST => "was stopped through its REST API",
                code::INVALID_CONFIG => "refused its options",
                code::EXTERNAL_ABORT => "was told to stop",
                code::CANNOT_START_REST => "could not listen for its REST API",
                code::SCRIPT_EXCEPTION => "met an exception in the script's init code, setup() or teardown()",
                code::SCRIPT_ABORTED => "was ended by the script's exec.test.abort()",
                code::GO_PANIC => "crashed (Go panic)",
                code::MARKED_AS_FAILED => "was marked as failed by the script's exec.test.fail()",
                _ => return format!("ended with exit code {code}"),
            },
        };
        words.to_owned()
    }
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

//! Names of runs, workers and attempts.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The id of one run: 26 characters of Crockford base 32 (a ULID), so ids sort by the time of their making.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RunId(String);

/// What is wrong with a text that should have been a run id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a run id: expected 26 letters and digits, as `lambdaload runs list` prints them")]
pub struct InvalidRunId(String);

impl RunId {
    /// Accepts the canonical text of a ULID, in either case.
    pub fn parse(text: &str) -> Result<Self, InvalidRunId> {
        let upper = text.to_ascii_uppercase();
        let legal = upper.len() == 26
            && upper.bytes().all(|b| b.is_ascii_digit() || (b.is_ascii_uppercase() && !b"ILOU".contains(&b)));
        if legal { Ok(Self(upper)) } else { Err(InvalidRunId(text.to_owned())) }
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Which worker of a run, from 0.
/// People are shown `worker 1` for index 0, as k6 counts its VUs from 1; see [`WorkerIndex::number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct WorkerIndex(pub u32);

impl WorkerIndex {
    /// The first worker: it also runs `setup()` and `teardown()`.
    pub const FIRST: Self = Self(0);

    /// The number people see, from 1.
    pub fn number(self) -> u32 {
        self.0 + 1
    }

    /// Whether this worker runs `setup()` and `teardown()` for all.
    pub fn is_first(self) -> bool {
        self == Self::FIRST
    }
}

impl fmt::Display for WorkerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {}", self.number())
    }
}

/// Which try at running a worker, from 1. Chunks of different attempts never mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Attempt(pub u32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_id_is_26_letters_and_digits() {
        let id = "01JD8QZV3M4T5W6X7Y8Z9A0B4K";
        assert_eq!(RunId::parse(id).map(|r| r.as_str().to_owned()), Ok(id.to_owned()));
        assert_eq!(RunId::parse(&id.to_lowercase()).map(|r| r.as_str().to_owned()), Ok(id.to_owned()));
        for bad in ["", "01JD8QZV", "../../../../etc/passwd0000", "01JD8QZV3M4T5W6X7Y8Z9A0BIL"] {
            assert!(RunId::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Names of runs, workers and attempts.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::timestamp::Timestamp;

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

    /// The id that stands for a name at a moment: made again, it is the same.
    pub fn derived(at: Timestamp, name: &str) -> Self {
        const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let hash = Sha256::new_with_prefix(name).chain_update([0]).chain_update(at.0.to_be_bytes()).finalize();
        let random = hash.iter().take(10).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let millis = u128::from(at.0.div_euclid(1_000).max(0).unsigned_abs()) & 0xffff_ffff_ffff;
        let bits = millis << 80 | random;
        let letter = |place: u32| CROCKFORD.get((bits >> (place * 5) & 31) as usize).copied().map_or('0', char::from);
        Self((0..26).rev().map(letter).collect())
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
    fn a_derived_id_is_a_run_id_that_sorts_by_its_moment() {
        let minute = |n: i64| Timestamp(1_795_348_800_000_000 + n * 60_000_000);
        let id = RunId::derived(minute(0), "nightly");
        assert_eq!(RunId::parse(id.as_str()), Ok(id.clone()));
        // The time part is that of a ULID of this moment.
        assert_eq!(&id.as_str()[..10], "01M81J18G0");
        assert_eq!(id, RunId::derived(minute(0), "nightly"));
        let ids: Vec<RunId> = (0..100).map(|n| RunId::derived(minute(n), "nightly")).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert_ne!(id, RunId::derived(minute(0), "weekly"));
        for odd in [i64::MIN, -1, 0, i64::MAX] {
            assert!(RunId::parse(RunId::derived(Timestamp(odd), "x").as_str()).is_ok(), "{odd}");
        }
    }

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

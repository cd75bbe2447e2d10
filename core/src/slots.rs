//! Who may run how many workers in an account: room is shared with everything else there, so it is claimed before workers
//! are launched, by one conditional write. Runs for which there is none wait in turn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ids::RunId, timestamp::Timestamp};

/// The book of all slots of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Grows by one with every change; 0 if nothing was ever written.
    pub version: u64,
    /// Runs that may have workers now.
    pub held: BTreeMap<RunId, Held>,
    /// Runs that wait, the next one first.
    pub waiting: Vec<Waiting>,
}

/// Room that a run has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Workers at one time, a substitute for `teardown()` included.
    pub workers: u32,
    /// When it is over in any case, whoever forgot to say so.
    pub until: Timestamp,
}

/// A run that waits for room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The run.
    pub run: RunId,
    /// Workers that it needs.
    pub workers: u32,
    /// How long the run may take once it has room, in milliseconds.
    pub lasts_ms: u64,
    /// When it gives up waiting.
    pub until: Timestamp,
}

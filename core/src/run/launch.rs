//! What the launcher of an account is asked, and what it says.

use serde::{Deserialize, Serialize};

use crate::{ids::RunId, plan::Plan};

/// What the launcher is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "do")]
pub enum LaunchRequest {
    /// Start a run whose archive is in the store. Asking again changes nothing.
    Start {
        /// Which lambdaload asks.
        version: String,
        /// Its id.
        run: RunId,
        /// What was decided.
        plan: Box<Plan>,
    },
    /// Start a run that has waited and has room now.
    Resume {
        /// The run.
        run: RunId,
    },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum LaunchReply {
    /// Its workers have been called.
    Launched,
    /// It waits for room.
    Queued {
        /// 1 for the next one.
        place: u32,
    },
    /// It cannot be started here; there is no run.
    Refused {
        /// Why, and what to do, for people.
        message: String,
    },
}

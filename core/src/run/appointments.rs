//! Appointments with the reaper: what nobody else ends is looked at in time, and nothing ticks in between.

use std::time::Duration;

use crate::{
    ids::RunId,
    ports::{CallError, Timestamp},
    run::{
        AccountPorts,
        timely::{CALL_PATIENCE, persist},
    },
};

/// After the start was asked for: did its launcher come through?
pub(super) const START: &str = "start";
/// At the end of the time for which a run may wait for room.
pub(super) const QUEUE: &str = "queue";
/// After a run that has waited was launched: does anybody conduct it?
pub(super) const BEGIN: &str = "begin";
/// When a run should be over in any case.
pub(super) const END: &str = "end";
/// A little later, if its aggregator still lived.
pub(super) const LATE: &str = "late";
/// When workers of which nobody knows have gone.
pub(super) const ROOM: &str = "room";
/// After somebody was called again.
pub(super) const LOOKS: [&str; 3] = ["look-1", "look-2", "look-3"];

/// After this time a function that was called has begun, and a launcher is over.
pub(super) const LOOK_AFTER: Duration = Duration::from_mins(2);

/// The clocks of those who make an appointment and of those who keep it are so far apart at most.
pub(super) const TOLERANCE: Duration = Duration::from_secs(5);

/// Has the reaper look at a run when `at` has passed.
pub(super) async fn appoint(
    ports: &AccountPorts,
    run: &RunId,
    name: &'static str,
    at: Timestamp,
) -> Result<(), CallError> {
    let at = at.plus(TOLERANCE);
    persist(&*ports.clock, CALL_PATIENCE, || ports.functions.reap_at(run, name, at)).await
}

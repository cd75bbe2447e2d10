//! The aggregator of an account: conducts a run for as long as its function lives, hands it over, and makes room at its end.

use std::{sync::Arc, time::Duration};

use crate::{
    lifecycle::Phase,
    ports::{AggregatorTask, CallError, LedgerError},
    run::{
        AccountPorts, Deployment, UpdateError,
        aggregate::{AggregateError, End, Relay, aggregate_in_turn, latest_checkpoint},
        notify::{NotifyError, tell},
        room::{RoomError, free_room},
        timely::{PATIENCE, persist},
        update_run,
    },
    verdict::Verdict,
};

/// How long before the end of its time an aggregator calls its successor: for a checkpoint, a call or some, and a successor
/// that has to read it all.
pub const HAND_OVER: Duration = Duration::from_mins(1);

/// How an aggregator has ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Conducted {
    /// The run has this verdict, and its room is given back.
    Concluded(Box<Verdict>),
    /// Another aggregator conducts the run now.
    HandedOver,
}

/// Why an aggregator has failed. The reaper calls another one.
#[derive(Debug, thiserror::Error)]
pub enum ConductError {
    /// The run could not be conducted to its end, or the verdict not be written.
    #[error(transparent)]
    Aggregate(#[from] AggregateError),
    /// The run has its verdict, and still its room.
    #[error(transparent)]
    Room(#[from] RoomError),
    /// The run has its verdict, and nobody could be told.
    #[error("the verdict is written, but nobody could be told: {0}")]
    Notify(#[from] NotifyError),
    /// Its time was over, and nobody took over.
    #[error("no other aggregator took over{}", .0.as_ref().map(|error| format!(": {error}")).unwrap_or_default())]
    Alone(Option<CallError>),
}

impl From<UpdateError> for ConductError {
    fn from(error: UpdateError) -> Self {
        Self::Aggregate(error.into())
    }
}

impl From<LedgerError> for ConductError {
    fn from(error: LedgerError) -> Self {
        UpdateError::from(error).into()
    }
}

/// Conducts a run until its verdict, or until another aggregator does.
///
/// `ends_at` is when the runtime ends this process, by the clock's monotonic time. [`HAND_OVER`] before that a successor is
/// called; this one goes on until it sees that one in the run's record, and fails if none comes.
pub async fn conduct(
    ports: &AccountPorts,
    deployment: &Deployment,
    task: &AggregatorTask,
    ends_at: Duration,
) -> Result<Conducted, ConductError> {
    // A checkpoint may be larger than what is answered in time.
    let store = Arc::clone(&ports.store);
    let ports = &ports.timely();
    let (clock, version) = (&*ports.clock, deployment.version.as_str());
    let run = persist(clock, PATIENCE, || ports.ledger.run(&task.run)).await?;
    let checkpoint = if run.succession > task.succession {
        return Ok(Conducted::HandedOver);
    } else if run.state.phase == Phase::Concluded {
        None
    } else {
        latest_checkpoint(clock, &*store, &run, task.succession, version).await
    };
    // Whoever conducted the run until now leaves when it sees this, and workers see a sign of life.
    let take_over = || {
        update_run(&*ports.ledger, &task.run, |run| {
            let is_mine = run.succession <= task.succession && run.state.phase != Phase::Concluded;
            if is_mine {
                run.succession = task.succession;
                run.aggregator_beat += 1;
            }
            Ok(is_mine)
        })
    };
    let run = persist(clock, PATIENCE, take_over).await?;
    if run.succession > task.succession {
        return Ok(Conducted::HandedOver);
    }
    let mut relay = Relay::new(&*ports.functions, store, task.succession, version, ends_at);
    match aggregate_in_turn(&ports.for_run(&run), run.clone(), checkpoint, &mut relay, version).await? {
        End::Concluded(verdict) => {
            free_room(ports, deployment, &run).await?;
            Box::pin(tell(ports, &run)).await?;
            Ok(Conducted::Concluded(verdict))
        }
        End::Succeeded => Ok(Conducted::HandedOver),
        End::Alone(error) => Err(ConductError::Alone(error)),
    }
}

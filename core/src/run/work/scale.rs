//! Letting k6 have as many VUs as somebody wants.

use std::time::Duration;

use futures::future;

use crate::{
    records::{Failure, Scaled, WorkerPhase},
    run::{
        timely::{ANSWER, within},
        work::{Shared, lock},
    },
};

/// How often the last seen record of the run is looked at; that costs nothing.
const LOOK: Duration = Duration::from_millis(50);

/// Between two tries with a k6 that did not do it.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets k6 follow the wishes in the run's record, and says in the worker's how that went. Goes on until it is dropped. It
/// is nobody's failure if k6 cannot follow; whoever wanted it hears of it.
pub(super) async fn follow_scale(shared: &Shared<'_>) -> Failure {
    if shared.plan(|plan| plan.controlled().is_none()) {
        return future::pending().await;
    }
    let mut followed = 0;
    loop {
        shared.sleep(LOOK).await;
        let wanted = lock(&shared.run).scale.filter(|wanted| wanted.revision > followed);
        let (Some(wanted), Some(control), true) = (wanted, shared.control.get(), is_its_time(shared)) else { continue };
        let problem = match within(&*shared.ports.clock, ANSWER, control.scale(wanted.vus)).await {
            Some(Ok(())) => None,
            Some(Err(error)) => Some(error.to_string()),
            None => Some(format!("k6 did not answer within {} s", ANSWER.as_secs())),
        };
        let scaled = Scaled { revision: wanted.revision, problem };
        let is_followed = scaled.problem.is_none();
        if lock(&shared.record).scaled.as_ref() != Some(&scaled) {
            // If the ledger does not answer, the next renewal carries it.
            drop(shared.renew(|record| record.scaled = Some(scaled)).await);
        }
        if is_followed {
            followed = wanted.revision;
        } else {
            shared.sleep(PAUSE).await;
        }
    }
}

/// Whether k6 has VUs to give and the scenario is not over: asked after that, k6 would never answer.
fn is_its_time(shared: &Shared<'_>) -> bool {
    let ends_after = shared.plan(|plan| plan.controlled().map(|scenario| scenario.ends_after)).unwrap_or_default();
    let record = lock(&shared.record);
    let is_over = record.resumed_at.is_some_and(|at| shared.ports.clock.now().since(at) >= ends_after);
    matches!(record.phase, WorkerPhase::Ready | WorkerPhase::Running) && !is_over && shared.told_to_stop().is_none()
}

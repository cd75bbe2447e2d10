//! `teardown()`, once: by the first worker, or if that is gone by a substitute with a k6 of its own.

use crate::{
    ids::{Attempt, WorkerIndex},
    judge::teardown_is_due,
    lifecycle::RunEvent,
    ports::WorkerTask,
    records::WorkerPhase,
    run::{
        aggregate::Conductor,
        timely::{ANSWER, within},
    },
};

impl Conductor<'_> {
    /// Notes that nobody runs iterations any more, and asks for `teardown()`.
    pub(super) async fn end_iterations(&mut self) {
        let by = if self.needs_substitute() { self.run.plan.substitute() } else { WorkerIndex::FIRST };
        self.update(|run| {
            run.state = run.state.next(RunEvent::IterationsEnded)?;
            run.teardown_by.get_or_insert(by);
            Ok(true)
        })
        .await;
    }

    /// Asks the substitute if the first worker has gone without having begun, and launches it.
    pub(super) async fn tear_down(&mut self) {
        if self.needs_substitute() {
            self.update(|run| {
                // The first worker may have begun since it was last seen.
                let may_pass = run.teardown_begun.is_none();
                if may_pass {
                    run.teardown_by = Some(run.plan.substitute());
                }
                Ok(may_pass)
            })
            .await;
        }
        if self.is_substituted() && !self.substitute_launched {
            self.substitute_launched = true;
            let task = WorkerTask { run: self.run.id.clone(), index: self.run.plan.substitute(), attempt: Attempt(1) };
            // No answer is no refusal: it may have started, and there is a deadline for it.
            let losses = within(&*self.ports.clock, ANSWER, self.ports.fleet.launch(&[task])).await;
            for loss in losses.unwrap_or_default() {
                self.lose(loss.index, loss.kind, loss.message);
            }
        }
    }

    /// Whether nobody is left who would run a `teardown()` that is due, and nobody was asked instead.
    pub(super) fn needs_substitute(&self) -> bool {
        let is_gone = self.is_at_least(WorkerIndex::FIRST, WorkerPhase::Closed);
        is_gone && teardown_is_due(&self.run, self.is_set_up()) && !self.is_substituted()
    }
}

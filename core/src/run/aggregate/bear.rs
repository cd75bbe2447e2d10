//! Workers that are gone: what the run bears, and what it stops for.

use std::collections::BTreeMap;

use crate::{
    ids::WorkerIndex,
    judge::is_script_exception,
    lifecycle::{Abort, AbortCause, Phase},
    losses::borne,
    records::{Failure, FailureKind, WorkerPhase},
    run::aggregate::Conductor,
};

impl Conductor<'_> {
    /// Stops the run if workers are gone that it does not bear to lose: what the others would still measure could not be
    /// believed. Otherwise returns those that it goes on without, and what became of them; they are told to leave if they
    /// can still hear.
    pub(super) async fn bear_losses(&mut self) -> Option<BTreeMap<WorkerIndex, String>> {
        if self.run.state.abort.is_some() || self.run.state.phase >= Phase::Finishing {
            return None;
        }
        let without: BTreeMap<WorkerIndex, String> = match borne(&self.run.plan, &self.fallen(), self.is_set_up()) {
            Ok(without) => without.into_iter().map(|(index, failure)| (index, failure.message.clone())).collect(),
            Err((index, failure)) => {
                let message = format!("{index}: {}", failure.message);
                let abort = Abort { cause: cause_of(failure), message, at_once: false };
                self.stop(abort).await;
                return None;
            }
        };
        let is_new = |index: &WorkerIndex| !self.run.left_out.contains_key(index);
        if self.run.state.phase == Phase::Running && without.keys().any(is_new) {
            self.update(|run| {
                for (index, message) in &without {
                    run.left_out.entry(*index).or_insert_with(|| message.clone());
                }
                Ok(true)
            })
            .await;
        }
        Some(without)
    }

    /// Goes on without workers that are not ready in time, as far as that is borne: whoever has not become ready by now
    /// would keep those waiting that have.
    pub(super) fn leave_out_the_late(&mut self) {
        let late: Vec<WorkerIndex> = self.late_workers(WorkerPhase::Ready).collect();
        let ready = self.run.plan.worker_indices().filter(|index| {
            self.workers.get(index).is_some_and(|w| w.record.phase == WorkerPhase::Ready)
                && !self.lost.contains_key(index)
        });
        let enough = ready.count() >= self.run.plan.min_workers as usize;
        if enough && !late.contains(&WorkerIndex::FIRST) {
            let seconds = self.run.plan.deadlines.begun_and_ready().as_secs();
            let message = format!("it was not ready {seconds} s after its launch; the run started without it");
            late.into_iter().for_each(|index| self.lose(index, FailureKind::Lost, message.clone()));
        }
    }

    /// Workers that do no part of the work any more: first those that say why, then those that were lost.
    fn fallen(&self) -> Vec<(WorkerIndex, &Failure)> {
        let failed = self.workers.values().filter_map(|w| Some((w.record.index, w.record.failure.as_ref()?)));
        let lost = self.lost.iter().map(|(index, failure)| (*index, failure));
        failed.chain(lost).filter(|(_, failure)| failure.kind != FailureKind::ScriptFailed).collect()
    }

    /// Whether `setup()` has run and its data is there for all.
    pub(super) fn is_set_up(&self) -> bool {
        self.workers.get(&WorkerIndex::FIRST).is_some_and(|first| first.record.set_up)
    }
}

/// Who is to blame for a run that is stopped because of a failure.
fn cause_of(failure: &Failure) -> AbortCause {
    match failure.kind {
        FailureKind::Setup | FailureKind::Teardown | FailureKind::ScriptAborted | FailureKind::ScriptFailed => {
            AbortCause::Script
        }
        FailureKind::K6DidNotStart if is_script_exception(failure) => AbortCause::Script,
        FailureKind::K6Hung | FailureKind::OutOfTime => AbortCause::Deadline,
        _ => AbortCause::System,
    }
}

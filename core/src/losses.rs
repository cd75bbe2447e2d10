//! Which losses of workers a run bears: by default none, with `--min-workers` some.

use std::collections::BTreeMap;

use crate::{
    ids::WorkerIndex,
    judge::is_script_exception,
    plan::Plan,
    records::{Failure, FailureKind},
};

/// The workers that the run does without, each with its first failure, if it bears that; otherwise the failure that it
/// does not bear.
///
/// `fallen` are workers that do no part of the work (any more), the first root cause first. What the script itself did is never
/// borne, because it would do the same on every worker. The first worker is borne only if it has run `setup()`.
pub(crate) fn borne<'a>(
    plan: &Plan,
    fallen: &[(WorkerIndex, &'a Failure)],
    is_set_up: bool,
) -> Result<BTreeMap<WorkerIndex, &'a Failure>, (WorkerIndex, &'a Failure)> {
    let never_borne = fallen.iter().find(|(index, f)| is_by_script(f) || (index.is_first() && !is_set_up));
    if let Some(first) = never_borne {
        return Err(*first);
    }
    // The first of each stays.
    let without: BTreeMap<WorkerIndex, &Failure> = fallen.iter().rev().copied().collect();
    match fallen.first() {
        Some(first) if without.len() > plan.workers.saturating_sub(plan.min_workers) as usize => Err(*first),
        _ => Ok(without),
    }
}

fn is_by_script(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Setup | FailureKind::Teardown | FailureKind::ScriptAborted)
        || is_script_exception(failure)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::RunId,
        k6::exit::{ProcessExit, code},
        testing::contract::sample_run,
    };

    fn failure(kind: FailureKind, exit: Option<i32>) -> Failure {
        Failure { kind, message: String::new(), exit: exit.map(ProcessExit::Code), log: Vec::new() }
    }

    /// Of a run of three workers; who is not borne, or else who is done without.
    fn weigh(min_workers: u32, fallen: &[(u32, &Failure)], is_set_up: bool) -> Result<Vec<u32>, u32> {
        let run = sample_run(&RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id"));
        let plan = Plan { min_workers, ..run.plan };
        let fallen: Vec<_> = fallen.iter().map(|(index, failure)| (WorkerIndex(*index), *failure)).collect();
        let borne = borne(&plan, &fallen, is_set_up);
        borne.map(|without| without.into_keys().map(|index| index.0).collect()).map_err(|(index, _)| index.0)
    }

    #[test]
    fn losses_are_borne_down_to_the_least_number_of_workers() {
        let lost = failure(FailureKind::Lost, None);
        assert_eq!(weigh(3, &[], true), Ok(vec![]));
        assert_eq!(weigh(3, &[(2, &lost)], true), Err(2));
        assert_eq!(weigh(2, &[(2, &lost)], true), Ok(vec![2]));
        assert_eq!(weigh(2, &[(2, &lost), (1, &lost)], true), Err(2), "the first cause is named");
        assert_eq!(weigh(1, &[(2, &lost), (1, &lost)], true), Ok(vec![1, 2]));
    }

    #[test]
    fn a_worker_has_its_first_failure() {
        let run = sample_run(&RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id"));
        let plan = Plan { min_workers: 1, ..run.plan };
        let (first, later) = (failure(FailureKind::K6Failed, None), failure(FailureKind::Lost, None));
        let fallen = [(WorkerIndex(2), &first), (WorkerIndex(2), &later)];
        let without = borne(&plan, &fallen, true).expect("borne");
        assert_eq!(without.into_values().map(|failure| failure.kind).collect::<Vec<_>>(), [FailureKind::K6Failed]);
    }

    #[test]
    fn the_first_worker_is_borne_once_it_has_set_up() {
        let lost = failure(FailureKind::Lost, None);
        assert_eq!(weigh(1, &[(1, &lost), (0, &lost)], false), Err(0));
        assert_eq!(weigh(1, &[(0, &lost)], true), Ok(vec![0]));
    }

    #[test]
    fn what_the_script_does_is_never_borne() {
        for failed in [
            failure(FailureKind::ScriptAborted, Some(code::SCRIPT_ABORTED)),
            failure(FailureKind::Setup, None),
            failure(FailureKind::K6DidNotStart, Some(code::SCRIPT_EXCEPTION)),
        ] {
            assert_eq!(weigh(1, &[(1, &failed)], true), Err(1), "{failed:?}");
        }
        let refused = failure(FailureKind::K6DidNotStart, Some(code::CANNOT_START_REST));
        assert_eq!(weigh(1, &[(1, &refused)], true), Ok(vec![1]));
    }
}

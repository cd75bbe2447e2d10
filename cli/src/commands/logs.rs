//! `lambdaload logs`: what k6 and the script said in the workers.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use futures::{StreamExt as _, stream};
use lambdaload_core::{
    ids::{Attempt, RunId, WorkerIndex},
    ports::StoreError,
    run::WatchPorts,
};

use crate::{error::Failure, exit, printer::Printer, run_ids, signals::Signals, wiring::Place};

/// Between two looks at the logs of a run that goes on.
const PERIOD: Duration = Duration::from_secs(2);

/// Logs that are read at one time.
const AT_ONCE: usize = 32;

/// Shows the logs of a run's workers.
pub(super) async fn logs(
    run: &str,
    worker: Option<u32>,
    follow: bool,
    place: &Place,
    printer: &Printer,
) -> Result<i32, Failure> {
    let mut signals = Signals::listen()?;
    let ports = place.watch_ports().await?;
    let id = run_ids::find(&*ports.ledger, run).await?;
    let record = ports.ledger.run(&id).await?;
    let wanted = worker.map(|number| chosen(number, record.plan.workers)).transpose()?;
    let mut shown = Shown { of_one: wanted.is_some(), ..Shown::default() };
    loop {
        // Asked before the logs are read, so that nothing said before the verdict is missed.
        let is_over = !follow || ports.ledger.verdict(&id).await?.is_some();
        let workers = workers(&ports, &id, record.plan.workers, wanted).await?;
        for (worker, log) in read(&ports, place, &id, workers).await? {
            printer.scripts_result(shown.new_of(worker, &log, is_over).as_bytes())?;
        }
        if is_over {
            break;
        }
        tokio::select! {
            () = ports.clock.sleep(PERIOD) => {}
            () = signals.next() => return Err(Failure::stopped("stopped following the logs; the run goes on")),
        }
    }
    if shown.read.values().all(|read| *read == 0) {
        let of_whom = wanted.map_or_else(|| "the workers have".to_owned(), |worker| format!("{worker} has"));
        printer.talk(&format!("{of_whom} said nothing"));
        if let Some(deployment) = place.deployment() {
            let function = &deployment.stack.worker_function;
            printer
                .talk(&format!("what the functions said of themselves is in CloudWatch Logs: /aws/lambda/{function}"));
        }
    }
    Ok(exit::OK)
}

/// The worker of this number, from 1. There may be one more than planned, which only runs `teardown()`.
fn chosen(number: u32, workers: u32) -> Result<WorkerIndex, Failure> {
    match number.checked_sub(1) {
        Some(index) if index <= workers => Ok(WorkerIndex(index)),
        _ => Err(Failure::not_valid(format!("--worker {number}: expected 1 to {workers}, the workers of this run"))),
    }
}

/// The workers whose logs are wanted, with their attempts. Those that never claimed their segment may have said something
/// all the same.
async fn workers(
    ports: &WatchPorts,
    id: &RunId,
    planned: u32,
    wanted: Option<WorkerIndex>,
) -> Result<BTreeMap<WorkerIndex, Attempt>, Failure> {
    let mut workers: BTreeMap<_, _> = (0..planned).map(|index| (WorkerIndex(index), Attempt(1))).collect();
    workers.extend(ports.ledger.workers(id).await?.into_iter().map(|worker| (worker.index, worker.attempt)));
    if let Some(wanted) = wanted {
        workers.entry(wanted).or_insert(Attempt(1));
        workers.retain(|index, _| *index == wanted);
    }
    Ok(workers)
}

/// What there is of their logs, in the order of the workers.
pub(super) async fn read(
    ports: &WatchPorts,
    place: &Place,
    id: &RunId,
    workers: BTreeMap<WorkerIndex, Attempt>,
) -> Result<Vec<(WorkerIndex, Vec<u8>)>, Failure> {
    let reads =
        workers.into_iter().map(async |(index, attempt)| (index, place.log(&*ports.store, id, index, attempt).await));
    let mut found = Vec::new();
    for (index, log) in stream::iter(reads).buffered(AT_ONCE).collect::<Vec<_>>().await {
        match log {
            Ok(log) => found.push((index, log)),
            Err(StoreError::NotFound(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

/// All workers of a run, for [`read`].
pub(super) async fn all_workers(ports: &WatchPorts, id: &RunId) -> Result<BTreeMap<WorkerIndex, Attempt>, Failure> {
    let planned = ports.ledger.run(id).await?.plan.workers;
    workers(ports, id, planned, None).await
}

/// How much of which log was shown.
#[derive(Debug, Default)]
struct Shown {
    /// Whether there is one log only, which needs no names before its lines.
    of_one: bool,
    read: BTreeMap<WorkerIndex, usize>,
}

impl Shown {
    /// What has come to a worker's log since it was shown last: whole lines, unless it is the end.
    fn new_of(&mut self, worker: WorkerIndex, log: &[u8], is_end: bool) -> String {
        let read = self.read.entry(worker).or_default();
        let new = log.get(*read..).unwrap_or_default();
        let whole =
            if is_end { new.len() } else { new.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1) };
        *read += whole;
        let text = String::from_utf8_lossy(new.get(..whole).unwrap_or_default());
        let mut shown = String::new();
        for line in text.lines() {
            let _ = if self.of_one {
                writeln!(shown, "{line}")
            } else {
                writeln!(shown, "{:<11}{line}", worker.to_string())
            };
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_shown_once_and_whole() {
        let mut shown = Shown::default();
        assert_eq!(shown.new_of(WorkerIndex(2), b"one\ntw", false), "worker 3   one\n");
        assert_eq!(shown.new_of(WorkerIndex(2), b"one\ntwo\nthr", false), "worker 3   two\n");
        assert_eq!(shown.new_of(WorkerIndex(2), b"one\ntwo\nthr", true), "worker 3   thr\n");
        assert_eq!(shown.new_of(WorkerIndex(2), b"one\ntwo\nthr", true), "");
        // Another attempt begins a log of its own, which is shorter.
        assert_eq!(shown.new_of(WorkerIndex(2), b"x", true), "");
        let mut shown = Shown { of_one: true, ..Shown::default() };
        assert_eq!(shown.new_of(WorkerIndex(0), b"\xff\n", false), "\u{fffd}\n");
    }

    #[test]
    fn workers_are_counted_from_one() {
        assert_eq!(chosen(1, 3).expect("the first"), WorkerIndex(0));
        assert_eq!(chosen(4, 3).expect("the substitute"), WorkerIndex(3));
        assert_eq!(chosen(0, 3).expect_err("none").headline, "--worker 0: expected 1 to 3, the workers of this run");
        assert!(chosen(5, 3).is_err());
    }
}

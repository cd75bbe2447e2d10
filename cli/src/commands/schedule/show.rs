//! `lambdaload schedule list` and `show`

use std::collections::BTreeMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use lambdaload_core::{
    ids::RunId,
    ports::{Ledger, LedgerError},
    schedule::{Fired, ScheduleName, StoredTest},
};
use serde::Serialize;

use super::{Book, next_times};
use crate::{
    args::Form,
    commands::present,
    error::Failure,
    exit,
    printer::Printer,
    view::schedules::{self, Shown, State},
};

/// Runs that are looked at, at one time.
const AT_ONCE: usize = 8;

/// Lists all schedules.
pub(super) async fn list(book: &Book, form: Form, printer: &Printer) -> Result<i32, Failure> {
    let (tests, known) = (book.tests.all().await?, book.schedules.list().await?);
    let ledger = book.deployment.watch_ports().ledger;
    let shown: Vec<Shown> = stream::iter(tests)
        .map(|test| {
            let state = state(&test, known.get(test.name.as_str()).copied());
            let ledger = &*ledger;
            async move { shown(test, state, 1, ledger).await }
        })
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    match form {
        Form::Json => printer.result(&present::json(&shown.iter().map(Listed::new).collect::<Vec<_>>())?)?,
        Form::Human if shown.is_empty() => {
            printer.talk(&format!("no schedules yet in {}", book.deployment.words()));
            printer.talk("`lambdaload schedule create nightly checkout.js --cron '0 2 * * *'` makes one");
        }
        Form::Human => {
            printer.result(&schedules::table(&shown, printer.result_paint, printer.result_terminal_width()))?;
        }
    }
    Ok(exit::OK)
}

/// Shows one schedule.
pub(super) async fn show(name: &ScheduleName, book: &Book, form: Form, printer: &Printer) -> Result<i32, Failure> {
    let test = book.test(name).await?;
    let found = book.schedules.find(name).await?;
    let state = state(&test, found.as_ref().map(|found| found.enabled));
    if let Some(found) = found.filter(|found| found.expression != test.timing.expression()) {
        let changed = Failure::not_valid(format!("somebody has changed the schedule {name} by other means"))
            .detail(format!("EventBridge Scheduler has {} {}", found.expression, found.timezone))
            .detail(format!("the stored test has {} {}", test.timing.expression(), test.timezone))
            .hint(format!("`lambdaload schedule update {name} --cron …` makes both the same"));
        printer.warning(&changed);
    }
    let shown = shown(test, state, usize::MAX, &*book.deployment.watch_ports().ledger).await?;
    match form {
        Form::Json => printer.result(&present::json(&Listed::new(&shown))?)?,
        Form::Human => printer.result(&schedules::one(&shown, printer.result_paint))?,
    }
    Ok(exit::OK)
}

/// Where a schedule is; `enabled` is what EventBridge Scheduler says, if it has one.
fn state(test: &StoredTest, enabled: Option<bool>) -> State {
    match (enabled, test.paused, next_times(test, 1).is_empty()) {
        (_, _, true) => State::Over,
        (None, ..) => State::Missing,
        (Some(false), ..) | (_, true, _) => State::Paused,
        (Some(true), false, false) => State::Active,
    }
}

async fn shown(test: StoredTest, state: State, runs: usize, ledger: &dyn Ledger) -> Result<Shown, Failure> {
    let started = test.firings.iter().filter(|firing| matches!(firing.fired, Fired::Started { .. }));
    let ids: Vec<RunId> = started.take(runs).map(|firing| firing.run.clone()).collect();
    let ends: Vec<_> = stream::iter(ids).map(|id| end_of(id, ledger)).buffered(AT_ONCE).try_collect().await?;
    let next = if state == State::Active { next_times(&test, 3) } else { Vec::new() };
    Ok(Shown { test, state, next, ends: ends.into_iter().collect() })
}

/// What became of a run, in a word.
async fn end_of(id: RunId, ledger: &dyn Ledger) -> Result<(RunId, String), Failure> {
    let word = match ledger.verdict(&id).await {
        Ok(Some(verdict)) => verdict.outcome.word().to_owned(),
        Ok(None) => ledger.run(&id).await?.state.status(),
        Err(LedgerError::NoSuchRun(_)) => "–".to_owned(),
        Err(error) => return Err(error.into()),
    };
    Ok((id, word))
}

/// A schedule for programs.
#[derive(Serialize)]
struct Listed<'s> {
    schedule: &'s ScheduleName,
    state: &'static str,
    timing: &'s lambdaload_core::schedule::Timing,
    timezone: &'s str,
    /// As EventBridge Scheduler has it.
    expression: String,
    /// In RFC 3339.
    next: Vec<String>,
    version: u32,
    script: &'s str,
    name: &'s str,
    note: Option<&'s str>,
    workers: u32,
    archive: String,
    secrets: &'s [String],
    overlap: &'static str,
    notify: Option<&'s str>,
    /// In microseconds since the Unix epoch.
    created_at: i64,
    updated_at: i64,
    /// Latest first.
    firings: &'s [lambdaload_core::schedule::Firing],
    /// Outcome or status of the runs that were looked at.
    runs: &'s BTreeMap<RunId, String>,
}

impl<'s> Listed<'s> {
    fn new(shown: &'s Shown) -> Self {
        let test = &shown.test;
        Self {
            schedule: &test.name,
            state: shown.state.word(),
            timing: &test.timing,
            timezone: &test.timezone,
            expression: test.timing.expression(),
            next: shown.next.iter().map(|next| next.timestamp().to_string()).collect(),
            version: test.version,
            script: &test.plan.script,
            name: &test.plan.name,
            note: test.plan.note.as_deref(),
            workers: test.plan.workers,
            archive: test.plan.archive.hash.to_string(),
            secrets: &test.plan.secrets,
            overlap: test.overlap.word(),
            notify: test.notify.as_deref(),
            created_at: test.created_at.0,
            updated_at: test.updated_at.0,
            firings: &test.firings,
            runs: &shown.ends,
        }
    }
}

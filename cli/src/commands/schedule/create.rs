//! `lambdaload schedule create` and `update`

use lambdaload_core::{
    plan::Plan,
    ports::{LedgerError, keys},
    run::prepare::Prepared,
    schedule::{ScheduleName, StoredTest},
    secrets::Secrets,
};

use super::{Book, done, next_times, now, ours, refuse_never, topic, zone};
use crate::{
    commands::{
        approve::approve,
        prepare::{Ready, ReadyThere, prepare_there},
    },
    error::Failure,
    printer::Printer,
    schedule_args::{CreateArgs, UpdateArgs},
    settings::{Sources, StackSettings, TestSettings},
    signals::Signals,
    view::{
        plan::{Detail, render},
        schedules::{moment, when},
    },
    wiring::Deployment,
};

/// Where nobody names another.
const DEFAULT_ZONE: &str = "UTC";

/// A test that was checked, and can be stored.
struct Checked {
    deployment: Deployment,
    plan: Plan,
    archive: Vec<u8>,
}

/// Stores a test and makes its schedule.
pub(super) async fn create(
    args: CreateArgs,
    sources: Sources,
    stack: &StackSettings,
    printer: &Printer,
) -> Result<i32, Failure> {
    let CreateArgs { schedule: name, when, test } = args;
    let timing = when.timing().ok_or_else(|| {
        Failure::not_valid("a schedule needs a time")
            .hint("--cron '0 2 * * *' (every night at two), --rate 6h, or --at 2026-12-01T02:00")
    })?;
    let (_, timezone) = zone(when.timezone.as_deref().unwrap_or(DEFAULT_ZONE))?;
    refuse_never(&timing, &timezone)?;
    let settings = settings(sources, test)?;
    let Checked { deployment, plan, archive } = check(&settings, stack, printer).await?;
    let notify = when.notify.as_deref().map(|notify| topic(notify, &deployment)).transpose()?.flatten();
    let book = Book::open(deployment);
    if book.tests.test(&name).await?.is_some() {
        return Err(already_there(&name));
    }
    let now = now();
    let stored = StoredTest {
        name: name.clone(),
        revision: 1,
        lambdaload_version: env!("CARGO_PKG_VERSION").to_owned(),
        version: 1,
        plan,
        timing,
        timezone,
        overlap: when.overlap.map(Into::into).unwrap_or_default(),
        notify,
        paused: false,
        created_at: now,
        updated_at: now,
        firings: Vec::new(),
    };
    upload(&book, &stored.plan, archive).await?;
    if !settings.secrets.is_empty() {
        book.deployment.secrets().put_scheduled(&name, &settings.secrets).await?;
    }
    match book.tests.create(&stored).await {
        Ok(()) => {}
        Err(LedgerError::AlreadyExists(_)) => return Err(already_there(&name)),
        Err(error) => return Err(error.into()),
    }
    if let Err(error) = book.schedules.put(&stored).await {
        // A stored test that nothing starts would look like a schedule.
        let failure = Failure::from(error);
        let undone =
            book.tests.delete(&name).await.is_ok() && book.deployment.secrets().delete_scheduled(&name).await.is_ok();
        let hint =
            if undone { "nothing is left of it" } else { "`lambdaload schedule delete` removes what is left of it" };
        return Err(failure.hint(hint));
    }
    done(&told(&stored, "is scheduled"), printer)
}

/// Changes a schedule, and its test if a script is named.
pub(super) async fn update(
    args: UpdateArgs,
    sources: Sources,
    stack: &StackSettings,
    printer: &Printer,
) -> Result<i32, Failure> {
    if args.lacks_a_script() {
        return Err(Failure::not_valid("an update of the test names its script, with all that is to hold for it")
            .hint(format!(
                "`lambdaload schedule update {} checkout.js --workers 50` stores another version",
                args.schedule
            ))
            .hint("--cron, --rate, --at, --timezone, --overlap and --notify can be changed without it"));
    }
    let named = args.script().is_some();
    let UpdateArgs { schedule: name, when, test } = args;
    let timing = when.timing();
    let timezone = when.timezone.as_deref().map(zone).transpose()?.map(|(_, proper)| proper);
    if !named && timing.is_none() && timezone.is_none() && when.overlap.is_none() && when.notify.is_none() {
        return Err(Failure::not_valid("nothing was said that could be changed")
            .hint("a script stores another version of the test; --cron, --rate, --at, --timezone, --overlap and --notify change the schedule"));
    }
    let (book, mut changed) = if named {
        let settings = settings(sources, test)?;
        // Whether there is one is said before anything is prepared.
        Book::open(ours(stack).await?).test(&name).await?;
        let Checked { deployment, plan, archive } = check(&settings, stack, printer).await?;
        let book = Book::open(deployment);
        upload(&book, &plan, archive).await?;
        replace_secrets(&book, &name, &settings.secrets).await?;
        (book, Some(plan))
    } else {
        (Book::open(ours(stack).await?), None)
    };
    let notify = when.notify.as_deref().map(|notify| topic(notify, &book.deployment)).transpose()?;
    let stored = book
        .change(&name, |stored| {
            if let Some(timing) = &timing {
                stored.timing = timing.clone();
            }
            if let Some(timezone) = &timezone {
                stored.timezone.clone_from(timezone);
            }
            if let Some(overlap) = when.overlap {
                stored.overlap = overlap.into();
            }
            if let Some(notify) = &notify {
                stored.notify.clone_from(notify);
            }
            if let Some(plan) = &changed {
                stored.plan = plan.clone();
                stored.version += 1;
                env!("CARGO_PKG_VERSION").clone_into(&mut stored.lambdaload_version);
            }
            refuse_never(&stored.timing, &stored.timezone)
        })
        .await?;
    let words = if changed.take().is_some() { "is stored anew" } else { "is changed" };
    done(&told(&stored, words), printer)
}

fn settings(sources: Sources, test: crate::args::TestArgs) -> Result<TestSettings, Failure> {
    let settings = sources.test(test)?;
    match (settings.platform.detach, &settings.out_dir, &settings.summary_export) {
        (false, None, None) => Ok(settings),
        _ => Err(Failure::not_valid("--detach, --out-dir and --summary-export are of a run that somebody watches")
            .hint("`lambdaload runs download ID` writes the files of a scheduled run")),
    }
}

/// Has k6 validate the test, plans it, and asks whether it may cost that.
async fn check(settings: &TestSettings, stack: &StackSettings, printer: &Printer) -> Result<Checked, Failure> {
    let mut signals = Signals::listen()?;
    let ReadyThere { deployment, ready, room } = tokio::select! {
        ready = prepare_there(settings, stack, printer) => ready?,
        () = signals.next() => return Err(Failure::stopped("stopped; nothing was stored")),
    };
    let Ready { prepared: Prepared { plan, archive }, .. } = ready;
    printer.talk(&render(&plan, room.as_deref().ok(), Detail::Short, printer.talk_paint));
    // It may fit when the time comes.
    if let Err(failure) = &room {
        printer.warning(failure);
    }
    approve(&plan, &settings.platform, printer, &mut signals).await?;
    Ok(Checked { deployment, plan, archive })
}

/// Puts the archive where workers find it, in place of one of the same contents: what is kept has an age.
async fn upload(book: &Book, plan: &Plan, archive: Vec<u8>) -> Result<(), Failure> {
    Ok(book.deployment.watch_ports().store.put(&keys::archive(&plan.archive.hash), archive).await?)
}

async fn replace_secrets(book: &Book, name: &ScheduleName, secrets: &Secrets) -> Result<(), Failure> {
    let stored = book.deployment.secrets();
    if secrets.is_empty() {
        return Ok(stored.delete_scheduled(name).await?);
    }
    Ok(stored.put_scheduled(name, secrets).await?)
}

fn already_there(name: &ScheduleName) -> Failure {
    Failure::not_valid(format!("there is a schedule `{name}` already")).hint(format!(
        "`lambdaload schedule update {name}` changes it, `lambdaload schedule delete {name}` makes room for another one"
    ))
}

/// `nightly, version 1, is scheduled: 0 2 * * * Europe/Oslo, next Mon 23 Nov 02:00 +01:00`
fn told(stored: &StoredTest, words: &str) -> String {
    let next = match (stored.paused, next_times(stored, 1).first()) {
        (true, _) => "it is paused".to_owned(),
        (false, Some(next)) => format!("next {}", moment(next)),
        (false, None) => "it is over".to_owned(),
    };
    format!("{}, version {}, {words}: {}, {next}", stored.name, stored.version, when(stored))
}

//! `lambdaload schedule pause`, `resume`, `run-now` and `delete`

use lambdaload_core::{
    run::{
        fire::FireRequest,
        launch::{LaunchReply, LaunchRequest},
    },
    schedule::{ScheduleName, StoredTest},
};

use super::{Book, done, next_times};
use crate::{commands::run::started, error::Failure, exit, printer::Printer, run_ids, view::schedules::moment};

/// How often the launcher is asked. Asking again changes nothing, so an answer that was lost is asked for once more.
const ASKED: usize = 3;

/// Pauses or resumes a schedule.
pub(super) async fn pause(name: &ScheduleName, pause: bool, book: &Book, printer: &Printer) -> Result<i32, Failure> {
    let stored = book
        .change(name, |stored: &mut StoredTest| {
            if next_times(stored, 1).is_empty() {
                return Err(Failure::not_valid(format!("{name} is over: it was to start {}", stored.timing))
                    .hint(format!("`lambdaload schedule update {name} --at TIME` lets it start once more")));
            }
            stored.paused = pause;
            Ok(())
        })
        .await?;
    let next = next_times(&stored, 1).first().map(moment).unwrap_or_default();
    if pause {
        done(&format!("{name} is paused; `lambdaload schedule resume {name}` lets it go on"), printer)
    } else {
        done(&format!("{name} is active; next {next}"), printer)
    }
}

/// Starts a stored test now.
pub(super) async fn run_now(name: &ScheduleName, book: &Book, printer: &Printer) -> Result<i32, Failure> {
    // Whether there is one is said in better words than the launcher has.
    book.test(name).await?;
    let id = run_ids::new()?;
    let request = LaunchRequest::Fire(FireRequest {
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        schedule: name.clone(),
        scheduled_at: None,
        run: Some(id.clone()),
        tries: 0,
    });
    let calls = book.deployment.calls();
    let mut asked = 1;
    let reply = loop {
        match calls.start(&request).await {
            Err(_) if asked < ASKED => asked += 1,
            outcome => break outcome?,
        }
    };
    if let LaunchReply::Refused { message } = &reply {
        return Err(Failure::not_valid(format!("{name} was not started")).detail(message));
    }
    printer.result(&started(&id, &reply, Some(&book.deployment))?)?;
    printer.talk(&format!("`lambdaload watch {id}{}` shows it", book.deployment.flags()));
    Ok(exit::OK)
}

/// Deletes a schedule with all that was stored for it.
pub(super) async fn delete(name: &ScheduleName, book: &Book, printer: &Printer) -> Result<i32, Failure> {
    // Of one that was half deleted before the rest goes too, so only what is not there at all is an error.
    if book.schedules.find(name).await?.is_none() {
        book.test(name).await?;
    }
    book.schedules.delete(name.as_str()).await?;
    book.tests.delete(name).await?;
    book.deployment.secrets().delete_scheduled(name).await?;
    done(&format!("{name} is deleted; its runs are kept"), printer)
}

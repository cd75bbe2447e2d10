//! `lambdaload plan`

use super::{
    approve::within_limit,
    prepare::{Ready, ReadyThere, prepare, prepare_there},
};
use crate::{
    args::Form,
    error::Failure,
    exit, machine,
    printer::Printer,
    settings::{PlaceSettings, TestSettings},
    signals::Signals,
    view::plan::{Detail, Document, render},
};

/// Shows what `run` would do, and starts nothing.
pub(super) async fn plan(settings: TestSettings, place: &PlaceSettings, printer: &Printer) -> Result<i32, Failure> {
    let mut signals = Signals::listen()?;
    let planned = async {
        match &place.deployment {
            None => Ok((prepare(&settings, machine::machine().into(), printer).await?, None)),
            Some(stack) => {
                let ReadyThere { ready, room, .. } = prepare_there(&settings, stack, printer).await?;
                Ok::<_, Failure>((ready, Some(room)))
            }
        }
    };
    let (Ready { prepared, .. }, room) = tokio::select! {
        planned = planned => planned?,
        () = signals.next() => return Err(Failure::stopped("stopped while k6 looked at the script")),
    };
    let plan = &prepared.plan;
    let account = room.as_ref().and_then(|room| room.as_deref().ok());
    let text = match settings.form {
        Form::Human => render(plan, account, Detail::Full, printer.result_paint),
        Form::Json => super::present::json(&Document::new(plan, account))?,
    };
    printer.result(&text)?;
    // The plan is shown all the same: it says what there would have to be room for.
    room.transpose()?;
    within_limit(plan, &settings.platform)?;
    Ok(exit::OK)
}

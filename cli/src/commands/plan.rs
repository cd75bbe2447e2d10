//! `lambdaload plan`

use super::{approve::within_limit, prepare::prepare};
use crate::{
    args::Form,
    error::Failure,
    exit,
    printer::Printer,
    settings::TestSettings,
    signals::Signals,
    view::plan::{Detail, Document, render},
};

/// Shows what `run` would do, and starts nothing.
pub(super) async fn plan(settings: TestSettings, printer: &Printer) -> Result<i32, Failure> {
    let mut signals = Signals::listen()?;
    let ready = tokio::select! {
        ready = prepare(&settings, printer) => ready?,
        () = signals.next() => return Err(Failure::stopped("stopped while k6 looked at the script")),
    };
    let plan = &ready.prepared.plan;
    let text = match settings.form {
        Form::Human => render(plan, None, Detail::Full, printer.result_paint),
        Form::Json => super::present::json(&Document::new(plan, None))?,
    };
    printer.result(&text)?;
    within_limit(plan, &settings.platform)?;
    Ok(exit::OK)
}

//! How a verdict is shown and kept, whoever asks for it.

use std::path::Path;

use lambdaload_core::{
    archive::Archive,
    ids::RunId,
    plan::SummaryMode,
    ports::{ObjectStore, keys},
    summary::{Handled, Style, conclusion, k6_blocks, machine_readable, summary_export},
    timeline::Timeline,
    verdict::Verdict,
};
use serde::Serialize;

use crate::{
    args::Form,
    error::Failure,
    outputs::{Outputs, REPORT},
    printer::{Printer, one_line},
    report, returned,
};

/// Where a run's outputs are kept when nothing else was said.
pub(super) fn folder_of_run(dir: &Path, id: &RunId) -> std::path::PathBuf {
    dir.join("runs").join(id.as_str())
}

/// Writes the verdict to stdout, below what the script wants there or else k6's summary. `folder` is where a report may
/// be. A document has all, whatever the mode.
pub(super) fn show(
    verdict: &Verdict,
    form: Form,
    mode: SummaryMode,
    folder: &Path,
    handled: &Handled,
    printer: &Printer,
) -> Result<(), Failure> {
    let text = match form {
        Form::Json => json(verdict)?,
        Form::Human => {
            let report = folder.join(REPORT);
            let report = report.is_file().then(|| report.to_string_lossy().into_owned());
            let style =
                Style { color: printer.result_paint.is_on(), width: printer.result_terminal_width().unwrap_or(80) };
            let conclusion = conclusion(verdict, &style, report.as_deref());
            match handled.text() {
                Some(text) => {
                    printer.scripts_result(text)?;
                    // The block begins on a line of its own.
                    let line_end = if text.is_empty() || text.ends_with(b"\n") { "" } else { "\n" };
                    format!("{line_end}{conclusion}")
                }
                None => k6_blocks(verdict, mode, &style) + &conclusion,
            }
        }
    };
    printer.result(&text)
}

/// A document for programs.
pub(super) fn json(document: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Failure::infrastructure("the document cannot be written").detail(error.to_string()))?;
    Ok(text + "\n")
}

/// Writes the files of a run. What cannot be written is said; the verdict stays what it is.
pub(super) async fn keep(
    verdict: &Verdict,
    machine_readable: bool,
    store: &dyn ObjectStore,
    outputs: Outputs,
    printer: &Printer,
) {
    let Outputs { report, verdict: document, summaries } = outputs;
    let timeline = match store.get(&keys::timeline(&verdict.run)).await {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        // Without its charts the report still has everything else.
        Err(_) => Timeline::default(),
    };
    let page = report::render_html(verdict, &timeline)
        .map_err(|error| Failure::infrastructure("the report cannot be made").detail(format!("{error:#}")));
    let mut written = vec![page.and_then(|page| report.write(page.as_bytes()))];
    written.push(json(verdict).and_then(|text| document.write(text.as_bytes())));
    let summary =
        if machine_readable { written_for_machines(verdict, store).await } else { json(&summary_export(verdict)) };
    match summary {
        Ok(text) => written.extend(summaries.into_iter().map(|file| file.write(text.as_bytes()))),
        Err(failure) => written.push(Err(failure)),
    }
    for failure in written.into_iter().filter_map(Result::err) {
        let failure =
            failure.hint(format!("`lambdaload runs get {} --output json` has the whole verdict", verdict.run));
        printer.warning(&failure);
    }
}

/// Does with what the script's `handleSummary()` returned what k6 would do, but for what it wants on stdout. What cannot
/// be done is said; the verdict stays what it is.
pub(super) fn keep_returned(handled: &Handled, folder: &Path, printer: &Printer) {
    if let Handled::Failed(words) = handled {
        let headline = "the script's handleSummary() failed; the usual summary is shown instead";
        printer.warning(&Failure::infrastructure(headline).detail(words));
    }
    if let Some(text) = handled.talk() {
        printer.scripts_talk(text);
    }
    keep_files(handled, folder, printer);
}

/// Writes the files that the script's `handleSummary()` returned.
pub(super) fn keep_files(handled: &Handled, folder: &Path, printer: &Printer) {
    let mut written = Vec::new();
    for file in handled.files() {
        match returned::write(folder, file) {
            Ok(()) => written.push(one_line(&file.name)),
            Err(failure) => printer.warning(&failure),
        }
    }
    if !written.is_empty() {
        printer.talk(&format!("handleSummary() wrote {} in {}", written.join(", "), folder.display()));
    }
}

/// The summary in the shape of `--new-machine-readable-summary`; it quotes the script, which is in the archive.
async fn written_for_machines(verdict: &Verdict, store: &dyn ObjectStore) -> Result<String, Failure> {
    let no_script =
        |reason: String| Failure::infrastructure("the script for the summary cannot be read").detail(reason);
    let archive = store.get(&keys::archive(&verdict.archive.hash)).await;
    let archive = archive.map_err(|error| no_script(error.to_string()))?;
    let script = Archive::main_script(&archive).map_err(|error| no_script(error.to_string()))?;
    json(&machine_readable(verdict, &script, &jiff::Timestamp::now().to_string()))
}

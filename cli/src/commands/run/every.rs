//! `lambdaload run --every 10m --times 6`: one run after the other, by the clock.
//!
//! Start times are fixed before the first run, so that none is late because the one before took long. A run that is still
//! going on at the next start time keeps its place: that start is skipped, and said.

use std::time::{Duration, SystemTime};

use jiff::{Timestamp, tz::TimeZone};
use lambdaload_core::{
    k6::exit::code,
    plan::{plural, words},
};
use tokio::time::sleep;

use super::{Ran, run_once};
use crate::{
    args::Form,
    error::Failure,
    exit,
    printer::{Paint, Printer, one_line},
    settings::{Every, PlaceSettings, TestSettings},
    signals::Signals,
    view::{runs, table},
};

/// A clock that is set, or a machine that slept, is noticed after this time.
const LOOK_AGAIN: Duration = Duration::from_secs(20);

/// A start that is later than so is not made any more.
const LATE: Duration = Duration::from_secs(1);

/// What became of one start time.
struct Start {
    at: SystemTime,
    became: Became,
}

enum Became {
    Ran(Box<Ran>),
    /// There was no run, and why.
    Failed(Failure),
    /// The run before was still going on.
    Skipped,
}

/// Runs the test again and again; the exit code is that of the worst run.
pub(super) async fn run(
    settings: TestSettings,
    every: Every,
    place: &PlaceSettings,
    printer: &Printer,
    signals: &mut Signals,
) -> Result<i32, Failure> {
    let Every { interval, times } = every;
    let begun_at = SystemTime::now();
    let mut starts: Vec<Start> = Vec::new();
    let last = begun_at + interval * (times - 1);
    printer.talk(&format!("{times} runs, one every {}; the last starts {}", words(interval), clock(last)));
    for number in 1..=times {
        let at = begun_at + interval * (number - 1);
        if number > 1 && SystemTime::now() >= at + LATE {
            printer.talk(&format!(
                "run {number} of {times} was to start {}: skipped, since the one before was still going on",
                clock(at)
            ));
            starts.push(Start { at, became: Became::Skipped });
            continue;
        }
        if number > 1 {
            printer.talk(&format!("run {number} of {times} starts {}; Ctrl-C ends it all", clock(at)));
        }
        tokio::select! {
            () = wait_until(at) => {}
            () = signals.next() => break,
        }
        let outcome = run_once(settings_of(&settings, number, times), place, printer, signals).await;
        let stopped = signals.came();
        let became = match outcome {
            Ok(ran) => Became::Ran(Box::new(ran)),
            // What is not valid now will not be valid later, and who stopped before the first run wants none.
            Err(failure) if number == 1 || failure.exit == exit::NOT_VALID => {
                if number == 1 {
                    return Err(failure);
                }
                starts.push(Start { at, became: Became::Failed(failure) });
                break;
            }
            Err(failure) => {
                if !stopped {
                    printer.error(&failure);
                }
                Became::Failed(failure)
            }
        };
        starts.push(Start { at, became });
        if stopped {
            break;
        }
    }
    let text = render(&starts, times, printer.result_paint);
    match settings.form {
        Form::Human => printer.result(&text)?,
        // Stdout is for the documents.
        Form::Json => printer.talk(&text),
    }
    Ok(exit_code(&starts, times))
}

/// The settings of one of several runs: nobody is asked twice, and each has a folder of its own.
fn settings_of(settings: &TestSettings, number: u32, times: u32) -> TestSettings {
    let mut settings = settings.clone();
    settings.platform.yes |= number > 1;
    let digits = times.to_string().len();
    settings.out_dir = settings.out_dir.map(|folder| folder.join(format!("run-{number:0digits$}")));
    settings
}

async fn wait_until(at: SystemTime) {
    while let Ok(left) = at.duration_since(SystemTime::now()) {
        if left.is_zero() {
            return;
        }
        sleep(left.min(LOOK_AGAIN)).await;
    }
}

/// `at 14:05:30`, in the time zone of this machine.
fn clock(at: SystemTime) -> String {
    time_of_day(at, &TimeZone::system()).map_or_else(|| "then".to_owned(), |time| format!("at {time}"))
}

fn time_of_day(at: SystemTime, zone: &TimeZone) -> Option<String> {
    Some(Timestamp::try_from(at).ok()?.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string())
}

/// The worst first: what cannot be believed comes before what failed, and what failed before what was stopped.
const WORST: [i32; 13] = [
    exit::INFRASTRUCTURE,
    exit::NOT_VALID,
    exit::VERDICT_INVALID,
    code::GO_PANIC,
    code::SETUP_TIMEOUT,
    code::TEARDOWN_TIMEOUT,
    code::SCRIPT_EXCEPTION,
    code::SCRIPT_ABORTED,
    code::MARKED_AS_FAILED,
    code::THRESHOLDS_FAILED,
    code::STOPPED_BY_REST,
    exit::STOPPED,
    exit::OK,
];

fn exit_code(starts: &[Start], times: u32) -> i32 {
    let codes = starts.iter().filter_map(|start| match &start.became {
        Became::Ran(ran) => Some(ran.exit_code),
        Became::Failed(failure) => Some(failure.exit),
        Became::Skipped => None,
    });
    // Who ended the loop early has not seen all pass.
    let is_cut_short = u32::try_from(starts.len()).is_ok_and(|made| made < times);
    let codes = codes.chain(is_cut_short.then_some(exit::STOPPED));
    // A code that is not listed is nothing good.
    codes
        .min_by_key(|code| WORST.iter().position(|known| known == code).map_or(0, |place| place + 1))
        .unwrap_or(exit::OK)
}

/// All starts in a table.
fn render(starts: &[Start], times: u32, paint: Paint) -> String {
    let head = ["", "started", "run", "verdict", "p95", "failed", "exit code", "note"];
    let mut rows = vec![head.map(|title| paint.dim(title)).to_vec()];
    for (start, number) in starts.iter().zip(1..) {
        let nothing = || "–".to_owned();
        let at = time_of_day(start.at, &TimeZone::system()).unwrap_or_else(nothing);
        let number = format!("{number} of {times}");
        rows.push(match &start.became {
            Became::Ran(ran) => {
                let figures = ran.verdict.as_ref().map_or_else(
                    || vec![nothing(), nothing(), nothing()],
                    |verdict| {
                        vec![
                            runs::outcome(verdict.outcome, paint),
                            runs::p95(verdict).unwrap_or_else(nothing),
                            runs::failed(verdict).unwrap_or_else(nothing),
                        ]
                    },
                );
                let cause = ran.verdict.as_ref().and_then(|verdict| verdict.reasons.first());
                let note = cause.map(|reason| one_line(&reason.message)).unwrap_or_default();
                let (id, code) = (ran.id.as_str().to_owned(), ran.exit_code.to_string());
                [vec![number, at, id], figures, vec![code, note]].concat()
            }
            Became::Failed(failure) => {
                let (code, note) = (failure.exit.to_string(), one_line(&failure.headline));
                vec![number, at, nothing(), paint.red("no run"), nothing(), nothing(), code, note]
            }
            Became::Skipped => {
                let note = "the run before was still going on".to_owned();
                vec![number, at, nothing(), paint.yellow("skipped"), nothing(), nothing(), nothing(), note]
            }
        });
    }
    let missing = u64::from(times).saturating_sub(starts.len() as u64);
    let missing = if missing == 0 { String::new() } else { format!("{} not started\n", plural(missing, "run")) };
    format!("\n{}\n{missing}", table::columns(&rows).join("\n"))
}

#[cfg(test)]
mod tests {
    use lambdaload_core::{ids::RunId, testing::sample, verdict::Verdict};

    use super::*;

    fn ran(exit_code: i32) -> Became {
        let verdict = Verdict { exit_code, ..sample::verdict() };
        let id = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
        Became::Ran(Box::new(Ran { id, exit_code, verdict: Some(verdict) }))
    }

    fn starts(all: Vec<Became>) -> Vec<Start> {
        all.into_iter().map(|became| Start { at: SystemTime::UNIX_EPOCH, became }).collect()
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_run() {
        let code = |codes: &[i32]| {
            let times = u32::try_from(codes.len()).expect("few");
            exit_code(&starts(codes.iter().map(|code| ran(*code)).collect()), times)
        };
        assert_eq!(code(&[0, 0, 0]), 0);
        assert_eq!(code(&[0, 99, 0]), 99);
        assert_eq!(code(&[99, 96, 105]), 96);
        assert_eq!(code(&[105, 0]), 105);
        assert_eq!(code(&[0, 77, 96]), 77, "a code that nobody knows");
        let failed = Became::Failed(Failure::infrastructure("no room on the disk"));
        assert_eq!(exit_code(&starts(vec![ran(99), Became::Skipped, failed]), 3), 97);
    }

    #[test]
    fn a_loop_that_was_cut_short_is_no_success() {
        assert_eq!(exit_code(&starts(vec![ran(0), ran(0)]), 6), 105);
        assert_eq!(exit_code(&starts(vec![ran(0), ran(99)]), 6), 99);
        assert_eq!(exit_code(&starts(vec![ran(0), Became::Skipped]), 2), 0, "what was skipped was said");
    }

    #[test]
    fn the_table_has_a_line_for_each_start() {
        let failed = Became::Failed(Failure::infrastructure("the folder cannot be written"));
        let text = render(&starts(vec![ran(99), Became::Skipped, failed]), 4, Paint::OFF);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 6, "{text}");
        assert!(lines[2].contains("01JD8QZV3M4T5W6X7Y8Z9A0B4K  failed") && lines[2].contains("412 ms"), "{text}");
        assert!(lines[3].starts_with("2 of 4") && lines[3].contains("skipped"), "{text}");
        assert!(lines[4].contains("no run") && lines[4].ends_with("the folder cannot be written"), "{text}");
        assert_eq!(lines[5], "1 run not started");
    }

    #[test]
    fn each_run_has_a_folder_of_its_own() {
        let settings = TestSettings { out_dir: Some("out".into()), ..crate::settings::tests::usual() };
        assert_eq!(settings_of(&settings, 3, 12).out_dir, Some("out/run-03".into()));
        assert!(!settings_of(&settings, 1, 2).platform.yes && settings_of(&settings, 2, 2).platform.yes);
    }
}

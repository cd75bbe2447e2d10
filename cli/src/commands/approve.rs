//! Whether a run may cost what it is expected to: decided before anything is spent.

use std::{io, thread};

use lambdaload_core::{cost::Estimate, plan::Plan};
use tokio::sync::oneshot;

use crate::{error::Failure, printer::Printer, settings::PlatformSettings, signals::Signals, view::cost};

/// Dollars up to which nobody is asked.
const SMALL: f64 = 1.0;

/// Refuses what is expected to cost more than somebody allowed.
pub(super) fn within_limit(plan: &Plan, settings: &PlatformSettings) -> Result<(), Failure> {
    match (&plan.cost, settings.max_cost) {
        (Some(estimate), Some(most)) if estimate.total > most => {
            let headline = format!(
                "this run is expected to cost {}, more than --max-cost {}",
                cost::dollars(estimate.total),
                cost::dollars(most)
            );
            Err(Failure::not_valid(headline)
                .detail(cost::parts(estimate))
                .hint("fewer workers, less memory or a shorter test cost less; nothing was started"))
        }
        _ => Ok(()),
    }
}

/// Refuses what is expected to cost more than somebody allowed, and asks a person at a terminal about what nobody has
/// allowed yet.
pub(super) async fn approve(
    plan: &Plan,
    settings: &PlatformSettings,
    printer: &Printer,
    signals: &mut Signals,
) -> Result<(), Failure> {
    within_limit(plan, settings)?;
    let Some(estimate) = plan.cost.as_ref().filter(|estimate| is_worth_asking(estimate, settings)) else {
        return Ok(());
    };
    let question = format!("This run is expected to cost {}. Start it?", cost::dollars(estimate.total));
    match confirm(&question, printer, signals).await {
        Answer::Yes | Answer::Nobody => Ok(()),
        Answer::No => Err(Failure::stopped("not started, as you said")
            .hint("--yes starts without asking, and --max-cost DOLLARS what is expected to cost no more")),
        Answer::Signal => Err(Failure::stopped("stopped before the run began; nothing was started")),
    }
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    /// Ctrl-C.
    Signal,
    /// There is no terminal to ask at.
    Nobody,
}

/// Asks a person whether something may be done.
pub(super) async fn confirm(question: &str, printer: &Printer, signals: &mut Signals) -> Answer {
    if !printer.can_ask() {
        return Answer::Nobody;
    }
    printer.ask(&format!("{question} [y/N] "));
    let (sender, answer) = oneshot::channel();
    // A thread of its own: nobody waits for it if nobody answers.
    thread::spawn(move || {
        let mut line = String::new();
        let read = io::stdin().read_line(&mut line);
        // Whoever asked may have gone.
        let _ = sender.send(read.is_ok() && is_yes(&line));
    });
    tokio::select! {
        answer = answer => if answer == Ok(true) { Answer::Yes } else { Answer::No },
        () = signals.next() => Answer::Signal,
    }
}

fn is_worth_asking(estimate: &Estimate, settings: &PlatformSettings) -> bool {
    estimate.total > SMALL && !settings.yes && settings.max_cost.is_none()
}

fn is_yes(line: &str) -> bool {
    matches!(line.trim().to_lowercase().as_str(), "y" | "yes")
}

#[cfg(test)]
mod tests {
    use lambdaload_core::plan::Workers;

    use super::*;
    use crate::{
        args::TestArgs,
        exit,
        platform_args::PlatformArgs,
        settings::Sources,
        view::plan::tests::{SHOP, on_lambda},
    };

    fn settings(args: PlatformArgs) -> PlatformSettings {
        let args = TestArgs { platform: args, ..TestArgs::default() };
        Sources::default().test(args).expect("resolves").platform
    }

    #[test]
    fn more_than_was_allowed_is_refused_before_anything_starts() {
        let plan = on_lambda(SHOP, Workers::Exactly(200));
        let limit = |max_cost| settings(PlatformArgs { max_cost, ..PlatformArgs::default() });
        let failure = within_limit(&plan, &limit(Some(2.0))).expect_err("refused");
        assert_eq!(failure.exit, exit::NOT_VALID);
        insta::assert_snapshot!(failure.lines(), @r#"
        this run is expected to cost $2.91, more than --max-cost $2.00
          workers $2.48, requests $0.30, rest $0.11, egress $0.02 for an assumed 1.2 kB a request
          fewer workers, less memory or a shorter test cost less; nothing was started
        "#);
        for fine in [Some(100.0), None] {
            within_limit(&plan, &limit(fine)).expect("fine");
        }
    }

    #[test]
    fn only_what_costs_more_than_a_little_and_nobody_has_allowed_is_asked() {
        let estimate = |workers| on_lambda(SHOP, Workers::Exactly(workers)).cost.expect("costs something");
        let nothing_said = settings(PlatformArgs::default());
        assert!(is_worth_asking(&estimate(200), &nothing_said));
        assert!(!is_worth_asking(&estimate(12), &nothing_said));
        let yes = settings(PlatformArgs { yes: true, ..PlatformArgs::default() });
        let limited = settings(PlatformArgs { max_cost: Some(9.0), ..PlatformArgs::default() });
        assert!(!is_worth_asking(&estimate(200), &yes) && !is_worth_asking(&estimate(200), &limited));
        for (answer, yes) in
            [("y\n", true), (" YES \n", true), ("n\n", false), ("\n", false), ("", false), ("yo", false)]
        {
            assert_eq!(is_yes(answer), yes, "{answer:?}");
        }
    }
}

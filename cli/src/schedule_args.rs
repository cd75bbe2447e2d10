//! The command line of `lambdaload schedule`.

#![expect(clippy::doc_markdown, reason = "the descriptions here are what --help prints")]

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use lambdaload_core::schedule::{At, Cron, Overlap, Rate, ScheduleName, Timing};

use crate::args::{FormArgs, TestArgs};

/// What to do with schedules.
#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Stores a test, and has it start by cron, at a rate, or once
    #[command(
        after_help = "Example: lambdaload schedule create nightly checkout.js --cron '0 2 * * *' --timezone Europe/Oslo --workers 50"
    )]
    Create(Box<CreateArgs>),
    /// Lists the schedules
    List(FormArgs),
    /// Shows one schedule: what runs, when next, and what came of it so far
    Show {
        /// Its name
        #[arg(value_parser = ScheduleName::parse)]
        schedule: ScheduleName,
        /// In which form.
        #[command(flatten)]
        form: FormArgs,
    },
    /// Changes when a test starts, or stores another version of it if a script is named
    Update(Box<UpdateArgs>),
    /// Has a schedule start nothing until it is resumed
    Pause {
        /// Its name
        #[arg(value_parser = ScheduleName::parse)]
        schedule: ScheduleName,
    },
    /// Has a paused schedule start its test again
    Resume {
        /// Its name
        #[arg(value_parser = ScheduleName::parse)]
        schedule: ScheduleName,
    },
    /// Starts the stored test now, paused or not, and prints the run's id as JSON
    RunNow {
        /// Name of the schedule
        #[arg(value_parser = ScheduleName::parse)]
        schedule: ScheduleName,
    },
    /// Deletes a schedule, its stored test and its secrets; its runs are kept
    Delete {
        /// Its name
        #[arg(value_parser = ScheduleName::parse)]
        schedule: ScheduleName,
    },
}

/// A new schedule.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// A name for the schedule: up to 64 letters, digits, -, _ and .
    #[arg(value_parser = ScheduleName::parse)]
    pub(crate) schedule: ScheduleName,
    /// When.
    #[command(flatten)]
    pub(crate) when: WhenArgs,
    /// What runs: all that `run` takes.
    #[command(flatten)]
    pub(crate) test: TestArgs,
}

/// What is to be changed.
#[derive(Debug, Args)]
pub(crate) struct UpdateArgs {
    /// Name of the schedule
    #[arg(value_parser = ScheduleName::parse)]
    pub(crate) schedule: ScheduleName,
    /// When.
    #[command(flatten)]
    pub(crate) when: WhenArgs,
    /// What runs. Without a script the stored test stays as it is.
    #[command(flatten)]
    pub(crate) test: TestArgs,
}

/// When a schedule starts its test, and how.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "When")]
pub(crate) struct WhenArgs {
    /// By the usual five fields: minute, hour, day of month, month, day of week; or @daily and the like
    #[arg(long, value_name = "EXPRESSION", value_parser = Cron::parse, group = "timing")]
    pub(crate) cron: Option<Cron>,
    /// Again and again after so long, a minute or more: 10m, 6h, 2d
    #[arg(long, value_name = "TIME", value_parser = Rate::parse, group = "timing")]
    pub(crate) rate: Option<Rate>,
    /// Once: 2026-12-01T02:00
    #[arg(long, value_name = "TIME", value_parser = At::parse, group = "timing")]
    pub(crate) at: Option<At>,
    /// Whose clock --cron and --at mean, for example Europe/Oslo [default: UTC]
    #[arg(long, value_name = "ZONE")]
    pub(crate) timezone: Option<String>,
    /// What happens when the time comes while an earlier run of the schedule goes on: skip starts nothing, queue waits for
    /// its end (--queue-timeout says how long), allow starts beside it [default: skip]
    #[arg(long, value_name = "POLICY")]
    pub(crate) overlap: Option<OverlapName>,
    /// ARN of an SNS topic that is told each verdict in a few lines; `none` for nobody. The stack has to be deployed with it
    /// in its parameter NotifyTopicArns [default: none]
    #[arg(long, value_name = "ARN")]
    pub(crate) notify: Option<String>,
}

impl WhenArgs {
    /// What was said of the time.
    pub(crate) fn timing(&self) -> Option<Timing> {
        let cron = self.cron.clone().map(Timing::Cron);
        cron.or(self.rate.map(Timing::Rate)).or(self.at.map(Timing::At))
    }
}

impl UpdateArgs {
    /// The script of a new version; none leaves the test as it is.
    pub(crate) fn script(&self) -> Option<&PathBuf> {
        self.test.script.as_ref()
    }

    /// Whether something was said of how a test is to run, without saying which.
    pub(crate) fn lacks_a_script(&self) -> bool {
        self.test.script.is_none() && self.test != TestArgs::default()
    }
}

/// An overlap policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OverlapName {
    /// Starts nothing
    Skip,
    /// Waits for the end of the earlier run
    Queue,
    /// Starts beside it
    Allow,
}

impl From<OverlapName> for Overlap {
    fn from(name: OverlapName) -> Self {
        match name {
            OverlapName::Skip => Self::Skip,
            OverlapName::Queue => Self::Queue,
            OverlapName::Allow => Self::Allow,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Command, CommandLine};

    fn parse(arguments: &[&str]) -> Result<ScheduleCommand, String> {
        let line = CommandLine::try_parse_from(["lambdaload", "schedule"].iter().chain(arguments));
        match line.map_err(|error| error.to_string())?.command {
            Command::Schedule { what } => Ok(what),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_schedule_takes_what_run_takes() {
        let line = [
            "create",
            "nightly",
            "a.js",
            "--cron",
            "0 2 * * *",
            "--timezone",
            "Europe/Oslo",
            "--workers",
            "50",
            "-e",
            "A=b",
        ];
        let Ok(ScheduleCommand::Create(args)) = parse(&line) else { panic!("reads") };
        assert_eq!((args.schedule.as_str(), args.test.script.clone()), ("nightly", Some("a.js".into())));
        assert_eq!(args.when.timing().map(|timing| timing.expression()), Some("cron(0 2 * * ? *)".to_owned()));
        assert_eq!(args.test.env, ["A=b"]);
    }

    #[test]
    fn there_is_one_time_and_it_is_one() {
        for (line, words) in [
            (&["create", "n", "a.js", "--cron", "0 2 * *"][..], "found 4"),
            (&["create", "n", "a.js", "--rate", "30s"], "expected whole minutes"),
            (&["create", "n", "a.js", "--at", "tomorrow"], "expected a date and a time"),
            (&["create", "n", "a.js", "--rate", "5m", "--cron", "@daily"], "cannot be used with"),
            (&["create", "a/b", "a.js", "--rate", "5m"], "`a/b` is no name of a schedule"),
            (&["create", "n", "a.js", "--rate", "5m", "--overlap", "maybe"], "possible values: skip, queue, allow"),
        ] {
            let error = parse(line).expect_err("refused");
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_update_of_the_test_names_its_script() {
        let lacks = |line: &[&str]| match parse(line) {
            Ok(ScheduleCommand::Update(args)) => args.lacks_a_script(),
            other => panic!("{other:?}"),
        };
        assert!(!lacks(&["update", "n", "--rate", "5m"]) && !lacks(&["update", "n", "a.js", "--workers", "5"]));
        assert!(lacks(&["update", "n", "--workers", "5"]) && lacks(&["update", "n", "--secret", "A"]));
    }
}

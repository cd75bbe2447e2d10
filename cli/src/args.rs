//! The command line, as it is typed. What it comes to together with environment and file is in [`crate::settings`].

#![expect(clippy::doc_markdown, reason = "the descriptions here are what --help prints")]

use std::{path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use lambdaload_adapters::image::{Architecture, Reference};
use lambdaload_core::plan::{Samples, SummaryMode, Workers};
use serde::Deserialize;

use crate::{
    exit,
    k6_options::K6Flags,
    platform_args::{PlatformArgs, PlatformName},
    schedule_args::ScheduleCommand,
    settings::{MAX_TIMES, parse_interval, parse_workers},
};

/// Runs a k6 script on many workers and ends in the one verdict that a single giant k6 would have given.
#[derive(Debug, Parser)]
#[command(name = "lambdaload", version, after_long_help = exit::help(), disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    /// For all commands.
    #[command(flatten)]
    pub(crate) common: CommonArgs,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// For all commands.
#[derive(Debug, Default, Args)]
pub(crate) struct CommonArgs {
    /// Folder of lambdaload's own files: ledger, objects, reports [env: LAMBDALOAD_DIR] [default: .lambdaload]
    #[arg(long, global = true, value_name = "FOLDER", display_order = 100)]
    pub(crate) dir: Option<PathBuf>,
    /// Where runs are: of what deployment, if it is one.
    #[command(flatten)]
    pub(crate) place: PlaceArgs,
    /// No talk but errors
    #[arg(short, long, global = true, display_order = 101)]
    pub(crate) quiet: bool,
    /// No colours [env: NO_COLOR]
    #[arg(long, global = true, display_order = 102)]
    pub(crate) no_color: bool,
}

/// Which deployment.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct PlaceArgs {
    /// Where runs are: on this machine, or in the AWS account that a stack of lambdaload was deployed in
    /// [env: LAMBDALOAD_PLATFORM] [default: auto if a stack is named, else local]
    #[arg(long, global = true, value_name = "PLATFORM", display_order = 97)]
    pub(crate) platform: Option<PlatformName>,
    /// Name of the CloudFormation stack that lambdaload was deployed as; naming one implies --platform auto
    /// [env: LAMBDALOAD_STACK] [default: lambdaload]
    #[arg(long, global = true, value_name = "NAME", display_order = 98)]
    pub(crate) stack: Option<String>,
    /// AWS Region of the stack [env: AWS_REGION] [default: the profile's]
    #[arg(long, global = true, value_name = "REGION", display_order = 99)]
    pub(crate) region: Option<String>,
    /// Profile of ~/.aws/config whose credentials are used [env: AWS_PROFILE]
    #[arg(long, global = true, value_name = "NAME", display_order = 99)]
    pub(crate) profile: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs a test and exits with its verdict
    #[command(after_long_help = exit::help())]
    Run(Box<TestArgs>),
    /// Shows what `run` would do, and starts nothing
    #[command(visible_alias = "inspect")]
    Plan(Box<TestArgs>),
    /// Shows earlier runs
    Runs {
        /// Which.
        #[command(subcommand)]
        which: RunsCommand,
    },
    /// Shows a run that is under way, ends with its summary and exits with its verdict
    Watch(RunArgs),
    /// Stops a run; what was measured is kept and judged
    #[command(visible_alias = "abort")]
    Stop {
        /// Id of the run, or its first letters
        run: String,
        /// Kills k6 instead of asking it to stop
        #[arg(long)]
        now: bool,
    },
    /// Changes the VUs of a run's externally-controlled scenario, over all workers (k6 1.x)
    Scale {
        /// Id of the run, or its first letters
        run: String,
        /// VUs in all, from 0 to the scenario's maxVUs
        #[arg(short = 'u', long, value_name = "N")]
        vus: u64,
    },
    /// Shows what k6 and the script said in the workers of a run
    Logs {
        /// Id of the run, or its first letters
        run: String,
        /// Of one worker only, from 1 as the verdict counts them [default: all, each line with its worker]
        #[arg(long, value_name = "N")]
        worker: Option<u32>,
        /// Goes on with what comes until the run has its verdict
        #[arg(short, long)]
        follow: bool,
    },
    /// Starts tests by themselves: by cron, at a rate, or once (in an AWS account)
    Schedule {
        /// What to do.
        #[command(subcommand)]
        what: ScheduleCommand,
    },
    /// Deletes the deployment; records and reports of runs are kept unless --all says otherwise
    Destroy {
        /// Deletes the bucket, the table and all runs in them too
        #[arg(long)]
        all: bool,
        /// Deletes without asking
        #[arg(short, long)]
        yes: bool,
    },
    /// Makes the image of workers on Fargate, without Docker, and pushes it
    Image {
        /// What to do with it.
        #[command(subcommand)]
        which: ImageCommand,
    },
    /// Checks whether tests can run here, or with --platform lambda in the account, and says what to do where they can't
    Doctor {
        /// The k6 to use [env: LAMBDALOAD_K6]
        #[arg(long, value_name = "PATH")]
        k6: Option<PathBuf>,
    },
    /// Prints completions for a shell, for example into /etc/bash_completion.d/lambdaload
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Runs one worker; started by `run`
    #[command(hide = true)]
    Worker(WorkerArgs),
}

/// What to do with the image.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Makes it and writes it to a file, for `podman load` or `docker load`; prints its digest
    Build {
        /// Out of what.
        #[command(flatten)]
        from: ImageArgs,
        /// The file: an archive of an OCI layout
        #[arg(short, long, value_name = "FILE", default_value = "lambdaload-worker.tar")]
        output: PathBuf,
    },
    /// Makes it and pushes it to the deployment's repository; prints where it is, by its digest
    Push {
        /// Out of what.
        #[command(flatten)]
        from: ImageArgs,
        /// To another place; registries on this machine are spoken to without TLS [default: the stack's repository, with
        /// this version as tag]
        #[arg(long, value_name = "HOST/NAME:TAG")]
        to: Option<Reference>,
    },
}

/// Out of what the image is made. The same programs give the same image, with the same digest.
#[derive(Debug, Args)]
pub(crate) struct ImageArgs {
    /// Folder with k6 and worker, one folder for each kind of processors [default: target/worker-programs, where
    /// `cargo xtask worker-programs` puts them]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) programs: Option<PathBuf>,
    /// For these processors only: arm64 or x86_64 [default: all that the folder has]
    #[arg(long, visible_alias = "arch", value_name = "NAME", value_parser = parse_architecture)]
    pub(crate) architecture: Option<Architecture>,
}

fn parse_architecture(text: &str) -> Result<Architecture, String> {
    Architecture::of(text).ok_or_else(|| format!("expected arm64 or x86_64, found {text}"))
}

/// A test and how to run it. `plan` takes the same as `run`, so that one word can be put in place of the other.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct TestArgs {
    /// A k6 script (.js, .ts) or an archive that `k6 archive` made [default: `script` of lambdaload.toml, else
    /// script.js]
    pub(crate) script: Option<PathBuf>,
    /// How many workers share the test: a number, or `auto` for what the test and the machine are good for
    /// [env: LAMBDALOAD_WORKERS] [default: auto]
    #[arg(long, visible_aliases = ["count", "parallelism"], value_name = "N|auto", value_parser = parse_workers)]
    pub(crate) workers: Option<Workers>,
    /// Least number of workers: losing others does not end the run, and the verdict says so [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) min_workers: Option<u32>,
    /// A variable for the script's __ENV; `-e KEY` takes the value from the environment (repeatable)
    #[arg(short = 'e', long = "env", value_name = "KEY=VALUE")]
    pub(crate) env: Vec<String>,
    /// A file of such variables, a NAME=value each line; -e comes before it
    #[arg(long, value_name = "FILE")]
    pub(crate) env_file: Option<PathBuf>,
    /// A secret for the script's __ENV and k6/secrets: its value is that of our environment, or of a file (repeatable)
    #[arg(long = "secret", value_name = "NAME[=@FILE]")]
    pub(crate) secrets: Vec<String>,
    /// A label for the run, never handed to k6 (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub(crate) tags: Vec<String>,
    /// Name of the test [env: LAMBDALOAD_NAME] [default: the script's options.cloud.name, else its file name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// What is special about this run [env: LAMBDALOAD_NOTE]
    #[arg(long)]
    pub(crate) note: Option<String>,
    /// The k6 to use [env: LAMBDALOAD_K6] [default: the one on PATH, else in lambdaload's cache]
    #[arg(long, value_name = "PATH")]
    pub(crate) k6: Option<PathBuf>,
    /// Runs without the script's thresholds
    #[arg(long)]
    pub(crate) no_thresholds: bool,
    /// How workers read their k6: exact (each sample), or aggregated (what k6 gathers of them each second: less processor
    /// time for a request, percentiles to within 0.78 %, and thresholds too near to their limit are marked)
    /// [env: LAMBDALOAD_SAMPLES] [default: exact]
    #[arg(long, value_name = "KIND", value_parser = Samples::parse)]
    pub(crate) samples: Option<Samples>,
    /// Statistics of trends in the summary, for example avg,p(95),p(99.9)
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub(crate) summary_trend_stats: Option<Vec<String>>,
    /// One unit for all times in the summary
    #[arg(long, value_name = "UNIT")]
    pub(crate) summary_time_unit: Option<TimeUnitName>,
    /// How much of k6's summary is shown: compact, full (all metrics, groups and scenarios) or disabled; the verdict is
    /// shown in any case [env: LAMBDALOAD_SUMMARY_MODE] [default: compact]
    #[arg(long, value_name = "MODE", value_parser = SummaryMode::parse)]
    pub(crate) summary_mode: Option<SummaryMode>,
    /// Writes the summary in k6's own JSON shape [env: LAMBDALOAD_SUMMARY_EXPORT]
    #[arg(long, value_name = "FILE")]
    pub(crate) summary_export: Option<PathBuf>,
    /// Gives --summary-export and summary.json the shape that they have in k6 1.5 and later with this flag
    #[arg(long)]
    pub(crate) new_machine_readable_summary: bool,
    /// Folder for report.html, summary.json and verdict.json [env: LAMBDALOAD_OUT_DIR] [default: runs/ID in --dir]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) out_dir: Option<PathBuf>,
    /// In which form.
    #[command(flatten)]
    pub(crate) form: FormArgs,
    /// When it runs again.
    #[command(flatten)]
    pub(crate) repeat: RepeatArgs,
    /// Where workers run.
    #[command(flatten)]
    pub(crate) platform: PlatformArgs,
    /// What overrides the script's options.
    #[command(flatten)]
    pub(crate) k6_flags: K6Flags,
}

/// When a test runs again.
#[derive(Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Again and again")]
pub(crate) struct RepeatArgs {
    /// Runs the test again each time so much has passed since it was started; needs --times. A start at which the run
    /// before still goes on is skipped. The exit code is that of the worst run
    #[arg(long, value_name = "DURATION", value_parser = parse_interval)]
    pub(crate) every: Option<Duration>,
    /// How many starts there are in all with --every
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=MAX_TIMES))]
    pub(crate) times: Option<u32>,
}

/// In which form a result is written.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct FormArgs {
    /// Form of the result on stdout [env: LAMBDALOAD_OUTPUT] [default: human]
    #[arg(long, value_name = "FORM")]
    pub(crate) output: Option<Form>,
}

/// How a verdict is shown.
#[derive(Debug, Default, Args)]
pub(crate) struct ShowArgs {
    /// In which form.
    #[command(flatten)]
    pub(crate) form: FormArgs,
    /// How much of k6's summary is shown: compact, full or disabled [default: what the run was started with]
    #[arg(long, value_name = "MODE", value_parser = SummaryMode::parse)]
    pub(crate) summary_mode: Option<SummaryMode>,
}

/// Which runs.
#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// Lists the latest runs
    List {
        /// How many at most
        #[arg(long, default_value_t = 20, value_name = "N")]
        limit: usize,
        /// In which form.
        #[command(flatten)]
        form: FormArgs,
    },
    /// Shows one run
    Get(RunArgs),
    /// Writes a run's files: report.html, summary.json, verdict.json, timeline.json, what handleSummary() returned, and
    /// the workers' logs
    Download {
        /// Id of the run, or its first letters
        run: String,
        /// Folder for them [default: runs/ID in --dir]
        #[arg(long, value_name = "FOLDER")]
        out_dir: Option<PathBuf>,
    },
    /// Shows the latest run
    Latest {
        /// How it is shown.
        #[command(flatten)]
        show: ShowArgs,
    },
}

/// One run.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Id of the run, or its first letters
    pub(crate) run: String,
    /// How it is shown.
    #[command(flatten)]
    pub(crate) show: ShowArgs,
}

/// One worker of one run.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The run
    #[arg(long)]
    pub(crate) run: String,
    /// Which worker, from 0
    #[arg(long)]
    pub(crate) index: u32,
    /// Its attempt, from 1
    #[arg(long)]
    pub(crate) attempt: u32,
    /// The k6 to use
    #[arg(long)]
    pub(crate) k6: PathBuf,
}

/// A form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// Text for people
    #[default]
    Human,
    /// A JSON document, and nothing else on stdout
    Json,
}

/// A unit of time by k6's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Deserialize)]
pub(crate) enum TimeUnitName {
    /// Seconds
    #[value(name = "s")]
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds
    #[value(name = "ms")]
    #[serde(rename = "ms")]
    Milliseconds,
    /// Microseconds
    #[value(name = "us")]
    #[serde(rename = "us")]
    Microseconds,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(line.split(' '))
    }

    fn test_args(line: &str) -> TestArgs {
        match parse(line).expect("reads").command {
            Command::Run(args) | Command::Plan(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn workers_by_all_their_names() {
        for line in
            ["lambdaload run a.js --workers 4", "lambdaload run --count 4 a.js", "lambdaload plan a.js --parallelism=4"]
        {
            assert_eq!(test_args(line).workers, Some(Workers::Exactly(4)), "{line}");
        }
        assert_eq!(test_args("lambdaload inspect --workers auto").workers, Some(Workers::Auto));
        let message = parse("lambdaload run --workers many").expect_err("refused").to_string();
        assert!(message.contains("expected a number or `auto`"), "{message}");
    }

    #[test]
    fn flags_of_k6_are_read_as_k6_reads_them() {
        let args = test_args(
            "lambdaload run -e HOST=a=b --env TOKEN -q -u 5 -w --summary-trend-stats avg,p(95) --summary-time-unit ms a.js",
        );
        assert_eq!(args.env, ["HOST=a=b", "TOKEN"]);
        assert_eq!(args.summary_trend_stats.as_deref(), Some(["avg".to_owned(), "p(95)".to_owned()].as_slice()));
        assert_eq!(args.summary_time_unit, Some(TimeUnitName::Milliseconds));
        assert_eq!(args.script, Some(PathBuf::from("a.js")));
        assert_eq!(args.k6_flags.0, ["--vus=5", "--throw=true"]);
    }

    #[test]
    fn summary_modes_are_k6s_less_the_one_it_dropped() {
        let args = test_args("lambdaload run --summary-mode full --new-machine-readable-summary a.js");
        assert_eq!((args.summary_mode, args.new_machine_readable_summary), (Some(SummaryMode::Full), true));
        for line in ["lambdaload run --summary-mode legacy", "lambdaload runs latest --summary-mode legacy"] {
            let message = parse(line).expect_err("refused").to_string();
            assert!(message.contains("k6 2.0 has dropped its `legacy` summary; use compact, or full"), "{message}");
        }
        let message = parse("lambdaload watch X --summary-mode fll").expect_err("refused").to_string();
        assert!(message.contains("expected compact, full or disabled"), "{message}");
    }

    #[test]
    fn common_flags_stand_anywhere() {
        let line = parse("lambdaload runs list --dir elsewhere --no-color").expect("reads");
        assert_eq!(line.common.dir, Some(PathBuf::from("elsewhere")));
        assert!(line.common.no_color && !line.common.quiet);
    }

    #[test]
    fn version_and_usage_have_codes_of_their_own() {
        let version = parse("lambdaload --version").expect_err("a message");
        assert_eq!((version.exit_code(), version.to_string()), (0, "lambdaload 0.1.0\n".to_owned()));
        assert_eq!(parse("lambdaload run --wrokers 3").expect_err("refused").exit_code(), exit::USAGE);
    }
}

//! k6's own flags on our command line: options that k6 applies to a script when it archives it, and those that mean
//! nothing, or the wrong thing, on many workers.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// One option of k6, by the name of its flag.
struct K6Option {
    name: &'static str,
    short: Option<char>,
    kind: Kind,
    help: &'static str,
}

enum Kind {
    /// With a value.
    Value(&'static str),
    /// With a value, and more than once.
    Values(&'static str),
    /// Alone, or with `=true` or `=false`.
    Switch,
}

const fn option(name: &'static str, short: Option<char>, kind: Kind, help: &'static str) -> K6Option {
    K6Option { name, short, kind, help }
}

/// All that `k6 archive` takes in every supported version and that means on many workers what it means on one. Values are
/// read by k6 alone.
const OPTIONS: [K6Option; 21] = [
    option("vus", Some('u'), Kind::Value("N"), "VUs, of all workers together"),
    option("duration", Some('d'), Kind::Value("DURATION"), "How long the test lasts"),
    option("iterations", Some('i'), Kind::Value("N"), "Iterations, of all VUs together"),
    option("stage", Some('s'), Kind::Values("DURATION:VUS"), "A ramp to so many VUs (repeatable)"),
    option("rps", None, Kind::Value("N"), "HTTP requests per second at most, of all workers together"),
    option("user-agent", None, Kind::Value("TEXT"), "User agent of HTTP requests"),
    option("insecure-skip-tls-verify", None, Kind::Switch, "Accepts any TLS certificate"),
    option("discard-response-bodies", None, Kind::Switch, "Reads response bodies and forgets them"),
    option("max-redirects", None, Kind::Value("N"), "Redirects that are followed at most"),
    option("batch", None, Kind::Value("N"), "Parallel requests of one http.batch() at most"),
    option("batch-per-host", None, Kind::Value("N"), "The same, to one host"),
    option("no-connection-reuse", None, Kind::Switch, "A connection for each request"),
    option("no-vu-connection-reuse", None, Kind::Switch, "New connections in each iteration"),
    option("min-iteration-duration", None, Kind::Value("DURATION"), "How long an iteration takes at least"),
    option("throw", Some('w'), Kind::Switch, "Failed requests are exceptions"),
    option("system-tags", None, Kind::Value("LIST"), "The only system tags that samples carry"),
    option("blacklist-ip", None, Kind::Values("RANGE"), "Addresses that are not called (repeatable)"),
    option("block-hostnames", None, Kind::Values("PATTERN"), "Hosts that are not called (repeatable)"),
    option("dns", None, Kind::Value("CONFIG"), "How names are resolved, for example ttl=1m,select=first"),
    option("local-ips", None, Kind::Value("RANGES"), "Addresses of the worker's machine that VUs call from"),
    option("config", Some('c'), Kind::Value("FILE"), "k6's JSON file of options, beneath those of the script"),
];

/// k6's options that were typed, as flags that `k6 archive` takes: `--vus=5`.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct K6Flags(pub(crate) Vec<String>);

impl Args for K6Flags {
    fn augment_args(command: Command) -> Command {
        let args = OPTIONS.iter().map(|option| {
            let arg = Arg::new(option.name).long(option.name).help(option.help).help_heading("k6 options");
            let arg = match option.kind {
                Kind::Value(name) => arg.value_name(name).action(ArgAction::Set),
                Kind::Values(name) => arg.value_name(name).action(ArgAction::Append),
                Kind::Switch => arg
                    .value_name("true|false")
                    .action(ArgAction::Set)
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .hide_possible_values(true),
            };
            // k6 knows what a negative number of VUs is.
            let arg = arg.allow_hyphen_values(true);
            option.short.into_iter().fold(arg, Arg::short)
        });
        command.args(args)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for K6Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = OPTIONS.iter().flat_map(|option| {
            let values = matches.get_many::<String>(option.name).into_iter().flatten();
            values.map(|value| format!("--{}={value}", option.name))
        });
        Ok(Self(flags.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Why a flag of `k6 run` is none of ours, and what to do instead; by its names.
const REFUSED: [(&[&str], &str); 22] = [
    (
        &["--http-debug"],
        "it logs every request of every worker with its headers, in which there may be secrets: use `k6 run --http-debug` with few iterations",
    ),
    (
        &["--out", "-o"],
        "the samples of one worker are not those of the test: see --summary-export, --out-dir and `runs get --output json`",
    ),
    (
        &["--execution-segment", "--execution-segment-sequence"],
        "lambdaload gives each worker its segment: see --workers",
    ),
    (&["--paused", "-p"], "all workers start together by themselves"),
    (&["--linger", "-l"], "workers end when the test is over"),
    (
        &["--address", "-a"],
        "each worker's k6 listens on a free port of its own: see `lambdaload watch` and `lambdaload stop`",
    ),
    (
        &["--no-setup"],
        "setup() runs once for all workers: leave it out of the script, or let it return at once if a variable (-e) says so",
    ),
    (
        &["--no-teardown"],
        "teardown() runs once for all workers: leave it out of the script, or let it return at once if a variable (-e) says so",
    ),
    (&["--no-summary"], "--summary-mode disabled shows the verdict only; see --quiet and --output json, too"),
    (&["--no-usage-report"], "leave it out: k6's usage report is always off"),
    (&["--console-output"], "what scripts log is in worker-N.log in the folder of the run"),
    (&["--log-output", "--log-format"], "what k6 logs is in worker-N.log in the folder of the run"),
    (&["--verbose", "-v"], "what k6 logs is in worker-N.log in the folder of the run"),
    (
        &["--include-system-env-vars"],
        "scripts see the variables that they are given, not those of each worker's machine: see -e, --env-file and --secret",
    ),
    (&["--exclude-env-vars"], "workers need the variables: see --secret for those that must not be in the archive"),
    (&["--secret-source"], "see --secret: k6/secrets gives scripts what it names"),
    (&["--profiling-enabled"], "it would profile one worker: use `k6 run --profiling-enabled`"),
    (&["--traces-output"], "lambdaload passes on no traces: use `k6 run --traces-output`"),
    (&["--compatibility-mode"], "workers use k6's default"),
    (&["--type", "-t"], "a script and an archive are told by what they are"),
    (&["--features"], "k6's experimental features change what samples say"),
    (&["--archive-out", "-O"], "use `k6 archive`"),
];

/// Why this flag is refused, if it is one of k6's.
pub(crate) fn refusal(flag: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(names, _)| names.contains(&flag)).map(|(_, reason)| *reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Result<Vec<String>, clap::Error> {
        let command = K6Flags::augment_args(Command::new("run"));
        let matches = command.try_get_matches_from(std::iter::once("run").chain(line.split(' ')))?;
        Ok(K6Flags::from_arg_matches(&matches)?.0)
    }

    #[test]
    fn values_are_passed_on_as_they_are() {
        assert_eq!(
            flags("-u 5 --duration=10s -s 1s:5 --stage 2s:0 --vus-of-nobody").expect_err("refused").kind(),
            clap::error::ErrorKind::UnknownArgument
        );
        assert_eq!(
            flags("-s 1s:5 -u 5 --stage 2s:0 --user-agent a=b").expect("reads"),
            ["--vus=5", "--stage=1s:5", "--stage=2s:0", "--user-agent=a=b"]
        );
        assert_eq!(flags("--vus -1").expect("reads"), ["--vus=-1"]);
    }

    #[test]
    fn switches_stand_alone_or_with_a_value() {
        assert_eq!(
            flags("-w --insecure-skip-tls-verify=false").expect("reads"),
            ["--insecure-skip-tls-verify=false", "--throw=true"]
        );
        assert!(flags("--throw false").is_err(), "it would be the script");
    }

    #[test]
    fn no_flag_is_both_taken_and_refused() {
        for option in &OPTIONS {
            assert_eq!(refusal(&format!("--{}", option.name)), None, "{}", option.name);
            assert_eq!(option.short.and_then(|short| refusal(&format!("-{short}"))), None, "{}", option.name);
        }
        assert!(refusal("--http-debug").is_some_and(|reason| reason.contains("k6 run")));
        assert_eq!(refusal("--wrokers"), None);
    }
}

//! k6's command lines and environment.

use std::{ffi::OsStr, path::Path};

use lambdaload_core::{k6::version::K6Version, ports::ScriptInputs, segment::Segment};
use tokio::process::Command;

use super::receiver::Receiver;
use crate::environment;

/// Share of the live heap that may become garbage before Go collects it, in percent; Go's default is 100. Measured, 400
/// takes a fifth less processor time for each request, which the JSON output costs in turn. (`GOMAXPROCS` is left to Go: a k6
/// with one thread takes a tenth less again, and then takes its own queue for the target's latency.)
const GARBAGE_PERCENT: &str = "400";

/// The last millionth of the work. Work is dealt out from the first segment on, so none falls to it.
const NO_WORK: &str = "999999/1000000:1";

/// Where a `k6 run` is to leave its samples.
pub(super) enum Output<'a> {
    /// Each of them in this pipe.
    Pipe(&'a Path),
    /// What it gathers of them with this receiver.
    Pushes(&'a Receiver),
}

/// One `k6 run`.
pub(super) struct Run<'a> {
    pub(super) version: K6Version,
    pub(super) segment: Option<Segment>,
    pub(super) linger: bool,
    pub(super) rps: Option<u64>,
    pub(super) port: u16,
    pub(super) output: Output<'a>,
    pub(super) secrets: Option<&'a Path>,
    /// Bytes; see [`super::K6::with_memory_limit`].
    pub(super) memory_limit: Option<u64>,
    /// In place of the script's own; see [`super::K6::with_blocked_ips`].
    pub(super) blocked_ips: &'a [String],
}

/// k6 with a subcommand, in an environment built from nothing. `home` is a folder that is its own: without one k6 would
/// read the settings of whoever runs it, or of the working directory.
pub(super) fn k6(program: &Path, home: &Path, subcommand: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .envs(environment::network())
        .env("HOME", home)
        .env("TMPDIR", home)
        // Fetching another k6 and running that instead would make every fact about this one void: the second name is for
        // k6 before 1.2.
        .env("K6_AUTO_EXTENSION_RESOLUTION", "false")
        .env("K6_BINARY_PROVISIONING", "false")
        .arg(subcommand)
        .args(["--quiet", "--no-color", "--log-format", "json"]);
    command
}

/// What script code may see: what was given for it, never the environment of the process. `secrets` is a file in the form
/// that k6's secret source wants.
fn script(command: &mut Command, secrets: Option<&Path>, no_thresholds: bool) {
    command.arg("--include-system-env-vars=false");
    if let Some(file) = secrets {
        let mut source = OsStr::new("--secret-source=file=").to_owned();
        source.push(file);
        command.arg(source);
    }
    if no_thresholds {
        command.arg("--no-thresholds");
    }
}

/// `k6 archive` into `to`.
pub(super) fn archive(command: &mut Command, source: &Path, inputs: &ScriptInputs, secrets: Option<&Path>, to: &Path) {
    script(command, secrets, inputs.no_thresholds);
    command.arg("--archive-out").arg(to).args(&inputs.flags);
    for (name, value) in &inputs.env {
        command.arg("--env").arg(format!("{name}={value}"));
    }
    // A script's name may begin with a dash.
    command.arg("--").arg(source);
}

/// `k6 inspect` of an archive.
pub(super) fn inspect(command: &mut Command, archive: &Path, secrets: Option<&Path>, no_thresholds: bool) {
    script(command, secrets, no_thresholds);
    command.arg("--execution-requirements").arg(archive);
}

/// `k6 deps` of a script or archive. Without the first variable it fails where something is missing instead of telling
/// what. It does not fetch what is missing in any case; and if one should, there is nobody at this address.
pub(super) fn dependencies(command: &mut Command, test: &Path) {
    command.env("K6_AUTO_EXTENSION_RESOLUTION", "true").env("K6_BUILD_SERVICE_URL", "http://127.0.0.1:1");
    command.args(["--include-system-env-vars=false", "--json", "--"]).arg(test);
}

/// `k6 run` of the archive on its standard input, paused and with all switched off that is done once for all workers:
/// setup, teardown, thresholds and summary.
pub(super) fn run(command: &mut Command, run: &Run<'_>) {
    command.env("GOGC", GARBAGE_PERCENT);
    if let Some(bytes) = run.memory_limit {
        command.env("GOMEMLIMIT", bytes.to_string());
    }
    script(command, run.secrets, true);
    command.args(["--no-usage-report", "--paused", "--no-setup", "--no-teardown", run.version.no_summary_flag()]);
    if run.linger {
        command.arg("--linger");
    }
    if let Some(rps) = run.rps {
        command.arg("--rps").arg(rps.to_string());
    }
    for range in run.blocked_ips {
        command.arg("--blacklist-ip").arg(range);
    }
    command.arg("--address").arg(format!("127.0.0.1:{}", run.port));
    match run.segment {
        Some(segment) => {
            command.arg("--execution-segment").arg(segment.argument());
            command.arg("--execution-segment-sequence").arg(segment.sequence_argument());
        }
        None => {
            command.args(["--execution-segment", NO_WORK]);
        }
    }
    let output = match run.output {
        Output::Pipe(path) => {
            let mut output = OsStr::new("json=").to_owned();
            output.push(path);
            output
        }
        Output::Pushes(receiver) => {
            receiver.tell(command);
            "cloud".into()
        }
    };
    command.arg("--out").arg(output).arg("-");
}

/// `k6 run` of the archive on its standard input that calls `handleSummary()`: at once, with the summary, without what
/// belongs to a worker.
pub(super) fn summarize(command: &mut Command, secrets: Option<&Path>) {
    script(command, secrets, false);
    command.args(["--no-usage-report", "--no-setup", "--no-teardown", "--address", "", "-"]);
}

//! `cargo xtask`: the project's own errands.
//!
//! What an errand has to say goes to stderr; stdout carries only its result (the path of a k6) and
//! the output of the tools it runs.
#![expect(clippy::print_stderr, reason = "an errand talks to the person who runs it")]

mod cache;
mod demo;
mod efficiency;
mod instructions;
mod k6;
mod licences;
mod process;
mod processes;
mod scale;
mod servers;
mod simulator;
mod soak;
mod suite;
mod template;
mod unpack;
mod wheel;
mod worker;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

const HELP: &str = "\
The project's own errands.

Usage: cargo xtask <COMMAND>

  k6 [VERSION]     Provide the stock k6 of VERSION (default: the first pin) and print its path
  k6 --extended    Build the k6 with an extension that tests need, and print its path
  k6-layer ARCH DIR
                   Lay out the Lambda layer with k6 for arm64 or x86_64 in DIR; `sam build` calls this
  worker-programs [ARCH]
                   Build the static worker for arm64 and x86_64, or for one of them, lay it out with k6 and print the
                   folder, out of which `lambdaload image` makes the image of workers on Fargate
  servers          Provide the servers that stand for AWS in tests, and print a line per server to set its variable
  tools            Provide sam, cargo-lambda, cfn-lint and checkov, and print their folder
  demo             Build lambdaload and run the example test on 4 local workers
  test [--quick]   Run every check and every test, on every k6; --quick: the tests only, on one k6
  template         Check the template of a deployment: sam validate --lint, cfn-lint, checkov
  sam-build        Build what it deploys, for this machine's processors, and print the folder
  simulator        Provide the simulator of AWS's policies for the tests (npm), and print its path
  soak [MINUTES]   The long tests: a simulated day, then MINUTES (default: 20) of real k6; memory must stay level
  soak --simulated Only the simulated day
  soak --real MINUTES
                   Only the real run
  efficiency       How much load a second of CPU makes: k6 alone, with its own outputs, and as a worker
  scale [OPTIONS]  Simulate workers of one run against strict servers: 200, 500, 1,000 and 2,000 of them, or as
                   --workers, --series, --rate, --seconds, --poll-ms, --flush-ms and --in-memory say
  instructions [--update]
                   Count the instructions of a sample and of a window, and compare with core/benches/instructions.txt
  licences         Check the licences and the sources of all dependencies
  bench [ARGS]     Run the benches of core; ARGS go to cargo bench

Environment:
  LAMBDALOAD_K6_CACHE      Where k6 is kept (default: $XDG_CACHE_HOME or ~/.cache, then lambdaload/k6)
  LAMBDALOAD_K6_RELEASES   Where k6's release archives are, for mirrors (default: its GitHub releases)
  LAMBDALOAD_SERVERS_CACHE Where servers and tools are kept (default: likewise, then lambdaload/servers)
  LAMBDALOAD_TOOLS         A folder with sam, cargo-lambda, cfn-lint and checkov (default: they are provided)
  CI                       true: a check whose tool can't be had is a failure, not a skip
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Option<Vec<&str>> = arguments.iter().map(|argument| argument.to_str()).collect();
    match dispatch(words.as_deref().unwrap_or_default()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(words: &[&str]) -> Result<ExitCode> {
    match words {
        ["k6"] => print_path(&k6::provide(k6::DEFAULT_VERSION)?)?,
        ["k6", version] if !version.starts_with('-') => print_path(&k6::provide(version)?)?,
        ["k6", "--extended"] => print_path(&k6::provide_extended()?)?,
        ["k6-layer", architecture, out] => k6::lay_out_layer(architecture, Path::new(out))?,
        ["worker-programs"] => print_path(&worker::lay_out(&worker::ARCHITECTURES)?)?,
        ["worker-programs", architecture] => print_path(&worker::lay_out(&[*architecture])?)?,
        ["servers"] => {
            for (variable, path) in servers::provide()? {
                writeln!(std::io::stdout(), "{variable}={}", path.display())?;
            }
        }
        ["tools"] => print_path(&servers::tools()?)?,
        ["demo"] => return demo::run(),
        ["test"] => suite::run(suite::Extent::Everything)?,
        ["test", "--quick"] => suite::run(suite::Extent::Quick)?,
        ["template"] => template::check()?,
        ["sam-build"] => print_path(&template::build()?)?,
        ["simulator"] => print_path(&simulator::provide()?)?,
        ["soak", "--simulated"] => soak::simulated()?,
        ["soak", "--real", minutes] => return soak::real(minutes.parse().context("expected a number of minutes")?),
        ["soak"] => {
            soak::simulated()?;
            return soak::real(20);
        }
        ["soak", minutes] => {
            let minutes = minutes.parse().context("expected a number of minutes")?;
            soak::simulated()?;
            return soak::real(minutes);
        }
        ["efficiency"] => efficiency::run()?,
        ["scale", rest @ ..] => scale::run(rest)?,
        ["instructions"] => instructions::check()?,
        ["instructions", "--update"] => instructions::update()?,
        ["licences"] => licences::check()?,
        ["bench", rest @ ..] => {
            process::run(process::cargo().args(["bench", "--package", "lambdaload-core"]).args(rest))?;
        }
        [] | ["help" | "--help" | "-h"] => std::io::stdout().write_all(HELP.as_bytes())?,
        other => bail!("there is no errand `{}`; `cargo xtask help` lists them all", other.join(" ")),
    }
    Ok(ExitCode::SUCCESS)
}

fn print_path(path: &Path) -> Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", path.display())?)
}

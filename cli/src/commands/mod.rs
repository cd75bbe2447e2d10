//! What the commands do, each with its settings.

mod approve;
mod completions;
mod doctor;
mod plan;
mod prepare;
mod present;
mod run;
mod runs;
mod scale;
mod stop;
mod watch;
mod worker;

use std::path::Path;

use crate::{
    args::{Command, CommandLine},
    error::Failure,
    printer::Printer,
    settings::{FileSettings, Sources, environment::Environment},
};

/// Does what the command line says and returns the exit code.
pub(crate) async fn dispatch(line: CommandLine, environment: Environment, printer: &Printer) -> Result<i32, Failure> {
    // Shells ask for completions in any folder, and a worker was told everything: neither looks at a file.
    let reads_file = !matches!(line.command, Command::Completions { .. } | Command::Worker(_));
    let file = if reads_file { FileSettings::read(Path::new("."))? } else { FileSettings::default() };
    let sources = Sources { environment, file };
    let dir = sources.dir(&line.common);
    match line.command {
        Command::Run(args) => run::run(sources.test(*args)?, &dir, printer).await,
        Command::Plan(args) => plan::plan(sources.test(*args)?, printer).await,
        Command::Runs { which } => runs::runs(which, &sources, &dir, printer).await,
        Command::Watch(args) => watch::watch(&args.run, &args.show, &sources, &dir, printer).await,
        Command::Stop { run, now } => stop::stop(&run, now, &dir, printer).await,
        Command::Scale { run, vus } => scale::scale(&run, vus, &dir, printer).await,
        Command::Doctor { k6 } => doctor::doctor(sources.k6(k6).as_deref(), &dir, printer).await,
        Command::Completions { shell } => completions::completions(shell, printer),
        Command::Worker(args) => worker::worker(args, &dir, printer).await,
    }
}

//! What the commands do, each with its settings.

mod approve;
mod completions;
mod destroy;
mod doctor;
mod download;
mod image;
mod logs;
mod look_on;
mod plan;
mod prepare;
mod present;
mod run;
mod runs;
mod scale;
mod schedule;
mod stop;
mod watch;
mod worker;

use std::path::Path;

use self::destroy::Extent;
use crate::{
    args::{Command, CommandLine},
    error::Failure,
    printer::Printer,
    settings::{FileSettings, PlaceSettings, Sources, environment::Environment},
    wiring::Place,
};

/// Does what the command line says and returns the exit code.
pub(crate) async fn dispatch(line: CommandLine, environment: Environment, printer: &Printer) -> Result<i32, Failure> {
    // Shells ask for completions in any folder, and a worker was told everything: neither looks at a file.
    let reads_file = !matches!(line.command, Command::Completions { .. } | Command::Worker(_));
    let file = if reads_file { FileSettings::read(Path::new("."))? } else { FileSettings::default() };
    let sources = Sources { environment, file };
    // Who wants to know no place is not told that it was named wrongly.
    let place = sources.place(&line.common);
    let open = async |place: Result<PlaceSettings, Failure>| Place::open(&place?, printer).await;
    match line.command {
        Command::Run(args) => Box::pin(run::run(sources.test(*args)?, &place?, printer)).await,
        Command::Plan(args) => Box::pin(plan::plan(sources.test(*args)?, &place?, printer)).await,
        Command::Runs { which } => runs::runs(which, &sources, &open(place).await?, printer).await,
        Command::Watch(args) => watch::watch(&args.run, &args.show, &sources, &open(place).await?, printer).await,
        Command::Stop { run, now } => stop::stop(&run, now, &open(place).await?, printer).await,
        Command::Scale { run, vus } => scale::scale(&run, vus, &open(place).await?, printer).await,
        Command::Logs { run, worker, follow } => logs::logs(&run, worker, follow, &open(place).await?, printer).await,
        Command::Schedule { what } => Box::pin(schedule::schedule(what, sources, &place?, printer)).await,
        Command::Destroy { all, yes } => destroy::destroy(&place?, Extent { all, yes }, printer).await,
        Command::Image { which } => image::image(which, place, printer).await,
        Command::Doctor { k6 } => Box::pin(doctor::doctor(sources.k6(k6).as_deref(), &place?, printer)).await,
        Command::Completions { shell } => completions::completions(shell, printer),
        Command::Worker(args) => worker::worker(args, &sources.dir(&line.common), printer).await,
    }
}

//! The `lambdaload` command.

mod args;
mod commands;
mod error;
mod exit;
mod k6_options;
mod live;
mod machine;
mod outputs;
mod platform_args;
mod printer;
mod report;
mod returned;
mod run_ids;
mod schedule_args;
mod settings;
mod signals;
mod similar;
mod view;
mod wiring;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{
    args::CommandLine,
    error::Failure,
    printer::Printer,
    settings::environment::{self, Environment},
};

fn main() -> ExitCode {
    let environment = Environment::of_process();
    let colors = environment.get(environment::NO_COLOR).is_none();
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => {
            let colors = colors && !std::env::args_os().any(|argument| argument == "--no-color");
            let out = Printer::new(false, colors);
            if let Some(failure) = Failure::flag_of_k6(&error) {
                out.error(&failure);
                return exit::process_code(failure.exit);
            }
            let printed = out.usage(&error);
            return exit::process_code(printed.map_or_else(|failure| failure.exit, |()| error.exit_code()));
        }
    };
    let printer = Printer::new(line.common.quiet, colors && !line.common.no_color);
    // One thread is enough: what takes time runs in other processes.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime
        .map_err(|error| Failure::cannot_start(&error))
        .and_then(|runtime| runtime.block_on(commands::dispatch(line, environment, &printer)));
    exit::process_code(result.unwrap_or_else(|failure| {
        printer.error(&failure);
        failure.exit
    }))
}

//! The example target as a program of its own, for the demo and for trying things by hand.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::{env, thread};

use lambdaload_tests::target::Target;

const HELP: &str = "\
A small HTTP server to load. Prints its address on one line once it listens.

Usage: example-target [--port PORT] [--until-eof]

  --port PORT    Listen on this port of the loopback (default: any free one)
  --until-eof    End when standard input ends, and so with the program that holds it
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(said) => {
            // Nobody is left to tell if this can't be written.
            _ = writeln!(io::stderr(), "example-target: {said}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let mut port = 0;
    let mut until_eof = false;
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--port" => {
                let value = arguments.next().unwrap_or_default();
                port = value.parse().map_err(|_| format!("--port needs a number from 0 to 65535, not `{value}`"))?;
            }
            "--until-eof" => until_eof = true,
            "--help" | "-h" => return say(HELP),
            other => return Err(format!("there is no option `{other}`; --help lists them all")),
        }
    }
    let target = Target::on(port).map_err(|error| format!("can't listen on port {port} of the loopback: {error}"))?;
    say(&format!("{}\n", target.url()))?;
    if until_eof {
        // An input that can't be read has ended too.
        while io::stdin().read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
    } else {
        loop {
            thread::park();
        }
    }
    Ok(())
}

fn say(text: &str) -> Result<(), String> {
    let mut stdout = io::stdout();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| format!("can't write: {error}"))
}

//! A k6 that calls `handleSummary()`, and what it prints.

use std::process::Stdio;

use lambdaload_core::{
    k6::exit::{ProcessExit, code},
    ports::{GeneratorError, Printed, SummarySpec},
};
use tokio::io::AsyncReadExt as _;

use super::{
    K6, command,
    generator::{failed, private_folder, script_archive, write_secrets},
    log::Level,
    process::FollowedLog,
};

/// Bytes that are read of what k6 prints; a script could print without end.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Runs k6 to its end.
pub(super) async fn summarize(k6: &K6, spec: SummarySpec) -> Result<Printed, GeneratorError> {
    let SummarySpec { archive, env, secrets } = spec;
    let archive = script_archive(&archive, env, &secrets)?;
    let home = private_folder()?;
    let secret_file = write_secrets(&home, &secrets)?;
    let mut command = k6.command(&home, "run");
    command::summarize(&mut command, secret_file.as_deref());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (process, output) = k6.spawn(command, archive).await?;
    let log = FollowedLog::new(output.stderr, k6.listener(), secrets);
    let mut stdout = Vec::new();
    if let Some(pipe) = output.stdout {
        let read = pipe.take(LONGEST + 1).read_to_end(&mut stdout).await;
        read.map_err(|error| failed("reading what k6 prints", error))?;
    }
    if stdout.len() as u64 > LONGEST {
        let limit = LONGEST / (1024 * 1024);
        return Err(failed("reading what k6 prints", format!("handleSummary() returned more than {limit} MiB")));
    }
    let exit = process.exited().await;
    log.read_to_end().await;
    let log = log.messages(Level::Error);
    match exit {
        ProcessExit::Code(code::OK) => Ok(Printed { stdout, log }),
        exit => Err(GeneratorError::Refused { exit, log }),
    }
}

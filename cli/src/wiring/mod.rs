//! From settings to ports: the only place that knows what stands behind them.

mod aws;
mod place;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use lambdaload_adapters::{
    clock::TokioClock,
    k6::K6,
    local::{DirectoryStore, ProcessFleet, SqliteLedger, WorkerProgram},
};
use lambdaload_core::{
    ports::{Ledger, WorkerTask},
    run::{
        Ports, WatchPorts,
        work::{Notice, WorkPorts},
    },
    secrets::Secrets,
};
use ulid::Ulid;

pub(crate) use self::{
    aws::{Deployment, aws_config, places},
    place::Place,
};
use crate::{error::Failure, printer::Printer};

/// The ports of whoever starts and aggregates runs on this machine. Makes the folder of lambdaload's own files.
pub(crate) async fn ports(dir: &Path, k6: &Path, secrets: &Secrets) -> Result<Ports, Failure> {
    make_dir(dir)?;
    let program = std::env::current_exe().map_err(|error| {
        Failure::infrastructure("lambdaload cannot find its own program, which workers run").detail(error.to_string())
    })?;
    // Workers may outlive a change of the folder that we are in.
    let absolute = std::path::absolute(dir).map_err(|error| Failure::file("use", dir, &error))?;
    let k6 = k6.to_owned();
    let arguments = move |task: &WorkerTask| worker_arguments(&absolute, &k6, task);
    let fleet = ProcessFleet::new(WorkerProgram { program, arguments: Box::new(arguments) }, dir)
        .map_err(|error| Failure::infrastructure("no folder for temporary files").detail(error.to_string()))?;
    let fleet = fleet.with_input(written(secrets)?);
    let WatchPorts { clock, store, ledger } = shared(dir).await?;
    Ok(Ports { clock, store, ledger, fleet: Arc::new(fleet) })
}

/// The ports of whoever looks on. There must have been a run.
pub(crate) async fn watch_ports(dir: &Path) -> Result<WatchPorts, Failure> {
    if !has_ledger(dir) {
        return Err(Failure::not_valid(format!("no runs yet in {}", dir.display()))
            .hint("`lambdaload run` makes one; --dir chooses another folder"));
    }
    shared(dir).await
}

/// Whether there may be runs in this folder.
pub(crate) fn has_ledger(dir: &Path) -> bool {
    ledger_file(dir).exists()
}

/// The ports of one worker; k6 and script talk into the worker's log, and the secrets come from standard input.
pub(crate) async fn work_ports(dir: &Path, k6: &Path, printer: &Printer) -> Result<WorkPorts, Failure> {
    let secrets = read_secrets(io::stdin())?;
    let WatchPorts { clock, store, ledger } = shared(dir).await?;
    let talk = printer.clone();
    let generator = K6::new(k6).with_listener(Arc::new(move |message| talk.talk(&message.to_string())));
    let claimant = Ulid::generate().to_string();
    Ok(WorkPorts {
        clock,
        store,
        ledger,
        generator: Arc::new(generator),
        secrets,
        claimant,
        ends_at: None,
        notice: Notice::default(),
    })
}

/// Secrets on their way from this process to its workers; nothing if there are none.
fn written(secrets: &Secrets) -> Result<Vec<u8>, Failure> {
    if secrets.is_empty() {
        return Ok(Vec::new());
    }
    let values: BTreeMap<&str, &str> = secrets.iter().collect();
    serde_json::to_vec(&values).map_err(|_| Failure::infrastructure("the secrets cannot be handed to the workers"))
}

/// What [`written`] wrote, up to the end.
fn read_secrets(mut from: impl io::Read) -> Result<Secrets, Failure> {
    // An error of JSON would quote what it read.
    let unreadable = || Failure::infrastructure("what this worker was told of secrets cannot be read");
    let mut json = Vec::new();
    from.read_to_end(&mut json).map_err(|_| unreadable())?;
    if json.is_empty() {
        return Ok(Secrets::default());
    }
    let values: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| unreadable())?;
    Ok(values.into_iter().collect())
}

/// Makes the folder of lambdaload's own files, if it is not there. Version control is to ignore a folder that is made
/// here; of one that was there before nobody knows what else is in it.
pub(crate) fn make_dir(dir: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::file("make the folder", dir, &error).hint("--dir chooses another folder");
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    match std::fs::create_dir(dir) {
        Ok(()) => std::fs::write(dir.join(".gitignore"), "*\n").map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

async fn shared(dir: &Path) -> Result<WatchPorts, Failure> {
    let ledger: Arc<dyn Ledger> = Arc::new(SqliteLedger::open(ledger_file(dir)).await?);
    Ok(WatchPorts {
        clock: Arc::new(TokioClock::new()),
        store: Arc::new(DirectoryStore::new(dir.join("store"))),
        ledger,
    })
}

fn ledger_file(dir: &Path) -> PathBuf {
    dir.join("ledger.db")
}

/// The hidden command `worker`.
fn worker_arguments(dir: &Path, k6: &Path, task: &WorkerTask) -> Vec<OsString> {
    let pairs: [(&str, OsString); 5] = [
        ("--dir", dir.into()),
        ("--k6", k6.into()),
        ("--run", task.run.as_str().into()),
        ("--index", task.index.0.to_string().into()),
        ("--attempt", task.attempt.0.to_string().into()),
    ];
    let flags = pairs.into_iter().flat_map(|(flag, value)| [flag.into(), value]);
    std::iter::once("worker".into()).chain(flags).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use lambdaload_core::ids::{Attempt, RunId, WorkerIndex};

    use super::*;
    use crate::args::{Command, CommandLine};

    #[test]
    fn a_worker_understands_how_it_is_started() {
        let run = RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
        let task = WorkerTask { run, index: WorkerIndex(3), attempt: Attempt(1) };
        let arguments = worker_arguments(Path::new("/a folder"), Path::new("/k6"), &task);
        let line = CommandLine::try_parse_from(std::iter::once("lambdaload".into()).chain(arguments)).expect("reads");
        let Command::Worker(args) = line.command else { panic!("{line:?}") };
        assert_eq!(line.common.dir.as_deref(), Some(Path::new("/a folder")));
        assert_eq!((args.run.as_str(), args.index, args.attempt), ("01JD8QZV3M4T5W6X7Y8Z9A0B4K", 3, 1));
    }

    #[test]
    fn a_worker_is_told_the_secrets_that_were_given() {
        let secrets =
            |pairs: &[(&str, &str)]| pairs.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect::<Secrets>();
        for secrets in [secrets(&[]), secrets(&[("A", "1234"), ("B", "two\n\"3\" é")])] {
            assert_eq!(read_secrets(&*written(&secrets).expect("writes")).expect("reads"), secrets);
        }
        let failure = read_secrets(&b"{\"A\":\"hunter2"[..]).expect_err("cut").lines();
        assert!(!failure.contains("hunter"), "{failure}");
    }

    #[test]
    fn only_a_folder_of_ours_is_hidden_from_version_control() {
        let folder = tempfile::tempdir().expect("a folder");
        make_dir(folder.path()).expect("is there");
        assert!(!folder.path().join(".gitignore").exists());
        let own = folder.path().join("deeper").join(".lambdaload");
        make_dir(&own).expect("is made");
        make_dir(&own).expect("is there");
        assert_eq!(std::fs::read_to_string(own.join(".gitignore")).expect("reads"), "*\n");
        std::fs::write(folder.path().join("file"), "").expect("writes");
        assert!(make_dir(&folder.path().join("file")).is_err());
    }
}

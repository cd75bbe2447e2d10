//! From settings to a plan, for `run` and `plan`.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lambdaload_adapters::k6::{K6, Level, Listener, find};
use lambdaload_core::{
    k6::version::secret_file,
    plan::{Host, Request, account_room, task_room},
    ports::LoadGenerator as _,
    run::prepare::{self, Given, Prepared, Source},
};

use crate::{
    error::Failure,
    exit,
    printer::{Printer, harmless},
    settings::{DEFAULT_SCRIPT, FILE_NAME, StackSettings, TestSettings},
    similar,
    wiring::Deployment,
};

/// A test that could be started.
pub(super) struct Ready {
    /// Plan and archive.
    pub(super) prepared: Prepared,
    /// The k6 that it was prepared with and will run on; an absolute path.
    pub(super) k6: PathBuf,
    /// The same, for what is left to do after the run. Of what the script says in its init code it repeats nothing.
    pub(super) generator: K6,
}

/// Finds k6, lets it validate the test, and plans. Starts nothing.
/// `host` is what its workers will run on.
pub(super) async fn prepare(settings: &TestSettings, host: Host, printer: &Printer) -> Result<Ready, Failure> {
    let source = source(settings)?;
    let found = find::find(settings.k6.as_deref())?;
    let generator = K6::new(&found.path).with_listener(listener(printer));
    if let Err(error) = generator.version().await {
        let headline = format!("{} does not work as k6", found.path.display());
        return Err(Failure::infrastructure(headline)
            .detail(error.to_string())
            .hint("--k6 or LAMBDALOAD_K6 name another"));
    }
    for (name, _) in settings.secrets.iter().filter(|(name, value)| !secret_file::can_hold(name, value)) {
        let warning = Failure::not_valid(format!("k6/secrets cannot hold the secret {name}"))
            .detail("it has several lines or more than 64 kB; k6 reads secrets from lines of a file")
            .hint(format!("the script has it as __ENV.{name}"));
        printer.warning(&warning);
    }
    let prepared = prepare::prepare(&generator, source, request(settings), host).await;
    let prepared = prepared.map_err(|error| Failure::not_prepared(&error, &settings.script))?;
    Ok(Ready { prepared, k6: found.path, generator })
}

/// A test that could be started in a deployment.
pub(super) struct ReadyThere {
    /// The deployment, of this version.
    pub(super) deployment: Deployment,
    /// Plan and archive.
    pub(super) ready: Ready,
    /// Whether the account has room for its workers, in words.
    pub(super) room: Result<String, Failure>,
}

/// The same for a deployment.
pub(super) async fn prepare_there(
    settings: &TestSettings,
    stack: &StackSettings,
    printer: &Printer,
) -> Result<ReadyThere, Failure> {
    let deployment = Deployment::find(stack).await?;
    deployment.check_version()?;
    let ready = prepare(settings, deployment.host(&settings.platform.tasks).await?, printer).await?;
    let plan = &ready.prepared.plan;
    let room = match plan.platform.fargate() {
        Some(stack) => match deployment.tasks(stack.spot).await {
            Ok(account) => task_room(plan.workers, stack, &account),
            // ECS itself says so, of each task that it does not start.
            Err(error) => Ok(format!("whether it has room for these workers is not known: {error}")),
        },
        None => account_room(plan.workers, &deployment.account().await?, settings.platform.reserve_concurrency),
    };
    let room = room.map_err(|error| Failure::from_error(exit::INFRASTRUCTURE, &error));
    Ok(ReadyThere { deployment, ready, room })
}

/// Lets people read what the script says in its init code, and warnings of k6: once each, though k6 runs the init code
/// several times. Errors of k6 become errors of ours.
fn listener(printer: &Printer) -> Listener {
    let (printer, told) = (printer.clone(), Mutex::new(HashSet::new()));
    Arc::new(move |message| {
        let text = message.to_string();
        let worth_telling = message.from_script || message.level == Level::Warning;
        if worth_telling && told.lock().unwrap_or_else(PoisonError::into_inner).insert(text.clone()) {
            printer.talk(&harmless(&text));
        }
    })
}

fn request(settings: &TestSettings) -> Request {
    Request {
        script: settings.script.file_name().unwrap_or(settings.script.as_os_str()).to_string_lossy().into_owned(),
        name: settings.name.clone(),
        note: settings.note.clone(),
        tags: settings.tags.clone(),
        workers: settings.workers,
        min_workers: settings.min_workers,
        no_thresholds: settings.no_thresholds,
        trend_stats: settings.trend_stats.clone(),
        time_unit: settings.time_unit,
        summary_mode: settings.summary_mode,
        machine_readable_summary: settings.machine_readable_summary,
        vus_per_worker: settings.platform.vus_per_worker,
        samples: settings.samples,
        queue: settings.platform.queue_timeout,
        assumed: settings.platform.assumed,
        prices: settings.platform.prices.clone(),
    }
}

fn source(settings: &TestSettings) -> Result<Source, Failure> {
    let path = settings.script.clone();
    let given = Given {
        env: settings.env.clone(),
        flags: settings.k6_flags.clone(),
        secrets: settings.secrets.iter().map(|(name, _)| name.to_owned()).collect(),
    };
    match is_archive(&path) {
        Ok(true) => match std::fs::read(&path) {
            Ok(bytes) => Ok(Source::Archive { path, bytes, given }),
            Err(error) => Err(unreadable(&path, &error)),
        },
        Ok(false) => Ok(Source::Script { path, given }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(settings)),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

/// Whether a file is to be taken for an archive: by its name, or because it is a tar.
fn is_archive(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut start = Vec::new();
    file.by_ref().take(512).read_to_end(&mut start)?;
    Ok(path.extension().is_some_and(|extension| extension == "tar") || start.get(257..262) == Some(b"ustar"))
}

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    let reason = if path.is_dir() { "it is a folder".to_owned() } else { error.to_string() };
    Failure::not_valid(format!("cannot read {}", path.display()))
        .detail(reason)
        .detail("expected a k6 script, or an archive that `k6 archive` made")
}

fn missing(settings: &TestSettings) -> Failure {
    let path = &settings.script;
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let nearby = scripts_in(folder);
    let failure = if settings.script_was_named {
        Failure::not_valid(format!("no such script: {}", path.display()))
    } else {
        Failure::not_valid(format!("no script: none was named, and there is no {DEFAULT_SCRIPT} in this folder"))
            .hint(format!("name one, as in `lambdaload run checkout.js` or script = \"checkout.js\" in {FILE_NAME}"))
            .hint(format!("`k6 new` makes a {DEFAULT_SCRIPT}"))
    };
    let failure =
        if nearby.is_empty() { failure } else { failure.detail(format!("that folder has {}", nearby.join(", "))) };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match similar::one_of(&name, nearby.iter().map(String::as_str)).filter(|_| settings.script_was_named) {
        Some(similar) => failure.hint(format!("did you mean {similar}?")),
        None => failure,
    }
}

/// Some of a folder's scripts and archives, by name.
fn scripts_in(folder: &Path) -> Vec<String> {
    let is_script = |name: &String| [".js", ".ts", ".tar"].iter().any(|ending| name.ends_with(ending));
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).filter(is_script).collect();
    names.sort();
    names.truncate(10);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_known_by_name_or_by_contents() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        for (name, contents, archive) in [
            ("a.js", &b"export default 1"[..], false),
            ("b.tar", b"", true),
            ("c.bin", &tar, true),
            ("d.ts", b"", false),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, contents).expect("writes");
            assert_eq!(is_archive(&path).expect("reads"), archive, "{name}");
        }
        assert!(is_archive(folder.path()).is_err(), "a folder");
    }

    #[test]
    fn a_missing_script_is_told_from_a_missing_default() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("checkout.js"), "").expect("writes");
        let settings = |script_was_named| TestSettings {
            script: folder.path().join("chekout.js"),
            script_was_named,
            ..crate::settings::Sources::default().test(crate::args::TestArgs::default()).expect("resolves")
        };
        let named = source(&settings(true)).expect_err("missing");
        assert!(named.headline.starts_with("no such script: ") && named.headline.ends_with("chekout.js"), "{named:?}");
        assert_eq!(named.details, ["that folder has checkout.js"]);
        assert_eq!(named.hints, ["did you mean checkout.js?"]);
        assert!(source(&settings(false)).expect_err("missing").headline.starts_with("no script: none was named"));
    }
}

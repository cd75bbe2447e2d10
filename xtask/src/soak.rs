//! The long tests, which are no part of every run of the tests: a simulated day, and some minutes with real k6.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{demo, process, processes};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_secs(15);

/// What an allocator may take beside a quarter from the first third of the run to its last, in KiB: allocators and Go's
/// collector breathe, and slices of time fill up for 15 minutes.
const SLACK: u32 = 8 * 1024;

/// The day, as fast as it can be computed.
pub(crate) fn simulated() -> Result<()> {
    let mut tests = process::cargo();
    tests.args(["test", "--package", "lambdaload-core", "--test", "soak", "--release", "--"]);
    process::run(tests.args(["--include-ignored", "--nocapture", "--test-threads=1"]))
}

/// So many minutes of real k6 on two workers at a hundred requests a second, with the memory of every process.
pub(crate) fn real(minutes: u64) -> Result<ExitCode> {
    ensure!(
        minutes >= 6,
        "a run of less than 6 minutes shows nothing; drift is judged from 5 minutes of level load on"
    );
    let mut build = process::cargo();
    process::run(build.args(["build", "--workspace", "--bins"]))?;
    let folder = tempfile::tempdir().context("no folder for the run")?;
    let mut lambdaload = Command::new(process::built("lambdaload")?);
    if demo::own_k6().is_none() {
        lambdaload.env("LAMBDALOAD_K6", demo::provide_some_k6()?);
    }
    let target = demo::Target::start()?;
    let (address, duration) = (format!("TARGET={}", target.url), format!("DURATION={minutes}m"));
    let arguments = ["run", "examples/soak.js", "--workers", "2", "-e", &address, "-e", &duration, "--dir"];
    eprintln!("\n$ lambdaload {} …", arguments.join(" "));
    let child = lambdaload.current_dir(process::root()).args(arguments).arg(folder.path()).stdin(Stdio::null()).spawn();
    let mut child = child.context("cannot start lambdaload")?;
    let looked = watch(&mut child, folder.path());
    // However it went, nothing is left behind: workers end with the command that started them.
    if looked.is_err() {
        _ = child.kill();
    }
    let status = child.wait().context("lambdaload was lost")?;
    let looks = looked?;
    drop(target);
    println(&table(&looks));
    ensure!(status.success(), "the run ended with {status}");
    check(&looks)?;
    println("memory and live state are level");
    Ok(ExitCode::SUCCESS)
}

/// What was seen at one moment.
struct Look {
    at: Duration,
    /// Resident memory in KiB, the most of each kind of process.
    memory: BTreeMap<&'static str, u32>,
    /// Bytes of the live state.
    live: u64,
}

const KINDS: [&str; 3] = ["lambdaload run", "lambdaload worker", "k6"];

fn watch(child: &mut Child, folder: &Path) -> Result<Vec<Look>> {
    let began_at = Instant::now();
    let mut looks = Vec::new();
    while child.try_wait().context("lambdaload was lost")?.is_none() {
        sleep(LOOK);
        let mut memory = BTreeMap::new();
        let workers = processes::children(child.id());
        let k6s = workers.iter().flat_map(|worker| processes::children(*worker));
        let all = workers.iter().map(|worker| (*worker, KINDS[1])).chain(k6s.map(|k6| (k6, KINDS[2])));
        for (pid, kind) in all.chain([(child.id(), KINDS[0])]) {
            let most = memory.entry(kind).or_insert(0);
            *most = processes::resident(pid).unwrap_or(0).max(*most);
        }
        // Before the workers are there, and when they leave, there is nothing to compare.
        if KINDS.iter().all(|kind| memory.contains_key(kind)) {
            looks.push(Look { at: began_at.elapsed(), memory, live: size_of(folder, "live.json") });
        }
    }
    Ok(looks)
}

/// Where chunks are: there are many of them, and nothing else is looked for among them.
const CHUNKS: &str = "chunks";

/// The bytes of the file of this name somewhere in a folder; 0 without one.
fn size_of(folder: &Path, name: &str) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let sizes = entries.map(|entry| {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && entry.file_name() != CHUNKS => size_of(&path, name),
            Ok(_) if entry.file_name() == name => entry.metadata().map_or(0, |metadata| metadata.len()),
            _ => 0,
        }
    });
    sizes.max().unwrap_or(0)
}

/// About ten lines of what was seen.
fn table(looks: &[Look]) -> String {
    let mut text = format!("\n| minute | {} | live state |\n|--:|--:|--:|--:|--:|\n", KINDS.join(" | "));
    let step = (looks.len() / 10).max(1);
    let chosen = looks.iter().step_by(step).chain(looks.last().filter(|_| looks.len() % step != 1 && step > 1));
    for look in chosen {
        let memory: Vec<String> = KINDS.iter().map(|kind| mebibytes(look.memory[kind])).collect();
        let minute = look.at.as_secs_f64() / 60.0;
        text += &format!("| {minute:.1} | {} | {} B |\n", memory.join(" | "), look.live);
    }
    text
}

fn mebibytes(kibibytes: u32) -> String {
    format!("{:.1} MiB", f64::from(kibibytes) / 1024.0)
}

/// The most of the last third may not be much more than the most of the first.
fn check(looks: &[Look]) -> Result<()> {
    let third = looks.len() / 3;
    ensure!(third > 0, "the run was too short to look at");
    let most = |looks: &[Look], kind| looks.iter().map(|look| look.memory[kind]).max().unwrap_or(0);
    for kind in KINDS {
        let (first, last) = (most(&looks[..third], kind), most(&looks[looks.len() - third..], kind));
        let bound = first + first / 4 + SLACK;
        let (now, before) = (mebibytes(last), mebibytes(first));
        ensure!(last <= bound, "{kind} grew from {before} in the first third of the run to {now} in the last");
    }
    let size = |look: &Look| look.live;
    let (first, last) = (looks[third].live, looks.iter().rev().map(size).max().unwrap_or(0));
    ensure!(last <= first * 2, "the live state grew from {first} to {last} bytes");
    Ok(())
}

fn println(text: &str) {
    use std::io::Write as _;
    _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(memory: impl Fn(u32) -> u32) -> Vec<Look> {
        let look = |n: u32| Look {
            at: Duration::from_secs(u64::from(n) * 15),
            memory: KINDS.map(|kind| (kind, memory(n))).into(),
            live: u64::from(2_000 + n % 7),
        };
        (1..=80).map(look).collect()
    }

    #[test]
    fn a_leak_is_told_from_breath() {
        assert!(check(&looks(|n| 40_000 + n % 10 * 300)).is_ok());
        let leak = check(&looks(|n| 40_000 + n * 500)).unwrap_err().to_string();
        assert!(leak.starts_with("lambdaload run grew from 51.8 MiB") && leak.contains("in the last"), "{leak}");
        assert!(check(&[]).is_err());
    }

    #[test]
    fn the_live_state_is_not_looked_for_among_chunks() {
        let folder = tempfile::tempdir().unwrap();
        for (place, size) in [("runs/01J", 5), ("interim/chunks/01J/1", 500)] {
            let place = folder.path().join(place);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join("live.json"), vec![b' '; size]).unwrap();
        }
        assert_eq!(size_of(folder.path(), "live.json"), 5);
        assert_eq!(size_of(folder.path(), "other.json"), 0);
    }

    #[test]
    fn the_table_begins_and_ends_with_the_run() {
        let text = table(&looks(|_| 40_960));
        assert!(text.contains("| 0.2 | 40.0 MiB |") && text.contains("| 20.0 | 40.0 MiB |"), "{text}");
        assert!((10..=14).contains(&text.lines().count()), "{text}");
    }
}

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

use crate::{demo, process};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_secs(15);

/// What an allocator may take beside a quarter from the first third of the run to its last, in KiB: allocators and Go's
/// collector breathe, and slices of time fill up for 15 minutes.
const SLACK: u64 = 8 * 1024;

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
    memory: BTreeMap<&'static str, u64>,
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
        for (pid, kind) in family(child.id()) {
            let most = memory.entry(kind).or_insert(0);
            *most = resident(pid).unwrap_or(0).max(*most);
        }
        // Before the workers are there, and when they leave, there is nothing to compare.
        if KINDS.iter().all(|kind| memory.contains_key(kind)) {
            looks.push(Look { at: began_at.elapsed(), memory, live: size_of(folder, "live.json") });
        }
    }
    Ok(looks)
}

/// The process and its children and theirs: the command, its workers, their k6.
fn family(root: u32) -> Vec<(u32, &'static str)> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent(pid)?)))
        .collect();
    let children = |of: u32| parents.iter().filter(move |(_, parent)| *parent == of).map(|(pid, _)| *pid);
    let mut family = vec![(root, KINDS[0])];
    for worker in children(root) {
        family.push((worker, KINDS[1]));
        family.extend(children(worker).map(|k6| (k6, KINDS[2])));
    }
    family
}

fn parent(pid: u32) -> Option<u32> {
    status(pid, "PPid:")
}

/// In KiB.
fn resident(pid: u32) -> Option<u64> {
    status(pid, "VmRSS:")
}

fn status<T: std::str::FromStr>(pid: u32, field: &str) -> Option<T> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The bytes of the file of this name somewhere in a folder; 0 without one.
fn size_of(folder: &Path, name: &str) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let sizes = entries.map(|entry| {
        let path = entry.path();
        match entry.file_type() {
            // Chunks are many, and the live state is not among them.
            Ok(kind) if kind.is_dir() && entry.file_name() != "chunks" => size_of(&path, name),
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

fn mebibytes(kibibytes: u64) -> String {
    format!("{:.1} MiB", kibibytes as f64 / 1024.0)
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

    fn looks(memory: impl Fn(u64) -> u64) -> Vec<Look> {
        let look = |n: u64| Look {
            at: Duration::from_secs(n * 15),
            memory: KINDS.map(|kind| (kind, memory(n))).into(),
            live: 2_000 + n % 7,
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
    fn the_table_begins_and_ends_with_the_run() {
        let text = table(&looks(|_| 40_960));
        assert!(text.contains("| 0.2 | 40.0 MiB |") && text.contains("| 20.0 | 40.0 MiB |"), "{text}");
        assert!((10..=14).contains(&text.lines().count()), "{text}");
    }

    #[test]
    fn this_process_is_its_own_family() {
        assert!(family(std::process::id()).contains(&(std::process::id(), KINDS[0])));
        assert!(resident(std::process::id()).is_some_and(|kibibytes| kibibytes > 100));
    }
}

//! How much load a processor makes: k6 alone, k6 with its own outputs, and a worker of lambdaload.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    mem,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{demo::Target, k6, process, processes};

const SCRIPT: &str = include_str!("efficiency.js");

/// Requests of one measurement; at 100 µs of CPU each, some ten seconds, of which start and end are a small part, as they are
/// of a test.
const REQUESTS: u64 = 100_000;

/// How often everything is measured, in turn. The median is told.
const ROUNDS: usize = 5;

/// Between two looks at a process, which is what is lost of its CPU time at its end.
const LOOK: Duration = Duration::from_millis(20);

/// A tick of `/proc`, in µs.
const TICK_US: f64 = 10_000.0;

/// On which k6.
const VERSIONS: [&str; 2] = ["1.8.1", "2.2.0"];

/// One way to make the same load.
struct Way {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    /// k6 with these variables and arguments; `{folder}` and `{target}` stand for a folder and the target's address.
    K6 { variables: &'static [(&'static str, &'static str)], arguments: &'static [&'static str] },
    /// `lambdaload run` on one worker, of which worker and k6 are measured.
    Worker { arguments: &'static [&'static str] },
}

const fn bare(name: &'static str, variables: &'static [(&'static str, &'static str)]) -> Way {
    Way { name, kind: Kind::K6 { variables, arguments: &[] } }
}

const fn with_output(name: &'static str, arguments: &'static [&'static str]) -> Way {
    Way { name, kind: Kind::K6 { variables: &[("K6_PROMETHEUS_RW_SERVER_URL", "{target}/sink")], arguments } }
}

/// What all others are compared with.
const BARE: Way = bare("`k6 run`", &[]);

const WAYS: [Way; 7] = [
    bare("`k6 run`, GOGC=400", &[("GOGC", "400")]),
    bare("`k6 run`, GOGC=400, GOMAXPROCS=1", &[("GOGC", "400"), ("GOMAXPROCS", "1")]),
    with_output("`k6 run --out json=FILE`", &["--out", "json={folder}/samples.json"]),
    with_output("`k6 run --out csv=FILE`", &["--out", "csv={folder}/samples.csv"]),
    with_output("`k6 run --out experimental-prometheus-rw`", &["--out", "experimental-prometheus-rw"]),
    Way { name: "worker, `--samples exact`", kind: Kind::Worker { arguments: &[] } },
    Way { name: "worker, `--samples aggregated`", kind: Kind::Worker { arguments: &["--samples", "aggregated"] } },
];

/// Measures, and prints a table for each version of k6.
pub(crate) fn run() -> Result<()> {
    process::run(process::cargo().args(["build", "--package", "lambdaload-tests", "--bins"]))?;
    process::run(process::cargo().args(["build", "--release", "--package", "lambdaload"]))?;
    let folder = tempfile::tempdir().context("no folder for the measurements")?;
    fs::write(folder.path().join("script.js"), SCRIPT).context("cannot write the script")?;
    for version in VERSIONS {
        let k6 = k6::provide(version)?;
        let of = |way: &Way| {
            let measured = measure(way, &k6, folder.path()).with_context(|| way.name.to_owned())?;
            eprintln!("k6 {version}, {}: {:.1} µs", way.name, measured.per_request());
            Ok(measured)
        };
        let rounds: Result<Vec<Vec<Pair>>> = (0..ROUNDS).map(|_| round(of)).collect();
        let rounds = rounds?;
        _ = writeln!(io::stdout(), "{}", table(version, &rounds));
    }
    Ok(())
}

/// A measurement of one way, and the bare k6 around it: what else goes on upon a machine changes the CPU time of the same work
/// from minute to minute, and less so from one measurement to the next.
struct Pair {
    before: Measured,
    way: Measured,
    after: Measured,
}

impl Pair {
    /// Requests a CPU second ÷ those of bare k6.
    fn ratio(&self) -> f64 {
        f64::midpoint(self.before.per_request(), self.after.per_request()) / self.way.per_request()
    }
}

/// Each way once, between two measurements of bare k6.
fn round(of: impl Fn(&Way) -> Result<Measured>) -> Result<Vec<Pair>> {
    let mut before = of(&BARE)?;
    WAYS.iter()
        .map(|way| {
            let (way, after) = (of(way)?, of(&BARE)?);
            Ok(Pair { before: mem::replace(&mut before, after), way, after })
        })
        .collect()
}

/// What one process used.
#[derive(Clone, Copy, Default)]
struct Used {
    /// In ticks of 10 ms.
    ticks: u32,
    /// The most resident memory, in KiB.
    memory: u32,
}

impl Used {
    /// Looks again; what has ended keeps what it had.
    fn look(&mut self, pid: u32) {
        self.ticks = processes::ticks(pid).unwrap_or(0).max(self.ticks);
        self.memory = processes::most_resident(pid).unwrap_or(0).max(self.memory);
    }
}

#[derive(Clone, Copy)]
struct Measured {
    k6: Used,
    /// The worker that reads k6's samples.
    sidecar: Option<Used>,
    /// What k6 has emitted, where that is known.
    samples: u64,
}

impl Measured {
    /// In µs, of k6 and sidecar.
    fn per_request(&self) -> f64 {
        let ticks = self.k6.ticks + self.sidecar.map_or(0, |sidecar| sidecar.ticks);
        f64::from(ticks) * TICK_US / REQUESTS as f64
    }
}

fn measure(way: &Way, k6: &Path, folder: &Path) -> Result<Measured> {
    let target = Target::start()?;
    let fill = |text: &str| text.replace("{folder}", &folder.to_string_lossy()).replace("{target}", &target.url);
    let runs = folder.join("verdicts");
    let (mut command, arguments) = match way.kind {
        Kind::K6 { variables, arguments } => {
            let mut command = Command::new(k6);
            command.envs(variables.iter().map(|(name, value)| (name, fill(value))));
            (command, arguments)
        }
        Kind::Worker { arguments } => {
            let mut command = Command::new(release("lambdaload")?);
            command.env("LAMBDALOAD_K6", k6);
            (command, arguments)
        }
    };
    command.args(["run", "script.js", "-e"]).arg(fill("TARGET={target}"));
    command.args(["-e", &format!("ITERATIONS={REQUESTS}")]).args(arguments.iter().map(|argument| fill(argument)));
    if let Kind::Worker { .. } = way.kind {
        command.args(["--workers", "1", "--platform", "local", "--out-dir"]).arg(&runs);
    }
    let log = fs::File::create(folder.join("log")).context("cannot write the log")?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut child = command.current_dir(folder).spawn().context("cannot start it")?;
    let (k6, sidecar) = match way.kind {
        Kind::K6 { .. } => (watch(&mut child)?, None),
        Kind::Worker { .. } => watch_worker(&mut child).map(|(sidecar, k6)| (k6, Some(sidecar)))?,
    };
    let status = child.wait().context("it was lost")?;
    let said = || fs::read_to_string(folder.join("log")).unwrap_or_default();
    ensure!(status.success(), "it ended with {status}:\n{}", said());
    let counts = ureq::get(format!("{}/count", target.url)).call()?.body_mut().read_to_vec()?;
    let counts: BTreeMap<String, u64> = serde_json::from_slice(&counts)?;
    let requests = counts.get("/").copied().unwrap_or(0);
    ensure!(requests == REQUESTS, "the target has counted {requests} requests, and not {REQUESTS}");
    let samples = if sidecar.is_some() { samples(&runs)? } else { 0 };
    Ok(Measured { k6, sidecar, samples })
}

/// A process and nothing that it starts, until its end.
fn watch(child: &mut Child) -> Result<Used> {
    let mut used = Used::default();
    while child.try_wait().context("it was lost")?.is_none() {
        used.look(child.id());
        sleep(LOOK);
    }
    Ok(used)
}

/// The worker of a command and its k6, until the command's end.
fn watch_worker(command: &mut Child) -> Result<(Used, Used)> {
    let (mut pids, mut worker, mut k6) = (None, Used::default(), Used::default());
    while command.try_wait().context("it was lost")?.is_none() {
        if let Some((worker_pid, k6_pid)) = pids {
            worker.look(worker_pid);
            k6.look(k6_pid);
        } else {
            // Both start others before: `k6 archive`, `k6 version`.
            let child = |of, what: &str| {
                let is_it = |pid: &u32| processes::first_argument(*pid).is_some_and(|word| word == what);
                processes::children(of).into_iter().find(is_it)
            };
            pids = child(command.id(), "worker").and_then(|worker| Some((worker, child(worker, "run")?)));
        }
        sleep(LOOK);
    }
    ensure!(pids.is_some(), "it had no worker with a k6");
    Ok((worker, k6))
}

/// How many samples the verdict says were read.
fn samples(runs: &Path) -> Result<u64> {
    let verdict: serde_json::Value = serde_json::from_slice(&fs::read(runs.join("verdict.json"))?)?;
    verdict["samples"]["read"].as_u64().context("the verdict does not say how many samples were read")
}

/// A program of the release build.
fn release(name: &str) -> Result<PathBuf> {
    process::built("../release").map(|folder| folder.join(name))
}

fn table(version: &str, rounds: &[Vec<Pair>]) -> String {
    let bare: Vec<Measured> = rounds.iter().flatten().map(|pair| pair.before).collect();
    let mut text = format!(
        "\nk6 {version}\n\n| | CPU a request | requests a CPU second ÷ `k6 run` (lowest to highest) | k6's memory | sidecar |\n\
         |---|--:|--:|--:|--:|\n"
    );
    text += &row(BARE.name, &bare, "1.00");
    for (index, way) in WAYS.iter().enumerate() {
        let ratios: Vec<f64> = rounds.iter().map(|round| round[index].ratio()).collect();
        let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let highest = ratios.iter().copied().fold(0.0, f64::max);
        let ratio = format!("{:.2} ({lowest:.2} to {highest:.2})", median(ratios));
        text += &row(way.name, &rounds.iter().map(|round| round[index].way).collect::<Vec<_>>(), &ratio);
    }
    text
}

fn row(name: &str, measured: &[Measured], ratio: &str) -> String {
    let of = |figure: &dyn Fn(&Measured) -> f64| median(measured.iter().map(figure).collect());
    let sidecars: Vec<(&Measured, Used)> = measured.iter().filter_map(|one| Some((one, one.sidecar?))).collect();
    let of_sidecar = |figure: &dyn Fn(&Measured, Used) -> f64| {
        median(sidecars.iter().map(|(measured, sidecar)| figure(measured, *sidecar)).collect())
    };
    let sidecar = if sidecars.is_empty() {
        String::new()
    } else {
        format!(
            "{:.0} ns a sample, {:.1} % of k6's CPU, {:.0} MiB",
            of_sidecar(&|measured, sidecar| f64::from(sidecar.ticks) * TICK_US * 1_000.0 / measured.samples as f64),
            of_sidecar(&|measured, sidecar| 100.0 * f64::from(sidecar.ticks) / f64::from(measured.k6.ticks)),
            of_sidecar(&|_, sidecar| f64::from(sidecar.memory) / 1024.0)
        )
    };
    let (cpu, memory) = (of(&Measured::per_request), of(&|one| f64::from(one.k6.memory) / 1024.0));
    format!("| {name} | {cpu:.1} µs | {ratio} | {memory:.0} MiB | {sidecar} |\n")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_is_compared_with_the_bare_k6_around_it() {
        let k6 = |ticks| Measured { k6: Used { ticks, memory: 2_048 }, sidecar: None, samples: 0 };
        // A machine that becomes slower with each measurement: 100, 110, 120, … ticks for the same work.
        let round_at = |slow: u32| {
            let taken = std::cell::Cell::new(9 + slow);
            round(|way| {
                taken.set(taken.get() + 1);
                Ok(match way.kind {
                    Kind::K6 { .. } => k6(10 * taken.get()),
                    Kind::Worker { .. } => Measured {
                        sidecar: Some(Used { ticks: taken.get(), memory: 1_024 }),
                        samples: 700_000,
                        ..k6(7 * taken.get())
                    },
                })
            })
            .unwrap()
        };
        let table = table("1.8.1", &[round_at(1), round_at(40), round_at(2)]);
        let rows: Vec<&str> = table.lines().collect();
        assert!(rows[5].contains("| 1.00 | 2 MiB |"), "{}", rows[5]);
        assert!(rows[6].contains("| 1.00 (1.00 to 1.00) |"), "{}", rows[6]);
        let last = rows.last().unwrap();
        assert!(
            last.contains("| 20.0 µs | 1.25 (1.25 to 1.25) | 2 MiB | 357 ns a sample, 14.3 % of k6's CPU, 1 MiB |"),
            "{last}"
        );
    }

    #[test]
    fn a_process_is_looked_at_while_it_runs() {
        let _turn = process::turn();
        let mut busy =
            Command::new("/bin/sh").args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]).spawn().unwrap();
        let used = watch(&mut busy).unwrap();
        assert!(used.memory > 0 && used.ticks > 0, "{} KiB, {} ticks", used.memory, used.ticks);
    }
}

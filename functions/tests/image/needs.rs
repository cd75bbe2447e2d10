//! What a worker needs, by the kernel's word.

use std::{fs, io, path::Path, time::Duration};

use lambdaload_core::verdict::Outcome;
use lambdaload_tests::target::Target;

use crate::{
    containers::{Containers, Limits, reachable},
    scene::{Scene, within_deadline},
};

/// With a target it asks as fast as it can, else its VUs sleep.
const SCRIPT: &str = r"
import http from 'k6/http';
import { sleep } from 'k6';
export const options = {
  scenarios: { load: { executor: 'constant-vus', vus: Number(__ENV.VUS), duration: '16s', gracefulStop: '1s' } },
  thresholds: { iterations: ['count>0'] },
};
export default function () { if (__ENV.TARGET) http.get(`${__ENV.TARGET}/`); else sleep(1); }
";

/// Long enough to even out what k6 does each second.
const SPAN: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, Default)]
struct Needs {
    /// Of one processor.
    cpu: f64,
    worker_mb: f64,
    k6_mb: f64,
    /// Of the whole container, at most.
    peak_mb: f64,
    /// In `/tmp`.
    disk_mb: f64,
}

/// The bytes of all files below a folder.
fn size(folder: &Path) -> io::Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| {
        let (entry, path) = entry.map(|entry| (entry.metadata(), entry.path()))?;
        let entry = entry?;
        Ok(sum + if entry.is_dir() { size(&path)? } else { entry.len() })
    })
}

/// Memory that a process has in use, in MB.
fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    line.trim_end_matches("kB").trim().parse::<f64>().expect("a number") * 1024.0 / 1e6
}

async fn measured(limits: Limits, vus: &str, target: Option<&Target>) -> Option<(Needs, f64)> {
    let containers = Containers::start(limits)?;
    let folder = tempfile::tempdir().expect("a folder");
    let script = folder.path().join("script.js");
    fs::write(&script, SCRIPT).expect("a script");
    let url = target.map(|target| reachable(&target.url())).unwrap_or_default();
    let scene = Scene::start(containers, &script, &[("VUS", vus), ("TARGET", &url)], 1).await;
    let containers = &scene.containers;
    let (verdict, needs) = tokio::join!(scene.verdict(), async {
        within_deadline("it runs", scene.all_run()).await;
        let worker = containers.process(1).await;
        let before = worker.cpu();
        tokio::time::sleep(SPAN).await;
        let k6 = worker.child("/k6");
        Needs {
            cpu: worker.cpu().saturating_sub(before).as_secs_f64() / SPAN.as_secs_f64(),
            worker_mb: resident(worker.pid),
            k6_mb: resident(k6),
            peak_mb: worker.peak() as f64 / 1e6,
            disk_mb: size(Path::new(&format!("/proc/{}/root/tmp", worker.pid))).expect("its files") as f64 / 1e6,
        }
    });
    assert_eq!(verdict.outcome, Outcome::Passed, "{:?}\n{}", verdict.reasons, containers.said());
    Some((needs, target.map_or(0, |target| target.requests().values().sum::<u64>()) as f64 / 16.0))
}

/// Prints the table of BENCHMARKS.md; what must hold on any machine is asserted.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the servers of `cargo xtask servers`"]
#[expect(clippy::print_stdout, reason = "its result is a table")]
async fn what_a_worker_needs() {
    println!(
        "| vCPU, MB | VUs | load | CPU | worker | k6 | container at most | /tmp |\n|---|---|---|---|---|---|---|---|"
    );
    for (cpus, memory_mb, vus, load) in
        [("0.25", 512, "100", false), ("0.25", 512, "10", true), ("1", 2048, "10", true)]
    {
        let target = load.then(Target::start);
        let measured = Box::pin(measured(Limits { cpus, memory_mb }, vus, target.as_ref())).await;
        let Some((needs, rate)) = measured else { return };
        let load = if load { format!("{rate:.0} requests/s") } else { "VUs that sleep".to_owned() };
        println!(
            "| {cpus}, {memory_mb} | {vus} | {load} | {:.1} % | {:.0} MB | {:.0} MB | {:.0} MB | {:.1} MB |",
            needs.cpu * 100.0,
            needs.worker_mb,
            needs.k6_mb,
            needs.peak_mb,
            needs.disk_mb
        );
        assert!(needs.worker_mb < 64.0 && needs.peak_mb < memory_mb as f64 * 1.05, "{needs:?}");
        // What a worker measures is uploaded, not kept on the disk.
        assert!(needs.disk_mb < 1.0, "{needs:?}");
    }
}

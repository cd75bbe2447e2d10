//! An account with a target and a script, and what tests ask about them.

use std::collections::BTreeMap;

use lambdaload_tests::{
    account::{Account, Differences},
    cli::{Folder, descendants, is_alive, wait_for},
    servers::Recorder,
    target::Target,
};
use serde_json::Value;

/// Each iteration asks for a path of its own, so the target knows what was done twice.
const SCRIPT: &str = r"
import http from 'k6/http';
import { sleep } from 'k6';
import exec from 'k6/execution';

const iterations = Number(__ENV.ITERATIONS || 80);

export const options = {
  scenarios: { ask: { executor: 'shared-iterations', vus: 4, iterations, maxDuration: '90s' } },
  thresholds: { iterations: [`count==${iterations}`] },
};

export default function () {
  http.get(`${__ENV.TARGET}/iteration/${exec.scenario.iterationInTest}`);
  sleep(0.25);
}
";

/// An account, a target, and a folder with [`SCRIPT`].
pub(crate) struct Scene {
    pub(crate) account: Account,
    pub(crate) target: Target,
    pub(crate) folder: Folder,
}

impl Scene {
    pub(crate) fn new(differences: &Differences<'_>) -> Self {
        let folder = Folder::new();
        folder.write("script.js", SCRIPT);
        Self { account: Account::deploy(differences), target: Target::start(), folder }
    }

    /// An account whose functions reach it through a recorder.
    pub(crate) fn recorded() -> (Self, Recorder) {
        let recorder = Recorder::start();
        let scene = Self::new(&Differences {
            variables: &[("AWS_ENDPOINT_URL", &recorder.endpoint())],
            ..Differences::default()
        });
        recorder.forward_to(&scene.account.endpoint());
        (scene, recorder)
    }

    /// Starts a run of two workers, and returns its id.
    pub(crate) fn detached(&self, iterations: u32, more: &[&str]) -> String {
        let (target, iterations) = (format!("TARGET={}", self.target.url()), format!("ITERATIONS={iterations}"));
        let usual = ["script.js", "--workers", "2", "-e", &target, "-e", &iterations];
        self.account.detached(&self.folder, &[&usual, more].concat())
    }

    pub(crate) fn verdict(&self, run: &str) -> Value {
        self.account.verdict(&Folder::new(), run)
    }

    /// How often each iteration has asked.
    pub(crate) fn asked(&self) -> BTreeMap<String, u64> {
        self.target.requests()
    }

    /// Waits until so many iterations have begun.
    pub(crate) fn wait_until_asked(&self, iterations: usize) {
        wait_for("the load to run", || (self.asked().len() >= iterations).then_some(()));
    }

    /// The k6 of all workers that run load.
    pub(crate) fn k6s(&self) -> Vec<u32> {
        let name = lambdaload_tests::k6_binary().display().to_string();
        let all = descendants(self.account.pid()).into_iter();
        all.filter(|(pid, line)| line.starts_with(&name) && is_alive(*pid)).map(|(pid, _)| pid).collect()
    }

    pub(crate) fn wait_until_no_k6(&self) {
        wait_for("every k6 to end", || self.k6s().is_empty().then_some(()));
    }

    /// The processes of a function that are there, whether or not they have something to do.
    pub(crate) fn processes(&self, function: &str) -> Vec<u32> {
        let variable = format!("LAMBDALOAD_FUNCTION={function}");
        let is_one = |pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|one| one == variable.as_bytes())
        };
        descendants(self.account.pid()).into_iter().map(|(pid, _)| pid).filter(is_one).collect()
    }

    /// Asserts that a run has passed, with each iteration done once.
    pub(crate) fn assert_passed_once(&self, verdict: &Value, iterations: usize) {
        assert_eq!(verdict["outcome"], "passed", "{verdict:#}\n{}", self.account.said());
        let asked = self.asked();
        assert_eq!(asked.len(), iterations, "{asked:?}");
        assert!(asked.values().all(|count| *count == 1), "something was done twice: {asked:?}");
    }
}

/// The codes of a verdict's reasons, with the worker that they are about.
pub(crate) fn reasons(verdict: &Value) -> Vec<(&str, Option<u64>)> {
    let reasons = verdict["reasons"].as_array().expect("reasons").iter();
    reasons.map(|reason| (reason["code"].as_str().unwrap_or_default(), reason["worker"].as_u64())).collect()
}

/// What became of workers that have failed, by their numbers.
pub(crate) fn failures(verdict: &Value) -> BTreeMap<u64, String> {
    let workers = verdict["workers"].as_array().expect("workers").iter();
    let kind = |worker: &Value| Some(worker["failure"]["kind"].as_str()?.to_owned());
    (1..).zip(workers).filter_map(|(number, worker)| Some((number, kind(worker)?))).collect()
}

/// That what k6 aggregated of `deterministic.js` is all there, and that the verdict says that it is aggregated.
pub(crate) fn assert_aggregated(verdict: &Value) {
    let facts = (&verdict["outcome"], &verdict["samples"]["kind"]);
    assert_eq!(facts, (&"passed".into(), &"aggregated".into()), "{verdict:#}");
    assert_eq!(verdict["samples"]["read"], verdict["samples"]["merged"]);
    let metric = |name: &str| {
        let found = verdict["summary"]["metrics"].as_array().expect("metrics").iter().find(|m| m["name"] == name);
        found.expect(name)["values"].clone()
    };
    assert_eq!((&metric("items")["count"], &metric("odd")["rate"]), (&400.0.into(), &0.5.into()));
    assert_eq!((&metric("cost")["count"], &metric("http_reqs")["count"]), (&200.into(), &200.0.into()));
}

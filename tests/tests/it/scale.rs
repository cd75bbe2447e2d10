//! `externally-controlled`, and `lambdaload scale` from another terminal.

use std::collections::{BTreeMap, BTreeSet};

use lambdaload_tests::{
    cli::{Folder, wait_for},
    k6_can_be_controlled,
    target::Target,
};
use serde_json::Value;

const SCRIPT: &str = "import { sleep } from 'k6'; import exec from 'k6/execution'; import http from 'k6/http';
export const options = { scenarios: { knob: { executor: 'externally-controlled', vus: 2, maxVUs: 7, duration: '60s' } } };
export default () => {
  const worker = String(exec.test.options.executionSegment).split(':')[0].replace('/', 'of');
  http.get(`${__ENV.TARGET}/${exec.scenario.iterationInTest}/${exec.vu.idInTest}/${worker}`);
  sleep(0.05);
};";

fn list(folder: &Folder) -> Value {
    let said = folder.run(&["runs", "list", "--output", "json"]);
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

fn live(folder: &Folder, id: &str) -> Option<Value> {
    let path = folder.path().join(format!(".lambdaload/store/runs/{id}/live.json"));
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

#[test]
fn a_run_is_scaled_from_another_terminal() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write("test.js", SCRIPT);
    let run = ["run", "test.js", "--workers", "3", "-e", &format!("TARGET={}", target.url())];
    if !k6_can_be_controlled() {
        let said = folder.run(&run);
        assert_eq!((said.code, said.stdout.as_str()), (Some(104), ""), "{said:#?}");
        assert!(
            said.stderr.contains("k6 2.0 has removed it") && said.stderr.contains("ramping-vus"),
            "{}",
            said.stderr
        );
        assert_eq!(list(&folder), Value::Array(Vec::new()), "nothing was started");
        return;
    }
    let running = folder.spawn(&run);
    let (running, id) = running.wait_for("a run that runs", |_| {
        let list = list(&folder);
        (list[0]["status"] == "running").then(|| list[0]["run"].as_str().map(str::to_owned))?
    });
    let vus_are = |vus: u64| {
        wait_for(&format!("{vus} VUs"), || {
            let live = live(&folder, &id)?;
            (live["vus"] == vus && live["planned_vus"] == vus).then_some(())
        });
    };
    vus_are(2);
    let scale = |vus: &str| folder.run(&["scale", &id, "--vus", vus]);
    let said = scale("7");
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(said.stderr.trim(), format!("scenario knob of run {id} has 7 VUs now, on 3 workers"));
    vus_are(7);
    let said = scale("8");
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(said.stderr.contains("8 VUs are too many") && said.stderr.contains("at most 7"), "{}", said.stderr);
    assert_eq!(scale("0").code, Some(0));
    vus_are(0);
    assert_eq!(scale("4").code, Some(0));
    vus_are(4);
    assert_eq!(folder.run(&["stop", &id]).code, Some(0));
    let said = running.wait();
    assert_eq!(said.code, Some(105), "{said:#?}");
    let said = scale("4");
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(said.stderr.contains("nothing is left to scale"), "{}", said.stderr);

    // Seven VUs, dealt out in turn; each iteration of the whole once.
    let mut vus: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    let mut iterations = BTreeSet::new();
    for (path, count) in target.requests() {
        let [_, iteration, vu, worker] = path.split('/').collect::<Vec<_>>()[..] else { panic!("{path}") };
        assert_eq!(count, 1, "{path}");
        assert!(iterations.insert(iteration.to_owned()), "{path}");
        vus.entry(vu.parse().expect("a number")).or_default().insert(worker.to_owned());
    }
    let dealt: Vec<(u64, Vec<&str>)> =
        vus.iter().map(|(vu, workers)| (*vu, workers.iter().map(String::as_str).collect())).collect();
    let expected = (1..=7).zip(["0", "1of3", "2of3"].into_iter().cycle()).map(|(vu, worker)| (vu, vec![worker]));
    assert_eq!(dealt, expected.collect::<Vec<_>>());
}

#[test]
fn a_run_that_cannot_be_controlled_says_so() {
    let folder = Folder::new();
    folder.write("script.js", "export const options = { vus: 2, iterations: 4 }; export default () => {};");
    assert_eq!(folder.run(&["run", "--workers", "2"]).code, Some(0));
    let id = list(&folder)[0]["run"].as_str().expect("an id").to_owned();
    let said = folder.run(&["scale", &id, "--vus", "1"]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(said.stderr.contains("none of the scenarios of this run is externally-controlled"), "{}", said.stderr);
    let said = folder.run(&["scale", "7ZZZZZZZZZ", "--vus", "1"]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    let said = folder.run(&["scale", &id, "--vus", "-1"]);
    assert_eq!(said.code, Some(2), "{said:#?}");
}

//! The real command, the real functions, real k6: from `lambdaload run --platform lambda` to the verdict in the table.

use std::collections::BTreeMap;

use lambdaload_tests::{account::Account, cli::Folder, fixture, start_skews, target::Target};
use serde_json::Value;

use crate::scene::assert_aggregated;

/// What is the same however the work was dealt out and whenever it was done: thresholds, checks, groups, and all metrics
/// whose values the script makes from the number of the iteration.
pub(crate) fn facts(verdict: &Value) -> BTreeMap<String, Value> {
    let mut facts: BTreeMap<String, Value> =
        ["outcome", "exit_code", "thresholds"].into_iter().map(|key| (key.to_owned(), verdict[key].clone())).collect();
    for metric in verdict["summary"]["metrics"].as_array().expect("metrics") {
        let name = metric["name"].as_str().expect("a name");
        let timed = ["http_req", "_duration", "data_", "vus"].iter().any(|timed| name.contains(timed));
        if !timed {
            let mut metric = metric.clone();
            // Of counters it depends on how long the run took.
            if let Some(values) = metric["values"].as_object_mut().filter(|values| values.contains_key("count")) {
                values.remove("rate");
            }
            facts.insert(format!("metric {name}"), metric);
        }
    }
    facts.insert("checks".to_owned(), verdict["summary"]["checks"].clone());
    facts
}

/// The verdict in the account.
fn same_as_local(workers: &str) -> Value {
    let (folder, target, account) = (Folder::new(), Target::start(), Account::shared());
    let script = fixture("deterministic.js").display().to_string();
    let (url, vus) = (format!("TARGET={}", target.url()), format!("VUS={workers}"));
    let arguments = ["run", &script, "--workers", workers, "-e", &url, "-e", &vus, "--output", "json", "--quiet"];

    let local = folder.run(&arguments);
    let lambda = account.run(&folder, &arguments);
    let verdict = |said: &lambdaload_tests::cli::Said| -> Value {
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}\n{}", account.said()))
    };
    let (local, lambda) = (verdict(&local), verdict(&lambda));
    assert_eq!(lambda["outcome"], "passed", "{lambda:#}");
    assert_eq!(facts(&lambda), facts(&local));
    assert_eq!(lambda["workers"].as_array().map(Vec::len), workers.parse().ok(), "{lambda:#}");
    // Both have sent each iteration's request once.
    let requests = target.requests();
    let iterations: Vec<u64> =
        requests.iter().filter(|(path, _)| path.starts_with("/iteration/")).map(|(_, count)| *count).collect();
    assert_eq!((iterations.len(), iterations.iter().all(|count| *count == 2)), (200, true), "{requests:?}");
    lambda
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn eight_workers_give_the_verdict_of_the_local_fleet() {
    same_as_local("8");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
#[expect(clippy::print_stdout, reason = "a figure for whoever asks for it")]
fn forty_workers_give_the_verdict_of_the_local_fleet() {
    let verdict = same_as_local("40");
    let skews = start_skews(&verdict);
    assert!(skews.len() == 40 && skews.iter().any(|skew| skew.to_bits() != skews[0].to_bits()), "measured? {skews:?}");
    println!("start skew p99 of 40 workers: {} ms", verdict["start_skew_p99_ms"]);
}

/// What k6 pushes reaches its worker also where scripts are kept from loopback.
#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn aggregated_samples_come_to_the_same_counts() {
    let (folder, target, account) = (Folder::new(), Target::start(), Account::shared());
    let script = fixture("deterministic.js").display().to_string();
    let url = format!("TARGET={}", target.url());
    let usual =
        ["run", &script, "--workers", "3", "-e", &url, "--output", "json", "--quiet", "--samples", "aggregated"];
    let said = account.run(&folder, &usual);
    let verdict: Value =
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}\n{}", account.said()));
    assert_aggregated(&verdict);
    assert_eq!(target.requests().values().sum::<u64>(), 200);
}

/// Tries to reach what hands out credentials, and looks for credentials in its variables.
const INTRUDER: &str = r"
import http from 'k6/http';

export const options = { vus: 2, iterations: 2 };

export default function () {
  console.log(`metadata: ${http.get('http://169.254.169.254/latest/meta-data/', { timeout: '5s' }).error}`);
  console.log(`credentials: ${http.get('http://169.254.170.2/', { timeout: '5s' }).error}`);
  console.log(`variables: ${Object.keys(__ENV).filter((name) => name.startsWith('AWS_')).join()};`);
}
";

/// What scripts say is also how the logs of workers are seen to arrive.
#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn scripts_have_no_credentials_and_no_way_to_any() {
    let (folder, account) = (Folder::new(), Account::shared());
    folder.write("script.js", INTRUDER);
    let run = account.detached(&folder, &["script.js", "--workers", "2"]);
    account.verdict(&folder, &run);
    for worker in ["1", "2"] {
        let said = account.run(&folder, &["logs", &run, "--worker", worker]);
        assert_eq!(said.code, Some(0), "{said:#?}");
        for line in ["metadata: ip is blacklisted", "credentials: ip is blacklisted", "variables: ;"] {
            assert!(said.stdout.lines().any(|found| found.ends_with(line)), "no `{line}`: {said:#?}");
        }
    }
}

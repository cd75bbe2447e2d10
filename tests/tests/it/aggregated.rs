//! `--samples aggregated` with the real k6: the same numbers as of single samples, and nothing lost or forged in silence.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    thread,
    time::Duration,
};

use lambdaload_tests::{
    cli::{Folder, Said},
    fixture, k6_binary,
    target::Target,
};
use serde_json::Value;

/// The bound that the verdict states.
const ERROR: f64 = 1.0 / 128.0;

/// The k6 of these tests, whose `run` is started by this line of a shell script: `$RECEIVER` is where it is to push to.
fn k6_with(folder: &Folder, run: &str) -> String {
    let k6 = k6_binary().display().to_string();
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = run ]; then shift; RECEIVER=$K6_CLOUD_HOST; {run}; fi\nexec {k6} \"$@\"\n",
        run = run.replace("@K6", &k6)
    );
    let path: PathBuf = folder.write("k6", script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("executable");
    path.display().to_string()
}

/// What the verdict says of metrics, by name with tags; of times that depend on the machine nothing.
fn metrics(verdict: &Value) -> BTreeMap<String, Value> {
    let all = verdict["summary"]["metrics"].as_array().expect("metrics");
    let named = all.iter().map(|metric| {
        let suffix = metric["suffix"].as_str().map(|suffix| format!("{{{suffix}}}")).unwrap_or_default();
        (format!("{}{suffix}", metric["name"].as_str().expect("a name")), metric["values"].clone())
    });
    let timed = |name: &String| ["_duration", "data_", "vus", "http_req_"].iter().any(|timed| name.contains(timed));
    named.filter(|(name, _)| !timed(name) || name == "http_req_failed").collect()
}

/// Everything but percentiles is the same, and these are within the bound.
fn same_numbers(aggregated: &Value, exact: &Value) {
    let (ours, theirs) = (metrics(aggregated), metrics(exact));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (name, exact) in &theirs {
        for (key, exact) in exact.as_object().expect("values") {
            let ours = &ours[name][key];
            match exact {
                Value::Object(percentiles) => {
                    for (percentile, exact) in percentiles {
                        let (exact, ours) = (exact.as_f64().expect("a number"), ours[percentile].as_f64());
                        let apart = (ours.expect("a number") - exact).abs();
                        assert!(apart <= (exact * ERROR).max(0.001), "{name} {percentile}: {ours:?}, exactly {exact}");
                    }
                }
                // A sum per second of the run.
                _ if key == "rate" && theirs[name].get("count").is_some() => {}
                // k6 adds in floating point, in another order.
                exact if key == "avg" => {
                    let (exact, ours) = (exact.as_f64().expect("a number"), ours.as_f64().expect("a number"));
                    assert!((ours - exact).abs() <= exact.abs() * 1e-12, "{name} avg: {ours}, exactly {exact}");
                }
                exact => assert_eq!(ours, exact, "{name} {key}"),
            }
        }
    }
    for what in ["checks", "group_paths"] {
        assert_eq!(aggregated["summary"][what], exact["summary"][what], "{what}");
    }
}

/// The thresholds that were too close to call.
fn marked(verdict: &Value) -> Vec<String> {
    let close = verdict["thresholds"].as_array().expect("thresholds").iter().filter(|t| t["within_error"] == true);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    close.map(|t| format!("{} {}", text(&t["metric"]), text(&t["expression"]))).collect()
}

fn verdict_of(said: &Said) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
}

fn run(folder: &Folder, script: &str, more: &[&str]) -> Value {
    verdict_of(&folder.run(&[&["run", script, "--output", "json", "--quiet"], more].concat()))
}

#[test]
fn one_worker_and_four_give_the_numbers_of_single_samples() {
    let (folder, target) = (Folder::new(), Target::start());
    let script = fixture("deterministic.js").display().to_string();
    let url = format!("TARGET={}", target.url());
    let exact = run(&folder, &script, &["--workers", "2", "-e", &url]);
    assert_eq!((&exact["samples"]["kind"], &exact["percentile_error"]), (&"exact".into(), &(0.5 / 1024.0).into()));
    for workers in ["1", "4"] {
        let aggregated = run(&folder, &script, &["--workers", workers, "-e", &url, "--samples", "aggregated"]);
        assert_eq!(aggregated["outcome"], "passed", "{aggregated:#}");
        assert_eq!(
            (&aggregated["samples"]["kind"], &aggregated["percentile_error"]),
            (&"aggregated".into(), &ERROR.into())
        );
        same_numbers(&aggregated, &exact);
        assert_eq!(aggregated["samples"]["read"], aggregated["samples"]["merged"]);
        let thresholds = |verdict: &Value| -> Vec<Value> {
            let all = verdict["thresholds"].as_array().expect("thresholds").iter();
            all.map(|t| serde_json::json!([t["metric"], t["suffix"], t["expression"], t["passed"]])).collect()
        };
        // 948.1 is less than 0.78 % away from 950.
        assert_eq!(marked(&aggregated), ["cost p(95)<950"]);
        assert!(marked(&exact).is_empty());
        assert_eq!(thresholds(&aggregated), thresholds(&exact));
        let groups = aggregated["summary"]["groups"].as_array().expect("groups");
        assert!(groups.iter().any(|group| group["group"] == "::cart"), "{groups:#?}");
    }
    let requests = target.requests();
    let iterations = requests.iter().filter(|(path, _)| path.starts_with("/iteration/"));
    assert!(iterations.clone().count() == 200 && iterations.clone().all(|(_, count)| *count == 3), "{requests:?}");
}

/// Gauges, values below 0 and beyond all buckets, infinite ones, odd tags, `setup()` and `teardown()`.
#[test]
fn odd_values_are_what_they_are_and_what_is_not_known_of_them_is_said() {
    let folder = Folder::new();
    folder.write(
        "test.js",
        "import { Counter, Gauge, Rate, Trend } from 'k6/metrics'; import exec from 'k6/execution';
        const below = new Trend('below'), zero = new Trend('zero'), huge = new Trend('huge'), small = new Trend('small');
        const gauge = new Gauge('gg'), hooks = new Counter('hooks'), rate = new Rate('rr');
        export const options = { thresholds: {
                below: ['max<0', 'min>=-20', 'avg<0', 'p(50)<-5', 'p(50)<1'], zero: ['p(95)==0'], huge: ['max>1e16'],
                small: ['p(95)<0.1', 'min>0'], gg: ['value>0'], hooks: ['count==2'], 'rr{odd:a \"b\" c😀}': ['rate==0.5'],
            }, scenarios: { all: { executor: 'shared-iterations', vus: 2, iterations: 20 } } };
        export function setup() { hooks.add(1); }
        export function teardown() { hooks.add(1); }
        export default function () {
            const i = exec.scenario.iterationInTest;
            below.add(-1 - i); zero.add(0); huge.add(1e17); small.add((i + 1) / 10000); gauge.add(7);
            rate.add(i % 2, { odd: 'a \"b\" c😀', __own: String(i) });
        }",
    );
    let verdict = run(&folder, "test.js", &["--workers", "2", "--samples", "aggregated"]);
    assert_eq!(marked(&verdict), ["below p(50)<-5"]);
    assert_eq!(verdict["outcome"], "passed", "{verdict:#}");
    let unplaced = verdict["samples"]["unplaced"].as_u64().expect("a number");
    // Those below 0, but for any that was the only one in its second. The huge ones are all alike, so it is known which.
    assert!((10..=20).contains(&unplaced), "{unplaced}");
    let metrics = metrics(&verdict);
    assert_eq!((&metrics["below"]["min"], &metrics["below"]["max"]), (&(-20.0).into(), &(-1.0).into()));
    assert_eq!((&metrics["gg"]["value"], &metrics["gg"]["min"]), (&7.0.into(), &7.0.into()));
    assert_eq!(metrics["small"]["count"], 20);
    let said = folder.run(&["runs", "latest"]);
    assert!(said.stdout.contains("1 too close to call"), "{}", said.stdout);
    assert!(said.stdout.contains("too close to call: below p(50)<-5"), "{}", said.stdout);
    assert!(said.stdout.contains("±0.78 %") && said.stdout.contains("aggregated by k6 each second"), "{}", said.stdout);
    assert!(said.stdout.contains("run it with --samples exact"), "{}", said.stdout);
    let id = verdict["run"].as_str().expect("an id");
    let report = folder.read(&format!(".lambdaload/runs/{id}/report.html"));
    assert!(report.contains("too close to call: aggregated samples, ±0.78 %"), "the report");
}

const COUNTING: &str = "import { Counter } from 'k6/metrics'; import { sleep } from 'k6';
    const counted = new Counter('counted');
    export const options = { thresholds: { counted: ['count==40'] },
        scenarios: { all: { executor: 'per-vu-iterations', vus: 4, iterations: 10 } } };
    export default () => { counted.add(1); sleep(0.3); };";

#[test]
fn batches_that_k6_gives_up_make_the_measurement_invalid() {
    let folder = Folder::new();
    folder.write("test.js", COUNTING);
    // Of the second worker nobody takes what its k6 pushes.
    let run = "case \"$*\" in *'--execution-segment 1/2:1 '*) export K6_CLOUD_HOST=http://127.0.0.1:1;; esac; exec @K6 run \"$@\"";
    let k6 = k6_with(&folder, run);
    let said = folder.run(&["run", "test.js", "--workers", "2", "--samples", "aggregated", "--k6", &k6]);
    assert_eq!(said.code, Some(96), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!(verdict["outcome"], "invalid");
    assert!(verdict["samples"]["lost_batches"].as_u64() >= Some(1), "{verdict:#}");
    let reasons = verdict["reasons"].as_array().expect("reasons");
    let told = reasons.iter().find(|reason| reason["code"] == "samples_missing").expect("is told");
    assert_eq!(told["worker"], 2, "{told}");
    let message = told["message"].as_str().expect("a text");
    assert!(message.starts_with("worker 2: k6 gave up ") && message.contains("aggregated samples"), "{message}");
}

/// Takes each push for a receiver, hands it over twice, and tells k6 the first time that it has not been able to.
fn repeat_pushes() -> (u16, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    let handle = thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let Ok(mut client) = client else { return };
            client.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            let (mut request, mut piece) = (Vec::new(), [0; 8_192]);
            // Chunks end with an empty one.
            while !request.ends_with(b"\r\n0\r\n\r\n") {
                match client.read(&mut piece) {
                    Ok(length) if length > 0 => request.extend_from_slice(&piece[..length]),
                    _ => return,
                }
            }
            // Where to is in the path: `/PORT/v2/metrics/…`.
            let text = String::from_utf8_lossy(&request).into_owned();
            let upstream = text.split('/').nth(1).expect("a port").to_owned();
            let prefix = format!("POST /{upstream}").len();
            let passed_on = [b"POST".as_slice(), b" ", &request[prefix..]].concat();
            let mut answer = [0; 12];
            for _ in 0..2 {
                let mut receiver = TcpStream::connect(format!("127.0.0.1:{upstream}")).expect("connects");
                receiver.write_all(&passed_on).expect("passes on");
                receiver.read_exact(&mut answer).expect("answers");
                assert_eq!(&answer, b"HTTP/1.1 204", "{}", String::from_utf8_lossy(&answer));
            }
            let status = if number % 2 == 0 { "503 Service Unavailable" } else { "204 No Content" };
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            if client.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (port, handle)
}

#[test]
fn what_k6_pushes_again_counts_once() {
    let folder = Folder::new();
    folder.write("test.js", COUNTING);
    let (port, _repeating) = repeat_pushes();
    let run = format!("export K6_CLOUD_HOST=http://127.0.0.1:{port}/${{RECEIVER##*:}}; exec @K6 run \"$@\"");
    let k6 = k6_with(&folder, &run);
    let said = folder.run(&["run", "test.js", "--workers", "1", "--samples", "aggregated", "--k6", &k6]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(metrics(&folder.verdict())["counted"]["count"], 40.0);
}

/// A script that knows where its worker listens.
const FORGER: &str = "import http from 'k6/http'; import exec from 'k6/execution'; import { Counter, Rate } from 'k6/metrics';
    const refused = new Rate('refused'), hidden = new Rate('hidden'), counted = new Counter('counted');
    export const options = { thresholds: { refused: ['rate==1'], hidden: ['rate==1'], counted: ['count==10'] },
        scenarios: { all: { executor: 'per-vu-iterations', vus: 2, iterations: 5 } } };
    export default function () {
        counted.add(1);
        const url = `${__ENV.RECEIVER}/v2/metrics/lambdaload`;
        const guesses = [{}, { Authorization: 'Token' }, { Authorization: 'Token x' }, { Authorization: 'Token lambdaload' }];
        for (const headers of guesses) {
            const key = { 'K6-Idempotency-Key': String(Math.random()) };
            refused.add(http.post(url, 'garbage', { headers: Object.assign(key, headers) }).status === 401);
        }
        refused.add(http.get(url).status === 401);
        // 128 bits as the worker writes them.
        hidden.add(!/[0-9a-f]{32}/.test(JSON.stringify([__ENV, exec.test.options])));
    }";

#[test]
fn a_script_that_posts_to_the_worker_changes_nothing() {
    let folder = Folder::new();
    folder.write("test.js", FORGER);
    let k6 = k6_with(&folder, "exec @K6 run --env RECEIVER=$RECEIVER \"$@\"");
    let running = folder.spawn(&["run", "test.js", "--workers", "2", "--samples", "aggregated", "--k6", &k6]);
    let said = running.wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!(verdict["samples"]["refused"], 0, "{verdict:#}");
    assert!(verdict["thresholds"].as_array().expect("three").iter().all(|t| t["passed"] == true), "{verdict:#}");
}

#[test]
fn the_token_is_in_no_command_line() {
    let folder = Folder::new();
    folder.write("test.js", COUNTING);
    // k6 tells its own command line and the token that it was given.
    let run = "tr '\\0' ' ' < /proc/$$/cmdline > seen; echo \"$@\" >> seen; echo $K6_CLOUD_TOKEN > token; exec @K6 run \"$@\"";
    let run = run.replace("seen", "$OUT/seen").replace("> token", "> $OUT/token");
    let k6 = k6_with(&folder, &format!("OUT={}; {run}", folder.path().display()));
    let said = folder.run(&["run", "test.js", "--workers", "1", "--samples", "aggregated", "--k6", &k6]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let (token, seen) = (folder.read("token"), folder.read("seen"));
    assert_eq!(token.trim().len(), 32, "{token}");
    assert!(seen.contains("--out cloud") && !seen.contains(token.trim()), "{seen}");
    assert!(!said.stdout.contains(token.trim()) && !said.stderr.contains(token.trim()));
}

#[test]
fn what_k6_would_not_aggregate_is_refused_by_the_plan() {
    let folder = Folder::new();
    let refused = |options: &str| {
        let script =
            format!("export const options = {{ vus: 1, iterations: 1, {options} }}; export default () => {{}};");
        folder.write("test.js", script);
        let said = folder.run(&["plan", "test.js", "--workers", "1", "--samples", "aggregated"]);
        assert_eq!(said.code, Some(104), "{said:#?}");
        assert!(folder.run(&["plan", "test.js", "--workers", "1"]).code == Some(0), "exactly it can be had");
        said.stderr
    };
    let said = refused("systemTags: ['status', 'method']");
    assert!(said.contains("k6 needs the system tags name, error, check, group for that"), "{said}");
    let said = refused("thresholds: { 'iterations{__mine:1}': ['count>=0'] }");
    assert!(said.contains("asks for the tag `__mine`, which k6 leaves out"), "{said}");
    let said = folder.run(&["plan", "test.js", "--samples", "raw"]);
    assert!(said.code == Some(2) && said.stderr.contains("expected exact or aggregated"), "{said:#?}");
}

#[test]
fn the_plan_says_what_aggregated_samples_mean_and_on_k6_2_what_they_would_save() {
    let folder = Folder::new();
    folder.write("test.js", COUNTING);
    let plan = |samples: &str| folder.run(&["plan", "test.js", "--workers", "2", "--samples", samples]).stdout;
    let aggregated = plan("aggregated");
    assert!(aggregated.contains("percentiles are within 0.78 %"), "{aggregated}");
    let is_costly = lambdaload_tests::k6_version() >= (2, 0, 0);
    let exact = plan("exact");
    assert_eq!(exact.contains("--samples aggregated"), is_costly, "{exact}");
}

//! What is given to a script, and how k6's own flags change its options.

use lambdaload_tests::{
    cli::{Folder, Running, Said},
    k6_binary,
    target::Target,
};
use serde_json::Value;

/// A script that says on the target's doorstep what it sees.
const TELLS: &str = "
    import http from 'k6/http';
    if (!__ENV.LAMBDALOAD_RUN_ID || !__ENV.K6_CLOUDRUN_INSTANCE_ID) throw new Error('init code sees nothing');
    const early = `${__ENV.LAMBDALOAD_WORKER}/${__ENV.LAMBDALOAD_WORKERS}`;
    export const options = {
        scenarios: { s: { executor: 'per-vu-iterations', vus: 3, iterations: 1 } },
        cloud: { name: 'the shop', note: 'of cloud', projectID: 123, staticIPs: true, drop_metrics: ['x'], distribution: {
            far: { loadZone: 'amazon:ie:dublin', percent: 34 }, near: { loadZone: 'amazon:us:ashburn', percent: 66 } } },
    };
    export default () => http.get(`${__ENV.TARGET}/headers`, { headers: { 'X-Env': JSON.stringify(__ENV), 'X-Early': early } });
";

const SCENARIOS: &str = "
    export const options = { scenarios: {
        a: { executor: 'constant-vus', vus: 3, duration: '1s' }, b: { executor: 'per-vu-iterations', vus: 2, iterations: 1 } } };
    export default () => {};
";

fn plan(folder: &Folder, arguments: &[&str]) -> (Value, Said) {
    let said = folder.run(&[&["plan"], arguments, &["--output", "json"]].concat());
    let json = serde_json::from_str(&said.stdout).unwrap_or_default();
    (json, said)
}

fn plan_of(script: &str, arguments: &[&str]) -> (Value, Said) {
    let folder = Folder::new();
    folder.write("test.js", script);
    plan(&folder, &[&["test.js"], arguments].concat())
}

/// Scenarios as `name executor shape`.
fn scenarios(plan: &Value) -> Vec<String> {
    let scenarios = plan["plan"]["scenarios"].as_array().unwrap_or_else(|| panic!("{plan:#}"));
    let text =
        |scenario: &Value| ["name", "executor", "shape"].map(|key| scenario[key].as_str().unwrap_or("?").to_owned());
    scenarios.iter().map(|scenario| text(scenario).join(" ")).collect()
}

/// 2.1 and later take a number of VUs alone for a wish for other scenarios.
fn vus_alone_replace_scenarios() -> bool {
    let output = std::process::Command::new(k6_binary()).arg("version").output().expect("k6 runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_once(" v").expect("a version").1;
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) >= (Some(2), Some(1))
}

#[test]
fn shortcuts_replace_all_scenarios_and_k6s_warning_is_seen() {
    for (flags, expected) in [
        (&["--vus", "4", "--duration", "2s"][..], "default constant-vus 4 VUs, 2s"),
        (&["-i", "7", "-u", "2"], "default shared-iterations 7 iterations shared by 2 VUs"),
        (&["-s", "1s:3", "--stage", "2s:0"], "default ramping-vus 1 → 3 VUs in 1s → 0 VUs in 2s"),
        // k6 run takes one VU where nothing else is said.
        (&["--iterations=7"], "default shared-iterations 7 iterations shared by 1 VU"),
        (&["-d2s"], "default constant-vus 1 VU, 2s"),
    ] {
        let (plan, said) = plan_of(SCENARIOS, flags);
        assert_eq!(said.code, Some(0), "{said:#?}");
        assert_eq!(scenarios(&plan), [expected], "{flags:?}");
        assert!(said.stderr.contains("overrode scenarios configuration entirely"), "{}", said.stderr);
    }
}

#[test]
fn vus_alone_do_what_they_do_in_this_k6() {
    let (plan, said) = plan_of(SCENARIOS, &["--vus", "5"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    if vus_alone_replace_scenarios() {
        assert_eq!(scenarios(&plan), ["default shared-iterations 5 iterations shared by 5 VUs"]);
        assert!(said.stderr.contains("overrides scenarios configuration"), "{}", said.stderr);
    } else {
        assert_eq!(scenarios(&plan).len(), 2);
    }
}

#[test]
fn a_script_that_leaves_the_number_of_vus_to_k6_has_one() {
    let (plan, said) = plan_of("export const options = { duration: '3s' }; export default () => {};", &[]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(scenarios(&plan), ["default constant-vus 1 VU, 3s"]);
}

#[test]
fn other_options_reach_the_plan() {
    let script =
        "export const options = { rps: 5, scenarios: { s: { executor: 'constant-vus', vus: 6, duration: '1s' } } };
        export default () => {};";
    let (plan, said) = plan_of(script, &["--rps", "100", "--system-tags", "url,status", "--workers", "3"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert_eq!(plan["plan"]["rps"], 100, "{plan:#}");
    assert_eq!(plan["plan"]["submetrics"], serde_json::json!([]), "samples have no tag for the usual one: {plan:#}");
}

#[test]
fn a_config_file_of_k6_is_beneath_the_script() {
    let folder = Folder::new();
    folder.write("test.js", "export const options = { vus: 2 }; export default () => {};");
    folder.write("k6.json", r#"{ "vus": 9, "iterations": 12, "thresholds": { "iterations": ["count==12"] } }"#);
    let said = folder.run(&["run", "test.js", "--config", "k6.json", "--workers", "2"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("✓ 'count==12' count=12"), "{}", said.stdout);
}

/// The options that change what k6 does are those of the workers' k6.
#[test]
fn workers_obey_the_flags() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write(
        "test.js",
        "import http from 'k6/http'; import { Counter } from 'k6/metrics';
        const seen = new Counter('seen');
        export const options = { thresholds: { seen: ['count==6'], http_reqs: ['count==12'] } };
        export default () => {
            const answer = http.get(`${__ENV.TARGET}/headers`);
            try { http.get('http://127.0.0.1:1/'); } catch (error) { seen.add(answer.body === null ? 1 : 100); }
        };",
    );
    let env = format!("TARGET={}", target.url());
    let flags = ["-i", "6", "-u", "2", "--throw", "--discard-response-bodies", "--user-agent", "ours/1", "--rps=1000"];
    let said = folder.run(&[&["run", "test.js", "--workers", "2", "-e", &env][..], &flags].concat());
    assert_eq!(said.code, Some(0), "{said:#?}");
    let agents: Vec<String> = target.headers().iter().map(|headers| headers["user-agent"].clone()).collect();
    assert_eq!(agents, ["ours/1"; 6]);
}

#[test]
fn an_archive_is_changed_by_flags_too() {
    let folder = Folder::new();
    folder.write("test.js", SCENARIOS);
    let k6 = std::process::Command::new(k6_binary())
        .args(["archive", "--quiet", "-i", "3", "-O", "test.tar", "test.js"])
        .current_dir(folder.path())
        .output()
        .expect("k6 runs");
    assert!(k6.status.success(), "{k6:?}");
    assert_eq!(scenarios(&plan(&folder, &["test.tar"]).0), ["default shared-iterations 3 iterations shared by 1 VU"]);
    let (changed, said) = plan(&folder, &["test.tar", "-i", "9", "-u", "3"]);
    assert_eq!(scenarios(&changed), ["default shared-iterations 9 iterations shared by 3 VUs"], "{said:#?}");
    let said = folder.run(&["run", "test.tar", "-i", "9", "-u", "3", "--workers", "2", "--output", "json"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
}

#[test]
fn what_k6_says_of_its_flags_is_passed_on_with_its_exit_code() {
    for (flags, code, words) in [
        (&["--duration", "soon"][..], 255, r#"invalid argument "soon" for "-d, --duration" flag"#),
        (&["--stage", "5"], 255, "missing unit in duration"),
        (&["--dns", "nope"], 255, "nope"),
        (&["-i", "1", "-u", "2"], 104, "can't be less than the number of VUs"),
        (&["--config", "nowhere.json"], 104, "nowhere.json"),
    ] {
        let (_, said) = plan_of(SCENARIOS, flags);
        assert_eq!(said.code, Some(code), "{flags:?} {said:#?}");
        assert!(said.stderr.starts_with("error: ") || said.stderr.contains("\nerror: "), "{}", said.stderr);
        assert!(said.stderr.contains(words) && !said.stderr.contains("level=error"), "{flags:?}: {}", said.stderr);
    }
}

#[test]
fn flags_of_k6_that_make_no_sense_here_say_why() {
    let folder = Folder::new();
    folder.write("script.js", SCENARIOS);
    for (flag, words) in [
        ("--http-debug=full", "use `k6 run --http-debug`"),
        ("--out=json=x", "see --summary-export"),
        ("-o", "see --summary-export"),
        ("--execution-segment=0:1/2", "--workers"),
        ("--no-setup", "setup() runs once"),
        ("--paused", "start together"),
    ] {
        let said = folder.run(&["run", flag]);
        assert_eq!(said.code, Some(2), "{said:#?}");
        assert!(said.stderr.contains("is a flag of k6") && said.stderr.contains(words), "{}", said.stderr);
    }
    let help = folder.run(&["run", "--help"]).stdout;
    let (before, after) = help.split_once("k6 options:").expect("a heading of their own");
    assert!(before.contains("--workers") && after.contains("--vus") && !after.contains("--workers"), "{help}");
}

/// What each worker's script sees, by worker.
fn told(target: &Target) -> Vec<(Value, String)> {
    let read = |headers: &std::collections::BTreeMap<String, String>| {
        (serde_json::from_str(&headers["x-env"]).expect("JSON"), headers["x-early"].clone())
    };
    let mut told: Vec<(Value, String)> = target.headers().iter().map(read).collect();
    told.sort_by_key(|(env, _)| env["LAMBDALOAD_WORKER"].as_str().unwrap_or_default().to_owned());
    told
}

#[test]
fn scripts_know_which_worker_they_are_on_and_see_nothing_of_the_host() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write("test.js", TELLS);
    let mut command = folder.command(&["run", "test.js", "--workers", "3", "-e", &format!("TARGET={}", target.url())]);
    command.env("AWS_SECRET_ACCESS_KEY", "of the host").env("K6_VUS", "77").env("NO_PROXY", "127.0.0.1");
    command.env("HTTP_PROXY", "http://127.0.0.1:1").env("SSL_CERT_FILE", "/nowhere").env("LAMBDALOAD_NOTE", "ours");
    let said = Running::start(command).wait();
    assert_eq!(said.code, Some(0), "{said:#?}");
    let verdict = folder.verdict();
    assert_eq!((&verdict["name"], &verdict["note"]), (&"the shop".into(), &"ours".into()), "{verdict:#}");
    let told = told(&target);
    let zones = [("far", "amazon:ie:dublin"), ("near", "amazon:us:ashburn"), ("near", "amazon:us:ashburn")];
    for (index, (label, zone)) in zones.into_iter().enumerate() {
        let expected = serde_json::json!({
            "TARGET": target.url(),
            "LAMBDALOAD_RUN_ID": verdict["run"],
            "LAMBDALOAD_WORKER": (index + 1).to_string(),
            "LAMBDALOAD_WORKERS": "3",
            "K6_CLOUDRUN_INSTANCE_ID": index.to_string(),
            "K6_CLOUDRUN_TEST_RUN_ID": verdict["run"],
            "K6_CLOUDRUN_LOAD_ZONE": zone,
            "K6_CLOUDRUN_DISTRIBUTION": label,
        });
        assert_eq!((&told[index].0, &*told[index].1), (&expected, &*format!("{}/3", index + 1)));
    }
}

#[test]
fn what_a_user_sets_stays() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write("test.js", TELLS);
    let env = format!("TARGET={}", target.url());
    let said = folder.run(&["run", "test.js", "--workers", "2", "-e", &env, "-e", "K6_CLOUDRUN_LOAD_ZONE=here"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(told(&target).iter().all(|(env, _)| env["K6_CLOUDRUN_LOAD_ZONE"] == "here"));
    // The archive of that run is one for any number of workers.
    let archive = std::fs::read_dir(folder.path().join(".lambdaload/store/archives")).expect("a folder").next();
    let archive = archive.expect("an archive").expect("reads").path().display().to_string();
    let said = folder.run(&["run", &archive, "--workers", "3"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let again: Vec<Value> =
        told(&target).into_iter().map(|(env, _)| env).filter(|env| env["LAMBDALOAD_WORKERS"] == "3").collect();
    let workers: Vec<&Value> = again.iter().map(|env| &env["LAMBDALOAD_WORKER"]).collect();
    assert_eq!(workers, ["1", "2", "3"]);
    assert!(again.iter().all(|env| env["K6_CLOUDRUN_LOAD_ZONE"] == "here"));
}

#[test]
fn variables_of_flags_files_and_the_config_file() {
    let (folder, target) = (Folder::new(), Target::start());
    folder.write("script.js", TELLS);
    folder.write("dev.env", "# dev\nexport FROM_FILE='in quotes' # why\nBOTH=file\nALL=file\n");
    folder.write(
        "lambdaload.toml",
        "env-file = \"dev.env\"\n[env]\nALL = \"config\"\nBOTH = \"config\"\nFROM_CONFIG = 1\n",
    );
    let said = folder.run(&["run", "--workers", "1", "-e", &format!("TARGET={}", target.url()), "-e", "ALL=flag"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let env = &told(&target)[0].0;
    for (name, value) in [("FROM_FILE", "in quotes"), ("BOTH", "file"), ("ALL", "flag"), ("FROM_CONFIG", "1")] {
        assert_eq!(env[name], value, "{env:#}");
    }
    folder.write("bad.env", "A=1\n\nwhat is this\n");
    let said = folder.run(&["run", "--env-file", "bad.env"]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(said.stderr.contains("bad.env, line 3: `what is this` has no `=`"), "{}", said.stderr);
    let said = folder.run(&["run", "--env-file", "nowhere.env"]);
    assert_eq!(said.code, Some(104), "{said:#?}");
    assert!(said.stderr.contains("nowhere.env cannot be read"), "{}", said.stderr);
}

//! A real k6 that runs: its control and its samples.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use futures::future::join_all;
use lambdaload_adapters::k6::{K6, Message};
use lambdaload_core::{
    ids::WorkerIndex,
    k6::exit::{ProcessExit, code},
    plan::Samples,
    ports::{
        Generator, GeneratorControl, GeneratorPhase, GeneratorSpec, HookError, LoadGenerator as _, SampleStream,
        ScriptInputs,
    },
    secrets::Secrets,
    segment::Segment,
};

use lambdaload_tests::cli::{descendants, is_alive};

use crate::common::{k6_path, reach, start};

/// Iterations of a tenth of a second until it is stopped; the data of `setup()` and what `teardown()` does become samples.
const SHOP: &str = r"
    import { sleep } from 'k6';
    import { Counter } from 'k6/metrics';
    const bought = new Counter('bought');
    const torn_down = new Counter('torn_down');
    export const options = { vus: 2, duration: '60s', setupTimeout: '2s', teardownTimeout: '2s' };
    export function setup() { return { price: 12345678901234567, from: 'setup' }; }
    export default function (data) { bought.add(1, { from: data ? data.from : 'nowhere' }); sleep(0.1); }
    export function teardown(data) { torn_down.add(1, { from: data.from }); }
";

fn k6() -> K6 {
    K6::new(k6_path())
}

/// Archives a script as the product does.
async fn archive(k6: &K6, script: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script.js");
    std::fs::write(&path, script).unwrap();
    k6.archive(&path, &ScriptInputs::default()).await.unwrap()
}

/// Reads to the end.
async fn read_all(samples: &mut dyn SampleStream) -> String {
    let mut all = Vec::new();
    let mut piece = Vec::new();
    while samples.next(&mut piece).await.unwrap().is_some() {
        all.extend_from_slice(&piece);
    }
    String::from_utf8(all).unwrap()
}

/// How many samples of a metric there are in k6's output.
fn samples_of(metric: &str, output: &str) -> usize {
    let name = format!("\"metric\":\"{metric}\"");
    output.lines().filter(|line| line.contains(&name) && line.contains("\"type\":\"Point\"")).count()
}

#[tokio::test]
async fn a_first_worker_from_setup_to_teardown() {
    let k6 = k6();
    let tar = archive(&k6, &SHOP.replace("60s", "1s")).await;
    let Generator { control, mut samples } = start(&k6, tar, true).await;
    let reading = tokio::spawn(async move { read_all(&mut *samples).await });
    reach(&*control, GeneratorPhase::Paused).await;
    let data = control.setup().await.unwrap().unwrap();
    assert_eq!(String::from_utf8(data).unwrap(), r#"{"from":"setup","price":12345678901234568}"#);
    control.resume().await.unwrap();
    control.resume().await.unwrap();
    assert_eq!(control.phase().await.unwrap(), GeneratorPhase::Running);
    reach(&*control, GeneratorPhase::Ended).await;
    control.teardown().await.unwrap();
    control.interrupt();
    control.interrupt();
    assert_eq!(control.exited().await, ProcessExit::Code(code::OK));
    let output = reading.await.unwrap();
    assert!(samples_of("bought", &output) >= 10, "{output}");
    assert_eq!(samples_of("torn_down", &output), 1);
    assert!(output.contains(r#""from":"setup""#) && !output.contains("nowhere"));
    assert!(output.ends_with('\n'), "a line is cut");
    assert!(control.phase().await.is_err(), "an ended k6 is nowhere");
    assert_eq!(control.log(), [""; 0]);
}

#[tokio::test]
async fn another_worker_is_given_the_data_and_ends_by_itself() {
    let k6 = k6();
    let tar = archive(&k6, &SHOP.replace("60s", "1s")).await;
    let Generator { control, mut samples } = start(&k6, tar, false).await;
    reach(&*control, GeneratorPhase::Paused).await;
    let broken = control.set_setup_data(b"{".to_vec()).await.unwrap_err().to_string();
    assert!(broken.starts_with("handing over the data of setup(): PUT /v1/setup: k6 answered 400"), "{broken}");
    control.set_setup_data(br#"{"from":"afar"}"#.to_vec()).await.unwrap();
    control.resume().await.unwrap();
    let output = read_all(&mut *samples).await;
    assert_eq!(control.exited().await, ProcessExit::Code(code::OK));
    assert!(samples_of("bought", &output) >= 10 && output.contains(r#""from":"afar""#), "{output}");
    assert_eq!(samples_of("torn_down", &output), 0);
}

/// The collector's settings are k6's environment, and no other sign of them is there.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn k6_is_given_the_heap_that_fits_its_worker() {
    // By this it is told from the k6 of other tests.
    const RPS: u64 = 918_273;
    let tar = archive(&k6(), SHOP).await;
    for limit in [Some(123_456_789), None] {
        let k6 = limit.map_or_else(k6, |bytes| k6().with_memory_limit(bytes));
        let spec = GeneratorSpec {
            archive: tar.clone(),
            segment: Some(Segment::new(WorkerIndex(0), 1).unwrap()),
            linger: false,
            rps: Some(RPS),
            env: Vec::new(),
            samples: Samples::Exact,
            secrets: Secrets::default(),
        };
        let Generator { control, samples } = k6.start(spec).await.unwrap();
        reach(&*control, GeneratorPhase::Paused).await;
        let told = format!("--rps {RPS}");
        let running = descendants(std::process::id()).into_iter();
        let mine: Vec<_> = running.filter(|(pid, line)| line.contains(&told) && is_alive(*pid)).collect();
        let [(pid, _)] = &mine[..] else { panic!("not one k6 with {told}: {mine:?}") };
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        let variables = String::from_utf8(environment).unwrap();
        let value = |name| variables.split('\0').find_map(|variable| variable.strip_prefix(name)?.strip_prefix('='));
        assert_eq!(value("GOGC"), Some("400"));
        assert_eq!(value("GOMEMLIMIT"), limit.map(|bytes| bytes.to_string()).as_deref());
        control.kill();
        tokio::time::timeout(Duration::from_secs(20), control.exited()).await.expect("is killed");
        drop(samples);
    }
}

#[tokio::test]
async fn segments_deal_out_all_work_once() {
    let k6 = k6();
    let script = r"
        import exec from 'k6/execution';
        import { Gauge } from 'k6/metrics';
        const iteration = new Gauge('iteration');
        export const options = { scenarios: { s: { executor: 'shared-iterations', vus: 3, iterations: 31 } } };
        export default function () { iteration.add(exec.scenario.iterationInTest); }
    ";
    let tar = archive(&k6, script).await;
    let worker = async |index| {
        let segment = Segment::new(WorkerIndex(index), 3).unwrap();
        let spec = GeneratorSpec {
            archive: tar.clone(),
            segment: Some(segment),
            linger: false,
            rps: None,
            env: Vec::new(),
            samples: Samples::Exact,
            secrets: Secrets::default(),
        };
        let Generator { control, mut samples } = k6.start(spec).await.unwrap();
        reach(&*control, GeneratorPhase::Paused).await;
        control.resume().await.unwrap();
        read_all(&mut *samples).await
    };
    let output = join_all((0..3).map(worker)).await.concat();
    let mut iterations: Vec<f64> = output
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["metric"] == "iteration" && line["type"] == "Point")
        .map(|line| line["data"]["value"].as_f64().unwrap())
        .collect();
    iterations.sort_by(f64::total_cmp);
    assert_eq!(iterations, (0..31).map(f64::from).collect::<Vec<f64>>());
}

#[tokio::test]
async fn setup_that_fails_says_why() {
    let k6 = k6();
    let no_setup = archive(&k6, "export default function () {}").await;
    let throws = archive(&k6, &SHOP.replace("return {", "throw new Error('no login'); return {")).await;
    let slow = archive(&k6, &SHOP.replace("return {", "sleep(30); return {")).await;
    let setup = async |tar| {
        let Generator { control, samples: _samples } = start(&k6, tar, true).await;
        reach(&*control, GeneratorPhase::Paused).await;
        control.setup().await
    };
    assert_eq!(setup(no_setup).await.unwrap(), None);
    let error = setup(throws).await.unwrap_err();
    assert!(matches!(&error, HookError::Script(text) if text.starts_with("Error: no login\n\tat setup")), "{error}");
    let error = setup(slow).await.unwrap_err();
    assert!(
        matches!(&error, HookError::Script(text) if text == "setup() execution timed out after 2 seconds"),
        "{error}"
    );
}

#[tokio::test]
async fn null_is_data_too() {
    let k6 = k6();
    let tar = archive(&k6, "export function setup() { return null; } export default function () {}").await;
    let Generator { control, samples: _samples } = start(&k6, tar, true).await;
    reach(&*control, GeneratorPhase::Paused).await;
    assert_eq!(control.setup().await.unwrap().as_deref(), Some(&b"null"[..]));
}

#[tokio::test]
async fn teardown_that_fails_says_why() {
    let k6 = k6();
    let script = "export const options = { iterations: 1 }; export default function () {}
        export function teardown() { throw new Error('no logout'); }";
    let tar = archive(&k6, script).await;
    let Generator { control, samples: _samples } = start(&k6, tar, true).await;
    reach(&*control, GeneratorPhase::Paused).await;
    control.resume().await.unwrap();
    reach(&*control, GeneratorPhase::Ended).await;
    let error = control.teardown().await.unwrap_err();
    assert!(matches!(&error, HookError::Script(text) if text.starts_with("Error: no logout")), "{error}");
}

async fn running(k6: &K6, linger: bool) -> (Box<dyn GeneratorControl>, Box<dyn SampleStream>) {
    let tar = archive(k6, SHOP).await;
    let Generator { control, samples } = start(k6, tar, linger).await;
    reach(&*control, GeneratorPhase::Paused).await;
    control.set_setup_data(br#"{"from":"here"}"#.to_vec()).await.unwrap();
    control.resume().await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    (control, samples)
}

#[tokio::test]
async fn interrupting_twice_loses_nothing() {
    let (control, mut samples) = running(&k6(), true).await;
    control.interrupt();
    control.interrupt();
    let output = read_all(&mut *samples).await;
    assert_eq!(control.exited().await, ProcessExit::Code(code::EXTERNAL_ABORT));
    assert!(samples_of("bought", &output) >= 10 && output.ends_with('\n'), "{output}");
    assert!(control.log().concat().contains("aborted because k6 received"), "{:?}", control.log());
}

#[tokio::test]
async fn a_k6_whose_iterations_are_stopped_stays_for_teardown() {
    let (control, mut samples) = running(&k6(), true).await;
    let reading = tokio::spawn(async move { read_all(&mut *samples).await });
    control.stop_iterations().await.unwrap();
    reach(&*control, GeneratorPhase::Interrupted).await;
    control.stop_iterations().await.unwrap();
    control.teardown().await.unwrap();
    control.interrupt();
    assert_eq!(control.exited().await, ProcessExit::Code(code::STOPPED_BY_REST));
    assert_eq!(samples_of("torn_down", &reading.await.unwrap()), 1);
}

#[tokio::test]
async fn a_killed_k6_ends_its_stream() {
    let (control, mut samples) = running(&k6(), false).await;
    control.kill();
    let output = tokio::time::timeout(Duration::from_secs(5), read_all(&mut *samples)).await.unwrap();
    assert_eq!(control.exited().await, ProcessExit::Signal(9));
    assert!(samples_of("bought", &output) >= 2, "{output}");
}

#[tokio::test]
async fn a_k6_that_never_opens_the_pipe_ends_its_stream_too() {
    // k6 takes what is no archive for a script.
    let script = b"throw new Error('not here\\neither'); export default function () {}";
    let Generator { control, mut samples } = start(&k6(), script.to_vec(), false).await;
    let begin = Instant::now();
    assert_eq!(read_all(&mut *samples).await, "");
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert_eq!(control.exited().await, ProcessExit::Code(code::SCRIPT_EXCEPTION));
    let log = control.log().join("\n");
    assert!(log.contains("Error: not here\neither"), "{log}");
    let phase = control.phase().await.unwrap_err().to_string();
    assert!(phase.contains("not here"), "{phase}");
}

#[tokio::test]
async fn dropping_either_end_kills() {
    let k6 = k6();
    let (control, samples) = running(&k6, false).await;
    drop(samples);
    assert_eq!(control.exited().await, ProcessExit::Signal(9));
    let (control, mut samples) = running(&k6, false).await;
    drop(control);
    tokio::time::timeout(Duration::from_secs(5), read_all(&mut *samples)).await.unwrap();
}

#[tokio::test]
async fn a_reader_that_pauses_loses_nothing() {
    let k6 = k6();
    // About a hundred thousand lines, many times what the pipe holds.
    let script = "import { Counter } from 'k6/metrics'; const c = new Counter('counted');
        export const options = { iterations: 1000 };
        export default function () { for (let i = 0; i < 100; i++) c.add(1, { i: String(i) }); }";
    let tar = archive(&k6, script).await;
    let Generator { control, mut samples } = start(&k6, tar, false).await;
    reach(&*control, GeneratorPhase::Paused).await;
    control.resume().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let output = read_all(&mut *samples).await;
    assert_eq!(control.exited().await, ProcessExit::Code(code::OK));
    assert_eq!(samples_of("counted", &output), 100_000);
    assert_eq!(samples_of("iterations", &output), 1000);
}

#[tokio::test]
async fn what_the_script_logs_goes_to_the_listener_and_is_no_error() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = {
        let heard = Arc::clone(&heard);
        Arc::new(move |message: &Message| heard.lock().unwrap().push(message.to_string()))
    };
    let k6 = k6().with_listener(listener).with_memory_limit(500 * 1024 * 1024);
    let script = "export const options = { iterations: 3 };
        export default function () { console.error('from\\nthe script'); throw new Error('it broke'); }";
    let tar = archive(&k6, script).await;
    let Generator { control, mut samples } = start(&k6, tar, false).await;
    reach(&*control, GeneratorPhase::Paused).await;
    control.resume().await.unwrap();
    read_all(&mut *samples).await;
    assert_eq!(control.exited().await, ProcessExit::Code(code::OK));
    let heard = heard.lock().unwrap();
    assert_eq!(heard.iter().filter(|text| *text == "from\nthe script").count(), 3, "{heard:?}");
    let log = control.log();
    assert!(matches!(&log[..], [one] if one.starts_with("Error: it broke\n") && one.ends_with("(3 times)")), "{log:?}");
}

#[tokio::test]
async fn many_start_at_once_and_each_has_a_port_of_its_own() {
    let k6 = k6();
    let tar = archive(&k6, "export const options = { iterations: 1 }; export default function () {}").await;
    let one = async || {
        let Generator { control, mut samples } = start(&k6, tar.clone(), false).await;
        reach(&*control, GeneratorPhase::Paused).await;
        control.resume().await.unwrap();
        read_all(&mut *samples).await;
        control.exited().await
    };
    let exits = join_all((0..16).map(|_| one())).await;
    assert_eq!(exits, [ProcessExit::Code(code::OK); 16]);
}

//! The commands of a real k6 that run to their end: version, archive, inspect.

use std::time::Duration;

use lambdaload_adapters::k6::K6;
use lambdaload_core::{
    archive::Archive,
    k6::{
        exit::{ProcessExit, code},
        options::Options,
    },
    ports::{GeneratorError, LoadGenerator as _, ScriptInputs},
};

use crate::common::k6_path;

fn with_env(env: &[(String, String)]) -> ScriptInputs {
    ScriptInputs { env: env.to_vec(), ..ScriptInputs::default() }
}

fn unchecked() -> ScriptInputs {
    ScriptInputs { no_thresholds: true, ..ScriptInputs::default() }
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, GeneratorError>) -> (ProcessExit, String) {
    match outcome {
        Err(GeneratorError::Refused { exit, log }) => (exit, log.join("\n")),
        outcome => panic!("expected a refusal, found {outcome:?}"),
    }
}

#[tokio::test]
async fn an_archive_holds_the_given_variables_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("-dash first.js");
    std::fs::write(&script, "if (__ENV.PATH || __ENV.HOME) throw 'it sees us'; export default function () {}").unwrap();
    let env = [("TOKEN".to_owned(), "a=b c\n'd'".to_owned()), ("K6_VUS".to_owned(), "77".to_owned())];
    let k6 = K6::new(k6_path());
    let tar = k6.archive(&script, &with_env(&env)).await.unwrap();
    assert!(Archive::read(&tar).unwrap().filename.ends_with("first.js"));
    let metadata = metadata(&tar);
    assert_eq!(metadata["env"], serde_json::json!({"TOKEN": "a=b c\n'd'", "K6_VUS": "77"}));
    assert_eq!(metadata["options"]["vus"], serde_json::Value::Null, "a variable for the script has become an option");

    // An archive can be archived again, with another value.
    let first = folder.path().join("first.tar");
    std::fs::write(&first, tar).unwrap();
    let second = k6.archive(&first, &with_env(&[("TOKEN".to_owned(), "new".to_owned())])).await.unwrap();
    assert_eq!(self::metadata(&second)["env"]["TOKEN"], "new");
}

fn metadata(tar: &[u8]) -> serde_json::Value {
    let mut archive = tar::Archive::new(tar);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let entry = entries.find(|entry| entry.path_bytes().as_ref() == b"metadata.json").unwrap();
    serde_json::from_reader(entry).unwrap()
}

#[tokio::test]
async fn k6_says_in_its_own_words_why_it_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let k6 = K6::new(k6_path());
    let write = |text: &str| {
        let path = folder.path().join("script.js");
        std::fs::write(&path, text).unwrap();
        path
    };
    let throws = write("console.error('not this');\nthrow new Error('first\\nsecond');");
    let (exit, log) = refusal(k6.archive(&throws, &ScriptInputs::default()).await);
    assert_eq!(exit, ProcessExit::Code(code::SCRIPT_EXCEPTION));
    assert!(log.starts_with("Error: first\nsecond\n\tat file:///"), "{log}");

    let threshold = "export const options = { thresholds: { nope: ['p(95)<1'] } }; export default function () {}";
    let threshold = write(threshold);
    let (exit, log) = refusal(k6.archive(&threshold, &ScriptInputs::default()).await);
    assert_eq!(exit, ProcessExit::Code(code::INVALID_CONFIG));
    assert_eq!(log, "invalid threshold defined on nope; reason: no metric name \"nope\" found");
    let tar = k6.archive(&threshold, &unchecked()).await.unwrap();
    let (exit, _) = refusal(k6.inspect(&tar, &ScriptInputs::default()).await);
    assert_eq!(exit, ProcessExit::Code(code::INVALID_CONFIG));
    k6.inspect(&tar, &unchecked()).await.unwrap();

    let (_, log) = refusal(k6.archive(&folder.path().join("absent.js"), &ScriptInputs::default()).await);
    assert!(log.contains("couldn't be found on local disk"), "{log}");
}

#[tokio::test]
async fn inspect_tells_what_the_script_wants() {
    let k6 = K6::new(k6_path());
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("script.js");
    let text = "export const options = { vus: 2, duration: '60s' }; export default function () {}";
    std::fs::write(&script, text).unwrap();
    let tar = k6.archive(&script, &ScriptInputs::default()).await.unwrap();
    let options = Options::parse(&k6.inspect(&tar, &ScriptInputs::default()).await.unwrap()).unwrap();
    assert_eq!((options.max_vus, options.total_duration), (2, Duration::from_secs(90)));
}

#[tokio::test]
async fn what_is_no_k6_is_named() {
    let absent = K6::new("/nowhere/k6").version().await.unwrap_err().to_string();
    assert!(absent.starts_with("/nowhere/k6 cannot be run: ") && absent.contains("--k6"), "{absent}");
    let other = K6::new("/bin/echo").version().await.unwrap_err().to_string();
    assert!(other.starts_with("/bin/echo is no k6 that can be used"), "{other}");
    let fails = K6::new("/bin/false").version().await.unwrap_err().to_string();
    assert_eq!(fails, "k6 ended with exit code 1 and gave no reason");
}

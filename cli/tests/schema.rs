//! The published schema of a verdict, `schema/verdict.schema.json`, is that of the code, and means what it says.
//!
//! `UPDATE_SCHEMA=1 cargo test -p lambdaload --test schema` writes it anew. A field may be added; one that was renamed
//! or removed breaks whoever reads verdicts.

#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{env, fs, path::PathBuf};

use lambdaload_core::{
    lifecycle::{Abort, AbortCause},
    number::Number,
    testing::sample,
    verdict::{GroupSummary, LeftOut, Verdict},
};
use serde_json::{Value, json};

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "schema", "verdict.schema.json"].iter().collect()
}

fn published() -> Value {
    let text = fs::read_to_string(path()).expect("schema/verdict.schema.json is there");
    serde_json::from_str(&text).expect("the schema is JSON")
}

/// Verdicts of several kinds; the last has something in every field.
fn verdicts() -> [Verdict; 3] {
    let mut full = sample::incomplete();
    full.abort = Some(Abort { cause: AbortCause::System, message: "worker 7 is lost".into(), at_once: true });
    full.summary.time_unit = Some("ms".into());
    let (metrics, checks) = (full.summary.metrics.clone(), full.summary.checks.clone());
    full.summary.groups = vec![
        GroupSummary { scenario: Some("buy".into()), group: None, metrics, checks },
        GroupSummary { scenario: None, group: Some("::a::b".into()), metrics: Vec::new(), checks: Vec::new() },
    ];
    full.summary.left_out = LeftOut { metrics: vec!["http_reqs".into()], groups: 1 };
    full.thresholds[0].value = Some(Number(f64::INFINITY));
    [sample::verdict(), sample::incomplete(), full]
}

#[test]
fn the_published_schema_is_the_codes() {
    let schema = serde_json::to_value(schemars::schema_for!(Verdict)).expect("a schema");
    if env::var_os("UPDATE_SCHEMA").is_some() {
        let text = serde_json::to_string_pretty(&schema).expect("writes") + "\n";
        fs::create_dir_all(path().parent().expect("a folder")).expect("is made");
        fs::write(path(), text).expect("is written");
    }
    assert_eq!(published(), schema, "run with UPDATE_SCHEMA=1 if the change is meant");
}

#[test]
fn verdicts_are_valid_and_come_back() {
    let validator = jsonschema::validator_for(&published()).expect("a schema");
    for verdict in verdicts() {
        let document = serde_json::to_value(&verdict).expect("writes");
        let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        assert_eq!(serde_json::from_value::<Verdict>(document).expect("reads"), verdict);
    }
}

/// A run of last year is still shown.
#[test]
fn a_verdict_from_before_groups_were_kept_is_read() {
    let mut document = serde_json::to_value(sample::verdict()).expect("writes");
    let summary = document["summary"].as_object_mut().expect("an object");
    for field in ["mode", "group_paths", "groups", "left_out"] {
        assert!(summary.remove(field).is_some(), "{field}");
    }
    let validator = jsonschema::validator_for(&published()).expect("a schema");
    assert!(validator.is_valid(&document));
    let read = serde_json::from_value::<Verdict>(document).expect("reads");
    assert_eq!(read.summary.metrics, sample::verdict().summary.metrics);
}

#[test]
fn what_is_no_verdict_is_not_valid() {
    let validator = jsonschema::validator_for(&published()).expect("a schema");
    for (field, wrong) in [
        ("outcome", json!("splendid")),
        ("exit_code", json!("zero")),
        ("thresholds", json!([{ "metric": "checks" }])),
        ("run", Value::Null),
    ] {
        let mut document = serde_json::to_value(sample::verdict()).expect("writes");
        document[field] = wrong;
        assert!(!validator.is_valid(&document), "{field}");
    }
}

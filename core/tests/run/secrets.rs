//! Secrets that a worker was not given.

use lambdaload_core::{records::FailureKind, run::start::start, testing::generator::Event, verdict::Outcome};

use crate::script::Test;

#[test]
fn without_its_secrets_no_k6_is_started_and_the_missing_ones_are_named() {
    Test::of(2).play(async |scene| {
        let mut prepared = scene.prepare().await;
        prepared.plan.secrets = vec!["TOKEN".to_owned(), "KEY".to_owned()];
        start(&scene.ports, scene.id.clone(), prepared).await.expect("starts");
        let verdict = scene.aggregate().await.expect("a verdict");
        assert_eq!(verdict.outcome, Outcome::Invalid);
        let failure = verdict.workers[0].failure.as_ref().expect("failed");
        assert_eq!(failure.kind, FailureKind::K6DidNotStart);
        assert!(failure.message.ends_with("was not given the secrets TOKEN, KEY"), "{}", failure.message);
        assert!(scene.whose(&Event::Started).is_empty());
    });
}

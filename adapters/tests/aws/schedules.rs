use aws_sdk_scheduler::types::{ActionAfterCompletion, FlexibleTimeWindowMode};
use axum::response::Response;
use lambdaload_adapters::aws::{
    DynamoTests, FoundSchedule, RunSecrets, ScheduleParts, Schedules, SnsTopics, missing_permission,
};
use lambdaload_core::{
    ports::Notifier as _,
    run::notify::Message,
    schedule::{At, Rate, ScheduleName, StoredTest, Timing},
    secrets::Secrets,
    testing::contract::{sample_stored, stored_tests_contract},
};

use crate::common::{Stub, config, dynamodb_local, json_error, ministack, name, run_id, table};

async fn tests(endpoint: &str) -> DynamoTests {
    let table = table(endpoint);
    DynamoTests::new(&config(endpoint).await, table)
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn stored_tests_keep_the_contract_in_an_emulated_account() {
    stored_tests_contract(&tests(&ministack()).await).await;
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn stored_tests_keep_the_contract_with_a_strict_server() {
    stored_tests_contract(&tests(&dynamodb_local()).await).await;
}

fn parts(group: &str) -> ScheduleParts {
    ScheduleParts {
        group: group.into(),
        launcher_arn: "arn:aws:lambda:eu-central-1:123456789012:function:launcher".into(),
        role_arn: "arn:aws:iam::123456789012:role/tests".into(),
        missed_arn: "arn:aws:sqs:eu-central-1:123456789012:missed".into(),
    }
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_schedule_is_what_its_stored_test_says() {
    let config = config(&ministack()).await;
    let client = aws_sdk_scheduler::Client::new(config.sdk());
    let group = name("group");
    client.create_schedule_group().name(&group).send().await.unwrap();
    let schedules = Schedules::new(&config, parts(&group));
    let test = sample_stored("nightly");
    assert_eq!(schedules.find(&test.name).await.unwrap(), None);
    schedules.delete("nightly").await.unwrap();

    schedules.put(&test).await.unwrap();
    let found = FoundSchedule { expression: "cron(0 2 * * ? *)".into(), timezone: "Europe/Oslo".into(), enabled: true };
    assert_eq!(schedules.find(&test.name).await.unwrap(), Some(found.clone()));
    let made = client.get_schedule().group_name(&group).name("nightly").send().await.unwrap();
    assert_eq!(made.flexible_time_window().unwrap().mode(), &FlexibleTimeWindowMode::Off);
    assert_eq!(made.action_after_completion(), Some(&ActionAfterCompletion::None));
    let target = made.target().unwrap();
    let expected = r#"{"do":"fire","schedule":"nightly","scheduled_at":"<aws.scheduler.scheduled-time>","tries":0}"#;
    assert_eq!(target.input(), Some(expected));
    assert_eq!(target.retry_policy().unwrap().maximum_retry_attempts(), Some(0));
    assert_eq!(target.dead_letter_config().unwrap().arn(), Some(parts(&group).missed_arn.as_str()));
    assert_eq!(
        (target.arn(), target.role_arn()),
        (parts(&group).launcher_arn.as_str(), parts(&group).role_arn.as_str())
    );

    // Changed, and paused.
    let rate = Timing::Rate(Rate::parse("90m").unwrap());
    schedules.put(&StoredTest { timing: rate, paused: true, ..test.clone() }).await.unwrap();
    let expected = FoundSchedule { expression: "rate(90 minutes)".into(), timezone: "UTC".into(), enabled: false };
    assert_eq!(schedules.find(&test.name).await.unwrap(), Some(expected));
    let once = Timing::At(At::parse("2030-01-01T02:00").unwrap());
    schedules.put(&StoredTest { timing: once, ..sample_stored("once") }).await.unwrap();
    let once = client.get_schedule().group_name(&group).name("once").send().await.unwrap();
    assert_eq!(once.schedule_expression(), Some("at(2030-01-01T02:00:00)"));
    assert_eq!(once.action_after_completion(), Some(&ActionAfterCompletion::Delete));
    let all = schedules.list().await.unwrap();
    assert_eq!(all.into_iter().collect::<Vec<_>>(), [("nightly".to_owned(), false), ("once".to_owned(), true)]);

    for _ in 0..2 {
        schedules.delete("nightly").await.unwrap();
    }
    assert_eq!(schedules.find(&test.name).await.unwrap(), None);
    let gone = Schedules::new(&config, parts(&name("nowhere")));
    assert!(gone.list().await.unwrap().is_empty());
    assert!(gone.put(&test).await.is_err());
}

#[tokio::test]
async fn a_group_that_is_gone_has_no_schedules() {
    let gone = |_, _, _| async { json_error(404, "ResourceNotFoundException", "Schedule group x does not exist.") };
    let stub = Stub::start(gone).await;
    let schedules = Schedules::new(&config(&stub.endpoint).await, parts("x"));
    assert!(schedules.list().await.unwrap().is_empty());
    assert_eq!(schedules.find(&ScheduleName::parse("a").unwrap()).await.unwrap(), None);
    schedules.delete("a").await.unwrap();
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn a_topic_is_told() {
    let config = config(&ministack()).await;
    let sns = aws_sdk_sns::Client::new(config.sdk());
    let topic = sns.create_topic().name(name("topic")).send().await.unwrap();
    let topic = topic.topic_arn().unwrap();
    let message =
        Message { subject: "lambdaload: nightly passed".into(), text: "nightly passed\n\nümläut █\n".into() };
    SnsTopics::new(&config).publish(topic, &message).await.unwrap();
    let error = SnsTopics::new(&config).publish(&format!("{topic}-gone"), &message).await.unwrap_err();
    assert!(error.to_string().starts_with("telling a topic: "), "{error}");
}

#[tokio::test]
async fn who_may_not_tell_a_topic_is_told_what_is_missing() {
    let refused = |_, _, _| async {
        let body = "<ErrorResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><Error><Type>Sender</Type>\
                    <Code>AuthorizationError</Code><Message>User: arn:aws:sts::1:assumed-role/aggregator is not authorized to \
                    perform: SNS:Publish on resource: arn:aws:sns:eu-central-1:1:verdicts because no identity-based policy \
                    allows the SNS:Publish action</Message></Error><RequestId>0</RequestId></ErrorResponse>";
        Response::builder().status(403).header("content-type", "text/xml").body(body.into()).unwrap()
    };
    let stub = Stub::start(refused).await;
    let message = Message { subject: "a".into(), text: "b".into() };
    let topics = SnsTopics::new(&config(&stub.endpoint).await);
    let error = topics.publish("arn:aws:sns:eu-central-1:1:verdicts", &message).await.unwrap_err();
    let missing = missing_permission(&error).expect("is one");
    assert!(missing.action.eq_ignore_ascii_case("sns:Publish"), "{missing:?}");
    assert_eq!(missing.resource, "arn:aws:sns:eu-central-1:1:verdicts");
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn secrets_of_a_schedule_are_replaced_and_deleted() {
    let stored = RunSecrets::new(&config(&ministack()).await, format!("lambdaload/{}/", name("stack")));
    let nightly = ScheduleName::parse("nightly").unwrap();
    let secrets = |value: &str| std::iter::once(("TOKEN".to_owned(), value.to_owned())).collect::<Secrets>();
    assert_eq!(stored.get_scheduled(&nightly).await.unwrap(), None);
    for value in ["first-one", "second-one", "second-one"] {
        stored.put_scheduled(&nightly, &secrets(value)).await.unwrap();
        assert_eq!(stored.get_scheduled(&nightly).await.unwrap(), Some(secrets(value)));
    }
    assert_eq!(stored.get(&run_id(1)).await.unwrap(), None);
    for _ in 0..2 {
        stored.delete_scheduled(&nightly).await.unwrap();
    }
    assert_eq!(stored.get_scheduled(&nightly).await.unwrap(), None);
}

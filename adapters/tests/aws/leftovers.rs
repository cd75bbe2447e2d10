//! What a stack leaves beside its data: found among whatever else an account has.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use axum::{
    body::Bytes,
    http::request::Parts,
    response::{IntoResponse as _, Response},
};
use lambdaload_adapters::aws::{FargateParts, Leftovers, Remain};
use serde_json::{Value, json};

use crate::common::{Stub, config, json_error};

/// Groups that CloudWatch Logs names in one answer at most.
const PAGE: usize = 50;

const OWN: [&str; 5] = [
    "/aws/lambda/load-launcher",
    "/aws/lambda/load-worker",
    "/aws/lambda/load-aggregator",
    "/aws/lambda/load-reaper",
    "/aws/ecs/load-worker",
];

type Groups = Arc<Mutex<BTreeSet<String>>>;

/// CloudWatch Logs of an account with these groups, as its reference has it.
fn logs(groups: &Groups, action: &str, body: &Value) -> Response {
    let mut groups = groups.lock().unwrap();
    if action == "DeleteLogGroup" {
        assert!(groups.remove(body["logGroupName"].as_str().unwrap()), "there is no such group: {body}");
        return "{}".into_response();
    }
    assert_eq!(action, "DescribeLogGroups");
    let (prefix, after) = (body["logGroupNamePrefix"].as_str().unwrap(), body["nextToken"].as_str().unwrap_or(""));
    let mut matching = groups.iter().filter(|group| group.starts_with(prefix) && group.as_str() > after);
    let page: Vec<&String> = matching.by_ref().take(PAGE).collect();
    let listed: Vec<Value> = page.iter().map(|group| json!({ "logGroupName": group, "storedBytes": 0 })).collect();
    let mut answer = json!({ "logGroups": listed });
    if matching.next().is_some() {
        answer["nextToken"] = json!(page[PAGE - 1]);
    }
    answer.to_string().into_response()
}

/// An account without tasks, images and definitions, whose CloudWatch Logs answers by this.
async fn leftovers<F>(logs: F) -> (Stub, Leftovers)
where
    F: Fn(&str, &Value) -> Response + Clone + Send + Sync + 'static,
{
    let stub = Stub::start(move |head: Parts, body: Bytes, _| {
        let logs = logs.clone();
        async move {
            let (service, action) = head.headers["x-amz-target"].to_str().unwrap().split_once('.').unwrap();
            match action {
                "ListTasks" => json!({ "taskArns": [] }).to_string().into_response(),
                "ListTaskDefinitions" => json!({ "taskDefinitionArns": [] }).to_string().into_response(),
                "ListImages" => json_error(400, "RepositoryNotFoundException", "The repository does not exist"),
                _ => {
                    assert_eq!(service, "Logs_20140328", "{action}");
                    assert_eq!(head.headers["content-type"], "application/x-amz-json-1.1");
                    logs(action, &serde_json::from_slice(&body).unwrap())
                }
            }
        }
    })
    .await;
    let repository = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/load-worker".to_owned();
    let fargate = FargateParts { capacity: 10, cluster: "load".to_owned(), repository };
    let leftovers = Leftovers::new(&config(&stub.endpoint).await, "load", Some(&fargate));
    (stub, leftovers)
}

/// An answer that has the group that was asked for.
fn one_of_each(body: &Value) -> Response {
    json!({ "logGroups": [{ "logGroupName": body["logGroupNamePrefix"] }] }).to_string().into_response()
}

#[tokio::test]
async fn log_groups_are_found_among_more_than_one_answer_holds_and_only_they_go() {
    // Of stacks whose names begin with this one's.
    let others = (0..120).map(|number| format!("/aws/lambda/load-{number:03}-worker"));
    let longer = (0..120).map(|number| format!("/aws/lambda/load-worker-{number:03}-reaper"));
    let of_tasks = (0..60).map(|number| format!("/aws/ecs/load-worker-{number:02}"));
    let foreign: BTreeSet<String> = others.chain(longer).chain(of_tasks).collect();
    let groups: Groups = Arc::new(Mutex::new(foreign.iter().cloned().chain(OWN.map(str::to_owned)).collect()));
    let account = groups.clone();
    let (_stub, leftovers) = leftovers(move |action, body| logs(&account, action, body)).await;
    let expected: Vec<Remain> = OWN.iter().map(|name| Remain::LogGroup((*name).to_owned())).collect();
    assert_eq!(leftovers.list().await.unwrap(), expected);
    leftovers.remove().await.unwrap();
    assert_eq!(*groups.lock().unwrap(), foreign);
    assert_eq!(leftovers.list().await.unwrap(), []);
}

#[tokio::test]
async fn a_group_that_somebody_else_deletes_first_is_gone() {
    let (_stub, leftovers) = leftovers(|action, body| match action {
        "DescribeLogGroups" => one_of_each(body),
        _ => json_error(400, "ResourceNotFoundException", "The specified log group does not exist."),
    })
    .await;
    leftovers.remove().await.unwrap();
}

#[tokio::test]
async fn what_keeps_log_groups_from_being_known_or_deleted_is_said() {
    let refuses = |_: &str, _: &Value| json_error(400, "AccessDeniedException", "User: ci is not authorized");
    let (_stub, denied) = leftovers(refuses).await;
    let error = denied.list().await.unwrap_err().to_string();
    let expected = "looking for the log groups: CloudWatch Logs answers with 400: AccessDeniedException: User: ci is not \
                    authorized; it takes logs:DescribeLogGroups";
    assert_eq!(error, expected);

    let (_stub, kept) = leftovers(|action, body| match action {
        "DescribeLogGroups" => one_of_each(body),
        _ => json_error(400, "AccessDeniedException", "User: ci is not authorized"),
    })
    .await;
    let error = kept.remove().await.unwrap_err().to_string();
    assert!(
        error.starts_with("deleting a log group: ") && error.ends_with("; it takes logs:DeleteLogGroup"),
        "{error}"
    );

    // More permissions are no help against this.
    let fails = |_: &str, _: &Value| json_error(500, "ServiceUnavailableException", "try again");
    let (stub, down) = leftovers(fails).await;
    let error = down.list().await.unwrap_err().to_string();
    let expected =
        "looking for the log groups: CloudWatch Logs answers with 500: ServiceUnavailableException: try again";
    assert_eq!(error, expected);
    assert_eq!(stub.requests(), 4 + 3, "tasks, images and two kinds of definitions, and then three tries");
}

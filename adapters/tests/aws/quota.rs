//! Questions about an account's processors for tasks: what goes out, and what is made of the answers that AWS documents.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    body::Bytes,
    http::{StatusCode, request::Parts},
    response::{IntoResponse as _, Response},
};
use lambdaload_adapters::aws::{Account, TaskQuota};
use serde_json::{Value, json};

use crate::common::{Stub, config, json_error};

/// What the service was asked, by its name in signatures.
type Asked = Arc<Mutex<Vec<(String, Parts, Bytes)>>>;

/// The name in the signature.
fn service(head: &Parts) -> String {
    let authorization = head.headers["authorization"].to_str().unwrap();
    assert!(authorization.starts_with("AWS4-HMAC-SHA256 Credential="), "{authorization}");
    let scope = authorization.split_once("Credential=").unwrap().1.split(',').next().unwrap();
    let [_, day, region, service, end] = scope.split('/').collect::<Vec<_>>()[..] else { panic!("{scope}") };
    assert_eq!((day.len(), region, end), (8, "eu-central-1", "aws4_request"));
    service.to_owned()
}

/// Service Quotas' answer as its reference has it.
fn quota(code: &str, value: &Value) -> Value {
    json!({ "Quota": {
        "Adjustable": true, "GlobalQuota": false, "QuotaAppliedAtLevel": "ACCOUNT", "QuotaCode": code,
        "QuotaArn": format!("arn:aws:servicequotas:eu-central-1:123456789012:fargate/{code}"),
        "QuotaName": "Fargate On-Demand vCPU resource count", "ServiceCode": "fargate", "ServiceName": "AWS Fargate",
        "Unit": "None", "UsageMetric": { "MetricNamespace": "AWS/Usage", "MetricName": "ResourceCount",
            "MetricDimensions": { "Class": "Standard/OnDemand", "Resource": "vCPU", "Service": "Fargate", "Type": "Resource" },
            "MetricStatisticRecommendation": "Maximum" },
        "Value": value,
    } })
}

/// CloudWatch's answer, by the protocol in which it was asked.
fn datapoints(head: &Parts, body: &Bytes, values: &[f64]) -> Response {
    if head.headers.contains_key("x-amz-target") {
        let points: Vec<Value> = values
            .iter()
            .map(|value| json!({ "Maximum": value, "Timestamp": 1_767_225_600, "Unit": "None" }))
            .collect();
        let body = json!({ "Label": "ResourceCount", "Datapoints": points }).to_string();
        return ([("content-type", "application/x-amz-json-1.0")], body).into_response();
    }
    assert!(String::from_utf8_lossy(body).starts_with("Action=GetMetricStatistics"), "{head:?}");
    let points: String = values
        .iter()
        .map(|value| {
            format!("<member><Maximum>{value}</Maximum><Timestamp>2026-01-01T00:00:00Z</Timestamp><Unit>None</Unit></member>")
        })
        .collect();
    let body = format!(
        "<GetMetricStatisticsResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\"><GetMetricStatisticsResult>\
         <Label>ResourceCount</Label><Datapoints>{points}</Datapoints></GetMetricStatisticsResult></GetMetricStatisticsResponse>"
    );
    ([("content-type", "text/xml")], body).into_response()
}

/// An account that answers with this quota and this use, and notes what it is asked.
async fn account(asked: &Asked, limit: Value, used: Vec<f64>) -> (Stub, Account) {
    let asked = asked.clone();
    let stub = Stub::start(move |head: Parts, body: Bytes, _| {
        let (asked, limit, used) = (asked.clone(), limit.clone(), used.clone());
        async move {
            let service = service(&head);
            let answer = match service.as_str() {
                "servicequotas" => {
                    let question: Value = serde_json::from_slice(&body).unwrap();
                    quota(question["QuotaCode"].as_str().unwrap(), &limit).to_string().into_response()
                }
                "monitoring" => datapoints(&head, &body, &used),
                other => panic!("nobody asks {other}"),
            };
            asked.lock().unwrap().push((service, head, body));
            answer
        }
    })
    .await;
    let account = Account::new(&config(&stub.endpoint).await);
    (stub, account)
}

/// The dimensions that CloudWatch was asked for, whichever protocol the SDK speaks.
fn dimensions(head: &Parts, body: &Bytes) -> BTreeMap<String, String> {
    if head.headers.contains_key("x-amz-target") {
        let body: Value = serde_json::from_slice(body).unwrap();
        let all = body["Dimensions"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        return all.iter().map(|dimension| (text(&dimension["Name"]), text(&dimension["Value"]))).collect();
    }
    let form: BTreeMap<String, String> = form_urlencoded::parse(body).into_owned().collect();
    let names = form.iter().filter_map(|(key, name)| Some((key.strip_suffix(".Name")?, name)));
    names.map(|(key, name)| (name.clone(), form[&format!("{key}.Value")].clone())).collect()
}

#[tokio::test]
async fn the_quota_and_its_use_are_asked_for_signed_and_by_their_codes() {
    for (spot, code, class) in [(false, "L-3032A538", "Standard/OnDemand"), (true, "L-36FBB829", "Standard/Spot")] {
        let asked = Asked::default();
        let (_stub, account) = account(&asked, json!(140.0), vec![3.0, 12.5, 7.0]).await;
        assert_eq!(account.task_quota(spot).await.unwrap(), TaskQuota { limit: 140.0, in_use: 12.5 });
        let asked = asked.lock().unwrap();
        let [(first, quota_head, quota_body), (second, head, body)] = &asked[..] else { panic!("{}", asked.len()) };
        assert_eq!((first.as_str(), second.as_str()), ("servicequotas", "monitoring"));
        assert_eq!((&quota_head.method, quota_head.uri.path()), (&axum::http::Method::POST, "/"));
        assert_eq!(quota_head.headers["x-amz-target"], "ServiceQuotasV20190624.GetServiceQuota");
        assert_eq!(quota_head.headers["content-type"], "application/x-amz-json-1.1");
        assert!(quota_head.headers.contains_key("x-amz-date"), "{quota_head:?}");
        // The signature is about what tells the call, too.
        let authorization = quota_head.headers["authorization"].to_str().unwrap();
        let signed = authorization.split_once("SignedHeaders=").unwrap().1.split(',').next().unwrap();
        assert!(["host", "x-amz-date", "x-amz-target"].iter().all(|name| signed.split(';').any(|one| one == *name)));
        assert_eq!(
            serde_json::from_slice::<Value>(quota_body).unwrap(),
            json!({ "ServiceCode": "fargate", "QuotaCode": code })
        );
        let expected = [("Service", "Fargate"), ("Type", "Resource"), ("Resource", "vCPU"), ("Class", class)];
        assert_eq!(dimensions(head, body), expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }
    // Without tasks there are no points.
    let (_stub, account) = account(&Asked::default(), json!(6), vec![]).await;
    assert_eq!(account.task_quota(false).await.unwrap(), TaskQuota { limit: 6.0, in_use: 0.0 });
}

#[tokio::test]
async fn what_keeps_the_quota_from_being_known_is_said() {
    let said = async |answer: fn() -> Response| {
        let stub = Stub::start(move |_: Parts, _: Bytes, _| async move { answer() }).await;
        let error = Account::new(&config(&stub.endpoint).await).task_quota(false).await.unwrap_err();
        let said = error.to_string();
        assert!(said.contains("reading the quota of Fargate vCPUs"), "{said}");
        said
    };
    let refused = said(|| json_error(400, "AccessDeniedException", "User: ci is not authorized")).await;
    assert!(refused.contains("AccessDeniedException: User: ci is not authorized"), "{refused}");
    assert!(refused.contains("it takes servicequotas:GetServiceQuota"), "{refused}");
    let unknown = said(|| json_error(400, "NoSuchResourceException", "The specified quota does not exist")).await;
    assert!(unknown.contains("NoSuchResourceException: The specified quota does not exist"), "{unknown}");
    let odd = said(|| (StatusCode::OK, "<html>a proxy").into_response()).await;
    assert!(odd.contains("Service Quotas"), "{odd}");
}

#[tokio::test]
async fn throttling_is_waited_for_and_then_said() {
    let answers = |head: Parts, body: Bytes, number| async move {
        match number {
            1 | 2 => json_error(400, "TooManyRequestsException", "Rate exceeded"),
            _ if service(&head) == "monitoring" => datapoints(&head, &body, &[1.0]),
            _ => quota("L-3032A538", &json!(10)).to_string().into_response(),
        }
    };
    let stub = Stub::start(answers).await;
    let account = Account::new(&config(&stub.endpoint).await);
    assert_eq!(account.task_quota(false).await.unwrap(), TaskQuota { limit: 10.0, in_use: 1.0 });
    assert_eq!(stub.requests(), 4);

    let always = |_: Parts, _: Bytes, _| async { json_error(400, "TooManyRequestsException", "Rate exceeded") };
    let stub = Stub::start(always).await;
    let error = Account::new(&config(&stub.endpoint).await).task_quota(false).await.unwrap_err().to_string();
    assert!(error.contains("TooManyRequestsException: Rate exceeded"), "{error}");
    assert_eq!(stub.requests(), 3, "it is not asked for ever");
}

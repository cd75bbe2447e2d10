//! Questions about an account's processors for tasks: what goes out, and what is made of the answers that AWS documents.

use std::sync::{Arc, Mutex};

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

/// CloudWatch's answer, in CBOR, which it speaks with the SDK.
fn datapoints(head: &Parts, values: &[f64]) -> Response {
    assert_eq!(head.uri.path(), "/service/GraniteServiceVersion20100801/operation/GetMetricStatistics");
    assert_eq!(head.headers["smithy-protocol"], "rpc-v2-cbor");
    let of_few = |kind: u8, count: usize| vec![kind | u8::try_from(count).unwrap()];
    let text = |text: &str| [of_few(0x60, text.len()), text.as_bytes().to_vec()].concat();
    let number = |number: f64| [vec![0xfb], number.to_be_bytes().to_vec()].concat();
    let mut body = [of_few(0xa0, 2), text("Label"), text("ResourceCount"), text("Datapoints")].concat();
    body.extend(of_few(0x80, values.len()));
    for value in values {
        body.extend([of_few(0xa0, 3), text("Maximum"), number(*value), text("Unit"), text("None")].concat());
        // A number of seconds that is a time.
        body.extend([text("Timestamp"), vec![0xc1], number(1_767_225_600.0)].concat());
    }
    ([("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")], body).into_response()
}

/// All texts in CBOR, in their order.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let [head, rest @ ..] = bytes {
        let (kind, small) = (head >> 5, head & 0x1f);
        let size = if (24..28).contains(&small) { 1 << (small - 24) } else { 0 };
        let (number, rest) = rest.split_at(size);
        let number =
            if size == 0 { usize::from(small) } else { number.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)) };
        let (text, rest) = rest.split_at(if kind == 3 { number } else { 0 });
        if kind == 3 {
            found.push(String::from_utf8(text.to_vec()).unwrap());
        }
        bytes = rest;
    }
    found
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
                "monitoring" => datapoints(&head, &used),
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

#[tokio::test]
async fn the_quota_and_its_use_are_asked_for_signed_and_by_their_codes() {
    for (spot, code, class) in [(false, "L-3032A538", "Standard/OnDemand"), (true, "L-36FBB829", "Standard/Spot")] {
        let asked = Asked::default();
        let (_stub, account) = account(&asked, json!(140.0), vec![3.0, 12.5, 7.0]).await;
        assert_eq!(account.task_quota(spot).await.unwrap(), TaskQuota { limit: 140.0, in_use: 12.5 });
        let asked = asked.lock().unwrap();
        let [(first, quota_head, quota_body), (second, _, body)] = &asked[..] else { panic!("{}", asked.len()) };
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
        let question = texts(body);
        let asks_for = |pair: &[&str]| question.windows(pair.len()).any(|some| some == pair);
        for pair in [["Service", "Fargate"], ["Type", "Resource"], ["Resource", "vCPU"], ["Class", class]] {
            assert!(asks_for(&["Name", pair[0], "Value", pair[1]]), "{pair:?}: {question:?}");
        }
        assert!(asks_for(&["Namespace", "AWS/Usage"]) && asks_for(&["MetricName", "ResourceCount"]), "{question:?}");
        assert!(asks_for(&["Statistics", "Maximum"]), "{question:?}");
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
    assert!(odd.contains("Service Quotas answers with no quota") && odd.contains("<html>a proxy"), "{odd}");
}

#[tokio::test]
async fn throttling_is_waited_for_and_then_said() {
    let answers = |head: Parts, _: Bytes, number| async move {
        match number {
            1 | 2 => json_error(400, "TooManyRequestsException", "Rate exceeded"),
            _ if service(&head) == "monitoring" => datapoints(&head, &[1.0]),
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

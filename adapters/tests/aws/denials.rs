use axum::response::Response;
use lambdaload_adapters::aws::{DynamoLedger, MissingPermission, S3Store, missing_permission};
use lambdaload_core::ports::{Ledger as _, ObjectStore as _};
use serde_json::json;

use crate::common::{RETENTION, Stub, config, json_error, run_id, xml_error};

async fn ledger_error(
    answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> lambdaload_core::ports::LedgerError {
    let stub = Stub::start(move |_, _, _| std::future::ready(answer())).await;
    DynamoLedger::new(&config(&stub.endpoint).await, "runs", RETENTION).run(&run_id(1)).await.unwrap_err()
}

async fn store_error(
    answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> lambdaload_core::ports::StoreError {
    let stub = Stub::start(move |_, _, _| std::future::ready(answer())).await;
    let store = S3Store::new(&config(&stub.endpoint).await, "bucket");
    store.put_new(&format!("runs/{}/live.json", run_id(1)), vec![1]).await.unwrap_err()
}

#[tokio::test]
async fn a_missing_permission_is_found_with_its_statement() {
    let said = "User: arn:aws:sts::123456789012:assumed-role/ci/me is not authorized to perform: dynamodb:GetItem on \
                resource: arn:aws:dynamodb:eu-central-1:123456789012:table/runs because no identity-based policy allows \
                the dynamodb:GetItem action";
    let error = ledger_error(move || json_error(400, "AccessDeniedException", said)).await;
    let missing = missing_permission(&error).expect("it is found");
    let expected = MissingPermission {
        action: "dynamodb:GetItem".into(),
        resource: "arn:aws:dynamodb:eu-central-1:123456789012:table/runs".into(),
        principal: "arn:aws:sts::123456789012:assumed-role/ci/me".into(),
        reason: Some("no identity-based policy allows the dynamodb:GetItem action".into()),
    };
    assert_eq!(missing, &expected);
    let statement = json!({"Effect": "Allow", "Action": "dynamodb:GetItem",
                           "Resource": "arn:aws:dynamodb:eu-central-1:123456789012:table/runs"});
    assert_eq!(missing.statement(), statement);
    assert!(error.to_string().ends_with(&format!("Add to its policy: {statement}")), "{error}");
}

#[tokio::test]
async fn s3_does_not_say_what_was_missing_and_we_do() {
    let error = store_error(|| xml_error(403, "AccessDenied", "Access Denied")).await;
    let missing = missing_permission(&error).expect("it is found");
    assert_eq!(missing.action, "s3:PutObject");
    assert_eq!(missing.resource, format!("arn:aws:s3:::bucket/runs/{}/live.json", run_id(1)));
    // No policy is about one run.
    assert_eq!(missing.statement()["Resource"], "arn:aws:s3:::bucket/runs/*");
    assert!(error.to_string().contains("whoever the AWS credentials are of may not do s3:PutObject on"), "{error}");
}

#[tokio::test]
async fn s3_says_it_with_quotes() {
    let error = store_error(|| {
        let said = "User: arn:aws:iam::123456789012:user/ci is not authorized to perform: kms:GenerateDataKey on resource: \
                    &quot;arn:aws:kms:eu-central-1:123456789012:key/1&quot; with an explicit deny in a service control \
                    policy";
        xml_error(403, "AccessDenied", said)
    })
    .await;
    let missing = missing_permission(&error).expect("it is found");
    assert_eq!(missing.action, "kms:GenerateDataKey");
    assert_eq!(missing.resource, "arn:aws:kms:eu-central-1:123456789012:key/1");
    assert!(missing.is_forbidden());
    assert!(error.to_string().ends_with("What forbids it must be changed; no further permission helps"), "{error}");
}

#[tokio::test]
async fn what_is_no_permission_says_what_to_do() {
    for (status, code, said, advice) in [
        (
            400,
            "ExpiredTokenException",
            "The security token included in the request is expired",
            "have expired: sign in again",
        ),
        (
            400,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
            "does not know these",
        ),
        (
            400,
            "InvalidSignatureException",
            "Signature expired: 20261122T100000Z is now earlier than 20261122T104500Z",
            "the clock of this machine is wrong",
        ),
        (400, "ResourceNotFoundException", "Requested resource not found", "there is no table `runs` in eu-central-1"),
    ] {
        let error = ledger_error(move || json_error(status, code, said)).await.to_string();
        assert!(error.contains(advice) && error.contains(code) && error.contains("request 0f1e2d3c"), "{error}");
    }
    for (status, code, advice) in [
        (404, "NoSuchBucket", "there is no bucket `bucket`: was the stack deleted"),
        (301, "PermanentRedirect", "bucket `bucket` is not in eu-central-1: use the region of the stack (--region)"),
        (400, "ExpiredToken", "have expired: sign in again"),
        (403, "InvalidAccessKeyId", "does not know these AWS credentials"),
        (403, "RequestTimeTooSkewed", "the clock of this machine is wrong"),
    ] {
        let error = store_error(move || xml_error(status, code, "said")).await;
        assert!(missing_permission(&error).is_none());
        assert!(error.to_string().contains(advice), "{error}");
    }
}

use axum::{http::StatusCode, response::IntoResponse as _};
use lambdaload_adapters::aws::Ecr;
use serde_json::json;

use crate::common::{Stub, config, json_error, ministack};

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn an_account_gives_a_login_for_its_registry() {
    let (name, password) = Ecr::new(&config(&ministack()).await).login().await.unwrap();
    assert_eq!(name, "AWS");
    assert!(!password.is_empty());
}

#[tokio::test]
async fn a_login_that_is_none_is_an_error_that_does_not_quote_it() {
    let answers = |_, _: axum::body::Bytes, _| async move {
        let body = json!({ "authorizationData": [{ "authorizationToken": "c2VjcmV0" }] });
        (StatusCode::OK, body.to_string()).into_response()
    };
    let stub = Stub::start(answers).await;
    let error = Ecr::new(&config(&stub.endpoint).await).login().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("c2Vj"), "{error:?}");

    let refuses = |_, _: axum::body::Bytes, _| async move { json_error(400, "AccessDeniedException", "no") };
    let stub = Stub::start(refuses).await;
    let error = Ecr::new(&config(&stub.endpoint).await).login().await.unwrap_err().to_string();
    assert!(error.contains("logging in to ECR") && error.contains("ecr:GetAuthorizationToken"), "{error}");
}

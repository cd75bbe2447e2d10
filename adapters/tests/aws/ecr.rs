use std::sync::{Arc, Mutex};

use axum::{
    http::{StatusCode, request::Parts},
    response::IntoResponse as _,
};
use lambdaload_adapters::aws::Ecr;
use serde_json::{Value, json};

use crate::common::{Stub, config, json_error, ministack};

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn an_account_gives_a_login_for_its_registry() {
    let (name, password) = Ecr::new(&config(&ministack()).await).login().await.unwrap();
    assert_eq!(name, "AWS");
    assert!(!password.is_empty());
}

#[tokio::test]
async fn images_go_after_the_lists_that_name_them() {
    let left = Arc::new(Mutex::new(vec!["sha256:arm", "sha256:list", "sha256:x86"]));
    let images = left.clone();
    let stub = Stub::start(move |head: Parts, body: axum::body::Bytes, _| {
        let images = images.clone();
        async move {
            let body: Value = serde_json::from_slice(&body).unwrap();
            let mut images = images.lock().unwrap();
            let target = head.headers["x-amz-target"].to_str().unwrap();
            if body["repositoryName"] != "worker" {
                return json_error(400, "RepositoryNotFoundException", "The repository does not exist");
            }
            if target.ends_with("ListImages") {
                let ids: Vec<Value> = images.iter().map(|digest| json!({ "imageDigest": digest })).collect();
                return json!({ "imageIds": ids }).to_string().into_response();
            }
            assert!(target.ends_with("BatchDeleteImage"), "{target}");
            // As ECR says it of an image that a list names.
            let has_list = images.contains(&"sha256:list");
            let asked: Vec<&str> =
                body["imageIds"].as_array().unwrap().iter().map(|id| id["imageDigest"].as_str().unwrap()).collect();
            let stays = |digest: &str| has_list && digest != "sha256:list";
            let id = |digest: &&str| json!({ "imageDigest": digest });
            let failure = |digest: &&str| {
                json!({ "imageId": id(digest), "failureCode": "ImageReferencedByManifestList",
                    "failureReason": "Requested image referenced by manifest list: [sha256:list]" })
            };
            images.retain(|digest| !asked.contains(digest) || stays(digest));
            let gone: Vec<Value> = asked.iter().filter(|digest| !stays(digest)).map(id).collect();
            let failed: Vec<Value> = asked.iter().filter(|digest| stays(digest)).map(failure).collect();
            json!({ "imageIds": gone, "failures": failed }).to_string().into_response()
        }
    })
    .await;
    let ecr = Ecr::new(&config(&stub.endpoint).await);
    assert_eq!(ecr.images("worker").await.unwrap().map(|images| images.len()), Some(3));
    ecr.remove_images("worker").await.unwrap();
    assert_eq!(*left.lock().unwrap(), Vec::<&str>::new());
    assert_eq!(stub.requests(), 1 + 5, "it is listed, asked to go twice, and listed again");
    // A repository that is not there has none, which is no error.
    assert_eq!(ecr.images("gone").await.unwrap(), None);
    ecr.remove_images("gone").await.unwrap();
}

#[tokio::test]
async fn images_that_stay_are_said() {
    let stub = Stub::start(|head: Parts, _: axum::body::Bytes, _| async move {
        let ids = json!([{ "imageDigest": "sha256:1" }]);
        if head.headers["x-amz-target"].to_str().unwrap().ends_with("ListImages") {
            return json!({ "imageIds": ids }).to_string().into_response();
        }
        let failure = json!({ "imageId": ids[0], "failureCode": "ImageInUse", "failureReason": "somebody needs it" });
        json!({ "imageIds": [], "failures": [failure] }).to_string().into_response()
    })
    .await;
    let error = Ecr::new(&config(&stub.endpoint).await).remove_images("worker").await.unwrap_err().to_string();
    assert!(error.contains("1 of them in worker stay: somebody needs it"), "{error}");
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

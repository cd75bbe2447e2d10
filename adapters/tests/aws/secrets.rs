use lambdaload_adapters::aws::RunSecrets;
use lambdaload_core::secrets::Secrets;

use crate::common::{Stub, config, json_error, ministack, name, run_id};

fn secrets() -> Secrets {
    let pairs = [("TOKEN", "s3cr3t-token"), ("KEY", "-----BEGIN\nline \"two\"\nümläut")];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn secrets_last_as_long_as_their_run() {
    let stored = RunSecrets::new(&config(&ministack()).await, format!("lambdaload/{}/", name("stack")));
    let (run, other) = (run_id(1), run_id(2));
    assert_eq!(stored.get(&run).await.unwrap(), None);
    stored.put(&run, &secrets()).await.unwrap();
    stored.put(&run, &secrets()).await.unwrap();
    assert_eq!(stored.get(&run).await.unwrap(), Some(secrets()));
    assert_eq!(stored.get(&other).await.unwrap(), None);
    stored.delete(&run).await.unwrap();
    stored.delete(&run).await.unwrap();
    assert_eq!(stored.get(&run).await.unwrap(), None);
}

#[tokio::test]
async fn no_error_tells_a_secret() {
    let refused = |_, body: axum::body::Bytes, _| async move {
        // The worst that a service could do is to quote what it was sent.
        json_error(400, "InvalidParameterException", &format!("{} bytes were not liked", body.len()))
    };
    let stub = Stub::start(refused).await;
    let stored = RunSecrets::new(&config(&stub.endpoint).await, "lambdaload/x/");
    let error = stored.put(&run_id(1), &secrets()).await.unwrap_err();
    for words in [error.to_string(), format!("{error:?}"), format!("{stored:?}")] {
        assert!(!words.contains("s3cr3t") && !words.contains("BEGIN"), "{words}");
    }
    assert!(error.to_string().contains(&format!("storing the secrets `lambdaload/x/{}`", run_id(1))), "{error}");

    // Something else under the name is not quoted either.
    let odd = |_, _, _| async {
        let body = r#"{"Name":"x","SecretString":"{\"TOKEN\":{\"a\":\"s3cr3t\"}}"}"#;
        axum::response::Response::builder().body(body.into()).unwrap()
    };
    let stub = Stub::start(odd).await;
    let stored = RunSecrets::new(&config(&stub.endpoint).await, "lambdaload/x/");
    let error = stored.get(&run_id(1)).await.unwrap_err();
    assert!(error.to_string().ends_with("expected names and values as JSON, found something else"), "{error}");
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");
}

#[tokio::test]
async fn secrets_that_are_too_large_are_not_sent() {
    let stub = Stub::start(|_, _, _| async { json_error(500, "InternalServiceError", "") }).await;
    let stored = RunSecrets::new(&config(&stub.endpoint).await, "lambdaload/x/");
    let large = [("A".to_owned(), "s".repeat(70_000))].into_iter().collect();
    let error = stored.put(&run_id(1), &large).await.unwrap_err().to_string();
    assert!(error.contains("they have 70008 bytes, and Secrets Manager takes 65536 for one run"), "{error}");
    assert_eq!(stub.requests(), 0);
}

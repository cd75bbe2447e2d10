use axum::{http::request::Parts, response::Response};
use futures::future::join_all;
use lambdaload_adapters::aws::S3Store;
use lambdaload_core::{
    ports::{ObjectStore as _, StoreError},
    testing::contract::object_store_contract,
};

use crate::common::{Stub, config, ministack, s3, store, versitygw, xml_error};

/// More than four parts at once, and one that is not whole.
const LARGE: usize = 40 * 1024 * 1024 + 1;

/// Up to so many, one request is enough.
const PART: usize = 8 * 1024 * 1024;

/// Bytes that differ from part to part and from writer to writer.
fn bytes(size: usize, writer: u8) -> Vec<u8> {
    (0..size).map(|i| u8::try_from((i / 4096 + i) % 251).unwrap() ^ writer).collect()
}

async fn no_upload_is_left(endpoint: &str, bucket: &str) {
    let left = s3(&config(endpoint).await).list_multipart_uploads().bucket(bucket).send().await.unwrap();
    assert_eq!(left.uploads(), [], "unfinished uploads");
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn it_keeps_the_contract_in_an_emulated_account() {
    object_store_contract(&store(&ministack()).await.0).await;
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn it_keeps_the_contract_with_a_strict_server() {
    object_store_contract(&store(&versitygw()).await.0).await;
}

async fn large_objects(endpoint: &str) {
    let (store, bucket) = store(endpoint).await;
    let large = bytes(LARGE, 0);
    store.put_new("archives/large.tar", large.clone()).await.unwrap();
    let back = store.get("archives/large.tar").await.unwrap();
    assert_eq!(back.len(), large.len());
    assert!(back == large, "it comes back otherwise");
    // It did come in parts.
    let head =
        s3(&config(endpoint).await).head_object().bucket(&bucket).key("archives/large.tar").send().await.unwrap();
    assert!(head.e_tag().unwrap().trim_matches('"').ends_with("-6"), "{:?}", head.e_tag());

    let again = store.put_new("archives/large.tar", bytes(LARGE, 1)).await;
    assert!(matches!(again, Err(StoreError::AlreadyExists(_))), "{again:?}");
    assert!(store.get("archives/large.tar").await.unwrap() == large, "it was changed");
    store.put("archives/large.tar", bytes(LARGE - 1, 1)).await.unwrap();
    assert!(store.get("archives/large.tar").await.unwrap() == bytes(LARGE - 1, 1), "it was not replaced");
    no_upload_is_left(endpoint, &bucket).await;

    // On the edge between one request and parts.
    for size in [PART, PART + 1] {
        let key = format!("edge/{size}");
        store.put_new(&key, bytes(size, 2)).await.unwrap();
        assert!(store.get(&key).await.unwrap() == bytes(size, 2), "{size}");
    }

    // Of many one wins, and its object is whole.
    let large: Vec<Vec<u8>> = (0..6).map(|writer| bytes(9 * 1024 * 1024, writer)).collect();
    let outcomes = join_all(large.iter().map(|mine| store.put_new("race", mine.clone()))).await;
    let winners: Vec<usize> = (0..6).filter(|&i| outcomes[i].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert!(outcomes.iter().all(|o| matches!(o, Ok(()) | Err(StoreError::AlreadyExists(_)))), "{outcomes:?}");
    assert!(store.get("race").await.unwrap() == large[winners[0]], "the object is not the winner's");
    no_upload_is_left(endpoint, &bucket).await;
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn large_objects_go_in_parts_to_an_emulated_account() {
    large_objects(&ministack()).await;
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn large_objects_go_in_parts_to_a_strict_server() {
    large_objects(&versitygw()).await;
}

#[tokio::test]
async fn what_was_damaged_on_the_way_here_is_refused() {
    let damaged = |_, _, _| async {
        Response::builder()
            .header("x-amz-checksum-crc32", "i9aeUg==")
            .header("content-length", "5")
            .body("hallo".into())
            .unwrap()
    };
    let stub = Stub::start(damaged).await;
    let store = S3Store::new(&config(&stub.endpoint).await, "bucket");
    let error = store.get("a.chunk").await.unwrap_err().to_string();
    assert!(error.starts_with("reading `a.chunk`: ") && error.contains("checksum mismatch"), "{error}");
    assert!(stub.requests() > 1, "it was not read again");
}

#[tokio::test]
async fn what_broke_off_is_read_again() {
    let broken_once = |_, _, number| async move {
        let length = if number == 1 { "500" } else { "5" };
        // The server itself cuts the connection of an answer that is shorter than it said.
        Response::builder().header("content-length", length).body("hello".into()).unwrap()
    };
    let stub = Stub::start(broken_once).await;
    let store = S3Store::new(&config(&stub.endpoint).await, "bucket");
    assert_eq!(store.get("a.chunk").await.unwrap(), b"hello");
    assert_eq!(stub.requests(), 2);
}

/// What is sent has a checksum that a server can hold against it.
#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn everything_is_sent_with_a_checksum() {
    let config = config(&versitygw()).await;
    let (store, bucket) = store(&versitygw()).await;
    store.put_new("small", b"hello".to_vec()).await.unwrap();
    store.put_new("large", bytes(LARGE, 0)).await.unwrap();
    for key in ["small", "large"] {
        let head = s3(&config).head_object().bucket(&bucket).key(key);
        let head = head.checksum_mode(aws_sdk_s3::types::ChecksumMode::Enabled).send().await.unwrap();
        assert!(head.checksum_crc32().is_some(), "{key}: {head:?}");
    }
}

/// Emulators do not look at it, so it is looked at here.
#[tokio::test]
async fn the_owner_of_the_bucket_is_asked_for_in_every_request() {
    let s3 = |head: Parts, _, number| async move {
        assert_eq!(head.headers["x-amz-expected-bucket-owner"], "123456789012", "{}", head.method);
        let upload = "<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>";
        match (head.method.as_str(), number) {
            ("POST", 3) => Response::builder().body(upload.into()),
            // The upload is undone.
            ("PUT", 4..) => Ok(xml_error(403, "AccessDenied", "Access Denied")),
            _ => Response::builder().body("".into()),
        }
        .unwrap()
    };
    let stub = Stub::start(s3).await;
    let store = S3Store::new(&config(&stub.endpoint).await, "bucket").owned_by("123456789012");
    store.put_new("a", vec![1]).await.unwrap();
    assert!(store.get("a").await.unwrap().is_empty());
    let error = store.put_new("b", bytes(PART + 1, 0)).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(error.to_string().contains("may not do s3:PutObject"), "{error}");
    assert!(stub.requests() >= 5, "the upload was not undone: {} requests", stub.requests());
}

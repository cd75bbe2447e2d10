//! A bucket as store.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
    error::ProvideErrorMetadata,
    operation::head_object::HeadObjectError,
    primitives::ByteStream,
    types::{ChecksumAlgorithm, ChecksumMode, CompletedMultipartUpload, CompletedPart},
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::body::SdkBody;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lambdaload_core::ports::{Cause, ObjectStore, StoreError};

use super::{
    config::{ATTEMPT, CALL, Config},
    error::{Subject, words_of},
    pause::pause,
};

/// Larger objects are sent in parts of this size.
const PART: usize = 8 * 1024 * 1024;

/// Parts of one object that are under way at once.
const PARTS_AT_ONCE: usize = 4;

/// What a line carries at least, in bytes per second. An upload may take the longer the more there is of it.
const SLOWEST: usize = 256 * 1024;

/// How often an upload is begun that somebody else's at the same moment has undone, and a download that broke off.
const TRIES: u32 = 4;

/// The most that is reserved for an object before any of it has come.
const RESERVED: usize = 64 * 1024 * 1024;

/// Objects in one bucket, under their keys. Everything is sent with a CRC-32, which S3 checks, and checked when it is read.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    bucket: String,
    /// The account that must own the bucket.
    owner: Option<String>,
    subject: Subject,
}

/// Why something was not stored.
enum Refusal {
    /// There is an object already.
    Exists,
    /// Somebody else stored one at the same moment; who has won is not known.
    Conflict(Cause),
    Other(Cause),
}

impl S3Store {
    /// The store in this bucket.
    pub fn new(config: &Config, bucket: impl Into<String>) -> Self {
        let bucket = bucket.into();
        // Buckets have names of their own at AWS only; other services have them in the path.
        let own_endpoint = config.endpoint("S3").is_some();
        let settings = Builder::from(config.sdk()).force_path_style(own_endpoint).build();
        let subject = config.subject("S3", format!("bucket `{bucket}`"), &format!("s3:::{bucket}"));
        // The names of buckets are the same in all accounts and regions of a partition.
        Self { client: Client::from_conf(settings), bucket, owner: None, subject }
    }

    /// Refuses the bucket if it is not of this account: one that was deleted may be made again by anybody.
    #[must_use]
    pub fn owned_by(self, account: impl Into<String>) -> Self {
        Self { owner: Some(account.into()), ..self }
    }

    async fn store(&self, key: &str, bytes: Vec<u8>, only_new: bool) -> Result<(), StoreError> {
        let condition = only_new.then_some("*");
        let mut tries = 0;
        let outcome = if bytes.len() > PART {
            loop {
                tries += 1;
                match self.put_parts(key, &bytes, condition).await {
                    Err(Refusal::Conflict(_)) if tries < TRIES => pause(tries).await,
                    outcome => break outcome,
                }
            }
        } else {
            let size = bytes.len();
            let body = SdkBody::from(bytes);
            loop {
                tries += 1;
                // In memory, so it can be given again.
                let body = body.try_clone().unwrap_or_else(SdkBody::taken);
                match self.put_whole(key, body, size, condition).await {
                    Err(Refusal::Conflict(_)) if tries < TRIES => pause(tries).await,
                    outcome => break outcome,
                }
            }
        };
        outcome.map_err(|refusal| match refusal {
            Refusal::Exists => StoreError::AlreadyExists(key.to_owned()),
            Refusal::Conflict(cause) | Refusal::Other(cause) => unavailable("storing", key, cause),
        })
    }

    async fn put_whole(&self, key: &str, body: SdkBody, size: usize, condition: Option<&str>) -> Result<(), Refusal> {
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .set_expected_bucket_owner(self.owner.clone())
            .key(key)
            .set_if_none_match(condition.map(str::to_owned))
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::new(body));
        let outcome = request.customize().config_override(patience(size)).send().await;
        outcome.map(drop).map_err(|error| self.refusal("s3:PutObject", key, &error))
    }

    async fn put_parts(&self, key: &str, bytes: &[u8], condition: Option<&str>) -> Result<(), Refusal> {
        let created = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .set_expected_bucket_owner(self.owner.clone())
            .key(key)
            // By itself the SDK sends one with each part only, which strict servers refuse.
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .send()
            .await
            .map_err(|error| self.refusal("s3:PutObject", key, &error))?;
        let Some(upload) = created.upload_id() else {
            return Err(Refusal::Other("S3 gave the upload no id".into()));
        };
        let outcome = self.send_parts(key, upload, bytes, condition).await;
        if outcome.is_err() {
            // What cannot be taken back now, the bucket's rule for unfinished uploads takes back.
            let abort = self.client.abort_multipart_upload().bucket(&self.bucket).key(key).upload_id(upload);
            let _ = abort.set_expected_bucket_owner(self.owner.clone()).send().await;
        }
        outcome
    }

    async fn send_parts(&self, key: &str, upload: &str, bytes: &[u8], condition: Option<&str>) -> Result<(), Refusal> {
        let mut parts: Vec<CompletedPart> = stream::iter((1..).take(bytes.len().div_ceil(PART)))
            .map(|number| self.send_part(key, upload, number, bytes))
            .buffer_unordered(PARTS_AT_ONCE)
            .try_collect()
            .await?;
        parts.sort_by_key(CompletedPart::part_number);
        let complete = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .set_expected_bucket_owner(self.owner.clone())
            .key(key)
            .upload_id(upload)
            .set_if_none_match(condition.map(str::to_owned))
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        // S3 puts the parts together before it answers.
        let outcome = complete.customize().config_override(patience(bytes.len())).send().await;
        outcome.map(drop).map_err(|error| self.refusal("s3:PutObject", key, &error))
    }

    async fn send_part(&self, key: &str, upload: &str, number: i32, bytes: &[u8]) -> Result<CompletedPart, Refusal> {
        let before = usize::try_from(number - 1).unwrap_or_default();
        let part = bytes.chunks(PART).nth(before).unwrap_or_default();
        let request = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .set_expected_bucket_owner(self.owner.clone())
            .key(key)
            .upload_id(upload)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc32)
            .body(ByteStream::from(part.to_vec()));
        let sent = request.customize().config_override(patience(part.len() * PARTS_AT_ONCE)).send().await;
        let sent = sent.map_err(|error| self.refusal("s3:PutObject", key, &error))?;
        Ok(CompletedPart::builder()
            .part_number(number)
            .set_e_tag(sent.e_tag)
            .set_checksum_crc32(sent.checksum_crc32)
            .build())
    }

    /// The object, or why it broke off while it came.
    async fn fetch(&self, key: &str) -> Result<Result<Vec<u8>, Cause>, StoreError> {
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .set_expected_bucket_owner(self.owner.clone())
            .key(key)
            .checksum_mode(ChecksumMode::Enabled);
        let object = request.send().await.map_err(|error| match error.code() {
            Some("NoSuchKey") => StoreError::NotFound(key.to_owned()),
            _ => unavailable("reading", key, self.of(key).cause("s3:GetObject", &error)),
        })?;
        let length = object.content_length().and_then(|length| usize::try_from(length).ok());
        let mut bytes = Vec::with_capacity(length.unwrap_or_default().min(RESERVED));
        let mut body = object.body;
        loop {
            match body.try_next().await {
                Ok(Some(piece)) => bytes.extend_from_slice(&piece),
                // All that was announced has come, or there would be an error.
                Ok(None) => return Ok(Ok(bytes)),
                Err(error) => return Ok(Err(words_of(&error).into())),
            }
        }
    }

    fn refusal<E>(&self, action: &str, key: &str, error: &SdkError<E, HttpResponse>) -> Refusal
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let status = error.raw_response().map(|response| response.status().as_u16());
        let cause = || self.of(key).cause(action, error);
        match (status, error.code()) {
            (Some(412), _) | (_, Some("PreconditionFailed")) => Refusal::Exists,
            // `NoSuchUpload`: a try before this one has completed or has undone it.
            (Some(409), _) | (_, Some("ConditionalRequestConflict" | "NoSuchUpload")) => Refusal::Conflict(cause()),
            _ => Refusal::Other(cause()),
        }
    }

    /// One object, for errors.
    fn of(&self, key: &str) -> Subject {
        self.subject.with_arn(format!("{}/{key}", self.subject.arn))
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.store(key, bytes, true).await
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.store(key, bytes, false).await
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match self.fetch(key).await? {
                Ok(bytes) => return Ok(bytes),
                Err(cause) if tries >= TRIES => return Err(unavailable("reading", key, cause)),
                Err(_) => pause(tries).await,
            }
        }
    }

    async fn has(&self, key: &str) -> Result<bool, StoreError> {
        let request = self.client.head_object().bucket(&self.bucket).set_expected_bucket_owner(self.owner.clone());
        match request.key(key).send().await {
            Ok(_) => Ok(true),
            // An answer to HEAD has no body, and so no code.
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(false),
            Err(error) => Err(unavailable("looking for", key, self.of(key).cause("s3:GetObject", &error))),
        }
    }
}

/// How long sending so many bytes may take: as any other call, and longer on a slow line.
fn patience(size: usize) -> Builder {
    let sending = Duration::from_millis(u64::try_from(size / (SLOWEST / 1000)).unwrap_or(u64::MAX));
    Builder::new().timeout_config(
        TimeoutConfig::builder()
            .operation_attempt_timeout(ATTEMPT + sending)
            .operation_timeout(CALL + sending.saturating_mul(2))
            .build(),
    )
}

fn unavailable(operation: &'static str, key: &str, cause: Cause) -> StoreError {
    StoreError::Unavailable { operation, key: key.to_owned(), cause }
}

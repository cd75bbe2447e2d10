//! What a deployment leaves behind when its stack is deleted: the runs' objects and records, secrets of runs that nobody
//! ended; and its schedules, which go before it.

use std::{fmt, time::Duration};

use aws_sdk_dynamodb::{
    operation::{delete_table::DeleteTableError, describe_table::DescribeTableError},
    types::TableStatus,
};
use aws_sdk_s3::{
    error::ProvideErrorMetadata as _,
    operation::head_bucket::HeadBucketError,
    types::{Delete, ObjectIdentifier},
};
use aws_sdk_secretsmanager::{
    operation::delete_secret::DeleteSecretError,
    types::{Filter, FilterNameStringType},
};
use lambdaload_core::{deployment::SECRETS_OF_SCHEDULES, plan::plural, ports::CallError};
use tokio::time::{Instant, sleep};

use super::{
    config::Config,
    error::{MissingPermission, Subject, call_error},
    schedules::{ScheduleParts, Schedules},
};

/// Between two looks at a table that is being deleted.
const DELETION_POLL: Duration = Duration::from_secs(1);

/// A table is gone after seconds, even a large one.
const DELETION_PATIENCE: Duration = Duration::from_mins(5);

/// Something that is still there, and costs something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remain {
    /// The bucket.
    Bucket(String),
    /// The table.
    Table(String),
    /// A schedule by which a test starts.
    Schedule(String),
    /// A secret of a run or a schedule.
    Secret(String),
    /// Tasks that nobody has ended.
    Tasks(usize),
    /// The repository of the workers' image.
    #[expect(missing_docs, reason = "they say it themselves")]
    Repository { name: String, images: usize },
    /// Definitions of tasks.
    #[expect(missing_docs, reason = "they say it themselves")]
    Definitions { family: String, revisions: usize },
    /// A log group.
    LogGroup(String),
}

impl fmt::Display for Remain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket(name) => write!(f, "bucket {name}"),
            Self::Table(name) => write!(f, "table {name}"),
            Self::Schedule(name) => write!(f, "schedule {name}"),
            Self::Secret(name) => write!(f, "secret {name}"),
            Self::Tasks(count) => write!(f, "{}", plural(*count as u64, "task")),
            Self::Repository { name, images } => {
                write!(f, "repository {name} with {}", plural(*images as u64, "image"))
            }
            Self::Definitions { family, revisions } => {
                write!(f, "task definition {family} in {}", plural(*revisions as u64, "revision"))
            }
            Self::LogGroup(name) => write!(f, "log group {name}"),
        }
    }
}

/// Where a deployment's data are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each field is the stack's output of that name")]
pub struct Places {
    pub bucket: String,
    pub table: String,
    pub secret_prefix: String,
    pub schedules: ScheduleParts,
}

/// What is left of a deployment.
#[derive(Debug)]
pub struct Remains {
    s3: aws_sdk_s3::Client,
    dynamodb: aws_sdk_dynamodb::Client,
    secrets: aws_sdk_secretsmanager::Client,
    schedules: Schedules,
    places: Places,
    subjects: Subjects,
}

/// How errors and policies call it all.
#[derive(Debug)]
struct Subjects {
    bucket: Subject,
    objects: Subject,
    table: Subject,
    secrets: Subject,
}

impl Remains {
    /// Of the deployment whose data are in `places`.
    pub fn new(config: &Config, places: Places) -> Self {
        let Places { bucket, table, secret_prefix, schedules } = &places;
        let region = config.region();
        let of_bucket = |arn: &str| config.subject("S3", format!("bucket `{bucket}`"), arn);
        let secrets = format!("secretsmanager:{region}:*:secret:{secret_prefix}*");
        let subjects = Subjects {
            bucket: of_bucket(&format!("s3:::{bucket}")),
            objects: of_bucket(&format!("s3:::{bucket}/*")),
            table: config.subject(
                "DynamoDB",
                format!("table `{table}`"),
                &format!("dynamodb:{region}:*:table/{table}"),
            ),
            secrets: config.subject("Secrets Manager", format!("secrets `{secret_prefix}…`"), &secrets),
        };
        let s3_config =
            aws_sdk_s3::config::Builder::from(config.sdk()).force_path_style(config.endpoint("S3").is_some());
        Self {
            s3: aws_sdk_s3::Client::from_conf(s3_config.build()),
            dynamodb: aws_sdk_dynamodb::Client::new(config.sdk()),
            secrets: aws_sdk_secretsmanager::Client::new(config.sdk()),
            schedules: Schedules::new(config, schedules.clone()),
            places,
            subjects,
        }
    }

    /// What is there, by AWS's own word.
    pub async fn list(&self) -> Result<Vec<Remain>, CallError> {
        let mut found = Vec::new();
        if self.has_bucket().await? {
            found.push(Remain::Bucket(self.places.bucket.clone()));
        }
        if self.table_status().await?.is_some() {
            found.push(Remain::Table(self.places.table.clone()));
        }
        found.extend(self.schedules.list().await?.into_keys().map(Remain::Schedule));
        found.extend(self.secrets().await?.into_iter().map(Remain::Secret));
        Ok(found)
    }

    /// The names of the schedules by which tests start.
    pub async fn schedules(&self) -> Result<Vec<String>, CallError> {
        Ok(self.schedules.list().await?.into_keys().collect())
    }

    /// Removes all schedules and their secrets, of which nobody makes use without the stack.
    pub async fn remove_schedules(&self) -> Result<(), CallError> {
        for name in self.schedules.list().await?.into_keys() {
            self.schedules.delete(&name).await?;
        }
        let prefix = format!("{}{SECRETS_OF_SCHEDULES}", self.places.secret_prefix);
        for secret in self.secrets().await?.into_iter().filter(|secret| secret.starts_with(&prefix)) {
            self.remove_secret(&secret).await?;
        }
        Ok(())
    }

    /// Removes all of it, for good. `on_progress` is told how many objects are gone so far.
    pub async fn remove(&self, on_progress: &mut (dyn FnMut(usize) + Send)) -> Result<(), CallError> {
        for secret in self.secrets().await? {
            self.remove_secret(&secret).await?;
        }
        self.remove_table().await?;
        self.remove_bucket(on_progress).await
    }

    async fn remove_secret(&self, secret: &str) -> Result<(), CallError> {
        let deleted = self.secrets.delete_secret().secret_id(secret).force_delete_without_recovery(true).send();
        match deleted.await {
            Err(error) if !error.as_service_error().is_some_and(DeleteSecretError::is_resource_not_found_exception) => {
                let subject = &self.subjects.secrets;
                Err(call_error("deleting a secret", subject, "secretsmanager:DeleteSecret", &error))
            }
            _ => Ok(()),
        }
    }

    async fn has_bucket(&self) -> Result<bool, CallError> {
        match self.s3.head_bucket().bucket(&self.places.bucket).send().await {
            Ok(_) => Ok(true),
            Err(error) if error.as_service_error().is_some_and(HeadBucketError::is_not_found) => Ok(false),
            Err(error) => Err(call_error("looking for the bucket", &self.subjects.bucket, "s3:ListBucket", &error)),
        }
    }

    async fn table_status(&self) -> Result<Option<TableStatus>, CallError> {
        match self.dynamodb.describe_table().table_name(&self.places.table).send().await {
            Ok(table) => Ok(table.table().and_then(|table| table.table_status().cloned())),
            Err(error) if error.as_service_error().is_some_and(DescribeTableError::is_resource_not_found_exception) => {
                Ok(None)
            }
            Err(error) => {
                Err(call_error("looking for the table", &self.subjects.table, "dynamodb:DescribeTable", &error))
            }
        }
    }

    async fn secrets(&self) -> Result<Vec<String>, CallError> {
        let prefix = &self.places.secret_prefix;
        let filter = Filter::builder().key(FilterNameStringType::Name).values(prefix).build();
        let mut pages = self.secrets.list_secrets().filters(filter).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| {
                let subject = Subject { arn: "*".to_owned(), ..self.subjects.secrets.clone() };
                call_error("listing the secrets", &subject, "secretsmanager:ListSecrets", &error)
            })?;
            // The filter knows no capital letters.
            let names = page.secret_list().iter().filter_map(|secret| secret.name());
            found.extend(names.filter(|name| name.starts_with(prefix)).map(str::to_owned));
        }
        Ok(found)
    }

    async fn remove_table(&self) -> Result<(), CallError> {
        match self.dynamodb.delete_table().table_name(&self.places.table).send().await {
            Ok(_) => {}
            Err(error) if error.as_service_error().is_some_and(DeleteTableError::is_resource_not_found_exception) => {
                return Ok(());
            }
            Err(error) => {
                return Err(call_error("deleting the table", &self.subjects.table, "dynamodb:DeleteTable", &error));
            }
        }
        let deadline = Instant::now() + DELETION_PATIENCE;
        while self.table_status().await?.is_some() {
            if Instant::now() > deadline {
                let cause = format!("{} is still there after {} s", self.places.table, DELETION_PATIENCE.as_secs());
                return Err(CallError { operation: "deleting the table", cause: cause.into() });
            }
            sleep(DELETION_POLL).await;
        }
        Ok(())
    }

    /// A bucket has to be empty before it can be deleted. Ours keeps no versions; only if somebody has switched them on, or
    /// an upload was never completed, there is more in it than its objects.
    async fn remove_bucket(&self, on_progress: &mut (dyn FnMut(usize) + Send)) -> Result<(), CallError> {
        let mut removed = 0;
        loop {
            // Always the first page: what was on it before is gone.
            let page = match self.s3.list_objects_v2().bucket(&self.places.bucket).send().await {
                Ok(page) => page,
                Err(error) if error.code() == Some("NoSuchBucket") => return Ok(()),
                Err(error) => {
                    let operation = "listing the bucket's objects";
                    return Err(call_error(operation, &self.subjects.bucket, "s3:ListBucket", &error));
                }
            };
            let objects = page.contents().iter().map(|object| (object.key(), None));
            match self.remove_objects(objects, "s3:DeleteObject").await? {
                0 => break,
                some => removed += some,
            }
            on_progress(removed);
        }
        if self.delete_bucket().await? {
            return Ok(());
        }
        self.remove_versions(on_progress, removed).await?;
        self.remove_uploads().await?;
        if self.delete_bucket().await? {
            return Ok(());
        }
        let cause = format!("{} is not empty: somebody still writes into it", self.places.bucket);
        Err(CallError { operation: "deleting the bucket", cause: cause.into() })
    }

    /// Whether it is gone; it is not if there is something in it.
    async fn delete_bucket(&self) -> Result<bool, CallError> {
        match self.s3.delete_bucket().bucket(&self.places.bucket).send().await {
            Err(error) if error.code() == Some("BucketNotEmpty") => Ok(false),
            Err(error) if error.code() != Some("NoSuchBucket") => {
                Err(call_error("deleting the bucket", &self.subjects.bucket, "s3:DeleteBucket", &error))
            }
            Ok(_) | Err(_) => Ok(true),
        }
    }

    async fn remove_versions(
        &self,
        on_progress: &mut (dyn FnMut(usize) + Send),
        mut removed: usize,
    ) -> Result<(), CallError> {
        loop {
            let page = self.s3.list_object_versions().bucket(&self.places.bucket).send().await.map_err(|error| {
                let operation = "listing the versions of the bucket's objects";
                call_error(operation, &self.subjects.bucket, "s3:ListBucketVersions", &error)
            })?;
            let versions = page.versions().iter().map(|version| (version.key(), version.version_id()));
            let markers = page.delete_markers().iter().map(|marker| (marker.key(), marker.version_id()));
            match self.remove_objects(versions.chain(markers), "s3:DeleteObjectVersion").await? {
                0 => return Ok(()),
                some => removed += some,
            }
            on_progress(removed);
        }
    }

    async fn remove_uploads(&self) -> Result<(), CallError> {
        let bucket = &self.places.bucket;
        loop {
            let page = self.s3.list_multipart_uploads().bucket(bucket).send().await.map_err(|error| {
                let operation = "listing the bucket's unfinished uploads";
                call_error(operation, &self.subjects.bucket, "s3:ListBucketMultipartUploads", &error)
            })?;
            if page.uploads().is_empty() {
                return Ok(());
            }
            for (key, id) in page.uploads().iter().filter_map(|upload| Some((upload.key()?, upload.upload_id()?))) {
                let aborted = self.s3.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send().await;
                aborted.map_err(|error| {
                    let operation = "removing an unfinished upload";
                    call_error(operation, &self.subjects.objects, "s3:AbortMultipartUpload", &error)
                })?;
            }
        }
    }

    /// Removes objects by their keys and versions, and says how many there were.
    async fn remove_objects<'o>(
        &self,
        objects: impl Iterator<Item = (Option<&'o str>, Option<&'o str>)>,
        action: &'static str,
    ) -> Result<usize, CallError> {
        let operation = "deleting the bucket's objects";
        let failed = |cause: String| CallError { operation, cause: cause.into() };
        let identifier = |(key, version): (Option<&str>, Option<&str>)| {
            ObjectIdentifier::builder().key(key?).set_version_id(version.map(str::to_owned)).build().ok()
        };
        let objects: Vec<_> = objects.filter_map(identifier).collect();
        let count = objects.len();
        if count == 0 {
            return Ok(0);
        }
        let batch = Delete::builder().set_objects(Some(objects)).quiet(true).build();
        let batch = batch.map_err(|error| failed(error.to_string()))?;
        let deleted = self.s3.delete_objects().bucket(&self.places.bucket).delete(batch).send().await;
        let deleted = deleted.map_err(|error| call_error(operation, &self.subjects.objects, action, &error))?;
        match deleted.errors().first() {
            None => Ok(count),
            Some(error) if error.code() == Some("AccessDenied") => {
                let (action, resource) = (action.to_owned(), self.subjects.objects.arn.clone());
                let principal = "whoever the AWS credentials are of".to_owned();
                let cause = MissingPermission { action, resource, principal, reason: None };
                Err(CallError { operation, cause: cause.into() })
            }
            Some(error) => {
                let (key, words) = (error.key().unwrap_or("an object"), error.message().or(error.code()));
                Err(failed(format!("{key}: {}", words.unwrap_or("S3 gave no reason"))))
            }
        }
    }
}

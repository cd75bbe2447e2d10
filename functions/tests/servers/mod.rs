//! How to reach a strict S3 and a strict DynamoDB, and the bucket of a deployment.

use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::Credentials;
use lambdaload_adapters::aws::Config;
use lambdaload_tests::servers::{ACCESS_KEY, REGION, SECRET_KEY};

pub(crate) const BUCKET: &str = "bucket";
pub(crate) const TABLE: &str = "table";

pub(crate) async fn config(endpoint: &str) -> Config {
    let credentials = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "tests");
    let loader: ConfigLoader = aws_config::defaults(BehaviorVersion::latest())
        .empty_test_environment()
        .region(Region::new(REGION))
        .credentials_provider(credentials)
        .endpoint_url(endpoint);
    Config::load_from(loader).await.expect("loads")
}

pub(crate) async fn make_bucket(config: &Config) {
    let settings = aws_sdk_s3::config::Builder::from(config.sdk()).force_path_style(true).build();
    aws_sdk_s3::Client::from_conf(settings).create_bucket().bucket(BUCKET).send().await.expect("a bucket");
}

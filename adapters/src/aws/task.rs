//! What ECS tells a task about itself.

use std::time::Duration;

use lambdaload_core::ports::CallError;
use serde::Deserialize;

use super::pause::pause;

/// For one answer, which comes from the machine that the task is on.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is asked.
const TRIES: u32 = 5;

#[derive(Deserialize)]
struct Metadata {
    #[serde(rename = "TaskARN")]
    arn: String,
}

/// What ECS calls the task of this process: its ARN. `metadata` is the address that ECS gives in
/// `ECS_CONTAINER_METADATA_URI_V4`.
pub async fn task_name(metadata: &str) -> Result<String, CallError> {
    let url = format!("{metadata}/task");
    let mut tries = 0;
    loop {
        tries += 1;
        match ask(&url).await {
            Ok(Metadata { arn }) => return Ok(arn),
            Err(_) if tries < TRIES => pause(tries).await,
            Err(error) => {
                let cause = format!("expected ECS's description of this task at `{url}`: {error}").into();
                return Err(CallError { operation: "asking ECS which task this is", cause });
            }
        }
    }
}

async fn ask(url: &str) -> reqwest::Result<Metadata> {
    let client = crate::http::local().timeout(PATIENCE).build()?;
    client.get(url).send().await?.error_for_status()?.json().await
}

//! Secrets in Secrets Manager: a run's for as long as the run lasts, a schedule's for as long as there is the schedule.

use std::{collections::BTreeMap, fmt};

use aws_sdk_secretsmanager::{
    Client,
    operation::{
        create_secret::CreateSecretError, delete_secret::DeleteSecretError, get_secret_value::GetSecretValueError,
        put_secret_value::PutSecretValueError,
    },
};
use lambdaload_core::{
    deployment::SECRETS_OF_SCHEDULES, ids::RunId, ports::Cause, schedule::ScheduleName, secrets::Secrets,
};

use super::{config::Config, error::Subject};

/// What Secrets Manager takes, in bytes.
const LARGEST: usize = 65_536;

/// Secrets of runs and of schedules, each under `<prefix><run>` or `<prefix>schedule/<name>`. No error has any of them.
#[derive(Clone)]
pub struct RunSecrets {
    client: Client,
    prefix: String,
    subject: Subject,
}

/// A run's secrets could not be stored, read or deleted.
#[derive(Debug, thiserror::Error)]
#[error("{operation} `{name}`: {cause}")]
pub struct SecretsError {
    /// What was tried.
    pub operation: &'static str,
    /// The name in Secrets Manager.
    pub name: String,
    /// What Secrets Manager said.
    #[source]
    pub cause: Cause,
}

impl fmt::Debug for RunSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunSecrets").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RunSecrets {
    /// Secrets below this prefix: `lambdaload/<stack>/`.
    pub fn new(config: &Config, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        let arn = format!("secretsmanager:{}:*:secret:{prefix}*", config.region());
        let subject = config.subject("Secrets Manager", format!("secret `{prefix}…`"), &arn);
        Self { client: Client::new(config.sdk()), prefix, subject }
    }

    /// Stores a run's secrets. Doing so twice does no harm.
    pub async fn put(&self, run: &RunId, secrets: &Secrets) -> Result<(), SecretsError> {
        let name = self.name(run);
        let failed = |cause| SecretsError { operation: "storing the secrets", name: name.clone(), cause };
        let text = written(secrets).map_err(failed)?;
        let request = self
            .client
            .create_secret()
            .name(&name)
            // The same token says that it is the same secret, which Secrets Manager then leaves as it is.
            .client_request_token(format!("{run}-secrets"))
            .description("Secrets of one lambdaload run; deleted at its end")
            .secret_string(text);
        match request.send().await {
            Ok(_) => Ok(()),
            // Ids of runs never repeat, so it is ours: the answer of an earlier try was lost.
            Err(error) if matches!(error.as_service_error(), Some(CreateSecretError::ResourceExistsException(_))) => {
                Ok(())
            }
            Err(error) => Err(failed(self.subject.cause("secretsmanager:CreateSecret", &error))),
        }
    }

    /// Stores a schedule's secrets, in place of those of before.
    pub async fn put_scheduled(&self, schedule: &ScheduleName, secrets: &Secrets) -> Result<(), SecretsError> {
        let name = self.name_of(schedule);
        let failed = |cause| SecretsError { operation: "storing the secrets", name: name.clone(), cause };
        let text = written(secrets).map_err(failed)?;
        let put = self.client.put_secret_value().secret_id(&name).secret_string(&text).send().await;
        match put {
            Ok(_) => return Ok(()),
            Err(error)
                if matches!(error.as_service_error(), Some(PutSecretValueError::ResourceNotFoundException(_))) => {}
            Err(error) => return Err(failed(self.subject.cause("secretsmanager:PutSecretValue", &error))),
        }
        let create = self.client.create_secret().name(&name).secret_string(text);
        let create = create.description("Secrets of one lambdaload schedule; deleted with it");
        let created = create.send().await;
        created.map(|_| ()).map_err(|error| failed(self.subject.cause("secretsmanager:CreateSecret", &error)))
    }

    /// A run's secrets; none if there are none (any more).
    pub async fn get(&self, run: &RunId) -> Result<Option<Secrets>, SecretsError> {
        self.read(self.name(run)).await
    }

    /// A schedule's secrets; none if there are none (any more).
    pub async fn get_scheduled(&self, schedule: &ScheduleName) -> Result<Option<Secrets>, SecretsError> {
        self.read(self.name_of(schedule)).await
    }

    async fn read(&self, name: String) -> Result<Option<Secrets>, SecretsError> {
        let failed = |cause| SecretsError { operation: "reading the secrets", name: name.clone(), cause };
        let found = match self.client.get_secret_value().secret_id(&name).send().await {
            Ok(found) => found,
            Err(error) => {
                return match error.as_service_error() {
                    // Invalid is one that is being deleted.
                    Some(
                        GetSecretValueError::ResourceNotFoundException(_)
                        | GetSecretValueError::InvalidRequestException(_),
                    ) => Ok(None),
                    _ => Err(failed(self.subject.cause("secretsmanager:GetSecretValue", &error))),
                };
            }
        };
        // An error of the parser would quote what it found.
        let values: Option<BTreeMap<String, String>> =
            found.secret_string().and_then(|text| serde_json::from_str(text).ok());
        match values {
            Some(values) => Ok(Some(values.into_iter().collect())),
            None => Err(failed("expected names and values as JSON, found something else".into())),
        }
    }

    /// Deletes a run's secrets at once and for good. Doing so twice does no harm.
    pub async fn delete(&self, run: &RunId) -> Result<(), SecretsError> {
        self.remove(self.name(run)).await
    }

    /// Deletes a schedule's secrets at once and for good. Doing so twice does no harm.
    pub async fn delete_scheduled(&self, schedule: &ScheduleName) -> Result<(), SecretsError> {
        self.remove(self.name_of(schedule)).await
    }

    async fn remove(&self, name: String) -> Result<(), SecretsError> {
        let request = self.client.delete_secret().secret_id(&name).force_delete_without_recovery(true);
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.as_service_error(), Some(DeleteSecretError::ResourceNotFoundException(_))) => {
                Ok(())
            }
            Err(error) => {
                let cause = self.subject.cause("secretsmanager:DeleteSecret", &error);
                Err(SecretsError { operation: "deleting the secrets", name, cause })
            }
        }
    }

    fn name(&self, run: &RunId) -> String {
        format!("{}{run}", self.prefix)
    }

    fn name_of(&self, schedule: &ScheduleName) -> String {
        format!("{}{SECRETS_OF_SCHEDULES}{schedule}", self.prefix)
    }
}

fn written(secrets: &Secrets) -> Result<String, Cause> {
    let values: BTreeMap<&str, &str> = secrets.iter().collect();
    let text = serde_json::to_string(&values).map_err(|_| "they are no text")?;
    if text.len() > LARGEST {
        return Err(format!("they have {} bytes, and Secrets Manager takes {LARGEST} for one run", text.len()).into());
    }
    Ok(text)
}

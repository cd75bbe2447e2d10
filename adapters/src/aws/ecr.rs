//! The registry of an AWS account.

use aws_sdk_ecr::Client;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use lambdaload_core::ports::CallError;

use super::{config::Config, error::call_error};

/// Why there is no way into a registry.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// AWS did not give one.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What it gave means nothing.
    #[error("ECR's authorization token: expected a name and a password, found something else")]
    Token,
}

/// ECR, the registry of an account in a region.
#[derive(Debug)]
pub struct Ecr {
    client: Client,
    config: Config,
}

impl Ecr {
    /// The one that `config` leads to.
    pub fn new(config: &Config) -> Self {
        Self { client: Client::new(config.sdk()), config: config.clone() }
    }

    /// A name and a password that open it for twelve hours.
    pub async fn login(&self) -> Result<(String, String), RepositoryError> {
        let action = "ecr:GetAuthorizationToken";
        let subject = self.config.subject("ECR", "authorization token", "ecr:*");
        // It is no resource's.
        let subject = subject.with_arn("*".to_owned());
        let answer = self.client.get_authorization_token().send().await;
        let answer = answer.map_err(|error| call_error("logging in to ECR", &subject, action, &error))?;
        let token = answer.authorization_data().first().and_then(|data| data.authorization_token());
        token.and_then(login_of).ok_or(RepositoryError::Token)
    }
}

/// A token is `NAME:PASSWORD` in base64.
fn login_of(token: &str) -> Option<(String, String)> {
    let text = String::from_utf8(BASE64_STANDARD.decode(token).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    (!name.is_empty() && !password.is_empty()).then(|| (name.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_name_and_a_password() {
        let token = |text: &str| login_of(&BASE64_STANDARD.encode(text));
        assert_eq!(token("AWS:eyJw:YXk"), Some(("AWS".to_owned(), "eyJw:YXk".to_owned())));
        assert_eq!((token("AWS"), token("AWS:"), token(":x"), login_of("!")), (None, None, None, None));
    }
}

//! The registry of an AWS account.

use std::collections::BTreeSet;

use aws_sdk_ecr::{
    Client,
    operation::list_images::ListImagesError,
    types::{ImageFailure, ImageIdentifier},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use lambdaload_core::ports::CallError;

use super::{
    config::Config,
    error::{Subject, call_error},
};

/// Images that ECR deletes in one call at most.
const AT_ONCE: usize = 100;

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

    /// The digests of all images in a repository; none if there is no such repository.
    pub async fn images(&self, repository: &str) -> Result<Option<BTreeSet<String>>, CallError> {
        let mut pages = self.client.list_images().repository_name(repository).into_paginator().items().send();
        let mut found = BTreeSet::new();
        while let Some(image) = pages.next().await {
            match image {
                Ok(image) => found.extend(image.image_digest().map(str::to_owned)),
                Err(error)
                    if error.as_service_error().is_some_and(ListImagesError::is_repository_not_found_exception) =>
                {
                    return Ok(None);
                }
                Err(error) => {
                    let subject = self.repository(repository);
                    return Err(call_error("listing the images", &subject, "ecr:ListImages", &error));
                }
            }
        }
        Ok(Some(found))
    }

    /// Removes all images of a repository, for good. One that is not there has none.
    pub async fn remove_images(&self, repository: &str) -> Result<(), CallError> {
        loop {
            let images: Vec<String> = self.images(repository).await?.unwrap_or_default().into_iter().collect();
            if images.is_empty() {
                return Ok(());
            }
            let (mut are_gone, mut why) = (false, String::new());
            for some in images.chunks(AT_ONCE) {
                let ids = some.iter().map(|digest| ImageIdentifier::builder().image_digest(digest).build()).collect();
                let delete = self.client.batch_delete_image().repository_name(repository).set_image_ids(Some(ids));
                let answer = delete.send().await.map_err(|error| {
                    call_error("deleting images", &self.repository(repository), "ecr:BatchDeleteImage", &error)
                })?;
                are_gone |= !answer.image_ids().is_empty();
                let reason = answer.failures().iter().find_map(ImageFailure::failure_reason);
                why = reason.map_or(why, str::to_owned);
            }
            // What a list of images names goes after the list, so in the next round.
            if !are_gone {
                let cause = format!("{} of them in {repository} stay: {why}", images.len()).into();
                return Err(CallError { operation: "deleting images", cause });
            }
        }
    }

    fn repository(&self, name: &str) -> Subject {
        let arn = format!("ecr:{}:*:repository/{name}", self.config.region());
        self.config.subject("ECR", format!("repository `{name}`"), &arn)
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

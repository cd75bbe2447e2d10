//! Telling people by SNS.

use async_trait::async_trait;
use lambdaload_core::{
    ports::{CallError, Notifier},
    run::notify::Message,
};

use super::config::Config;

/// SNS topics, which run their own delivery: mail, chat, another function.
#[derive(Clone, Debug)]
pub struct SnsTopics {
    client: aws_sdk_sns::Client,
    config: Config,
}

impl SnsTopics {
    /// Those that `config` leads to.
    pub fn new(config: &Config) -> Self {
        Self { client: aws_sdk_sns::Client::new(config.sdk()), config: config.clone() }
    }
}

#[async_trait]
impl Notifier for SnsTopics {
    async fn publish(&self, topic: &str, message: &Message) -> Result<(), CallError> {
        let request = self.client.publish().topic_arn(topic).subject(&message.subject).message(&message.text);
        let sent = request.send().await;
        sent.map(|_| ()).map_err(|error| {
            let arn = topic.strip_prefix("arn:").and_then(|arn| arn.split_once(':')).map_or(topic, |(_, rest)| rest);
            let subject = self.config.subject("SNS", format!("topic `{topic}`"), arn);
            CallError { operation: "telling a topic", cause: subject.cause("sns:Publish", &error) }
        })
    }
}

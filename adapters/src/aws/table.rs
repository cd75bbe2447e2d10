//! The one table: items under two keys, changed only by who knows what is in them.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    operation::{put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure},
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::operation::BuildError;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use lambdaload_core::ports::{Cause, LedgerError};
use serde::{Serialize, de::DeserializeOwned};

use super::{config::Config, error::Subject, pause::pause};

/// What an item has, by name.
pub(super) type Item = HashMap<String, AttributeValue>;

/// How often something is tried that met a transaction of somebody else, or of which DynamoDB did a part.
const TRIES: u32 = 8;

/// Items that one call may ask for.
const BATCH: usize = 100;

/// Such calls that are under way at once.
const BATCHES_AT_ONCE: usize = 4;

/// A table, and how it is called.
#[derive(Clone, Debug)]
pub(super) struct Table {
    pub client: Client,
    pub name: String,
    subject: Subject,
}

/// How a conditional write went that was done, or refused because of what is there.
pub(super) enum Written {
    Done,
    /// What is there instead; nothing if there is nothing.
    Refused(Option<Item>),
}

/// A condition on what is there, in DynamoDB's language; what it names with `:` comes with it.
pub(super) struct Condition<'a> {
    pub expression: &'a str,
    pub values: Vec<(&'a str, AttributeValue)>,
}

/// There is nothing under these keys.
pub(super) const NOTHING_THERE: Condition<'static> =
    Condition { expression: "attribute_not_exists(pk)", values: Vec::new() };

impl Table {
    pub(super) fn new(config: &Config, name: impl Into<String>) -> Self {
        let name = name.into();
        let arn = format!("dynamodb:{}:*:table/{name}", config.region());
        let subject = config.subject("DynamoDB", format!("table `{name}`"), &arn);
        Self { client: Client::new(config.sdk()), name, subject }
    }

    /// One item, as it is after all writes that have been answered.
    pub(super) async fn get(&self, operation: &'static str, key: Item) -> Result<Option<Item>, LedgerError> {
        let request = self.client.get_item().table_name(&self.name).set_key(Some(key)).consistent_read(true);
        let found = request.send().await;
        Ok(found.map_err(|error| self.failed(operation, "dynamodb:GetItem", &error))?.item)
    }

    /// Items, in any order; those that are not there are left out.
    pub(super) async fn get_all(&self, operation: &'static str, keys: Vec<Item>) -> Result<Vec<Item>, LedgerError> {
        let batches: Vec<Vec<Item>> = keys.chunks(BATCH).map(<[Item]>::to_vec).collect();
        let found: Vec<Vec<Item>> = stream::iter(batches)
            .map(|keys| self.get_batch(operation, keys))
            .buffer_unordered(BATCHES_AT_ONCE)
            .try_collect()
            .await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn get_batch(&self, operation: &'static str, mut keys: Vec<Item>) -> Result<Vec<Item>, LedgerError> {
        let (mut found, mut tries) = (Vec::new(), 0);
        while !keys.is_empty() {
            tries += 1;
            let asked = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
            let asked = asked.map_err(|error| malformed(operation, &error))?;
            let answer = self.client.batch_get_item().request_items(&self.name, asked).send().await;
            let answer = answer.map_err(|error| self.failed(operation, "dynamodb:BatchGetItem", &error))?;
            let before = found.len();
            found.extend(answer.responses.unwrap_or_default().remove(&self.name).unwrap_or_default());
            // An answer has 16 MB at most, and less if the table is busy.
            keys =
                answer.unprocessed_keys.unwrap_or_default().remove(&self.name).map_or_else(Vec::new, |rest| rest.keys);
            if !keys.is_empty() && found.len() == before {
                if tries >= TRIES {
                    let left = format!("{} items were asked for {tries} times and not given", keys.len());
                    return Err(LedgerError::Unavailable { operation, cause: left.into() });
                }
                pause(tries).await;
            }
        }
        Ok(found)
    }

    /// The items of a partition whose sort keys begin with `prefix`, in their order or against it, at most `limit`.
    pub(super) async fn query(
        &self,
        operation: &'static str,
        partition: &str,
        prefix: &str,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Item>, LedgerError> {
        let (mut found, mut from) = (Vec::new(), None);
        while found.len() < limit {
            let most = i32::try_from(limit - found.len()).ok();
            let mut request = self
                .client
                .query()
                .table_name(&self.name)
                .consistent_read(true)
                .scan_index_forward(matches!(order, Order::Ascending))
                .expression_attribute_values(":pk", text(partition))
                .set_limit(most)
                .set_exclusive_start_key(from);
            request = if prefix.is_empty() {
                request.key_condition_expression("pk = :pk")
            } else {
                request
                    .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
                    .expression_attribute_values(":prefix", text(prefix))
            };
            let page = request.send().await.map_err(|error| self.failed(operation, "dynamodb:Query", &error))?;
            found.extend(page.items.unwrap_or_default());
            from = page.last_evaluated_key;
            if from.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Stores an item in place of what is there, if that is as the condition says.
    pub(super) async fn put(
        &self,
        operation: &'static str,
        item: Item,
        condition: &Condition<'_>,
    ) -> Result<Written, LedgerError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self
                .client
                .put_item()
                .table_name(&self.name)
                .set_item(Some(item.clone()))
                .condition_expression(condition.expression)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            for (name, value) in &condition.values {
                request = request.expression_attribute_values(*name, value.clone());
            }
            let Err(error) = request.send().await else { return Ok(Written::Done) };
            match error.as_service_error() {
                Some(PutItemError::ConditionalCheckFailedException(refusal)) => {
                    return Ok(Written::Refused(refusal.item.clone()));
                }
                Some(PutItemError::TransactionConflictException(_)) if tries < TRIES => pause(tries).await,
                _ => return Err(self.failed(operation, "dynamodb:PutItem", &error)),
            }
        }
    }

    /// Sets attributes of an item, if what is there is as the condition says.
    pub(super) async fn set(
        &self,
        operation: &'static str,
        key: Item,
        attributes: &[(&str, AttributeValue)],
        condition: &Condition<'_>,
    ) -> Result<Written, LedgerError> {
        // By number, because any name may be a word of DynamoDB's language.
        let sets: Vec<String> = (0..attributes.len()).map(|i| format!("#set{i} = :set{i}")).collect();
        let sets = format!("SET {}", sets.join(", "));
        let mut tries = 0;
        loop {
            tries += 1;
            let mut request = self
                .client
                .update_item()
                .table_name(&self.name)
                .set_key(Some(key.clone()))
                .update_expression(&sets)
                .condition_expression(condition.expression)
                .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
            for (i, (name, value)) in attributes.iter().enumerate() {
                request = request
                    .expression_attribute_names(format!("#set{i}"), *name)
                    .expression_attribute_values(format!(":set{i}"), value.clone());
            }
            for (name, value) in &condition.values {
                request = request.expression_attribute_values(*name, value.clone());
            }
            let Err(error) = request.send().await else { return Ok(Written::Done) };
            match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refusal)) => {
                    return Ok(Written::Refused(refusal.item.clone()));
                }
                Some(UpdateItemError::TransactionConflictException(_)) if tries < TRIES => pause(tries).await,
                _ => return Err(self.failed(operation, "dynamodb:UpdateItem", &error)),
            }
        }
    }

    /// Deletes an item. Doing so twice does no harm.
    pub(super) async fn delete(&self, operation: &'static str, key: Item) -> Result<(), LedgerError> {
        let deleted = self.client.delete_item().table_name(&self.name).set_key(Some(key)).send().await;
        deleted.map(|_| ()).map_err(|error| self.failed(operation, "dynamodb:DeleteItem", &error))
    }

    /// Stores new items, all or none.
    pub(super) async fn put_new_together(
        &self,
        operation: &'static str,
        items: Vec<Item>,
    ) -> Result<bool, LedgerError> {
        use aws_sdk_dynamodb::{
            operation::transact_write_items::TransactWriteItemsError,
            types::{Put, TransactWriteItem},
        };
        let put = |item| {
            let put = Put::builder().table_name(&self.name).set_item(Some(item));
            put.condition_expression(NOTHING_THERE.expression).build()
        };
        let puts: Result<Vec<Put>, BuildError> = items.into_iter().map(put).collect();
        let puts = puts.map_err(|error| malformed(operation, &error))?;
        let puts: Vec<_> = puts.into_iter().map(|put| TransactWriteItem::builder().put(put).build()).collect();
        let mut tries = 0;
        loop {
            tries += 1;
            // The SDK gives each call a token, so that its own next try is the same call.
            let request = self.client.transact_write_items().set_transact_items(Some(puts.clone()));
            let Err(error) = request.send().await else { return Ok(true) };
            let Some(TransactWriteItemsError::TransactionCanceledException(canceled)) = error.as_service_error() else {
                return Err(self.failed(operation, "dynamodb:PutItem", &error));
            };
            let reasons: Vec<&str> =
                canceled.cancellation_reasons().iter().filter_map(|reason| reason.code()).collect();
            if reasons.contains(&"ConditionalCheckFailed") {
                return Ok(false);
            }
            let passes = |code: &&str| {
                matches!(*code, "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
            };
            if tries >= TRIES || !reasons.iter().any(passes) {
                return Err(self.failed(operation, "dynamodb:PutItem", &error));
            }
            pause(tries).await;
        }
    }

    fn failed<E>(&self, operation: &'static str, action: &str, error: &SdkError<E, HttpResponse>) -> LedgerError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        LedgerError::Unavailable { operation, cause: self.subject.cause(action, error) }
    }
}

/// In which order items are found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Ascending,
    Descending,
}

fn malformed(operation: &'static str, error: &BuildError) -> LedgerError {
    LedgerError::Unavailable { operation, cause: error.to_string().into() }
}

/// The keys of an item, to which its attributes are added.
pub(super) fn key(partition: impl Into<String>, sort: impl Into<String>) -> Item {
    HashMap::from([("pk".to_owned(), text(partition)), ("sk".to_owned(), text(sort))])
}

/// An attribute that is text.
pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// An attribute that is a number.
pub(super) fn number(value: impl Into<u64>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

/// A number in an item.
pub(super) fn number_in(item: &Item, name: &str) -> Option<u64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// A record as JSON.
pub(super) fn json(operation: &'static str, record: &impl Serialize) -> Result<String, LedgerError> {
    serde_json::to_string(record).map_err(|error| LedgerError::Unavailable { operation, cause: error.into() })
}

/// The record in an item.
pub(super) fn record<T: DeserializeOwned>(operation: &'static str, item: &Item) -> Result<T, LedgerError> {
    let unreadable = |why: String| -> LedgerError {
        let name = |part| item.get(part).and_then(|value| value.as_s().ok()).map_or("?", String::as_str);
        let cause: Cause = format!("the item `{}` `{}` cannot be read: {why}", name("pk"), name("sk")).into();
        LedgerError::Unavailable { operation, cause }
    };
    match item.get("record").map(AttributeValue::as_s) {
        Some(Ok(json)) => serde_json::from_str(json).map_err(|error| unreadable(error.to_string())),
        _ => Err(unreadable("it has no text `record`".to_owned())),
    }
}

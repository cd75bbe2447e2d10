//! The book of slots as one item.

use async_trait::async_trait;
use lambdaload_core::{
    ports::{LedgerError, SlotBook},
    slots::Slots,
};

use super::{
    config::Config,
    table::{Condition, NOTHING_THERE, Table, Written, json, key, number, record, text},
};

/// A book of slots of one deployment, in its table: `pk=slots sk=slots`, and for tasks `pk=slots sk=tasks`.
#[derive(Clone, Debug)]
pub struct DynamoSlots {
    table: Table,
    book: &'static str,
}

impl DynamoSlots {
    /// The book in this table.
    pub fn new(config: &Config, table: impl Into<String>) -> Self {
        Self { table: Table::new(config, table), book: "slots" }
    }

    /// The book of tasks in this table.
    pub fn of_tasks(config: &Config, table: impl Into<String>) -> Self {
        Self { table: Table::new(config, table), book: "tasks" }
    }
}

#[async_trait]
impl SlotBook for DynamoSlots {
    async fn slots(&self) -> Result<Slots, LedgerError> {
        let operation = "reading the slots";
        match self.table.get(operation, key("slots", self.book)).await? {
            Some(item) => record(operation, &item),
            None => Ok(Slots::default()),
        }
    }

    async fn replace_slots(&self, slots: &Slots) -> Result<Slots, LedgerError> {
        let operation = "changing the slots";
        let next = Slots { version: slots.version + 1, ..slots.clone() };
        let mut item = key("slots", self.book);
        item.insert("record".to_owned(), text(json(operation, &next)?));
        item.insert("version".to_owned(), number(next.version));
        let seen = Condition { expression: "version = :seen", values: vec![(":seen", number(slots.version))] };
        let condition = if slots.version == 0 { NOTHING_THERE } else { seen };
        match self.table.put(operation, item, &condition).await? {
            Written::Done => Ok(next),
            Written::Refused(_) => Err(LedgerError::Conflict("the book of slots".to_owned())),
        }
    }
}

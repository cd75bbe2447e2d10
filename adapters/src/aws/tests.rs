//! Stored tests, each as one item.

use async_trait::async_trait;
use lambdaload_core::{
    deployment::table::TESTS,
    ports::{LedgerError, StoredTests},
    schedule::{ScheduleName, StoredTest},
};

use super::{
    config::Config,
    table::{Condition, Item, NOTHING_THERE, Order, Table, Written, json, key, number, record, text},
};

/// The stored tests of one deployment, in its table: `pk=tests sk=<name>`, with `record` and `revision`. They never expire.
#[derive(Clone, Debug)]
pub struct DynamoTests {
    table: Table,
}

impl DynamoTests {
    /// Those in this table.
    pub fn new(config: &Config, table: impl Into<String>) -> Self {
        Self { table: Table::new(config, table) }
    }

    async fn put(
        &self,
        operation: &'static str,
        test: &StoredTest,
        condition: &Condition<'_>,
    ) -> Result<Written, LedgerError> {
        let mut item = test_key(&test.name);
        item.insert("record".to_owned(), text(json(operation, test)?));
        item.insert("revision".to_owned(), number(test.revision));
        self.table.put(operation, item, condition).await
    }
}

fn test_key(name: &ScheduleName) -> Item {
    key(TESTS, name.as_str())
}

#[async_trait]
impl StoredTests for DynamoTests {
    async fn create(&self, test: &StoredTest) -> Result<(), LedgerError> {
        match self.put("storing a test", test, &NOTHING_THERE).await? {
            Written::Done => Ok(()),
            Written::Refused(_) => Err(LedgerError::AlreadyExists(format!("schedule {}", test.name))),
        }
    }

    async fn test(&self, name: &ScheduleName) -> Result<Option<StoredTest>, LedgerError> {
        let operation = "reading a stored test";
        let found = self.table.get(operation, test_key(name)).await?;
        found.map(|item| record(operation, &item)).transpose()
    }

    async fn replace(&self, test: &StoredTest) -> Result<StoredTest, LedgerError> {
        let next = StoredTest { revision: test.revision + 1, ..test.clone() };
        let seen = Condition { expression: "revision = :seen", values: vec![(":seen", number(test.revision))] };
        match self.put("changing a stored test", &next, &seen).await? {
            Written::Done => Ok(next),
            Written::Refused(_) => Err(LedgerError::Conflict(format!("schedule {}", test.name))),
        }
    }

    async fn delete(&self, name: &ScheduleName) -> Result<(), LedgerError> {
        self.table.delete("deleting a stored test", test_key(name)).await
    }

    async fn all(&self) -> Result<Vec<StoredTest>, LedgerError> {
        let operation = "listing stored tests";
        let items = self.table.query(operation, TESTS, "", Order::Ascending, usize::MAX).await?;
        items.iter().map(|item| record(operation, item)).collect()
    }
}

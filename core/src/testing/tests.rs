//! Stored tests in memory, and a topic that remembers.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;

use crate::{
    ports::{CallError, LedgerError, Notifier, StoredTests},
    run::notify::Message,
    schedule::{ScheduleName, StoredTest},
};

/// Stored tests in memory.
#[derive(Debug, Default)]
pub struct MemoryTests {
    tests: Mutex<BTreeMap<ScheduleName, StoredTest>>,
}

fn conflict(name: &ScheduleName) -> LedgerError {
    LedgerError::Conflict(format!("schedule {name}"))
}

#[async_trait]
impl StoredTests for MemoryTests {
    async fn create(&self, test: &StoredTest) -> Result<(), LedgerError> {
        let mut tests = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
        if tests.contains_key(&test.name) {
            return Err(LedgerError::AlreadyExists(format!("schedule {}", test.name)));
        }
        tests.insert(test.name.clone(), test.clone());
        Ok(())
    }

    async fn test(&self, name: &ScheduleName) -> Result<Option<StoredTest>, LedgerError> {
        Ok(self.tests.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned())
    }

    async fn replace(&self, test: &StoredTest) -> Result<StoredTest, LedgerError> {
        let mut tests = self.tests.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = tests.get_mut(&test.name).filter(|stored| stored.revision == test.revision);
        let stored = stored.ok_or_else(|| conflict(&test.name))?;
        *stored = StoredTest { revision: test.revision + 1, ..test.clone() };
        Ok(stored.clone())
    }

    async fn delete(&self, name: &ScheduleName) -> Result<(), LedgerError> {
        self.tests.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    async fn all(&self) -> Result<Vec<StoredTest>, LedgerError> {
        Ok(self.tests.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect())
    }
}

/// A topic that remembers what it was told.
#[derive(Debug, Default)]
pub struct MemoryTopic {
    told: Mutex<Vec<(String, Message)>>,
}

impl MemoryTopic {
    /// Topics and messages, in their order.
    pub fn told(&self) -> Vec<(String, Message)> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Notifier for MemoryTopic {
    async fn publish(&self, topic: &str, message: &Message) -> Result<(), CallError> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push((topic.to_owned(), message.clone()));
        Ok(())
    }
}

#[cfg(test)]
mod kept {
    use super::*;
    use crate::testing::{clock::run_virtual, contract::stored_tests_contract};

    #[test]
    fn it_keeps_the_contract() {
        run_virtual(|_| async { stored_tests_contract(&MemoryTests::default()).await });
    }
}

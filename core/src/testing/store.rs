//! An object store in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use crate::ports::{ObjectStore, StoreError};

/// Objects in memory, with whatever a test wants to know of them or do to them.
#[derive(Debug, Default)]
pub struct MemoryStore {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    calls: Calls,
}

/// How often a store was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// [`ObjectStore::put_new`], refused ones included.
    pub put_new: u32,
    /// [`ObjectStore::put`].
    pub put: u32,
    /// [`ObjectStore::get`], of absent objects too.
    pub get: u32,
}

impl MemoryStore {
    /// How often it was called so far.
    pub fn calls(&self) -> Calls {
        self.lock().calls
    }

    /// All keys with `part` in them, sorted.
    pub fn keys_with(&self, part: &str) -> Vec<String> {
        self.lock().objects.keys().filter(|key| key.contains(part)).cloned().collect()
    }

    /// An object as it is, without a call being counted.
    pub fn peek(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().objects.get(key).cloned()
    }

    /// Loses an object, as no store should; whether it was there.
    pub fn lose(&self, key: &str) -> bool {
        self.lock().objects.remove(key).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn put_new(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.calls.put_new += 1;
        if state.objects.contains_key(key) {
            return Err(StoreError::AlreadyExists(key.to_owned()));
        }
        state.objects.insert(key.to_owned(), bytes);
        Ok(())
    }

    async fn put(&self, key: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        let mut state = self.lock();
        state.calls.put += 1;
        state.objects.insert(key.to_owned(), bytes);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Vec<u8>, StoreError> {
        let mut state = self.lock();
        state.calls.get += 1;
        state.objects.get(key).cloned().ok_or_else(|| StoreError::NotFound(key.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{clock::run_virtual, contract::object_store_contract};

    #[test]
    fn it_is_an_object_store() {
        run_virtual(|_| async { object_store_contract(&MemoryStore::default()).await });
    }
}

//! A book of slots in memory.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;

use crate::{
    ports::{LedgerError, SlotBook},
    slots::Slots,
};

/// A book in memory.
#[derive(Debug, Default)]
pub struct MemorySlots {
    slots: Mutex<Slots>,
}

#[async_trait]
impl SlotBook for MemorySlots {
    async fn slots(&self) -> Result<Slots, LedgerError> {
        Ok(self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    async fn replace_slots(&self, slots: &Slots) -> Result<Slots, LedgerError> {
        let mut stored = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if stored.version != slots.version {
            return Err(LedgerError::Conflict("the book of slots".to_owned()));
        }
        *stored = Slots { version: slots.version + 1, ..slots.clone() };
        Ok(stored.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{clock::run_virtual, contract::slot_book_contract};

    #[test]
    fn it_keeps_the_contract() {
        run_virtual(|_| async { slot_book_contract(&MemorySlots::default()).await });
    }
}

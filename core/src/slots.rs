//! Who may run how many workers in an account: room is shared with everything else there, so it is claimed before workers
//! are launched, by one conditional write. Runs for which there is none wait in turn.
//!
//! Every function is total and may be repeated. Whoever changes the book also lets those in who have waited and now have
//! room: nobody else would. The wall clock only ends what everybody has forgotten.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{ids::RunId, timestamp::Timestamp};

/// The book of all slots of a deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// Grows by one with every change; 0 if nothing was ever written.
    pub version: u64,
    /// Runs that may have workers now.
    pub held: BTreeMap<RunId, Held>,
    /// Runs that wait, the next one first.
    pub waiting: Vec<Waiting>,
}

/// Room that a run has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Workers at one time. A substitute for `teardown()` has the room of the first worker, which is gone by then.
    pub workers: u32,
    /// When it is over in any case, whoever forgot to say so.
    pub until: Timestamp,
}

/// A run that waits for room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The run.
    pub run: RunId,
    /// Workers that it needs.
    pub workers: u32,
    /// How long the run may take once it has room, in milliseconds.
    pub lasts_ms: u64,
    /// When it gives up waiting.
    pub until: Timestamp,
    /// A run that has to be over before it, however much room there is.
    #[serde(default)]
    pub after: Option<RunId>,
}

/// Where a run stands in the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may have its workers.
    Held,
    /// It waits; 1 for the next one.
    Waits {
        /// Its place.
        place: u32,
    },
    /// It is not in the book.
    Absent,
}

impl Slots {
    /// Workers that all runs together may have now.
    pub fn taken(&self) -> u32 {
        self.held.values().fold(0, |sum, held| sum.saturating_add(held.workers))
    }

    /// Where a run stands.
    pub fn standing(&self, run: &RunId) -> Standing {
        if self.held.contains_key(run) {
            return Standing::Held;
        }
        match (1..).zip(&self.waiting).find(|(_, waiting)| waiting.run == *run) {
            Some((place, _)) => Standing::Waits { place },
            None => Standing::Absent,
        }
    }

    /// Claims room for a run. If there is none, or others wait, it waits behind them, unless its time for that is over. A
    /// run that needs more than there ever is stays absent; one that stands in the book already stays where it is.
    pub fn claim(&mut self, wish: &Waiting, capacity: u32, now: Timestamp) -> Standing {
        self.forget(now);
        if self.standing(&wish.run) == Standing::Absent && wish.workers <= capacity {
            self.waiting.push(wish.clone());
        }
        self.admit(capacity, now);
        // There was no room, and no time to wait for it.
        self.waiting.retain(|waiting| waiting.until > now);
        self.standing(&wish.run)
    }

    /// Gives back a run's room, and its place if it waits.
    pub fn release(&mut self, run: &RunId, capacity: u32, now: Timestamp) {
        self.held.remove(run);
        self.waiting.retain(|waiting| waiting.run != *run);
        self.forget(now);
        self.admit(capacity, now);
    }

    /// Gives back the room of a run that is over, but for so many workers of which nobody knows that they have gone; they
    /// have by `gone_by`. Saying so again makes neither more room nor a longer time of it.
    pub fn settle(&mut self, run: &RunId, workers: u32, gone_by: Timestamp, capacity: u32, now: Timestamp) {
        match self.held.get_mut(run) {
            Some(held) if workers > 0 => {
                held.workers = held.workers.min(workers);
                held.until = held.until.min(gone_by);
                self.waiting.retain(|waiting| waiting.run != *run);
                self.forget(now);
                self.admit(capacity, now);
            }
            _ => self.release(run, capacity, now),
        }
    }

    /// Runs that have waited and are to be called, if nobody has called them yet: those that have room, and those that never
    /// will, because the deployment has become smaller.
    pub fn called(&self, capacity: u32) -> impl Iterator<Item = &RunId> {
        let never = self.waiting.iter().filter(move |waiting| waiting.workers > capacity);
        self.held.keys().chain(never.map(|waiting| &waiting.run))
    }

    /// Forgets whatever has an end that has passed.
    fn forget(&mut self, now: Timestamp) {
        self.held.retain(|_, held| held.until > now);
        self.waiting.retain(|waiting| waiting.until > now);
    }

    /// Lets in those that wait, in turn, as long as there is room. Nobody overtakes, but those that can never be let in, and
    /// those that wait for another run and not for room, are passed over.
    fn admit(&mut self, capacity: u32, now: Timestamp) {
        let mut room = capacity.saturating_sub(self.taken());
        let mut stay = Vec::with_capacity(self.waiting.len());
        for waiting in std::mem::take(&mut self.waiting) {
            let is_open =
                |run: &RunId| self.held.contains_key(run) || stay.iter().any(|other: &Waiting| other.run == *run);
            if waiting.after.as_ref().is_some_and(is_open) {
                stay.push(waiting);
            } else if waiting.workers <= room {
                room -= waiting.workers;
                let until = now.plus(Duration::from_millis(waiting.lasts_ms));
                self.held.insert(waiting.run, Held { workers: waiting.workers, until });
            } else {
                if waiting.workers <= capacity {
                    // The next ones wait for this one.
                    room = 0;
                }
                stay.push(waiting);
            }
        }
        self.waiting = stay;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPACITY: u32 = 10;

    fn run(name: u8) -> RunId {
        RunId::parse(&format!("01JD8QZV3M4T5W6X7Y8Z9A00{name:02}")).expect("an id")
    }

    fn wish(name: u8, workers: u32, until: i64) -> Waiting {
        Waiting { run: run(name), workers, lasts_ms: 1, until: Timestamp(until), after: None }
    }

    /// At the time 0, with a second to wait and a millisecond to run.
    fn claim(slots: &mut Slots, name: u8, workers: u32) -> Standing {
        slots.claim(&wish(name, workers, 1_000_000), CAPACITY, Timestamp(0))
    }

    fn waits(place: u32) -> Standing {
        Standing::Waits { place }
    }

    fn names(runs: &[u8]) -> Vec<RunId> {
        runs.iter().map(|name| run(*name)).collect()
    }

    fn holders(slots: &Slots) -> Vec<RunId> {
        slots.held.keys().cloned().collect()
    }

    #[test]
    fn room_is_given_in_turn_and_asking_again_changes_nothing() {
        let mut slots = Slots::default();
        let all = [(1, 6, Standing::Held), (2, 5, waits(1)), (3, 4, waits(2)), (4, 11, Standing::Absent)];
        for _ in 0..2 {
            for (name, workers, standing) in all {
                assert_eq!(claim(&mut slots, name, workers), standing, "{name}");
            }
        }
        assert_eq!(slots.taken(), 6);
        slots.release(&run(1), CAPACITY, Timestamp(1));
        assert_eq!((holders(&slots), slots.taken()), (names(&[2, 3]), 9));
        slots.release(&run(1), CAPACITY, Timestamp(1));
        assert_eq!(slots.taken(), 9);
    }

    #[test]
    fn who_waits_for_a_run_lets_others_pass_until_that_is_over() {
        let mut slots = Slots::default();
        claim(&mut slots, 1, 2);
        let after = |slots: &mut Slots, name, other| {
            let wish = Waiting { after: Some(run(other)), ..wish(name, 2, 1_000_000) };
            slots.claim(&wish, CAPACITY, Timestamp(0))
        };
        assert_eq!(after(&mut slots, 2, 1), waits(1));
        // The one after that waits for one that waits itself.
        assert_eq!(after(&mut slots, 3, 2), waits(2));
        assert_eq!(claim(&mut slots, 4, 8), Standing::Held);
        slots.release(&run(4), CAPACITY, Timestamp(1));
        assert_eq!(holders(&slots), names(&[1]));
        slots.release(&run(1), CAPACITY, Timestamp(1));
        assert_eq!(holders(&slots), names(&[2]));
        slots.release(&run(2), CAPACITY, Timestamp(1));
        assert_eq!(holders(&slots), names(&[3]));
        // One that nobody knows is over.
        assert_eq!(after(&mut slots, 5, 9), Standing::Held);
    }

    #[test]
    fn whoever_gives_up_waiting_lets_the_next_ones_in() {
        let mut slots = Slots::default();
        for (name, workers) in [(1, 6), (2, 5), (3, 4)] {
            claim(&mut slots, name, workers);
        }
        slots.release(&run(2), CAPACITY, Timestamp(1));
        assert_eq!(holders(&slots), names(&[1, 3]));
    }

    #[test]
    fn what_everybody_forgot_ends() {
        let mut slots = Slots::default();
        for (name, workers) in [(1, 10), (2, 10), (3, 1)] {
            claim(&mut slots, name, workers);
        }
        // The run had a millisecond.
        assert_eq!(slots.claim(&wish(4, 1, 1_000_000), CAPACITY, Timestamp(999)), waits(3));
        assert_eq!(slots.claim(&wish(4, 1, 1_000_000), CAPACITY, Timestamp(1_000)), waits(2));
        assert_eq!((holders(&slots), slots.waiting[0].run.clone()), (names(&[2]), run(3)));
        // After a second nobody waits any more.
        slots.release(&run(5), CAPACITY, Timestamp(1_000_000));
        assert_eq!((slots.held.len(), slots.waiting.len()), (0, 0));
    }

    #[test]
    fn without_time_to_wait_there_is_room_at_once_or_not_at_all() {
        let mut slots = Slots::default();
        assert_eq!(slots.claim(&wish(1, 6, 0), CAPACITY, Timestamp(0)), Standing::Held);
        assert_eq!(slots.claim(&wish(2, 5, 0), CAPACITY, Timestamp(0)), Standing::Absent);
        assert_eq!(slots.claim(&wish(3, 4, 0), CAPACITY, Timestamp(0)), Standing::Held);
        assert_eq!(slots.waiting, []);
    }

    #[test]
    fn workers_that_may_still_live_keep_their_room_for_a_while() {
        let mut slots = Slots::default();
        slots.held.insert(run(1), Held { workers: 10, until: Timestamp(1_000) });
        claim(&mut slots, 2, 9);
        claim(&mut slots, 3, 1);
        slots.settle(&run(1), 2, Timestamp(500), CAPACITY, Timestamp(1));
        assert_eq!(slots.held[&run(1)], Held { workers: 2, until: Timestamp(500) });
        assert_eq!(slots.standing(&run(2)), waits(1));
        // Later words make it neither more nor longer.
        slots.settle(&run(1), 3, Timestamp(900), CAPACITY, Timestamp(2));
        assert_eq!(slots.held[&run(1)], Held { workers: 2, until: Timestamp(500) });
        slots.settle(&run(1), 0, Timestamp(900), CAPACITY, Timestamp(3));
        assert_eq!(holders(&slots), names(&[2, 3]));
        // What has no room gets none.
        slots.settle(&run(4), 2, Timestamp(900), CAPACITY, Timestamp(3));
        assert_eq!(holders(&slots), names(&[2, 3]));
    }

    #[test]
    fn a_smaller_deployment_lets_nobody_in_before_there_is_room_and_holds_up_nobody_for_ever() {
        let mut slots = Slots::default();
        for (name, workers) in [(1, 10), (2, 8), (3, 2)] {
            claim(&mut slots, name, workers);
        }
        // Who has room keeps it.
        assert_eq!(slots.claim(&wish(4, 1, 1_000_000), 4, Timestamp(1)), waits(3));
        assert_eq!(slots.called(4).cloned().collect::<Vec<_>>(), names(&[1, 2]));
        slots.release(&run(1), 4, Timestamp(2));
        assert_eq!((holders(&slots), slots.standing(&run(2))), (names(&[3, 4]), waits(1)));
        assert_eq!(slots.called(4).cloned().collect::<Vec<_>>(), names(&[3, 4, 2]));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Claim { name: u8, workers: u32, waits: i64, lasts: u64 },
        Release(u8),
        Settle { name: u8, workers: u32, after: i64 },
        Resize(u32),
        Pass(i64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u8..9, 1u32..14, 0i64..40, 1u64..40)
                .prop_map(|(name, workers, waits, lasts)| Step::Claim { name, workers, waits, lasts }),
            2 => (0u8..9).prop_map(Step::Release),
            1 => (0u8..9, 0u32..5, 0i64..20).prop_map(|(name, workers, after)| Step::Settle { name, workers, after }),
            1 => (0u32..14).prop_map(Step::Resize),
            2 => (1i64..15).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn never_is_more_given_than_there_is_and_nobody_overtakes(steps in steps()) {
            let (mut slots, mut capacity, mut now) = (Slots::default(), CAPACITY, Timestamp(0));
            for step in steps {
                let before = slots.clone();
                match step {
                    Step::Claim { name, workers, waits, lasts } => {
                        let until = Timestamp(now.0 + waits * 1_000);
                        let wish = Waiting { run: run(name), workers, lasts_ms: lasts, until, after: None };
                        let standing = slots.claim(&wish, capacity, now);
                        prop_assert_eq!(standing, slots.standing(&wish.run));
                        let once = slots.clone();
                        prop_assert_eq!(slots.claim(&wish, capacity, now), standing);
                        prop_assert_eq!(&slots, &once);
                    }
                    Step::Release(name) => {
                        slots.release(&run(name), capacity, now);
                        prop_assert_eq!(slots.standing(&run(name)), Standing::Absent);
                    }
                    Step::Settle { name, workers, after } => {
                        slots.settle(&run(name), workers, Timestamp(now.0 + after * 1_000), capacity, now);
                        let once = slots.clone();
                        slots.settle(&run(name), workers, Timestamp(now.0 + after * 1_000), capacity, now);
                        prop_assert_eq!(&slots, &once);
                    }
                    Step::Resize(to) => capacity = to,
                    Step::Pass(millis) => now = Timestamp(now.0 + millis * 1_000),
                }
                // Nobody is let in beyond what there is; who was in before a resize stays.
                let new = slots.held.keys().any(|run| !before.held.contains_key(run));
                prop_assert!(!new || slots.taken() <= capacity, "{slots:?}");
                // Whoever waits stands in one place, in the same order as before, behind those that waited before.
                let order: Vec<&RunId> = slots.waiting.iter().map(|waiting| &waiting.run).collect();
                let stayed = before.waiting.iter().filter(|waiting| slots.waiting.contains(waiting)).map(|w| &w.run);
                let expected: Vec<&RunId> = stayed.collect();
                prop_assert_eq!(&order[..expected.len()], &expected[..]);
                prop_assert!(slots.waiting.iter().all(|waiting| !slots.held.contains_key(&waiting.run)));
                // Nobody who could be let in was overtaken by a run that came later.
                for (place, left) in before.waiting.iter().enumerate().filter(|(_, w)| slots.waiting.contains(w)) {
                    let later = before.waiting[place + 1..].iter().map(|w| &w.run);
                    let overtaken = later.clone().any(|run| slots.held.contains_key(run));
                    prop_assert!(!overtaken || left.workers > capacity, "{left:?} in {slots:?}");
                    prop_assert!(!new || left.workers > capacity || slots.held.keys().filter(|run| !before.held.contains_key(*run))
                        .all(|run| before.waiting[..place].iter().any(|w| w.run == *run)));
                }
            }
        }
    }
}

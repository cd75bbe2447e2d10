//! What is stored of a test that starts by itself.

use serde::{Deserialize, Serialize};

use super::{ScheduleName, Timing};
use crate::{ids::RunId, plan::Plan, timestamp::Timestamp};

/// Firings that are remembered, the latest ones.
pub const MOST_FIRINGS: usize = 20;

/// A stored test and its schedule. Several parties change it, so it is replaced only by who has seen its latest revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredTest {
    /// Its name.
    pub name: ScheduleName,
    /// Grows by one with every change; whoever replaces it names the revision that was read.
    pub revision: u64,
    /// Which lambdaload has made the plan.
    pub lambdaload_version: String,
    /// Which version of the test it is, from 1. What of it runs makes a version, and not when it runs.
    pub version: u32,
    /// What runs.
    pub plan: Plan,
    /// When.
    pub timing: Timing,
    /// By the clock of which zone: `Europe/Oslo`.
    pub timezone: String,
    /// What a firing does while an earlier run goes on.
    pub overlap: Overlap,
    /// The ARN of the SNS topic that is told the verdict.
    pub notify: Option<String>,
    /// Whether no firing starts anything.
    pub paused: bool,
    /// When it was stored first.
    pub created_at: Timestamp,
    /// When a person changed it last.
    pub updated_at: Timestamp,
    /// What came of the latest firings, latest first.
    pub firings: Vec<Firing>,
}

/// What a firing does while an earlier run of the schedule goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It starts nothing.
    #[default]
    Skip,
    /// Its run waits for the end of the earlier one, as long as runs wait for room.
    Queue,
    /// Its run starts beside the earlier one.
    Allow,
}

impl Overlap {
    /// As flags and JSON have it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Queue => "queue",
            Self::Allow => "allow",
        }
    }
}

/// What came of a firing. Its run's id says which firing it was: that of one moment is always the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// Its run, also of one that was not started.
    pub run: RunId,
    /// The version of the test at that time.
    pub version: u32,
    /// For what moment; none if a person started it.
    pub scheduled_for: Option<Timestamp>,
    /// When it came.
    pub fired_at: Timestamp,
    /// What came of it.
    pub fired: Fired,
}

/// What came of a firing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "came_to")]
pub enum Fired {
    /// A run, perhaps after the end of another one.
    Started {
        /// The other one.
        after: Option<RunId>,
    },
    /// Nothing, as it should be.
    Skipped {
        /// Why, for people.
        why: String,
    },
    /// Nothing, though there should have been a run.
    Refused {
        /// Why, for people.
        why: String,
    },
}

impl StoredTest {
    /// What came of the firing that has this run.
    pub fn firing(&self, run: &RunId) -> Option<&Firing> {
        self.firings.iter().find(|firing| firing.run == *run)
    }

    /// Remembers what came of a firing, in place of what was thought before, and forgets the oldest.
    pub fn remember(&mut self, firing: Firing) {
        match self.firings.iter_mut().find(|known| known.run == firing.run) {
            Some(known) => *known = firing,
            None => self.firings.insert(0, firing),
        }
        self.firings.truncate(MOST_FIRINGS);
    }
}

/// What a firing is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start its run.
    Start,
    /// Start it when this one is over.
    After(RunId),
    /// Start nothing, because of this one.
    Skip(RunId),
}

/// What a firing is to do while this earlier run, the latest of those that go on, goes on.
pub fn decide(overlap: Overlap, under_way: Option<RunId>) -> Decision {
    match (overlap, under_way) {
        (_, None) | (Overlap::Allow, Some(_)) => Decision::Start,
        (Overlap::Queue, Some(run)) => Decision::After(run),
        (Overlap::Skip, Some(run)) => Decision::Skip(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_has_an_answer() {
        let run = || RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id");
        for (overlap, word, while_one_goes_on) in [
            (Overlap::Skip, "skip", Decision::Skip(run())),
            (Overlap::Queue, "queue", Decision::After(run())),
            (Overlap::Allow, "allow", Decision::Start),
        ] {
            assert_eq!(decide(overlap, Some(run())), while_one_goes_on);
            assert_eq!(decide(overlap, None), Decision::Start);
            assert_eq!(serde_json::to_value(overlap).expect("writes"), overlap.word());
            assert_eq!(overlap.word(), word);
        }
        assert_eq!(Overlap::default(), Overlap::Skip);
    }
}

//! The times of samples, put on one straight line.
//!
//! k6 stamps its samples by the clock on the wall, which may step: a machine that just booted asks for the time, somebody
//! sets it. Windows would then lie an hour apart, or an hour in the past, and the last value of a gauge would not be the
//! last any more. A monotonic clock does not step; so whatever the wall says beside it is a step, and is taken back.

use std::time::Duration;

/// Less than that is no step: samples are a second old when they are read, and clocks drift.
const STEP: i64 = 2_000_000_000;

/// So many different walls are remembered; a clock that steps more often is no clock.
const MAX_STEPS: usize = 16;

/// Which times the wall showed beside the straight line. All in nanoseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Steps {
    /// The straight line when the monotonic clock was at 0; none before the first look.
    zero: Option<i64>,
    /// The straight line at the last look.
    now: i64,
    /// How far the wall was from the line, for each time that it stepped.
    walls: Vec<i64>,
}

impl Steps {
    /// Looks at both clocks.
    pub(super) fn look(&mut self, wall: i64, monotonic: Duration) {
        let monotonic = i64::try_from(monotonic.as_nanos()).unwrap_or(i64::MAX);
        let zero = *self.zero.get_or_insert(wall.saturating_sub(monotonic));
        self.now = zero.saturating_add(monotonic);
        let apart = wall.saturating_sub(self.now);
        let is_known = |known: &i64| known.abs_diff(apart) < STEP.unsigned_abs();
        if !self.walls.iter().any(is_known) && self.walls.len() < MAX_STEPS {
            // The line itself is the first.
            self.walls.push(apart);
        }
    }

    /// Moves the whole line by so much: the wall was wrong from the beginning.
    pub(super) fn shift(&mut self, by: i64) {
        if let Some(zero) = &mut self.zero {
            *zero = zero.saturating_add(by);
            self.now = self.now.saturating_add(by);
            self.walls.iter_mut().for_each(|apart| *apart = apart.saturating_sub(by));
        }
    }

    /// A time of the wall on the straight line. What was stamped before a step may be read after it; so it is taken for
    /// a time of that wall which makes its age most usual. Steps of less than twice what ages differ by may be mistaken.
    #[inline]
    pub(super) fn straighten(&self, at: i64, usual_age: i64) -> i64 {
        match self.walls.as_slice() {
            [] | [0] => at,
            walls => {
                let lines = walls.iter().map(|apart| at.saturating_sub(*apart));
                lines.min_by_key(|line| line.abs_diff(self.now.saturating_sub(usual_age))).unwrap_or(at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600 * SECOND;
    const NOON: i64 = 1_795_348_800 * SECOND;

    #[test]
    fn a_wall_that_does_not_step_is_believed() {
        let mut steps = Steps::default();
        assert_eq!(steps.straighten(5, 0), 5);
        for second in 0..10 {
            // A clock is never quite right.
            steps.look(NOON + second * SECOND + second * 1_000_000, Duration::from_secs(second.unsigned_abs()));
        }
        assert_eq!(steps.straighten(NOON - HOUR, 0), NOON - HOUR);
    }

    #[test]
    fn steps_in_both_directions_are_taken_back_also_for_what_is_read_late() {
        let mut steps = Steps::default();
        let seconds = Duration::from_secs;
        steps.look(NOON, seconds(100));
        steps.look(NOON + 10 * SECOND + HOUR, seconds(110));
        assert_eq!(steps.straighten(NOON + 10 * SECOND + HOUR, 0), NOON + 10 * SECOND);
        assert_eq!(steps.straighten(NOON + 9 * SECOND, 0), NOON + 9 * SECOND, "stamped before the step");
        steps.look(NOON + 20 * SECOND - HOUR, seconds(120));
        assert_eq!(steps.straighten(NOON + 20 * SECOND - HOUR, 0), NOON + 20 * SECOND);
        steps.look(NOON + 30 * SECOND, seconds(130));
        assert_eq!(steps.straighten(NOON + 30 * SECOND, 0), NOON + 30 * SECOND);
    }

    #[test]
    fn small_steps_are_taken_back_of_what_is_read_seconds_later() {
        for step in [5, 6, 9, -5, -7].map(|seconds| seconds * SECOND / 2) {
            let mut steps = Steps::default();
            let at = |second: i64| if second < 20 { NOON + second * SECOND } else { NOON + second * SECOND + step };
            for second in 10..30 {
                steps.look(at(second), Duration::from_secs(second.unsigned_abs()));
                for age in 2..=4 {
                    let line = steps.straighten(at(second - age), 3 * SECOND);
                    assert_eq!(line, NOON + (second - age) * SECOND, "{step} {second} {age}");
                }
            }
        }
    }

    #[test]
    fn a_wall_that_was_always_wrong_is_shifted() {
        let mut steps = Steps::default();
        steps.look(NOON + HOUR, Duration::from_secs(1));
        steps.shift(-HOUR);
        steps.look(NOON + HOUR + SECOND, Duration::from_secs(2));
        assert_eq!(steps.straighten(NOON + HOUR + SECOND, 0), NOON + SECOND);
    }

    #[test]
    fn a_mad_clock_costs_no_memory() {
        let mut steps = Steps::default();
        for i in 0..10_000 {
            steps.look(i * i * 7 * SECOND, Duration::from_secs(i.unsigned_abs()));
        }
        assert_eq!(steps.walls.len(), MAX_STEPS);
    }
}

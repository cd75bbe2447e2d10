//! What a recorder gathers: samples of each tag set, which are folded into the series they belong to.

use std::borrow::Cow;

use crate::{
    chunk::Window,
    k6::frame::Frame,
    series::SeriesId,
    stats::{Open, Stats},
    threshold::LimitCount,
};

/// One tag set of one metric.
pub(super) struct Leaf {
    /// What its lines have in common; none for the rest of a metric, of which are lines of all kinds.
    pub(super) frame: Option<Frame>,
    pub(super) hash: u64,
    /// Of which tag set the line after the last one of this was.
    pub(super) next: usize,
    /// The second of the open window.
    pub(super) second: i64,
    pub(super) open: Open,
    pub(super) limits: Vec<LimitCount>,
    /// Where in `limits` the counts go: series, and position in its limits.
    pub(super) limit_targets: Vec<(usize, usize, usize)>,
    /// Series with windows of a second.
    pub(super) rollups: Vec<usize>,
    /// Series with coarse windows.
    pub(super) own: usize,
    /// Whether samples from before the start do not count.
    pub(super) only_after_start: bool,
    pub(super) rest: bool,
}

/// A series and what has been folded into it since the last chunk.
pub(super) struct PendingSeries {
    pub(super) id: SeriesId,
    pub(super) total: u64,
    pub(super) windows: Vec<Window>,
    pub(super) limits: Vec<LimitCount>,
}

impl PendingSeries {
    pub(super) fn fold(&mut self, second: i64, stats: Cow<'_, Stats>) {
        self.total += stats.count();
        let width = i64::from(self.id.rollup.window_seconds());
        let start = second.div_euclid(width) * width;
        // Few windows are open at one time, the newest last.
        match self.windows.iter_mut().rev().find(|w| w.start == start) {
            // A series has one type of metric, so the types are the same.
            Some(window) => drop(window.stats.merge(&stats)),
            None => self.windows.push(Window { start, stats: stats.into_owned() }),
        }
    }
}

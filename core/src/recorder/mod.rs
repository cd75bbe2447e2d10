//! The per-sample path of a worker: lines of k6's output become windows.
//!
//! A line is cut, the bytes of its metric name and tags are looked up, and the value is added to the open window of that
//! tag set. JSON is read once per tag set, not per sample. When a tag set's second ends, or a chunk is taken, its open
//! window is folded into the series it belongs to: the metric's parent, the sub-metrics that match, its check, and its
//! own coarse series. Memory is bounded by the number of series.

mod aggregated;
mod leaf;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    collections::HashMap,
    hash::{BuildHasher, Hasher},
    time::Duration,
};

use hashbrown::{DefaultHashBuilder, HashTable};
use serde::{Deserialize, Serialize};

use crate::{
    chunk::{ChunkSeries, Window},
    k6::{
        frame::Frame,
        line::{self, Line, Point},
        time::TimeReader,
    },
    recorder::{
        leaf::{Leaf, PendingSeries},
        steps::Steps,
    },
    secrets::Secrets,
    series::{Metric, MetricKind, Rollup, SeriesId, Tags},
    stats::Open,
    threshold::LimitCount,
};

/// Complete tag sets that a worker keeps apart; samples of later ones go to a rest series per metric. Each costs about
/// half a kilobyte and the buckets it fills.
pub const MAX_TAG_SETS: usize = 4_000;

/// Checks that a worker keeps apart.
pub const MAX_CHECKS: usize = 1_000;

/// A longer line is refused: k6 writes a few hundred bytes, and a broken stream must not fill the memory.
const MAX_LINE: usize = 1 << 20;

const NANOSECONDS: i64 = 1_000_000_000;

/// A metric, or a sub-metric, that thresholds or the summary ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Watch {
    /// The metric's name.
    pub metric: String,
    /// The tags of a sub-metric; `None` for the whole metric.
    pub tags: Option<Tags>,
    /// Limits of its percentile thresholds.
    pub limits: Vec<f64>,
}

/// How many lines there were and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineCounts {
    /// Samples that were added to their series.
    pub samples: u64,
    /// Gauges of VUs from before the start, which a single k6 would not have written. They are in no series.
    pub before_start: u64,
    /// Lines that could not be read. A sample is lost with each.
    pub refused: u64,
    /// The first of these, cut to 200 characters.
    pub first_refused: Option<String>,
    /// Samples of tag sets beyond [`MAX_TAG_SETS`]; they are counted everywhere but in a tag set of their own.
    pub folded: u64,
    /// Samples that k6 says it could not write: infinite ones, from 2.0 on. They are lost.
    #[serde(default)]
    pub unwritten: u64,
    /// Batches of aggregated samples that k6 says it gave up. They are lost.
    #[serde(default)]
    pub lost_batches: u64,
    /// Aggregated samples that are [counted and not placed](crate::k6::stream::Second::unplaced).
    #[serde(default)]
    pub unplaced: u64,
}

/// Turns the bytes of k6's output into windows.
pub struct Recorder {
    watches: Vec<Watch>,
    max_tag_sets: usize,
    /// The end of a piece that did not end with a line.
    partial: Vec<u8>,
    /// Whether the rest of an overlong line is being passed over.
    skipping: bool,
    time: TimeReader,
    steps: Steps,
    /// From when VU gauges count, in nanoseconds since the Unix epoch.
    started_at: i64,
    counts: LineCounts,
    hasher: DefaultHashBuilder,
    table: HashTable<usize>,
    leaves: Vec<Leaf>,
    /// Of which leaf the last line was.
    last: usize,
    /// For tag sets beyond the cap: one leaf for each metric and set of rollups.
    rest_leaves: HashMap<(String, Vec<usize>), usize>,
    metrics: HashMap<Vec<u8>, Metric>,
    secrets: Secrets,
    series: Vec<PendingSeries>,
    series_index: HashMap<SeriesId, usize>,
    checks: usize,
    newest_second: i64,
}

impl Recorder {
    /// A recorder that keeps `watches` apart. VU gauges are passed over until [`Recorder::started`].
    pub fn new(watches: Vec<Watch>, max_tag_sets: usize) -> Self {
        Self {
            watches,
            max_tag_sets,
            partial: Vec::new(),
            skipping: false,
            time: TimeReader::default(),
            steps: Steps::default(),
            started_at: i64::MAX,
            counts: LineCounts::default(),
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            leaves: Vec::new(),
            last: 0,
            rest_leaves: HashMap::new(),
            metrics: HashMap::new(),
            secrets: Secrets::default(),
            series: Vec::new(),
            series_index: HashMap::new(),
            checks: 0,
            newest_second: i64::MIN,
        }
    }

    /// Keeps these out of all it hands out. Tag sets that differ in them only become one.
    #[must_use]
    pub fn with_secrets(mut self, secrets: Secrets) -> Self {
        self.secrets = secrets;
        self
    }

    /// Tells what the clock on the wall (nanoseconds since the Unix epoch) and a monotonic one show when a piece is read.
    /// So it is noticed when the wall steps, by which k6 stamps its samples; all windows lie on the line on which it began.
    pub fn look_at_clocks(&mut self, wall: i64, monotonic: Duration) {
        self.steps.look(wall, monotonic);
    }

    /// Moves this and all later times by so many nanoseconds: the clock on the wall is wrong.
    pub fn shift_times(&mut self, by: i64) {
        self.steps.shift(by);
    }

    /// From `at` (nanoseconds since the Unix epoch, by the wall) on, VU gauges count.
    pub fn started(&mut self, at: i64) {
        self.started_at = self.steps.straighten(at, 0);
    }

    /// Takes the next piece of k6's output; it may begin and end within a line.
    pub fn feed(&mut self, mut piece: &[u8]) {
        loop {
            if self.partial.is_empty()
                && !self.skipping
                && let Some(rest) = self.expected_line(piece)
            {
                piece = rest;
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', piece) else { break };
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            if self.skipping {
                self.skipping = false;
            } else if self.partial.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(line);
                self.line(&whole);
                whole.clear();
                self.partial = whole;
            }
            piece = rest;
        }
        if self.skipping {
            return;
        }
        self.partial.extend_from_slice(piece);
        if self.partial.len() > MAX_LINE {
            let line = std::mem::take(&mut self.partial);
            self.refuse(&line);
            self.skipping = true;
        }
    }

    /// Passes over a last line without an end: what a k6 leaves that was killed on purpose.
    pub fn forget_cut_line(&mut self) {
        self.partial.clear();
    }

    /// No more pieces will come: a last line without an end is what a killed k6 left.
    pub fn finish(&mut self) {
        let line = std::mem::take(&mut self.partial);
        if !line.is_empty() {
            self.line(&line);
        }
    }

    /// What became of the lines so far.
    pub fn counts(&self) -> &LineCounts {
        &self.counts
    }

    /// Samples added to each series since the beginning.
    pub fn totals(&self) -> impl Iterator<Item = (&SeriesId, u64)> {
        self.series.iter().map(|series| (&series.id, series.total))
    }

    /// Hands out what was gathered since the last call; empty if nothing was. Coarse windows that are not over are
    /// kept back unless these are the `last` windows.
    pub fn take_windows(&mut self, last: bool) -> Vec<ChunkSeries> {
        for leaf in 0..self.leaves.len() {
            self.fold(leaf);
        }
        let newest = self.newest_second;
        let mut taken = Vec::new();
        for (ordinal, series) in (0..).zip(&mut self.series) {
            let width = i64::from(series.id.rollup.window_seconds());
            let is_over = |window: &Window| last || width == 1 || window.start + width <= newest;
            let (windows, kept) = std::mem::take(&mut series.windows).into_iter().partition::<Vec<_>, _>(is_over);
            series.windows = kept;
            let limits = if windows.is_empty() {
                Vec::new()
            } else {
                let fresh = series.limits.iter().map(|l| LimitCount::new(l.limit)).collect();
                std::mem::replace(&mut series.limits, fresh)
            };
            if !windows.is_empty() {
                taken.push(ChunkSeries { id: series.id.clone(), ordinal, windows, limits });
            }
        }
        taken
    }

    /// Takes the line at the beginning of a piece if it is of the tag set that came next the last time: k6 tells what it has
    /// measured of a request in one order, so most are. Returns what follows it.
    #[inline]
    fn expected_line<'a>(&mut self, piece: &'a [u8]) -> Option<&'a [u8]> {
        let next = self.leaves.get(self.last)?.next;
        let (time, value, rest) = self.leaves.get(next)?.frame.as_ref()?.cut(piece)?;
        let at = self.time.read(time)?;
        self.last = next;
        self.sample(next, at, value);
        Some(rest)
    }

    fn line(&mut self, text: &[u8]) {
        if text.is_empty() {
            return;
        }
        match line::read(text) {
            Ok(Line::Point(point)) => {
                if self.point(&point).is_none() {
                    self.refuse(text);
                }
            }
            Ok(Line::Metric(metric)) => {
                self.metrics.entry(metric.name.clone().into_bytes()).or_insert(metric);
            }
            Err(line::Unreadable) => self.refuse(text),
        }
    }

    #[cold]
    fn refuse(&mut self, text: &[u8]) {
        self.counts.refused += 1;
        if self.counts.first_refused.is_none() {
            self.counts.first_refused =
                Some(self.secrets.redact(&String::from_utf8_lossy(text)).chars().take(200).collect());
        }
    }

    /// `None` for a sample that cannot be understood.
    #[inline]
    fn point(&mut self, point: &Point<'_>) -> Option<()> {
        let at = self.time.read(point.time)?;
        let index = match self.find(point.metric, point.tags_and_metadata()) {
            Some(index) => index,
            None => self.find_or_intern(point)?,
        };
        if let Some(last) = self.leaves.get_mut(self.last) {
            last.next = index;
        }
        self.last = index;
        self.sample(index, at, point.value);
        Some(())
    }

    #[inline]
    fn sample(&mut self, index: usize, at: i64, value: f64) {
        let at = self.steps.straighten(at, 0);
        let leaf = &mut self.leaves[index];
        if leaf.only_after_start && at < self.started_at {
            self.counts.before_start += 1;
            return;
        }
        let second = at.div_euclid(NANOSECONDS);
        if leaf.second != second {
            if !leaf.open.is_empty() {
                self.fold(index);
            }
            self.newest_second = self.newest_second.max(second);
            self.leaves[index].second = second;
        }
        let leaf = &mut self.leaves[index];
        leaf.open.add(value, at);
        for limit in &mut leaf.limits {
            limit.add(value);
        }
        self.counts.samples += 1;
        self.counts.folded += u64::from(leaf.rest);
    }

    #[inline]
    fn find(&self, metric: &[u8], tags: &[u8]) -> Option<usize> {
        let hash = self.hash(metric, tags);
        let same = |index: &usize| {
            let leaf = &self.leaves[*index];
            let is_it = |frame: &Frame| frame.metric() == metric && frame.tags() == tags;
            leaf.hash == hash && leaf.frame.as_ref().is_some_and(is_it)
        };
        self.table.find(hash, same).copied()
    }

    #[inline]
    fn hash(&self, metric: &[u8], tags: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(metric);
        hasher.write_u8(0);
        hasher.write(tags);
        hasher.finish()
    }

    /// The leaf of a sample whose bytes have not been seen, or have metadata behind them.
    #[cold]
    fn find_or_intern(&mut self, point: &Point<'_>) -> Option<usize> {
        let json = point.tags_json();
        if json.len() != point.tags_and_metadata().len()
            && let Some(index) = self.find(point.metric, json)
        {
            return Some(index);
        }
        let metric = match self.metrics.get(point.metric) {
            Some(metric) => metric.clone(),
            None => Metric::built_in(std::str::from_utf8(point.metric).ok()?)?,
        };
        let raw_tags = line::read_tags(json).ok()?;
        Some(self.intern(metric, json, &raw_tags))
    }

    /// A leaf for a tag set that has none; `bytes` stand for it from now on.
    fn intern(&mut self, metric: Metric, bytes: &[u8], raw_tags: &Tags) -> usize {
        let tags = self.without_secrets(raw_tags);
        let rollups = self.rollups(&metric, raw_tags, &tags);
        let name = metric.name.clone();
        if self.leaves.len() - self.rest_leaves.len() < self.max_tag_sets {
            let id = SeriesId { metric, rollup: Rollup::TagSet, tags };
            let hash = self.hash(name.as_bytes(), bytes);
            let index = self.add_leaf(Some(Frame::new(name.as_bytes(), bytes)), hash, id, rollups);
            self.table.insert_unique(hash, index, |i| self.leaves[*i].hash);
            return index;
        }
        let rest_key = (name, rollups);
        if let Some(index) = self.rest_leaves.get(&rest_key) {
            return *index;
        }
        let id = SeriesId { metric, rollup: Rollup::Rest, tags: Tags::default() };
        let index = self.add_leaf(None, 0, id, rest_key.1.clone());
        self.rest_leaves.insert(rest_key, index);
        index
    }

    fn add_leaf(&mut self, frame: Option<Frame>, hash: u64, id: SeriesId, rollups: Vec<usize>) -> usize {
        let mut limits: Vec<LimitCount> = Vec::new();
        let mut limit_targets = Vec::new();
        for series in &rollups {
            for (position, wanted) in self.series[*series].limits.iter().enumerate() {
                let known = limits.iter().position(|l| l.limit.to_bits() == wanted.limit.to_bits());
                let own = known.unwrap_or_else(|| {
                    limits.push(LimitCount::new(wanted.limit));
                    limits.len() - 1
                });
                limit_targets.push((*series, position, own));
            }
        }
        let leaf = Leaf {
            frame,
            hash,
            next: 0,
            second: i64::MIN,
            open: Open::new(id.metric.kind),
            limits,
            limit_targets,
            rollups,
            only_after_start: id.metric.adds_over_workers(),
            rest: id.rollup == Rollup::Rest,
            own: self.series_of(id, Vec::new()),
        };
        self.leaves.push(leaf);
        self.leaves.len() - 1
    }

    fn without_secrets(&self, tags: &Tags) -> Tags {
        if self.secrets.is_empty() {
            return tags.clone();
        }
        let mask = |text| self.secrets.redact(text).into_owned();
        tags.iter().map(|(key, value)| (mask(key), mask(value))).collect()
    }

    /// The series with windows of a second that a tag set belongs to. Sub-metrics are told by the tags as k6 wrote them, as
    /// k6 tells them: their own tags are those of the script's options, in which there are no secrets.
    fn rollups(&mut self, metric: &Metric, raw_tags: &Tags, tags: &Tags) -> Vec<usize> {
        let mut limits_of_all = Vec::new();
        let mut selected = Vec::new();
        for watch in self.watches.iter().filter(|w| w.metric == metric.name) {
            match &watch.tags {
                None => limits_of_all.clone_from(&watch.limits),
                Some(wanted) if raw_tags.contains_all(wanted) => selected.push((wanted.clone(), watch.limits.clone())),
                Some(_) => {}
            }
        }
        let mut rollups = vec![self.series_of(SeriesId::all(metric.clone()), limits_of_all)];
        for (tags, limits) in selected {
            let id = SeriesId { metric: metric.clone(), rollup: Rollup::Selector, tags };
            rollups.push(self.series_of(id, limits));
        }
        if metric.name == "checks"
            && metric.kind == MetricKind::Rate
            && let Some(check) = tags.get("check")
        {
            let tags = Tags::from_iter([("check", check), ("group", tags.get("group").unwrap_or_default())]);
            let id = SeriesId { metric: metric.clone(), rollup: Rollup::Check, tags };
            if self.series_index.contains_key(&id) || self.checks < MAX_CHECKS {
                self.checks += usize::from(!self.series_index.contains_key(&id));
                rollups.push(self.series_of(id, Vec::new()));
            }
        }
        rollups
    }

    fn series_of(&mut self, id: SeriesId, limits: Vec<f64>) -> usize {
        if let Some(index) = self.series_index.get(&id) {
            return *index;
        }
        self.series.push(PendingSeries {
            id: id.clone(),
            total: 0,
            windows: Vec::new(),
            limits: limits.into_iter().map(LimitCount::new).collect(),
        });
        self.series_index.insert(id, self.series.len() - 1);
        self.series.len() - 1
    }

    /// Moves a leaf's open window into its series.
    fn fold(&mut self, leaf: usize) {
        let leaf = &mut self.leaves[leaf];
        if leaf.open.is_empty() {
            return;
        }
        let stats = leaf.open.take();
        for (series, position, own) in &leaf.limit_targets {
            self.series[*series].limits[*position].merge(&leaf.limits[*own]);
        }
        for limit in &mut leaf.limits {
            *limit = LimitCount::new(limit.limit);
        }
        for series in &leaf.rollups {
            self.series[*series].fold(leaf.second, Cow::Borrowed(&stats));
        }
        self.series[leaf.own].fold(leaf.second, Cow::Owned(stats));
    }
}

//! What a simulated run shows.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use crate::{
    counted::Asked,
    parts::{AggregatorReport, WorkersReport},
    setting::Setting,
};

/// All that was seen of one run.
pub(crate) struct Report {
    pub(crate) setting: Setting,
    pub(crate) workers: WorkersReport,
    pub(crate) aggregator: AggregatorReport,
    /// Seconds of processor time of each server.
    pub(crate) servers: Vec<(&'static str, f64)>,
}

impl Report {
    /// What went wrong: anything but a verdict that is right to the last sample.
    pub(crate) fn problems(&self) -> Vec<String> {
        let (verdict, expected) = (&self.aggregator.verdict, self.setting.samples());
        let mut problems = self.workers.problems.clone();
        if (verdict.exit_code, verdict.reasons.len()) != (0, 0) {
            problems.push(format!("the verdict is {:?}: {:?}", verdict.outcome, verdict.reasons));
        }
        if (verdict.samples.read, verdict.samples.merged) != (expected, expected) || !verdict.samples.missing.is_empty()
        {
            problems.push(format!("{expected} samples were written; of them {:?}", verdict.samples));
        }
        // A chunk that is merged after the last live state is in the verdict only.
        if self.lags().is_empty() || self.workers.counts.chunks.len() > self.aggregator.counts.chunks.len() {
            let (stored, fetched) = (self.workers.counts.chunks.len(), self.aggregator.counts.chunks.len());
            problems.push(format!("{stored} chunks were stored and {fetched} fetched"));
        }
        problems
    }

    /// What took longer than any noise explains: seconds beside the flush and the look that all waits for.
    pub(crate) fn delays(&self) -> Vec<String> {
        let pace = self.setting.prepare().plan.pace;
        let pause = (pace.look() + pace.flush).as_secs_f64();
        let skew = self.aggregator.verdict.start_skew_p99_ms.unwrap_or(f64::NAN) / 1e3;
        let bounds = [
            ("from the last word to the verdict", self.last_word_to_verdict(), 10.0),
            ("from the store to live, p99", at(&self.lags(), 0.99), pause + 5.0),
            ("the newest second that is live of all workers, p99", at(&self.ages(), 0.99), pause + 5.0),
            ("from T0 to the start, p99", skew, 5.0),
        ];
        // What is no number was not seen.
        let late =
            bounds.into_iter().filter(|(_, seen, bound)| !matches!(seen.partial_cmp(bound), Some(Ordering::Less)));
        late.map(|(what, seen, bound)| format!("{what}: {seen:.1} s, which is to be less than {bound:.1} s")).collect()
    }

    fn last_word_to_verdict(&self) -> f64 {
        (self.aggregator.judged_at - self.workers.counts.last_word) as f64 / 1e6
    }

    /// From when a chunk is in the store to the first live state that has it, in seconds, while the load lasts.
    fn lags(&self) -> Vec<f64> {
        sorted(self.lags_in_time().map(|(_, lag)| lag).collect())
    }

    /// The same with when the chunk was in the store, in microseconds since 1970.
    fn lags_in_time(&self) -> impl Iterator<Item = (i64, f64)> {
        let stored: HashMap<&str, i64> =
            self.workers.counts.chunks.iter().map(|chunk| (chunk.key.as_str(), chunk.ended_at)).collect();
        let until = self.aggregator.shown.last().copied().unwrap_or(0);
        let visible = self.aggregator.visible.iter().filter(move |(_, at)| *at <= until);
        visible.filter_map(move |(key, at)| {
            let stored = *stored.get(key.as_str())?;
            Some((stored, (at - stored) as f64 / 1e6))
        })
    }

    /// Its 99th percentile in each ten seconds since the first chunk.
    fn lag_as_it_went(&self) -> String {
        let first = self.workers.counts.chunks.iter().map(|chunk| chunk.ended_at).min().unwrap_or(0);
        let mut tens: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        self.lags_in_time().for_each(|(stored, lag)| tens.entry((stored - first) / 10_000_000).or_default().push(lag));
        let each: Vec<String> = tens.into_values().map(|lags| format!("{:.2}", at(&sorted(lags), 0.99))).collect();
        each.join(", ")
    }

    /// How old the newest second is that a live state shows of all workers, in seconds, while the load lasts.
    fn ages(&self) -> Vec<f64> {
        // A chunk has all seconds that were over when its upload began.
        let second = |at: i64| at / 1_000_000 * 1_000_000;
        let until: HashMap<&str, i64> =
            self.workers.counts.chunks.iter().map(|chunk| (chunk.key.as_str(), second(chunk.began_at))).collect();
        let mut visible = self.aggregator.visible.iter().peekable();
        let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
        let mut ages = Vec::new();
        for shown in &self.aggregator.shown {
            while let Some((key, _)) = visible.next_if(|(_, at)| at <= shown) {
                let (worker, _) = key.rsplit_once('/').unwrap_or((key, ""));
                let of_worker = newest.entry(worker).or_default();
                *of_worker = until.get(key.as_str()).copied().unwrap_or(0).max(*of_worker);
            }
            if newest.len() == self.setting.workers as usize {
                ages.extend(newest.values().min().map(|oldest| (shown - oldest) as f64 / 1e6));
            }
        }
        sorted(ages)
    }

    /// Of one core while the load lasted, in percent.
    fn aggregator_cpu(&self) -> f64 {
        match self.aggregator.loaded[..] {
            [(from, before), (until, after)] => (after - before) / ((until - from) as f64 / 1e6) * 100.0,
            _ => f64::NAN,
        }
    }

    /// What all asked of store and ledger while the load lasted: a second's mean and the most.
    fn asked(&self) -> ([f64; 4], [u64; 4]) {
        let mut by_second: BTreeMap<i64, Asked> = BTreeMap::new();
        for (second, asked) in self.workers.counts.asked.iter().chain(&self.aggregator.counts.asked) {
            by_second.entry(*second).or_default().add(asked);
        }
        let (from, until) = match self.aggregator.loaded[..] {
            [(from, _), (until, _)] => (from / 1_000_000 + 1, until / 1_000_000),
            _ => (0, 0),
        };
        let within: Vec<&Asked> = by_second.range(from..until.max(from)).map(|(_, asked)| asked).collect();
        let figures = |asked: &Asked| [asked.puts, asked.gets, asked.write_units, asked.read_units];
        let mean = [0, 1, 2, 3]
            .map(|i| within.iter().map(|asked| figures(asked)[i]).sum::<u64>() as f64 / within.len() as f64);
        let most = [0, 1, 2, 3].map(|i| by_second.values().map(|asked| figures(asked)[i]).max().unwrap_or(0));
        (mean, most)
    }

    /// A table of one line, and what is in none.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        text += "| workers | samples/s | look, flush | store → live p50, p99, most | age p50, p99, most | aggregator CPU | peak memory | PUT/s (most) | GET/s (most) | WCU/s (most) | RCU/s (most) | last word → verdict | workers' CPU | servers' CPU |\n";
        text += "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
        let Setting { workers, series, rate, seconds, in_memory, .. } = &self.setting;
        let pace = self.setting.prepare().plan.pace;
        let three = |values: &[f64]| {
            if values.is_empty() {
                return "–".to_owned();
            }
            let [a, b, c] = [0.5, 0.99, 1.0].map(|quantile| at(values, quantile));
            format!("{a:.2}, {b:.2}, {c:.2} s")
        };
        let (mean, most) = self.asked();
        let [puts, gets, writes, reads] = [0, 1, 2, 3].map(|i| format!("{:.0} ({})", mean[i], most[i]));
        let memory = if *in_memory { "–".to_owned() } else { format!("{:.0} MiB", self.aggregator.peak_mib) };
        let servers: Vec<String> = self.servers.iter().map(|(name, cpu)| format!("{name} {cpu:.0} s")).collect();
        let verdict = self.last_word_to_verdict();
        let written = write!(
            text,
            "| {workers} | {} | {:.1}, {:.1} s | {} | {} | {:.1} % | {memory} | {puts} | {gets} | {writes} | {reads} | {verdict:.2} s | {:.0} s | {} |",
            workers * series * rate,
            pace.look().as_secs_f64(),
            pace.flush.as_secs_f64(),
            three(&self.lags()),
            three(&self.ages()),
            self.aggregator_cpu(),
            self.workers.cpu,
            if servers.is_empty() { "–".to_owned() } else { servers.join(", ") },
        );
        written.expect("a string takes all");
        let bytes = self.workers.counts.bytes as f64 / self.workers.counts.chunks.len().max(1) as f64;
        let chunks = self.workers.counts.chunks.len();
        let skew = self.aggregator.verdict.start_skew_p99_ms.unwrap_or(f64::NAN);
        let lag = self.lag_as_it_went();
        write!(
            text,
            "\n\n{chunks} chunks of {bytes:.0} bytes in {seconds} s; start skew p99 {skew:.1} ms\n\
             store → live p99 of each ten seconds: {lag} s"
        )
        .expect("a string takes all");
        text
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The value at the nearest rank; not a number without values.
fn at(values: &[f64], quantile: f64) -> f64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index")]
    let index = (quantile * values.len().saturating_sub(1) as f64).ceil() as usize;
    values.get(index).copied().unwrap_or(f64::NAN)
}

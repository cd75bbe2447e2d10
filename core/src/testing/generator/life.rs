//! The life of one simulated k6: what has happened up to now follows from its script and from what it was asked to do.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    task::Waker,
    time::Duration,
};

use crate::{
    ids::WorkerIndex,
    k6::exit::{ProcessExit, code},
    ports::{GeneratorError, GeneratorPhase},
    segment::Segment,
    testing::{
        clock::{NOON, VirtualClock},
        generator::{Event, Journal, K6Script, Moment, SampleLine, ScriptEnd},
    },
    timestamp::Timestamp,
};

/// k6 hands its samples to its outputs so often; a k6 that is killed takes with it what came since.
const FLUSH: Duration = Duration::from_millis(200);

/// k6 writes its VUs so often, from its start on.
const GAUGES: Duration = Duration::from_secs(1);

/// What is so of a k6 at one moment.
pub(super) struct Life {
    pub(super) script: K6Script,
    pub(super) index: WorkerIndex,
    pub(super) segment: Option<Segment>,
    pub(super) linger: bool,
    pub(super) journal: Journal,
    pub(super) clock: Arc<VirtualClock>,
    pub(super) started_at: Duration,
    pub(super) resumed_at: Option<Duration>,
    pub(super) ended_at: Option<Duration>,
    /// Whether its iterations were ended before their time.
    pub(super) cut_short: bool,
    pub(super) interrupted: bool,
    pub(super) exit_code: i32,
    pub(super) exit: Option<ProcessExit>,
    pub(super) next_gauges: Duration,
    /// Lines that are not written yet, by the moment they come up.
    pub(super) lines: VecDeque<(Duration, String)>,
    /// What is written and not read yet.
    pub(super) written: Vec<u8>,
    pub(super) log: Vec<String>,
    /// How often something was asked of it.
    pub(super) changes: u64,
    pub(super) wakers: Vec<Waker>,
}

impl Life {
    pub(super) fn begin(
        script: K6Script,
        (index, segment): (WorkerIndex, Option<Segment>),
        linger: bool,
        journal: Journal,
        clock: Arc<VirtualClock>,
        now: Duration,
    ) -> Self {
        let life = Self {
            index,
            segment,
            linger,
            journal,
            clock,
            started_at: now,
            resumed_at: None,
            ended_at: None,
            cut_short: false,
            interrupted: false,
            exit_code: script.end.exit_code(),
            exit: None,
            next_gauges: now,
            lines: VecDeque::new(),
            written: Vec::new(),
            log: Vec::new(),
            changes: 0,
            wakers: Vec::new(),
            script,
        };
        life.note(now, Event::Started);
        life
    }

    pub(super) fn note(&self, at: Duration, event: Event) {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).push((at, self.index, event));
    }

    pub(super) fn alive(&self, operation: &'static str) -> Result<(), GeneratorError> {
        if self.exit.is_some() { Err(gone(operation)) } else { Ok(()) }
    }

    pub(super) fn phase(&self, now: Duration) -> GeneratorPhase {
        let is_ready = now.saturating_sub(self.started_at) >= self.script.ready_after;
        match (self.ended_at, self.resumed_at) {
            (Some(_), _) if self.cut_short => GeneratorPhase::Interrupted,
            (Some(_), _) => GeneratorPhase::Ended,
            (None, Some(_)) => GeneratorPhase::Running,
            (None, None) if is_ready => GeneratorPhase::Paused,
            (None, None) => GeneratorPhase::Starting,
        }
    }

    /// When something will happen by itself.
    pub(super) fn next_event(&self) -> Option<Duration> {
        if self.exit.is_some() {
            return None;
        }
        let flush = self.lines.front().map(|(due, _)| self.flushed_at(*due));
        let gauges = Some(self.next_gauges).filter(|_| self.ended_at.is_none());
        [flush, gauges, self.end_of_iterations(), self.death()].into_iter().flatten().min()
    }

    pub(super) fn live_until(&mut self, now: Duration) {
        while let Some(at) = self.next_event().filter(|at| *at <= now) {
            if self.death() == Some(at) {
                let death = self.script.death.take();
                if let Some(death) = death {
                    self.log.extend(Some(death.log).filter(|line| !line.is_empty()));
                    self.die(at, death.exit);
                }
            } else if self.end_of_iterations() == Some(at) {
                self.cut_short = self.script.end == ScriptEnd::Abort;
                self.end(at);
            } else if self.next_gauges == at {
                let vus = if self.resumed_at.is_some() { self.script.vus } else { 0 };
                self.write_sample(at, "vus", f64::from(vus), "{}");
                self.write_sample(at, "vus_max", f64::from(self.script.vus), "{}");
                self.next_gauges = at + GAUGES;
                if let (Some(traffic), Some(resumed_at)) = (self.script.traffic, self.resumed_at) {
                    let second = at.saturating_sub(resumed_at).as_secs();
                    traffic(second).into_iter().for_each(|(after, sample)| self.write(at + after, sample));
                }
            } else {
                self.flush(at);
            }
            self.settle(at);
        }
    }

    pub(super) fn death(&self) -> Option<Duration> {
        let (from, after) = match self.script.death.as_ref()?.moment {
            Moment::Started(after) => (self.started_at, after),
            Moment::Resumed(after) => (self.resumed_at?, after),
            Moment::Ended(after) => (self.ended_at?, after),
        };
        from.checked_add(after)
    }

    pub(super) fn end_of_iterations(&self) -> Option<Duration> {
        if self.ended_at.is_some() { None } else { self.resumed_at?.checked_add(self.script.lasts) }
    }

    pub(super) fn end(&mut self, at: Duration) {
        self.ended_at = Some(at);
        self.lines.retain(|(due, _)| *due <= at);
        self.note(at, Event::IterationsEnded);
    }

    /// Ends iterations and process if what was asked of it, or its own end, says so.
    pub(super) fn settle(&mut self, at: Duration) {
        if self.exit.is_some() {
            return;
        }
        let interrupted = self.interrupted && !self.script.ignores_interrupt;
        if interrupted && self.ended_at.is_none() {
            self.exit_code = code::EXTERNAL_ABORT;
            self.cut_short = true;
            self.end(at);
        }
        if self.ended_at.is_some() && (interrupted || !self.linger) && !self.script.hangs_at_exit {
            self.die(at, ProcessExit::Code(self.exit_code));
        }
    }

    pub(super) fn die(&mut self, at: Duration, exit: ProcessExit) {
        if let ProcessExit::Code(_) = exit {
            self.lines.retain(|(due, _)| *due <= at);
            while let Some((_, line)) = self.lines.pop_front() {
                self.written.extend_from_slice(line.as_bytes());
            }
        } else if let Some((_, line)) = self.lines.pop_front().filter(|_| self.script.is_cut_when_killed) {
            self.written.extend_from_slice(&line.as_bytes()[..line.len() / 2]);
        }
        self.exit = Some(exit);
        self.note(at, Event::Exited(exit));
    }

    pub(super) fn flushed_at(&self, due: Duration) -> Duration {
        let flushes = due.saturating_sub(self.started_at).as_nanos().div_ceil(FLUSH.as_nanos());
        self.started_at + FLUSH * u32::try_from(flushes).unwrap_or(u32::MAX)
    }

    pub(super) fn flush(&mut self, at: Duration) {
        while let Some((_, line)) = self.lines.pop_front_if(|(due, _)| *due <= at) {
            self.written.extend_from_slice(line.as_bytes());
        }
    }

    pub(super) fn write_sample(&mut self, at: Duration, metric: &str, value: f64, tags: &str) {
        let time = rfc3339(self.clock.wall_at(at));
        let line = format!(
            "{{\"metric\":\"{metric}\",\"type\":\"Point\",\"data\":{{\"time\":\"{time}\",\"value\":{value},\"tags\":{tags}}}}}\n"
        );
        self.write_line(at, line);
    }

    pub(super) fn write_line(&mut self, at: Duration, line: String) {
        let place = self.lines.partition_point(|(due, _)| *due <= at);
        self.lines.insert(place, (at, line));
    }

    pub(super) fn resume(&mut self, now: Duration) {
        self.note(now, Event::Resumed);
        self.resumed_at = Some(now);
        for (after, sample) in std::mem::take(&mut self.script.samples) {
            self.write(now + after, sample);
        }
    }

    fn write(&mut self, at: Duration, sample: SampleLine) {
        match sample {
            SampleLine::Sample { metric, value, tags } => self.write_sample(at, &metric, value, &tags),
            SampleLine::Raw(line) => self.write_line(at, line + "\n"),
        }
    }
}

/// What comes of asking a k6 that has ended.
pub(super) fn gone(operation: &'static str) -> GeneratorError {
    GeneratorError::Process { operation, cause: "k6 has ended".into() }
}

/// A time in the week in which virtual time begins, as k6 writes it.
fn rfc3339(at: Timestamp) -> String {
    const DAY_MICROS: i64 = 86_400_000_000;
    let day = 22 + (at.0.div_euclid(DAY_MICROS) - NOON.0.div_euclid(DAY_MICROS)).clamp(-21, 8);
    let micros = at.0.rem_euclid(DAY_MICROS);
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    format!("2026-11-{day:02}T{:02}:{:02}:{:02}.{fraction:06}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

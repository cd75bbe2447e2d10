//! One simulated k6 process: what has happened up to now follows from its script and from what it was asked to do.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{self, Either};

use crate::{
    ids::WorkerIndex,
    k6::exit::{ProcessExit, code},
    ports::{GeneratorControl, GeneratorError, GeneratorPhase, HookError, SampleStream, Timestamp},
    testing::{
        clock::VirtualTime,
        generator::{Event, Hook, Journal, K6Script, Moment, SampleLine, ScriptEnd, ScriptedK6},
    },
};

/// k6 hands its samples to its outputs so often; a k6 that is killed takes with it what came since.
const FLUSH: Duration = Duration::from_millis(200);

/// k6 writes its VUs so often, from its start on.
const GAUGES: Duration = Duration::from_secs(1);

/// How much of the output is read at a time: lines are torn apart.
const PIECE: usize = 997;

/// A process, held by both of its ends.
#[derive(Clone)]
pub(super) struct Process {
    time: VirtualTime,
    life: Arc<Mutex<Life>>,
}

/// The end that talks to it.
struct Control(Process);

/// The end that reads from it.
struct Output(Process);

struct Life {
    script: K6Script,
    index: WorkerIndex,
    linger: bool,
    journal: Journal,
    /// Its clock on the wall when virtual time began.
    wall_zero: Timestamp,
    started_at: Duration,
    resumed_at: Option<Duration>,
    ended_at: Option<Duration>,
    /// Whether its iterations were ended before their time.
    cut_short: bool,
    interrupted: bool,
    exit_code: i32,
    exit: Option<ProcessExit>,
    next_gauges: Duration,
    /// Lines that are not written yet, by the moment they come up.
    lines: VecDeque<(Duration, String)>,
    /// What is written and not read yet.
    written: Vec<u8>,
    log: Vec<String>,
    /// How often something was asked of it.
    changes: u64,
    wakers: Vec<Waker>,
}

impl Process {
    /// Starts it, and returns its two ends.
    pub(super) fn start(
        k6: &ScriptedK6,
        index: WorkerIndex,
        script: K6Script,
        linger: bool,
    ) -> (Box<dyn GeneratorControl>, Box<dyn SampleStream>) {
        let now = k6.time.elapsed();
        let life = Life {
            index,
            linger,
            journal: Arc::clone(&k6.journal),
            wall_zero: Timestamp(k6.clock.now().0 - Timestamp(0).plus(now).0),
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
        let process = Self { time: k6.time.clone(), life: Arc::new(Mutex::new(life)) };
        (Box::new(Control(process.clone())), Box::new(Output(process)))
    }

    /// The process as it is now.
    fn now(&self) -> (MutexGuard<'_, Life>, Duration) {
        let now = self.time.elapsed();
        let mut life = self.life.lock().unwrap_or_else(PoisonError::into_inner);
        life.live_until(now);
        (life, now)
    }

    /// Lets it feel a call.
    fn change<T>(&self, change: impl FnOnce(&mut Life, Duration) -> T) -> T {
        let (mut life, now) = self.now();
        let outcome = change(&mut life, now);
        life.settle(now);
        life.changes += 1;
        let wakers = std::mem::take(&mut life.wakers);
        drop(life);
        wakers.into_iter().for_each(Waker::wake);
        outcome
    }

    /// Returns when something was asked of it since `changes`, or at its `next` event.
    async fn happens(&self, changes: u64, next: Option<Duration>) {
        let now = self.time.elapsed();
        let timer = self.time.sleep(next.map_or(Duration::MAX, |next| next.saturating_sub(now)));
        let asked = poll_fn(|context| {
            let (mut life, _) = self.now();
            if life.changes != changes {
                return Poll::Ready(());
            }
            life.wakers.push(context.waker().clone());
            Poll::Pending
        });
        futures::pin_mut!(timer, asked);
        future::select(timer, asked).await;
    }

    /// Waits until `look` finds what it looks for.
    async fn until<T>(&self, mut look: impl FnMut(&mut Life) -> Option<T>) -> T {
        loop {
            let (changes, next) = {
                let (mut life, _) = self.now();
                if let Some(found) = look(&mut life) {
                    return found;
                }
                (life.changes, life.next_event())
            };
            self.happens(changes, next).await;
        }
    }

    async fn exited(&self) -> ProcessExit {
        self.until(|life| life.exit).await
    }

    async fn hook(&self, event: Event, group: &str) -> Result<Option<Vec<u8>>, HookError> {
        let hook = self.change(|life, now| {
            life.alive("calling a hook")?;
            life.note(now, event.clone());
            Ok::<_, GeneratorError>(if event == Event::Setup {
                life.script.setup.clone()
            } else {
                life.script.teardown.clone()
            })
        })?;
        let (after, outcome) = match hook {
            Hook::Nothing => return Ok(None),
            Hook::Returns(after, json) => (after, Ok(Some(json.into_bytes()))),
            Hook::Fails(after, message) => (after, Err(HookError::Script(message))),
        };
        let ends = self.exited();
        let timer = self.time.sleep(after);
        futures::pin_mut!(ends, timer);
        if let Either::Left(_) = future::select(ends, timer).await {
            return Err(gone("calling a hook").into());
        }
        self.change(|life, now| life.write_sample(now, "data_sent", 1.0, &format!(r#"{{"group":"{group}"}}"#)));
        outcome
    }
}

impl Life {
    fn note(&self, at: Duration, event: Event) {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).push((at, self.index, event));
    }

    fn alive(&self, operation: &'static str) -> Result<(), GeneratorError> {
        if self.exit.is_some() { Err(gone(operation)) } else { Ok(()) }
    }

    fn phase(&self, now: Duration) -> GeneratorPhase {
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
    fn next_event(&self) -> Option<Duration> {
        if self.exit.is_some() {
            return None;
        }
        let flush = self.lines.front().map(|(due, _)| self.flushed_at(*due));
        let gauges = Some(self.next_gauges).filter(|_| self.ended_at.is_none());
        [flush, gauges, self.end_of_iterations(), self.death()].into_iter().flatten().min()
    }

    fn live_until(&mut self, now: Duration) {
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
            } else {
                self.flush(at);
            }
            self.settle(at);
        }
    }

    fn death(&self) -> Option<Duration> {
        let (from, after) = match self.script.death.as_ref()?.moment {
            Moment::Started(after) => (self.started_at, after),
            Moment::Resumed(after) => (self.resumed_at?, after),
            Moment::Ended(after) => (self.ended_at?, after),
        };
        from.checked_add(after)
    }

    fn end_of_iterations(&self) -> Option<Duration> {
        if self.ended_at.is_some() { None } else { self.resumed_at?.checked_add(self.script.lasts) }
    }

    fn end(&mut self, at: Duration) {
        self.ended_at = Some(at);
        self.lines.retain(|(due, _)| *due <= at);
        self.note(at, Event::IterationsEnded);
    }

    /// Ends iterations and process if what was asked of it, or its own end, says so.
    fn settle(&mut self, at: Duration) {
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

    fn die(&mut self, at: Duration, exit: ProcessExit) {
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

    fn flushed_at(&self, due: Duration) -> Duration {
        let flushes = due.saturating_sub(self.started_at).as_nanos().div_ceil(FLUSH.as_nanos());
        self.started_at + FLUSH * u32::try_from(flushes).unwrap_or(u32::MAX)
    }

    fn flush(&mut self, at: Duration) {
        while let Some((_, line)) = self.lines.pop_front_if(|(due, _)| *due <= at) {
            self.written.extend_from_slice(line.as_bytes());
        }
    }

    fn write_sample(&mut self, at: Duration, metric: &str, value: f64, tags: &str) {
        let time = rfc3339(self.wall_zero.plus(at));
        let line = format!(
            "{{\"metric\":\"{metric}\",\"type\":\"Point\",\"data\":{{\"time\":\"{time}\",\"value\":{value},\"tags\":{tags}}}}}\n"
        );
        self.write_line(at, line);
    }

    fn write_line(&mut self, at: Duration, line: String) {
        let place = self.lines.partition_point(|(due, _)| *due <= at);
        self.lines.insert(place, (at, line));
    }

    fn resume(&mut self, now: Duration) {
        self.note(now, Event::Resumed);
        self.resumed_at = Some(now);
        for (after, sample) in std::mem::take(&mut self.script.samples) {
            match sample {
                SampleLine::Sample { metric, value, tags } => self.write_sample(now + after, &metric, value, &tags),
                SampleLine::Raw(line) => self.write_line(now + after, line + "\n"),
            }
        }
    }
}

#[async_trait]
impl GeneratorControl for Control {
    async fn phase(&self) -> Result<GeneratorPhase, GeneratorError> {
        let (life, now) = self.0.now();
        life.alive("asking k6 where it is")?;
        Ok(life.phase(now))
    }

    async fn setup(&self) -> Result<Option<Vec<u8>>, HookError> {
        self.0.hook(Event::Setup, "::setup").await
    }

    async fn set_setup_data(&self, json: Vec<u8>) -> Result<(), GeneratorError> {
        self.0.change(|life, now| {
            life.alive("handing over the data of setup()")?;
            life.note(now, Event::TookSetupData(String::from_utf8_lossy(&json).into_owned()));
            Ok(())
        })
    }

    async fn resume(&self) -> Result<(), GeneratorError> {
        self.0.change(|life, now| {
            life.alive("letting k6 run")?;
            if life.phase(now) == GeneratorPhase::Paused {
                life.resume(now);
            }
            Ok(())
        })
    }

    async fn teardown(&self) -> Result<(), HookError> {
        self.0.hook(Event::Teardown, "::teardown").await.map(drop)
    }

    async fn stop_iterations(&self) -> Result<(), GeneratorError> {
        self.0.change(|life, now| {
            life.alive("stopping k6")?;
            life.note(now, Event::Stopped);
            if !life.script.ignores_stop {
                if life.ended_at.is_none() {
                    life.cut_short = true;
                    life.end(now);
                }
                if life.exit_code == code::OK {
                    life.exit_code = code::STOPPED_BY_REST;
                }
            }
            Ok(())
        })
    }

    fn interrupt(&self) {
        self.0.change(|life, now| {
            if life.exit.is_none() && !life.interrupted {
                life.note(now, Event::Interrupted);
                life.interrupted = true;
            }
        });
    }

    fn kill(&self) {
        self.0.change(|life, now| {
            if life.exit.is_none() {
                life.note(now, Event::Killed);
                life.die(now, ProcessExit::Signal(9));
            }
        });
    }

    async fn exited(&self) -> ProcessExit {
        self.0.exited().await
    }

    fn log(&self) -> Vec<String> {
        self.0.now().0.log.clone()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.kill();
    }
}

#[async_trait]
impl SampleStream for Output {
    async fn next(&mut self, piece: &mut Vec<u8>) -> Result<Option<()>, GeneratorError> {
        let read = self.0.until(|life| {
            if life.written.is_empty() {
                return life.exit.map(|_| None);
            }
            let length = PIECE.min(life.written.len());
            Some(Some(life.written.drain(..length).collect()))
        });
        piece.clear();
        Ok(read.await.map(|bytes: Vec<u8>| piece.extend(bytes)))
    }
}

fn gone(operation: &'static str) -> GeneratorError {
    GeneratorError::Process { operation, cause: "k6 has ended".into() }
}

/// A time on the day on which virtual time begins, as k6 writes it.
fn rfc3339(at: Timestamp) -> String {
    const DAY_MICROS: i64 = 86_400_000_000;
    let micros = at.0.rem_euclid(DAY_MICROS);
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    format!("2026-11-22T{:02}:{:02}:{:02}.{fraction:06}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

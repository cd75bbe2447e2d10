//! The process of one simulated k6, and its two ends.

use std::{
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{self, Either};

use crate::{
    ids::WorkerIndex,
    k6::{
        exit::{ProcessExit, code},
        line::{self, Line},
        stream::encode::message,
        time::TimeReader,
    },
    plan::Samples,
    ports::{
        GeneratorControl, GeneratorError, GeneratorPhase, GeneratorSpec, HookError, Piece, SampleStream, Unwritten,
    },
    series::{Metric, MetricKind},
    testing::{
        clock::VirtualTime,
        generator::{
            Event, Hook, K6Script, ScriptedK6,
            life::{Life, gone},
        },
    },
};

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
struct Output {
    process: Process,
    samples: Samples,
}

impl Process {
    /// Starts it, and returns its two ends.
    pub(super) fn start(
        k6: &ScriptedK6,
        index: WorkerIndex,
        script: K6Script,
        GeneratorSpec { linger, segment, samples, .. }: &GeneratorSpec,
    ) -> (Box<dyn GeneratorControl>, Box<dyn SampleStream>) {
        let now = k6.time.elapsed();
        let journal = Arc::clone(&k6.journal);
        let life = Life::begin(script, (index, *segment), *linger, journal, Arc::clone(&k6.clock), now);
        let process = Self { time: k6.time.clone(), life: Arc::new(Mutex::new(life)) };
        (Box::new(Control(process.clone())), Box::new(Output { process, samples: *samples }))
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
            if !life.wakers.iter().any(|known| known.will_wake(context.waker())) {
                life.wakers.push(context.waker().clone());
            }
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

    async fn scale(&self, vus: u64) -> Result<(), GeneratorError> {
        let is_deaf = self.0.change(|life, now| {
            life.alive("scaling k6")?;
            let is_deaf =
                life.ended_at.is_some() || now.saturating_sub(life.started_at) < life.script.deaf_to_scale_until;
            if !is_deaf {
                life.note(now, Event::Scaled(vus));
                life.script.vus =
                    u32::try_from(life.segment.map_or(0, |segment| segment.share(vus))).unwrap_or(u32::MAX);
            }
            Ok::<_, GeneratorError>(is_deaf)
        })?;
        if is_deaf { future::pending().await } else { Ok(()) }
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

    fn unwritten(&self) -> Unwritten {
        self.0.now().0.script.unwritten
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.kill();
    }
}

#[async_trait]
impl SampleStream for Output {
    async fn next(&mut self, piece: &mut Vec<u8>) -> Result<Option<Piece>, GeneratorError> {
        let samples = self.samples;
        let read = self.process.until(|life| {
            let end = match samples {
                Samples::Exact => PIECE.min(life.written.len()),
                Samples::Aggregated => life.written.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1),
            };
            if end == 0 {
                // What is left may be a line that was cut.
                return life.exit.map(|_| None);
            }
            Some(Some(life.written.drain(..end).collect::<Vec<u8>>()))
        });
        let Some(bytes) = read.await else { return Ok(None) };
        *piece = match samples {
            Samples::Exact => bytes,
            Samples::Aggregated => aggregated(&bytes),
        };
        Ok(Some(match samples {
            Samples::Exact => Piece::Lines,
            Samples::Aggregated => Piece::Aggregated,
        }))
    }
}

/// A message with the one sample of a line; what is no sample is no message either.
fn aggregated(line: &[u8]) -> Vec<u8> {
    let Ok(Line::Point(point)) = line::read(line.trim_ascii_end()) else { return line.to_vec() };
    let metric = String::from_utf8_lossy(point.metric).into_owned();
    let kind = Metric::built_in(&metric).map_or(MetricKind::Trend, |metric| metric.kind);
    let second = TimeReader::default().read(point.time).unwrap_or_default().div_euclid(1_000_000_000);
    let tags = line::read_tags(point.tags_json()).unwrap_or_default();
    message(&metric, &tags.iter().collect::<Vec<_>>(), second, &[point.value], kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ports::{Generator, LoadGenerator},
        segment::Segment,
        testing::clock::run_virtual,
    };

    /// Lets a k6 run for 4.15 seconds, or wait if it is not resumed, and then something happen to it. Returns how it ended
    /// and how many of its ten iterations a second it told of.
    fn play(
        linger: bool,
        resumed: bool,
        act: impl AsyncFnOnce(&dyn GeneratorControl, &VirtualTime),
    ) -> (ProcessExit, usize) {
        run_virtual(|time| async move {
            let script = (1..100_u32).fold(K6Script::default(), |script, tenth| {
                script.sample(Duration::from_millis(u64::from(tenth) * 100), "iterations", 1.0, "{}")
            });
            let k6 = ScriptedK6::new(&time, vec![script], "{}");
            let segment = Segment::new(WorkerIndex(0), 1).expect("the only one");
            let Generator { control, mut samples } = k6
                .start(GeneratorSpec {
                    archive: Vec::new(),
                    segment: Some(segment),
                    rps: None,
                    linger,
                    env: Vec::new(),
                    samples: Samples::Exact,
                    secrets: crate::secrets::Secrets::default(),
                })
                .await
                .expect("starts");
            time.sleep(Duration::from_secs(1)).await;
            if resumed {
                control.resume().await.expect("resumes");
            }
            time.sleep(Duration::from_millis(4_150)).await;
            act(&*control, &time).await;
            let (mut output, mut piece) = (Vec::new(), Vec::new());
            while samples.next(&mut piece).await.expect("reads").is_some() {
                output.extend_from_slice(&piece);
            }
            let output = String::from_utf8(output).expect("text");
            (control.exited().await, output.lines().filter(|line| line.contains("iterations")).count())
        })
    }

    #[test]
    fn it_ends_by_itself_unless_it_lingers() {
        assert_eq!(play(false, true, async |_, _| {}), (ProcessExit::Code(0), 99));
        let lingering = play(true, true, async |control, time| {
            time.sleep(Duration::from_mins(1)).await;
            assert_eq!(control.phase().await.expect("answers"), GeneratorPhase::Ended);
            control.interrupt();
        });
        assert_eq!(lingering, (ProcessExit::Code(0), 99));
    }

    #[test]
    fn interrupted_it_ends_at_once_and_writes_what_it_has() {
        let interrupt = async |control: &dyn GeneratorControl, _: &VirtualTime| {
            control.interrupt();
            control.interrupt();
        };
        assert_eq!(play(false, true, interrupt), (ProcessExit::Code(105), 41));
        assert_eq!(play(true, true, interrupt), (ProcessExit::Code(105), 41));
        assert_eq!(play(false, false, interrupt), (ProcessExit::Code(105), 0));
    }

    #[test]
    fn stopped_through_rest_it_lingers_if_it_should() {
        let stopped = play(false, true, async |control, _| control.stop_iterations().await.expect("stops"));
        assert_eq!(stopped, (ProcessExit::Code(103), 41));
        let lingering = play(true, true, async |control, time| {
            control.stop_iterations().await.expect("stops");
            time.sleep(Duration::from_mins(1)).await;
            assert_eq!(control.phase().await.expect("answers"), GeneratorPhase::Interrupted);
            control.teardown().await.expect("runs");
            control.interrupt();
        });
        assert_eq!(lingering, (ProcessExit::Code(103), 41));
    }

    #[test]
    fn killed_it_takes_with_it_what_it_had_not_written() {
        // It writes five times a second.
        assert_eq!(play(true, true, async |control, _| control.kill()), (ProcessExit::Signal(9), 40));
    }
}

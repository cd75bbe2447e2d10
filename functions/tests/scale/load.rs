//! A k6 that writes trends at a steady rate, in the time of the clock on the wall.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use lambdaload_core::{
    k6::{
        dependencies::Dependencies,
        exit::{ProcessExit, code},
        version::K6Version,
    },
    ports::{
        Generator, GeneratorControl, GeneratorError, GeneratorPhase, GeneratorSpec, HookError, LoadGenerator, Piece,
        Printed, SampleStream, ScriptInputs, SummarySpec, Unwritten,
    },
};
use tokio::{sync::watch, time::Instant};

/// k6 hands its samples to its outputs some times a second.
const PIECE: Duration = Duration::from_millis(250);
const PIECES_A_SECOND: u32 = 4;

/// What every worker's k6 does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) series: u32,
    pub(crate) rate: u32,
    pub(crate) lasts: Duration,
    /// So that workers differ.
    pub(crate) seed: u32,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    resumed_at: Option<Instant>,
    exit: Option<ProcessExit>,
}

struct Control {
    load: Load,
    lingers: bool,
    life: watch::Sender<Life>,
}

struct Samples {
    load: Load,
    life: watch::Receiver<Life>,
    /// Pieces that were written.
    written: u64,
}

impl Control {
    fn ends_at(&self) -> Option<Instant> {
        Some(self.life.borrow().resumed_at? + self.load.lasts)
    }

    fn is_over(&self) -> bool {
        self.ends_at().is_some_and(|ends_at| Instant::now() >= ends_at)
    }

    fn exit(&self, exit: ProcessExit) {
        self.life.send_modify(|life| {
            life.exit.get_or_insert(exit);
        });
    }
}

#[async_trait]
impl GeneratorControl for Control {
    async fn phase(&self) -> Result<GeneratorPhase, GeneratorError> {
        Ok(match self.ends_at() {
            None => GeneratorPhase::Paused,
            Some(_) if self.is_over() => GeneratorPhase::Ended,
            Some(_) => GeneratorPhase::Running,
        })
    }

    async fn setup(&self) -> Result<Option<Vec<u8>>, HookError> {
        Ok(None)
    }

    async fn set_setup_data(&self, _: Vec<u8>) -> Result<(), GeneratorError> {
        Ok(())
    }

    async fn resume(&self) -> Result<(), GeneratorError> {
        self.life.send_modify(|life| {
            life.resumed_at.get_or_insert_with(Instant::now);
        });
        Ok(())
    }

    async fn teardown(&self) -> Result<(), HookError> {
        Ok(())
    }

    async fn scale(&self, _: u64) -> Result<(), GeneratorError> {
        Ok(())
    }

    async fn stop_iterations(&self) -> Result<(), GeneratorError> {
        self.exit(ProcessExit::Code(code::STOPPED_BY_REST));
        Ok(())
    }

    fn interrupt(&self) {
        let code = if self.is_over() { code::OK } else { code::EXTERNAL_ABORT };
        self.exit(ProcessExit::Code(code));
    }

    fn kill(&self) {
        self.exit(ProcessExit::Signal(9));
    }

    async fn exited(&self) -> ProcessExit {
        let mut life = self.life.subscribe();
        loop {
            let Life { exit, .. } = *life.borrow_and_update();
            if let Some(exit) = exit {
                return exit;
            }
            match self.ends_at().filter(|_| !self.lingers) {
                Some(ends_at) => {
                    if tokio::time::timeout_at(ends_at, life.changed()).await.is_err() {
                        self.exit(ProcessExit::Code(code::OK));
                    }
                }
                None => _ = life.changed().await,
            }
        }
    }

    fn log(&self) -> Vec<String> {
        Vec::new()
    }

    fn unwritten(&self) -> Unwritten {
        Unwritten::default()
    }
}

impl Samples {
    /// The lines of one piece: so many samples of each trend, of which no two are the same.
    fn write(&self, piece: &mut Vec<u8>) {
        let time = now();
        let number = self.written;
        let mut text = String::new();
        let samples = u64::from(self.load.rate);
        let place = number % u64::from(PIECES_A_SECOND);
        // What does not divide by the pieces of a second is in some of them.
        let mine = samples * (place + 1) / u64::from(PIECES_A_SECOND) - samples * place / u64::from(PIECES_A_SECOND);
        for series in 0..self.load.series {
            for sample in 0..mine {
                let seed = (number * 31 + sample) * 7_919 + u64::from(series * 104_729 + self.load.seed * 613);
                // From 10 ms to about a second, as `wide` in the bench of merging.
                let value = 10.0 * (1.0 + (seed % 1_009) as f64 / 1_009.0 * 100.0);
                let name = if series == 0 { "duration".to_owned() } else { format!("trend_{series:02}") };
                let written = writeln!(
                    text,
                    r#"{{"metric":"http_req_{name}","type":"Point","data":{{"time":"{time}","value":{value:.4},"tags":{{"expected_response":"true","group":"","method":"GET","name":"http://shop.test/","proto":"HTTP/1.1","scenario":"default","status":"200","url":"http://shop.test/"}}}}}}"#
                );
                written.expect("a string takes all");
            }
        }
        piece.extend_from_slice(text.as_bytes());
    }
}

#[async_trait]
impl SampleStream for Samples {
    async fn next(&mut self, piece: &mut Vec<u8>) -> Result<Option<Piece>, GeneratorError> {
        piece.clear();
        let pieces = self.load.lasts.as_secs() * u64::from(PIECES_A_SECOND);
        loop {
            let Life { resumed_at, exit } = *self.life.borrow_and_update();
            let next = resumed_at.filter(|_| self.written < pieces);
            let is_cut_short = exit.is_some_and(|exit| exit != ProcessExit::Code(code::OK));
            match next {
                Some(resumed_at) if !is_cut_short => {
                    let number = u32::try_from(self.written).unwrap_or(u32::MAX);
                    tokio::time::sleep_until(resumed_at + PIECE * number).await;
                    self.write(piece);
                    self.written += 1;
                    return Ok(Some(Piece::Lines));
                }
                _ if exit.is_some() => return Ok(None),
                _ => {
                    if self.life.changed().await.is_err() {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

#[async_trait]
impl LoadGenerator for Load {
    async fn version(&self) -> Result<K6Version, GeneratorError> {
        Ok(K6Version::new(1, 8, 1))
    }

    async fn dependencies(&self, _: &Path) -> Result<Dependencies, GeneratorError> {
        Ok(Dependencies::default())
    }

    async fn extensions(&self) -> Result<BTreeMap<String, String>, GeneratorError> {
        Ok(BTreeMap::new())
    }

    async fn archive(&self, _: &Path, _: &ScriptInputs) -> Result<Vec<u8>, GeneratorError> {
        Err(GeneratorError::NotFound("it only runs".to_owned()))
    }

    async fn inspect(&self, _: &[u8], _: &ScriptInputs) -> Result<Vec<u8>, GeneratorError> {
        Err(GeneratorError::NotFound("it only runs".to_owned()))
    }

    async fn start(&self, spec: GeneratorSpec) -> Result<Generator, GeneratorError> {
        let life = watch::Sender::new(Life::default());
        let samples = Samples { load: *self, life: life.subscribe(), written: 0 };
        let control = Control { load: *self, lingers: spec.linger, life };
        Ok(Generator { control: Box::new(control), samples: Box::new(samples) })
    }

    async fn summarize(&self, _: SummarySpec) -> Result<Printed, GeneratorError> {
        Err(GeneratorError::NotFound("it only runs".to_owned()))
    }
}

/// The time as k6 writes it.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let (days, second) = (now.as_secs() / 86_400, now.as_secs() % 86_400);
    // Days to a date of the Gregorian calendar, by eras of 400 years that begin in March.
    let days = days + 719_468;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = days / 146_097 * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}.{:09}Z", second % 60, now.subsec_nanos())
}

//! What is to be simulated.

use std::time::Duration;

use lambdaload_core::{
    ids::{RunId, WorkerIndex},
    plan::{FargateStack, Pace, Request, Workers},
    run::prepare::{Given, Prepared, Source, prepare},
    testing::{clock::run_virtual, generator::ScriptedK6, stack},
};
use serde::{Deserialize, Serialize};

/// From one worker's launch to the next: nobody launches more of them in a second.
const BETWEEN_LAUNCHES: Duration = Duration::from_millis(4);

/// The only run there is.
pub(crate) fn run_id() -> RunId {
    RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id")
}

/// When a worker is launched, after the first.
pub(crate) fn launched_after(worker: WorkerIndex) -> Duration {
    BETWEEN_LAUNCHES * worker.0
}

/// What is to be simulated, as the parts are told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    pub(crate) workers: u32,
    /// Trends of each worker.
    pub(crate) series: u32,
    /// Samples of each trend and worker in a second.
    pub(crate) rate: u32,
    /// How long the load lasts.
    pub(crate) seconds: u64,
    /// Between two looks, if not as the plan of a run in an account has it.
    pub(crate) poll_ms: Option<u64>,
    /// Between two chunks, likewise.
    pub(crate) flush_ms: Option<u64>,
    /// Whether store and ledger are in the memory of one process, so that the aggregator is seen without any server.
    pub(crate) in_memory: bool,
    pub(crate) s3: String,
    pub(crate) dynamodb: String,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            workers: 50,
            series: 20,
            rate: 10,
            seconds: 10,
            poll_ms: None,
            flush_ms: None,
            in_memory: false,
            s3: String::new(),
            dynamodb: String::new(),
        }
    }
}

impl Setting {
    /// From the words of a command line: `--workers 1000 --seconds 60 --in-memory`.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let mut setting = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let number = words.next().ok_or_else(|| format!("{word}: expected a number"))?;
                number.parse::<u32>().map_err(|_| format!("{word} {number}: expected a number"))
            };
            match word.as_str() {
                "--workers" => setting.workers = number()?,
                "--series" => setting.series = number()?,
                "--rate" => setting.rate = number()?,
                "--seconds" => setting.seconds = number()?.into(),
                "--poll-ms" => setting.poll_ms = Some(number()?.into()),
                "--flush-ms" => setting.flush_ms = Some(number()?.into()),
                "--in-memory" => setting.in_memory = true,
                _ => {
                    return Err(format!(
                        "{word}: expected --workers, --series, --rate, --seconds, --poll-ms, --flush-ms or --in-memory"
                    ));
                }
            }
        }
        Ok(setting)
    }

    /// In which it is over, or something hangs: longer than the deadlines of a run in which workers are lost.
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_mins(8) + Duration::from_secs(self.seconds)
    }

    /// Samples that all workers together write.
    pub(crate) fn samples(&self) -> u64 {
        u64::from(self.workers) * u64::from(self.series) * u64::from(self.rate) * self.seconds
    }

    /// The plan of such a run in an account.
    pub(crate) fn prepare(&self) -> Prepared {
        let options = format!(
            r#"{{"scenarios":{{"default":{{"executor":"constant-vus","vus":{0},"duration":"{1}s","gracefulStop":"5s"}}}},
                "thresholds":{{"http_req_duration":["p(95)<1100"]}},"totalDuration":"{2}s","maxVUs":{0}}}"#,
            self.workers * 2,
            self.seconds,
            self.seconds + 5,
        );
        let stack = FargateStack { capacity: self.workers, ..stack::fargate() };
        let request =
            Request { script: "test.js".into(), workers: Workers::Exactly(self.workers), ..Request::default() };
        let source = Source::Script { path: "test.js".into(), given: Given::default() };
        let prepared = run_virtual(|time| async move {
            let k6 = ScriptedK6::new(&time, Vec::new(), &options);
            prepare(&k6, source, request, stack).await
        });
        let mut prepared = prepared.expect("prepares");
        let pace: &mut Pace = &mut prepared.plan.pace;
        pace.poll = self.poll_ms.map_or(pace.poll, Duration::from_millis);
        pace.flush = self.flush_ms.map_or(pace.flush, Duration::from_millis);
        prepared
    }
}

//! What a test sends, as far as that can be guessed before it ran.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    cost::Assumptions,
    plan::{Plan, PlannedScenario, Ramp, Work, carrier::rounded, load, ramps},
    segment::Segment,
    summary::format::grouped,
};

/// AWS's policy for network stress tests.
const POLICY: &str = "https://aws.amazon.com/ec2/testing/";

/// Bits per second that have long had to be announced if they last for more than a minute, and those that may be shaped.
const ANNOUNCED: f64 = 1e9;
const SHAPED: f64 = 25e9;

/// Bits per second that a function was measured to keep up, whatever its memory.
const BITS_PER_WORKER: f64 = 0.6e9;

/// HTTP requests of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// In all.
    pub requests: f64,
    /// Per second, at most.
    pub peak_per_second: f64,
    /// What is sent with each, in bytes.
    pub request_bytes: u64,
}

impl Traffic {
    /// One request for each iteration, and where VUs loop one for each second of each VU, unless something else was said.
    /// The script's own `rps` is a limit in any case.
    pub(crate) fn of(plan: &Plan, assumed: Assumptions) -> Self {
        let seconds = plan.scheduled().as_secs_f64();
        let (requests, peak) = match assumed.requests_per_second {
            Some(rate) => (rate * seconds, rate),
            None => (plan.scenarios.iter().map(requests).sum(), peak(&plan.scenarios)),
        };
        let limit = plan.rps.map_or(f64::INFINITY, |rps| rps as f64);
        let peak_per_second = peak.min(limit);
        let requests = if limit.is_finite() { requests.min(limit * seconds) } else { requests };
        Self { requests, peak_per_second, request_bytes: assumed.request_bytes }
    }

    /// In all.
    pub fn bytes(&self) -> f64 {
        self.requests * self.request_bytes as f64
    }

    /// At most.
    pub fn bits_per_second(&self) -> f64 {
        self.peak_per_second * self.request_bytes as f64 * 8.0
    }

    /// What AWS, or its network, may have against it.
    pub(super) fn warnings(&self, workers: u32) -> Vec<String> {
        let bits = self.bits_per_second();
        let (rate, bytes) = (rounded(self.peak_per_second), grouped(self.request_bytes));
        let sent = format!("up to {} are sent ({rate} requests/s of {bytes} bytes)", in_gbps(bits));
        let policy = if bits >= SHAPED {
            Some(format!("{sent}; AWS may slow down more than 25 Gbps: {POLICY}"))
        } else if bits >= ANNOUNCED {
            Some(format!("{sent}; AWS may want more than 1 Gbps announced: {POLICY}"))
        } else {
            None
        };
        let each = bits / f64::from(workers.max(1));
        let worker = (each > BITS_PER_WORKER).then(|| {
            let (each, good) = (in_gbps(each), in_gbps(BITS_PER_WORKER));
            let enough = rounded((bits / BITS_PER_WORKER).ceil());
            format!(
                "a worker would send {each}, and Lambda was measured to keep up {good}: take {enough} workers or more"
            )
        });
        policy.into_iter().chain(worker).collect()
    }
}

fn in_gbps(bits: f64) -> String {
    format!("{:.1} Gbps", bits / 1e9)
}

fn requests(scenario: &PlannedScenario) -> f64 {
    let vu_seconds = |vus: u64, ramps: &[Ramp]| ramps::area(vus, 1_000_000_000, ramps, Duration::MAX);
    match &scenario.schedule.work {
        Work::Looping { vus, ramps, .. } => vu_seconds(*vus, ramps),
        Work::Controlled { max_vus, lasts, .. } => *max_vus as f64 * lasts.as_secs_f64(),
        _ => scenario.schedule.iterations().unwrap_or(0) as f64,
    }
}

/// The arrival rates' and the other scenarios' peaks may not meet; together they are never exceeded.
fn peak(scenarios: &[PlannedScenario]) -> f64 {
    let closed: Vec<PlannedScenario> = scenarios.iter().filter(|s| s.peak_rate.is_none()).cloned().collect();
    load::most_rate(scenarios, Segment::WHOLE).unwrap_or(0.0) + load::most_vus(&closed, Segment::WHOLE) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        archive::Archive,
        k6::{options::Options, version::K6Version},
        plan::{Machine, Request},
    };

    fn traffic(options: &str, assumed: Assumptions) -> Traffic {
        let hash = serde_json::from_str("\"ab\"").expect("a hash");
        let archive = Archive { hash, size: 1, files: 1, filename: "file:///a.js".into() };
        let request = Request { script: "a.js".into(), ..Request::default() };
        let options = Options::parse(options.as_bytes()).expect("reads");
        let machine = Machine { cores: 1, open_files: 1_024 };
        let plan = Plan::new(request, archive, K6Version::new(1, 8, 1), &options, machine).expect("plans");
        Traffic::of(&plan, assumed)
    }

    #[test]
    fn an_iteration_or_a_second_of_a_vu_is_a_request() {
        let usual = Assumptions::default();
        let mixed = |rps: &str| {
            format!(
                r#"{{"scenarios":{{
                "rate":{{"executor":"constant-arrival-rate","rate":50,"duration":"10s","preAllocatedVUs":5}},
                "loop":{{"executor":"ramping-vus","startVUs":0,"stages":[{{"duration":"10s","target":20}}]}},
                "each":{{"executor":"per-vu-iterations","vus":3,"iterations":4,"maxDuration":"5s","gracefulStop":"0s","startTime":"50s"}}
                }},"totalDuration":"55s","maxVUs":28{rps}}}"#
            )
        };
        let all = traffic(&mixed(""), usual);
        assert_eq!((all.requests, all.peak_per_second), (500.0 + 100.0 + 12.0, 50.0 + 20.0));
        let limited = traffic(&mixed(r#","rps":10"#), usual);
        assert_eq!((limited.requests, limited.peak_per_second), (550.0, 10.0));
        let told = traffic(&mixed(""), Assumptions { requests_per_second: Some(7.0), ..usual });
        assert_eq!((told.requests, told.peak_per_second), (385.0, 7.0));
    }

    #[test]
    fn aws_s_limits_are_named_when_they_are_reached() {
        let sent = |gbps: f64, workers| {
            Traffic { requests: 1.0, peak_per_second: gbps * 1e9 / 8.0 / 1_000.0, request_bytes: 1_000 }
                .warnings(workers)
        };
        assert_eq!(sent(0.99, 200), Vec::<String>::new());
        assert_eq!(
            sent(1.0, 200),
            ["up to 1.0 Gbps are sent (125,000 requests/s of 1,000 bytes); AWS may want more than 1 Gbps announced: \
                 https://aws.amazon.com/ec2/testing/"]
        );
        assert!(sent(25.0, 200)[0].contains("; AWS may slow down more than 25 Gbps: https://"));
        assert_eq!(
            sent(0.7, 1),
            ["a worker would send 0.7 Gbps, and Lambda was measured to keep up 0.6 Gbps: take 2 workers or more"]
        );
    }
}

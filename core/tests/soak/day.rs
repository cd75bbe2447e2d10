//! A day: aggregators that follow one another a hundred times, a worker that is lost in the third hour, and a system under
//! test that slows down.

use std::time::Duration;

use lambdaload_core::{
    ids::WorkerIndex,
    lifecycle::Phase,
    live::LiveState,
    plan::Pace,
    ports::keys,
    run::launch::{LaunchReply, LaunchRequest},
    testing::{
        generator::{K6Script, SampleLine, Traffic},
        ledger::MemoryLedger,
    },
    timeline::Timeline,
    verdict::{Outcome, ReasonCode, Verdict},
};

use crate::{
    ONE_AT_A_TIME,
    account::{Account, Function, codes, play_within, told},
    allocated::allocated,
    test::{Test, seconds, worker},
};

const HOUR: u64 = 3_600;
const DAY: u64 = 24 * HOUR;

/// As long as Lambda lets a function live.
const AGGREGATOR_LIFE: Duration = seconds(900);

/// What was seen at one moment.
#[derive(Debug)]
struct Look {
    at: Duration,
    allocated: usize,
    /// Bytes of the newest of each.
    live: usize,
    run: usize,
    worker: usize,
    checkpoint: usize,
    sparkline: Vec<f64>,
}

/// What came of a day.
struct Day {
    looks: Vec<Look>,
    verdict: Verdict,
    timeline: Timeline,
    timeline_bytes: usize,
    verdict_bytes: usize,
    aggregators: usize,
    rescues: u32,
    /// The longest time without a sign of life of a worker and of the aggregator.
    longest_silence: Duration,
}

/// Requests of two kinds, each second, whose response times wander about, and grow by so much each hour.
fn requests(second: u64, per_hour: f64) -> Vec<(Duration, SampleLine)> {
    let noise =
        |n: u64| (n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n << 7) >> 40) as f64 / f64::from(1 << 24);
    let hours = second as f64 / HOUR as f64;
    let wave = 15.0 * (second as f64 / 700.0).sin() + 5.0 * (second as f64 / 90.0).sin();
    let lines = (0..2_u64).flat_map(|n| {
        let at = Duration::from_millis(100 + 400 * n);
        let tags = format!(r#"{{"name":"page {n}","status":"200","expected_response":"true"}}"#);
        // In whole milliseconds, so that the buckets of a few requests a second are full before long.
        let value = (100.0 + wave + 60.0 * noise(second * 2 + n) + per_hour * hours).round();
        let failed = f64::from(u32::from((second * 2 + n) % 400 == 7));
        [("http_reqs", 1.0), ("http_req_duration", value), ("http_req_failed", failed), ("iterations", 1.0)]
            .map(|(metric, value)| (at, SampleLine::Sample { metric: metric.into(), value, tags: tags.clone() }))
    });
    lines.collect()
}

fn leaking(second: u64) -> Vec<(Duration, SampleLine)> {
    requests(second, 4.0)
}

fn level(second: u64) -> Vec<(Duration, SampleLine)> {
    requests(second, 0.0)
}

fn test(lasts: Duration, traffic: Traffic) -> Test {
    let script = K6Script { traffic: Some(traffic), ..K6Script::default() };
    let thresholds = r#"{"http_req_duration":["p(95)<1000"],"http_req_duration{name:page 1}":["p(99)<1000"],
        "http_req_failed":["rate<0.01"],"http_reqs":["count>99"]}"#;
    Test { scripts: vec![script; 3], thresholds, min_workers: Some(2), ..Test::of(1, 3) }.lasting(lasts)
}

/// Plays a run; worker 3 is lost silently at a quarter past the third hour begins.
fn play(test: &Test, pace: Pace) -> Day {
    let _turn = ONE_AT_A_TIME.lock();
    let lives = (AGGREGATOR_LIFE, test.duration + seconds(HOUR));
    play_within(test.duration + seconds(2 * HOUR), MemoryLedger::default(), 3, lives, async |account| {
        let LaunchRequest::Start { version, run, mut plan } = account.request(test).await else {
            panic!("a start was asked for")
        };
        plan.pace = pace;
        plan.deadlines.lost = plan.deadlines.lost.max(pace.flush * 5);
        // Whoever looks seldom sees later that all is over.
        plan.deadlines.run += pace.start_lead + pace.flush * 5;
        let reply = account.ask(&LaunchRequest::Start { version, run, plan }).await;
        assert_eq!(reply, Ok(LaunchReply::Launched));
        let (mut looks, mut longest_silence) = (Vec::new(), Duration::ZERO);
        let mut beats = [(0_u64, Duration::ZERO); 3];
        let mut lost = false;
        while account.run(&test.id).state.phase < Phase::Concluded {
            account.time().sleep(seconds(5)).await;
            let now = account.time().elapsed();
            let is_running = account.run(&test.id).state.phase == Phase::Running;
            if now >= seconds(2 * HOUR + 900) && !lost {
                account.kill_worker(&test.id, 3);
                lost = true;
            }
            for (number, seen) in (1_u32..).zip(&mut beats) {
                let beat = match number {
                    // Worker 3 is the one that is lost.
                    3 => Some(account.run(&test.id).aggregator_beat),
                    number => account.ledger().peek_worker(&test.id, worker(number)).map(|worker| worker.beat),
                };
                if beat.is_some_and(|beat| beat > seen.0) || !is_running {
                    *seen = (beat.unwrap_or(seen.0), now);
                }
                longest_silence = longest_silence.max(now.saturating_sub(seen.1));
            }
            if now.as_secs() % 300 < 5 && is_running {
                // Successors begin with a checkpoint, and need no chunk that is two aggregators old.
                forget_old_chunks(
                    account,
                    test,
                    u32::try_from(2 * AGGREGATOR_LIFE.as_secs() / pace.flush.as_secs()).expect("few"),
                );
                looks.push(look(account, test));
            }
        }
        let verdict = account.verdict(&test.id).await;
        account.all_over().await;
        let timeline = account.store().peek(&keys::timeline(&test.id)).expect("is stored");
        Day {
            looks,
            verdict_bytes: serde_json::to_vec(&verdict).expect("JSON").len(),
            verdict,
            timeline_bytes: timeline.len(),
            timeline: serde_json::from_slice(&timeline).expect("JSON"),
            aggregators: account.begun(Function::Aggregator, "").len(),
            rescues: account.run(&test.id).rescues,
            longest_silence,
        }
    })
}

/// A store has room for all; this process should not be measured with it.
fn forget_old_chunks(account: &Account, test: &Test, kept: u32) {
    let newest = (1..=3).filter_map(|n| account.ledger().peek_worker(&test.id, worker(n))).map(|w| w.chunks).max();
    for key in account.store().keys_with(".chunk") {
        let number = key.strip_suffix(".chunk").and_then(|key| key.rsplit('-').next());
        let sequence: u32 = number.and_then(|number| number.parse().ok()).expect("a number");
        if sequence + kept < newest.unwrap_or(0) {
            account.store().lose(&key);
        }
    }
    let checkpoints = account.store().keys_with("checkpoint");
    checkpoints.iter().rev().skip(2).for_each(|key| {
        account.store().lose(key);
    });
}

fn look(account: &Account, test: &Test) -> Look {
    let live = account.store().peek(&keys::live(&test.id)).unwrap_or_default();
    let state: LiveState = serde_json::from_slice(&live).expect("JSON");
    let worker = account.ledger().peek_worker(&test.id, WorkerIndex(0)).expect("is there");
    let checkpoints = account.store().keys_with("checkpoint");
    let checkpoint = checkpoints.last().and_then(|key| account.store().peek(key));
    Look {
        at: account.time().elapsed(),
        allocated: allocated(),
        live: live.len(),
        run: serde_json::to_vec(&account.run(&test.id)).expect("JSON").len(),
        worker: serde_json::to_vec(&worker).expect("JSON").len(),
        checkpoint: checkpoint.map_or(0, |bytes| bytes.len()),
        sparkline: state.latency.map(|latency| latency.history_p95).unwrap_or_default(),
    }
}

impl Day {
    /// What was seen closest to this moment.
    fn at(&self, moment: u64) -> &Look {
        self.looks.iter().min_by_key(|look| look.at.abs_diff(seconds(moment))).expect("looked")
    }

    /// The most between two moments.
    fn most(&self, from: u64, until: u64, of: impl Fn(&Look) -> usize) -> usize {
        let between = self.looks.iter().filter(|look| (from..until).contains(&look.at.as_secs()));
        between.map(of).max().expect("looked")
    }

    #[expect(clippy::print_stdout, reason = "figures for people")]
    fn print(&self) {
        println!("| hour | in use | live state | run's record | worker's record | checkpoint |");
        println!("|--:|--:|--:|--:|--:|--:|");
        for moment in [360, HOUR, 2 * HOUR, 4 * HOUR, 8 * HOUR, 12 * HOUR, 16 * HOUR, 20 * HOUR, DAY - 300] {
            let look = self.at(moment);
            println!(
                "| {:.1} | {:.1} MiB | {} B | {} B | {} B | {:.1} kB |",
                look.at.as_secs_f64() / HOUR as f64,
                look.allocated as f64 / f64::from(1 << 20),
                look.live,
                look.run,
                look.worker,
                look.checkpoint as f64 / 1e3
            );
        }
        println!(
            "timeline {} slices of {} s, {:.1} kB; verdict {:.1} kB; {} aggregators; longest silence {:?}",
            self.timeline.slices.len(),
            self.timeline.slice_seconds,
            self.timeline_bytes as f64 / 1e3,
            self.verdict_bytes as f64 / 1e3,
            self.aggregators,
            self.longest_silence
        );
        for slope in &self.verdict.drift.as_ref().expect("judged").slopes {
            println!(
                "{} {}: {:?}",
                slope.key(),
                slope.statistic,
                (slope.per_hour, slope.low, slope.high, slope.drifts)
            );
        }
    }

    /// What a run of a day and one of an hour have in common.
    fn is_level(&self, flush: Duration) {
        self.print();
        assert!(self.aggregators > 90, "{}", self.aggregators);
        assert_eq!(self.rescues, 0);
        assert!(self.longest_silence <= flush * 4 + seconds(60), "{:?}", self.longest_silence);
        let (minute, hours) = (self.at(360), [8, 23].map(|hour| self.at(hour * HOUR)));
        for later in hours {
            let much_more = |before: usize, now: usize| now > before + before / 8;
            assert!(!much_more(minute.live, later.live), "{minute:?} {later:?}");
            assert!(!much_more(minute.run, later.run), "{minute:?} {later:?}");
            assert!(!much_more(minute.worker, later.worker), "{minute:?} {later:?}");
            // The last seconds are there one by one, however long ago the run began.
            assert!(later.sparkline.iter().filter(|p95| **p95 > 0.0).count() >= 8, "{later:?}");
        }
        let each: [fn(&Look) -> usize; 2] = [|look| look.allocated, |look| look.checkpoint];
        for of in each {
            let (early, late) = (self.most(HOUR, 4 * HOUR, of), self.most(20 * HOUR, DAY, of));
            // With so few requests a second the buckets of wide slices are not full for hours; those of a busy test are.
            assert!(late <= early * 2, "{early} bytes until the fourth hour, {late} in the last four");
        }
        assert!((450..=901).contains(&self.timeline.slices.len()), "{}", self.timeline.slices.len());
        // Nothing was lost on the way but what the lost worker had not uploaded.
        assert_eq!((self.verdict.outcome, codes(&self.verdict)), (Outcome::Passed, vec![ReasonCode::LossAccepted]));
        assert!(told(&self.verdict).starts_with("worker 3 was lost while it ran"), "{}", told(&self.verdict));
        assert_eq!(self.verdict.samples.read, self.verdict.workers[..2].iter().map(|w| w.samples_merged).sum::<u64>());
    }
}

fn drifting(verdict: &Verdict) -> Vec<String> {
    let slopes = verdict.drift.iter().flat_map(|drift| &drift.slopes);
    slopes.filter(|slope| slope.drifts).map(lambdaload_core::verdict::Slope::key).collect()
}

/// Slow enough that a day takes some seconds.
const CALM: Pace = Pace { poll: seconds(20), flush: seconds(20), start_lead: seconds(60) };

#[test]
fn a_day_costs_what_an_hour_does_and_a_leak_is_seen() {
    let day = play(&test(seconds(DAY), leaking), CALM);
    day.is_level(CALM.flush);
    assert_eq!(drifting(&day.verdict), ["http_req_duration", "http_req_duration{name:page 1}"]);
    let slope = &day.verdict.drift.as_ref().expect("judged").slopes[0];
    assert!((slope.per_hour.0 - 4.0).abs() < 0.2 && slope.low.0 < 4.0 && slope.high.0 > 4.0, "{slope:?}");
}

#[test]
#[ignore = "takes minutes: `cargo xtask soak`"]
fn a_day_at_the_pace_of_an_account() {
    let pace = Pace { poll: seconds(1), flush: seconds(2), start_lead: seconds(4) };
    let day = play(&test(seconds(DAY), level), pace);
    day.is_level(pace.flush);
    assert_eq!(drifting(&day.verdict), Vec::<String>::new());
}

use super::*;

fn sample(metric: &str, second: u32, value: f64, tags: &str) -> String {
    format!(
        "{{\"metric\":\"{metric}\",\"type\":\"Point\",\"data\":{{\"time\":\"2026-11-22T12:00:{second:02}.5Z\",\"value\":{value},\"tags\":{tags}}}}}\n"
    )
}

fn watch(metric: &str, tags: &[(&str, &str)], limits: &[f64]) -> Watch {
    let tags = (!tags.is_empty()).then(|| tags.iter().copied().collect());
    Watch { metric: metric.into(), tags, limits: limits.to_vec() }
}

fn count(windows: &[ChunkSeries], name: &str) -> u64 {
    let all: Vec<_> = windows.iter().filter(|s| s.id.to_string() == name).flat_map(|s| &s.windows).collect();
    all.iter().map(|w| w.stats.count()).sum()
}

#[test]
fn a_sample_is_in_its_parent_its_sub_metrics_and_its_tag_set() {
    let mut recorder = Recorder::new(vec![watch("http_req_duration", &[("name", "cart")], &[])], 100);
    for (value, name) in [(1.0, "cart"), (2.0, "cart"), (3.0, "home")] {
        recorder
            .feed(sample("http_req_duration", 1, value, &format!(r#"{{"name":"{name}","status":"200"}}"#)).as_bytes());
    }
    let windows = recorder.take_windows(true);
    assert_eq!(count(&windows, "http_req_duration"), 3);
    assert_eq!(count(&windows, "http_req_duration{name:cart}"), 2);
    assert_eq!(count(&windows, "http_req_duration{name:cart,status:200}"), 2);
    assert_eq!(count(&windows, "http_req_duration{name:home,status:200}"), 1);
    assert_eq!(recorder.counts().samples, 3);
    assert!(recorder.take_windows(true).is_empty(), "what was taken does not come again");
    assert_eq!(recorder.totals().map(|(_, n)| n).sum::<u64>(), 3 + 2 + 2 + 1, "but the totals stay");
}

#[test]
fn pieces_may_be_cut_anywhere() {
    let lines: String = (0..20).map(|i| sample("http_reqs", i, 1.0, r#"{"name":"é😀"}"#)).collect();
    for size in [1, 7, 64, 1000] {
        let mut recorder = Recorder::new(Vec::new(), 100);
        lines.as_bytes().chunks(size).for_each(|piece| recorder.feed(piece));
        recorder.finish();
        assert_eq!((recorder.counts().samples, recorder.counts().refused), (20, 0), "pieces of {size}");
        let windows = recorder.take_windows(true);
        let parent = windows.iter().find(|s| s.id.rollup == Rollup::All).expect("has the parent");
        assert_eq!(parent.windows.len(), 20);
    }
}

#[test]
fn lines_that_cannot_be_read_are_counted_and_the_first_is_kept() {
    let mut recorder = Recorder::new(Vec::new(), 100);
    recorder.feed(b"what is this\n");
    recorder.feed(sample("nobody_declared_me", 1, 1.0, "{}").as_bytes());
    recorder.feed(&vec![b'x'; 3 << 20]);
    recorder.feed(b"still the long line\n");
    recorder.feed(sample("http_reqs", 1, 1.0, "{}").as_bytes());
    recorder.feed(b"{\"metric\":\"http_reqs\",\"ty");
    recorder.finish();
    assert_eq!((recorder.counts().samples, recorder.counts().refused), (1, 4));
    assert_eq!(recorder.counts().first_refused.as_deref(), Some("what is this"));
}

#[test]
fn vus_from_before_the_start_are_no_samples() {
    let mut recorder = Recorder::new(Vec::new(), 100);
    recorder.feed(sample("vus", 1, 0.0, "{}").as_bytes());
    recorder.started(1_795_348_802 * NANOSECONDS);
    recorder.feed(sample("vus", 1, 0.0, "{}").as_bytes());
    recorder.feed(sample("vus", 2, 5.0, "{}").as_bytes());
    assert_eq!((recorder.counts().before_start, recorder.counts().samples), (2, 1));
}

#[test]
fn tag_sets_beyond_the_cap_are_folded_and_parents_and_sub_metrics_stay_whole() {
    let mut recorder = Recorder::new(vec![watch("http_reqs", &[("status", "200")], &[])], 10);
    for i in 0..1000 {
        recorder.feed(sample("http_reqs", 1, 1.0, &format!(r#"{{"status":"200","url":"{i}"}}"#)).as_bytes());
    }
    let windows = recorder.take_windows(true);
    assert_eq!(count(&windows, "http_reqs"), 1000);
    assert_eq!(count(&windows, "http_reqs{status:200}"), 1000);
    assert_eq!(count(&windows, "http_reqs{rest}"), 990);
    assert_eq!((recorder.counts().folded, recorder.leaves.len()), (990, 11));
}

#[test]
fn metadata_makes_no_new_series() {
    let mut recorder = Recorder::new(Vec::new(), 100);
    for i in 0..50 {
        let tags = format!(r#"{{"scenario":"default"}},"metadata":{{"iter":"{i}"}}"#);
        recorder.feed(sample("http_reqs", 1, 1.0, &tags).as_bytes());
    }
    assert_eq!((recorder.leaves.len(), recorder.counts().samples), (1, 50));
}

#[test]
fn coarse_windows_wait_until_they_are_over() {
    let mut recorder = Recorder::new(Vec::new(), 100);
    recorder.feed(sample("http_reqs", 1, 1.0, r#"{"a":"b"}"#).as_bytes());
    let early = recorder.take_windows(false);
    assert_eq!((count(&early, "http_reqs"), count(&early, "http_reqs{a:b}")), (1, 0));
    recorder.feed(sample("http_reqs", 31, 1.0, r#"{"a":"b"}"#).as_bytes());
    let later = recorder.take_windows(false);
    assert_eq!((count(&later, "http_reqs"), count(&later, "http_reqs{a:b}")), (1, 1));
    assert_eq!(count(&recorder.take_windows(true), "http_reqs{a:b}"), 1);
}

#[test]
fn limits_are_counted_beside_the_windows() {
    let mut recorder = Recorder::new(
        vec![watch("http_req_duration", &[], &[2.0]), watch("http_req_duration", &[("a", "b")], &[2.0, 3.0])],
        100,
    );
    for (value, tags) in [(1.0, r#"{"a":"b"}"#), (2.0, r#"{"a":"b"}"#), (5.0, "{}")] {
        recorder.feed(sample("http_req_duration", 1, value, tags).as_bytes());
    }
    let windows = recorder.take_windows(true);
    let limits = |name: &str| {
        let series = windows.iter().find(|s| s.id.to_string() == name).expect("is there");
        series.limits.iter().map(|l| (l.limit, l.count())).collect::<Vec<_>>()
    };
    assert_eq!(limits("http_req_duration"), [(2.0, 3)]);
    assert_eq!(limits("http_req_duration{a:b}"), [(2.0, 2), (3.0, 2)]);
}

fn secrets(values: &[&str]) -> Secrets {
    values.iter().map(|value| (value.to_uppercase(), (*value).to_owned())).collect()
}

#[test]
fn secrets_are_in_no_series_and_tag_sets_that_become_equal_are_one() {
    let mut recorder = Recorder::new(Vec::new(), 100).with_secrets(secrets(&["hunter2", "hunter3", "sh op"]));
    let tags = |name: &str| format!(r#"{{"name":"{name}","url":"http://h/?t={name}&s=sh%20op"}}"#);
    for (value, name) in [(1.0, "hunter2"), (9.0, "hunter3"), (2.0, "hunter2"), (3.0, "cart")] {
        recorder.feed(sample("http_req_duration", 1, value, &tags(name)).as_bytes());
    }
    for name in ["hunter2", "hunter3"] {
        let tags = format!(r#"{{"check":"{name} works","group":"::{name}"}}"#);
        recorder.feed(sample("checks", 1, 1.0, &tags).as_bytes());
    }
    recorder.feed(format!("{} not what k6 writes: hunter2\n", "x".repeat(170)).as_bytes());
    let windows = recorder.take_windows(true);
    let shown = format!("{windows:?} {:?}", recorder.counts());
    assert!(!["hunter", "sh op", "sh%20op"].iter().any(|secret| shown.contains(secret)), "{shown}");
    assert_eq!(count(&windows, "http_req_duration{name:***,url:http://h/?t=***&s=***}"), 3);
    assert_eq!(count(&windows, "http_req_duration{name:cart,url:http://h/?t=cart&s=***}"), 1);
    assert_eq!(count(&windows, "checks{check:*** works,group:::***}"), 2 + 2, "as a check and as a tag set");
    let mut totals: Vec<u64> = recorder.totals().map(|(_, total)| total).collect();
    totals.sort_unstable();
    assert_eq!(totals, [1, 2, 2, 2, 3, 4], "each series once");
    let refused = recorder.counts().first_refused.clone().expect("one");
    assert!(refused.ends_with("writes: ***"), "{refused}");
}

#[test]
fn a_secret_that_is_an_everyday_word_changes_no_sub_metric() {
    let watches = vec![watch("http_reqs", &[("name", "cart")], &[])];
    let mut recorder = Recorder::new(watches, 100).with_secrets(secrets(&["cart"]));
    for name in ["cart", "home"] {
        recorder.feed(sample("http_reqs", 1, 1.0, &format!(r#"{{"name":"{name}"}}"#)).as_bytes());
    }
    let windows = recorder.take_windows(true);
    assert_eq!((count(&windows, "http_reqs{name:cart}"), count(&windows, "http_reqs{name:***}")), (1, 1));
}

proptest::proptest! {
    /// Lines that came as expected are read like those that are put together from pieces, which never are.
    #[test]
    fn what_is_expected_is_read_as_what_is_not(
        lines in proptest::collection::vec((0_usize..6, 0_u32..9, -9_i32..99, 0_usize..4), 0..80),
    ) {
        let text: String = lines
            .into_iter()
            .map(|(metric, second, value, tags)| {
                let metric = ["http_reqs", "http_req_duration", "http_req_failed", "vus", "nobody_s", "checks"][metric];
                let tags = [r#"{"name":"a"}"#, r#"{"name":"b, c"}"#, "{}", r#"{"x":"y"},"metadata":{"vu":"1"}"#][tags];
                if value < -7 { "no line\n".into() } else { sample(metric, second, f64::from(value) / 4.0, tags) }
            })
            .collect();
        let read = |size: usize| {
            let mut recorder = Recorder::new(vec![watch("http_reqs", &[("name", "a")], &[3.0])], 6);
            recorder.started(1_795_348_804 * NANOSECONDS);
            text.as_bytes().chunks(size).for_each(|piece| recorder.feed(piece));
            recorder.finish();
            (recorder.counts().clone(), recorder.take_windows(true))
        };
        proptest::prop_assert_eq!(read(1 << 20), read(3));
    }
}

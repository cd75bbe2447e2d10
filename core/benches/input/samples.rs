//! Samples as k6 tells of them: 14 for each HTTP request, 200 tag sets.

use std::{collections::BTreeMap, fmt::Write as _};

use lambdaload_core::{recorder::Watch, series::Metric, testing::aggregated_message};

/// Requests in a second.
const RATE: u32 = 10_000;

/// 2026-11-22 12:00:00 UTC, in seconds since the Unix epoch.
const NOON: i64 = 1_795_348_800;

const TRENDS: [&str; 7] = ["duration", "blocked", "connecting", "tls_handshaking", "sending", "waiting", "receiving"];

/// Hands out the samples of one HTTP request: metric, value and tags.
fn samples(request: u32, mut sample: impl FnMut(&str, f64, &[(&str, &str)])) {
    let url = format!("http://shop.test/item/{}", request % 20);
    let tags = [
        ("expected_response", "true"),
        ("group", ""),
        ("method", "GET"),
        ("name", url.as_str()),
        ("proto", "HTTP/1.1"),
        ("scenario", "default"),
        ("status", "200"),
        ("url", url.as_str()),
    ];
    sample("http_reqs", 1.0, &tags);
    for (trend, scale) in TRENDS.iter().zip(1..) {
        sample(&format!("http_req_{trend}"), f64::from((request * 7919) % 10_007) / f64::from(scale * 97), &tags);
    }
    sample("http_req_failed", 0.0, &tags);
    sample("checks", 1.0, &[("check", "status is 200"), ("group", ""), ("scenario", "default")]);
    for (metric, value) in
        [("data_sent", 123.0), ("data_received", 2345.0), ("iteration_duration", 12.345), ("iterations", 1.0)]
    {
        sample(metric, value, &[("group", ""), ("scenario", "default")]);
    }
}

/// Lines of `requests` HTTP requests within some seconds.
pub(crate) fn lines(requests: u32) -> String {
    let mut text = String::new();
    for request in 0..requests {
        let time = format!("2026-11-22T12:00:{:02}.{:09}Z", request / RATE, (request % RATE) * 100_000 + 1_234);
        samples(request, |metric, value, tags| {
            let tags: Vec<String> = tags.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
            let line = writeln!(
                text,
                r#"{{"metric":"{metric}","type":"Point","data":{{"time":"{time}","value":{value},"tags":{{{}}}}}}}"#,
                tags.join(",")
            );
            assert!(line.is_ok(), "a string takes all");
        });
    }
    text
}

/// The same samples as one message of k6's aggregated ones.
pub(crate) fn message(requests: u32) -> Vec<u8> {
    let mut gathered = BTreeMap::<_, Vec<f64>>::new();
    for request in 0..requests {
        samples(request, |metric, value, tags| {
            let tags: Vec<(String, String)> =
                tags.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            gathered.entry((request / RATE, metric.to_owned(), tags)).or_default().push(value);
        });
    }
    let series = gathered.iter().flat_map(|((second, metric, tags), values)| {
        let tags: Vec<(&str, &str)> = tags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let kind = Metric::built_in(metric).expect("only k6's own").kind;
        aggregated_message(metric, &tags, NOON + i64::from(*second), values, kind)
    });
    // Protocol buffers one after the other are one with the lists of both.
    series.collect()
}

/// What thresholds and the summary ask for.
pub(crate) fn watches() -> Vec<Watch> {
    let tags = Some([("expected_response", "true")].into_iter().collect());
    vec![
        Watch { metric: "http_req_duration".into(), tags: None, limits: vec![50.0] },
        Watch { metric: "http_req_duration".into(), tags, limits: vec![] },
    ]
}

//! Lines as k6 writes them: 14 for each HTTP request, 200 tag sets.

use std::fmt::Write as _;

use lambdaload_core::recorder::Watch;

/// Lines of `requests` HTTP requests within some seconds.
pub(crate) fn lines(requests: u32) -> String {
    let mut text = String::new();
    let trends = ["duration", "blocked", "connecting", "tls_handshaking", "sending", "waiting", "receiving"];
    for i in 0..requests {
        let time = format!("2026-11-22T12:00:{:02}.{:09}Z", i / 10_000, (i % 10_000) * 100_000 + 1_234);
        let tags = format!(
            r#"{{"expected_response":"true","group":"","method":"GET","name":"http://shop.test/item/{}","proto":"HTTP/1.1","scenario":"default","status":"200","url":"http://shop.test/item/{}"}}"#,
            i % 20,
            i % 20
        );
        let mut point = |metric: &str, value: f64, tags: &str| {
            let line = writeln!(
                text,
                r#"{{"metric":"{metric}","type":"Point","data":{{"time":"{time}","value":{value},"tags":{tags}}}}}"#
            );
            assert!(line.is_ok(), "a string takes all");
        };
        point("http_reqs", 1.0, &tags);
        for (trend, scale) in trends.iter().zip(1..) {
            point(&format!("http_req_{trend}"), f64::from((i * 7919) % 10_007) / f64::from(scale * 97), &tags);
        }
        point("http_req_failed", 0.0, &tags);
        point("checks", 1.0, r#"{"check":"status is 200","group":"","scenario":"default"}"#);
        for (metric, value) in
            [("data_sent", 123.0), ("data_received", 2345.0), ("iteration_duration", 12.345), ("iterations", 1.0)]
        {
            point(metric, value, r#"{"group":"","scenario":"default"}"#);
        }
    }
    text
}

/// What thresholds and the summary ask for.
pub(crate) fn watches() -> Vec<Watch> {
    let tags = Some([("expected_response", "true")].into_iter().collect());
    vec![
        Watch { metric: "http_req_duration".into(), tags: None, limits: vec![50.0] },
        Watch { metric: "http_req_duration".into(), tags, limits: vec![] },
    ]
}

//! What a person may have meant.

/// k6's own metrics that thresholds are usually set on.
pub(crate) const BUILT_IN_METRICS: [&str; 18] = [
    "checks",
    "data_received",
    "data_sent",
    "dropped_iterations",
    "group_duration",
    "grpc_req_duration",
    "http_req_blocked",
    "http_req_connecting",
    "http_req_duration",
    "http_req_failed",
    "http_req_receiving",
    "http_req_sending",
    "http_req_tls_handshaking",
    "http_req_waiting",
    "http_reqs",
    "iteration_duration",
    "iterations",
    "vus",
];

/// Names below this similarity (of 1) are others, not the same one mistyped.
const SIMILAR: f64 = 0.85;

/// The most similar name, if there is one that is similar enough.
pub(crate) fn one_of<'n>(meant: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let rated = names.into_iter().map(|name| (strsim::jaro_winkler(meant, name), name));
    let (similarity, name) = rated.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (similarity >= SIMILAR).then_some(name)
}

#[cfg(test)]
mod tests {
    use lambdaload_core::series::Metric;

    use super::*;

    #[test]
    fn slips_are_recognised_and_other_names_are_not() {
        for (meant, name) in [
            ("http_req_durations", Some("http_req_duration")),
            ("check", Some("checks")),
            ("my_trend", None),
            ("", None),
        ] {
            assert_eq!(one_of(meant, BUILT_IN_METRICS), name, "{meant}");
        }
        assert_eq!(one_of("chekout.js", ["soak.js", "checkout.js"]), Some("checkout.js"));
    }

    #[test]
    fn the_built_in_metrics_are_built_in() {
        assert!(BUILT_IN_METRICS.into_iter().all(|name| Metric::built_in(name).is_some()));
    }
}

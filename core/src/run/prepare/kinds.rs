//! Of which type a metric is whose samples may never come.
//!
//! A threshold such as `rate<0.1` may be on a counter or on a rate. Samples tell; without any, a counter's rate is 0 and
//! is compared, but of a rate k6 knows no value and passes the threshold. k6 knows the type before the test, from the
//! script's init code, and says it only when it refuses an aggregation that the type does not have. So it is asked for one.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    archive::with_thresholds,
    ports::{GeneratorError, LoadGenerator, ScriptInputs},
    series::{Metric, MetricKind},
    threshold::{Aggregation, Threshold},
};

/// What only a counter has.
const OF_COUNTERS: &str = "count>=0";

/// Finds out which of the metrics that their thresholds leave open are rates. What cannot be found out stays open.
pub(super) async fn find_out(
    generator: &dyn LoadGenerator,
    archive: &[u8],
    inputs: &ScriptInputs,
    thresholds: &mut [Threshold],
) {
    let mut open = open_metrics(thresholds);
    while !open.is_empty() {
        let probes: BTreeMap<&str, [&str; 1]> = open.iter().map(|name| (name.as_str(), [OF_COUNTERS])).collect();
        let Ok(probe) = with_thresholds(archive, &probes) else { return };
        let (known, kind) = match generator.inspect(&probe, inputs).await {
            Ok(_) => (std::mem::take(&mut open), MetricKind::Counter),
            // It stops at the first.
            Err(GeneratorError::Refused { log, .. }) => (rates_in(&log, &mut open), MetricKind::Rate),
            Err(_) => return,
        };
        if known.is_empty() {
            return;
        }
        for threshold in thresholds.iter_mut().filter(|threshold| known.contains(&threshold.selector.metric)) {
            threshold.kind = Some(kind);
        }
    }
}

/// Metrics of the script's own of which no threshold tells the type.
fn open_metrics(thresholds: &[Threshold]) -> BTreeSet<String> {
    let name = |threshold: &Threshold| threshold.selector.metric.clone();
    let told: BTreeSet<String> = thresholds.iter().filter(|t| t.aggregation != Aggregation::Rate).map(name).collect();
    let rates = thresholds.iter().filter(|t| t.aggregation == Aggregation::Rate).map(name);
    rates.filter(|name| !told.contains(name) && Metric::built_in(name).is_none()).collect()
}

/// Takes those out that k6 says are rates: `… applied on metric errors; reason: unsupported aggregation method count on
/// metric of type rate. …`
fn rates_in(log: &[String], open: &mut BTreeSet<String>) -> BTreeSet<String> {
    let names = log.iter().filter(|message| message.contains("on metric of type rate")).filter_map(|message| {
        let (_, rest) = message.split_once("applied on metric ")?;
        open.take(rest.split_once(';')?.0)
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_tells_is_open() {
        let thresholds = [
            ("errors", "rate<0.1"),
            ("errors{page:a}", "rate<0.1"),
            ("sold", "rate>1"),
            ("sold", "count>5"),
            ("http_req_failed", "rate<0.1"),
            ("wait", "p(95)<5"),
        ];
        let thresholds: Vec<Threshold> =
            thresholds.iter().map(|(key, text)| Threshold::parse(key, text).expect("reads")).collect();
        assert_eq!(open_metrics(&thresholds), BTreeSet::from(["errors".to_owned()]));
    }

    #[test]
    fn the_type_is_taken_from_k6s_refusal() {
        let said = "invalid threshold \"count>=0\" applied on metric errors; reason: unsupported aggregation method count on metric of type rate. supported aggregation methods for this metric are: rate";
        let mut open = BTreeSet::from(["errors".to_owned(), "sold".to_owned()]);
        assert_eq!(rates_in(&[said.to_owned()], &mut open), BTreeSet::from(["errors".to_owned()]));
        assert_eq!(open, BTreeSet::from(["sold".to_owned()]));
        assert_eq!(rates_in(&["Error: something else".to_owned()], &mut open), BTreeSet::new());
    }
}

//! The document of k6's `--new-machine-readable-summary` (k6 1.5 and later).

use serde_json::{Map, Value, json};

use super::{
    export::number,
    text::{by_name, listed, share},
    trend_value,
};
use crate::verdict::{MetricSummary, Summary, Values, Verdict};

/// The version of k6's schema for it.
const SCHEMA_VERSION: &str = "1.0.0";

/// k6's names of the statistics that this shape knows, and the names that it gives them.
const TREND_STATS: [(&str, &str); 6] =
    [("avg", "avg"), ("max", "max"), ("med", "med"), ("min", "min"), ("p(90)", "p90"), ("p(95)", "p95")];

/// The merged result in that shape. `script` is the main script's source, `generated_at` a time as in RFC 3339.
///
/// It has neither groups nor thresholds, and lists the metrics that the text does; k6's own order of metrics is random.
/// Of an archive k6 gives the whole tar as the script, and here it is the script in it.
pub fn machine_readable(verdict: &Verdict, script: &str, generated_at: &str) -> Value {
    let summary = &verdict.summary;
    let k6 = verdict.k6_version;
    let metrics: Vec<Value> =
        listed(&summary.metrics, summary.mode).into_iter().map(|(_, metric)| entry(metric, summary)).collect();
    json!({
        "config": { "duration": number(verdict.duration_ms / 1000.0), "execution": "local", "script": script },
        "metadata": {
            "generated_at": generated_at,
            "k6_version": format!("{}.{}.{}", k6.major, k6.minor, k6.patch),
        },
        "results": { "checks": checks(summary), "metrics": metrics },
        "version": SCHEMA_VERSION,
    })
}

fn entry(metric: &MetricSummary, summary: &Summary) -> Value {
    json!({ "contains": metric.contains, "name": metric.key(), "type": metric.kind, "values": values(metric, summary) })
}

fn values(metric: &MetricSummary, summary: &Summary) -> Value {
    match &metric.values {
        Values::Trend { .. } => {
            let asked = |stat: &str| summary.trend_stats.iter().any(|asked| asked == stat);
            let value = |stat| trend_value(&metric.values, stat).filter(|_| asked(stat)).map_or(Value::Null, number);
            TREND_STATS.iter().map(|(stat, name)| ((*name).to_owned(), value(stat))).collect::<Map<_, _>>().into()
        }
        Values::Counter { count, .. } => json!({ "count": number(count.0) }),
        Values::Gauge { value, min, max } => {
            json!({ "max": number(max.0), "min": number(min.0), "value": number(value.0) })
        }
        Values::Rate { rate, passes, fails } => matches(*passes, passes + fails, rate.0),
    }
}

fn matches(matches: u64, total: u64, rate: f64) -> Value {
    json!({ "matches": matches, "rate": number(rate), "total": total })
}

fn checks(summary: &Summary) -> Value {
    let all = summary.metrics.iter().find(|m| m.name == "checks" && m.suffix.is_none());
    let Some(Values::Rate { passes, fails, .. }) = all.map(|m| &m.values) else {
        return json!({ "metrics": [], "results": [] });
    };
    let total = passes + fails;
    let metric =
        |name, kind, values: Value| json!({ "contains": "default", "name": name, "type": kind, "values": values });
    let results = by_name(&summary.checks).into_iter();
    json!({
        "metrics": [
            metric("checks_total", "counter", json!({ "count": total })),
            metric("checks_failed", "rate", matches(*fails, total, share(*fails, total))),
            metric("checks_succeeded", "rate", matches(*passes, total, share(*passes, total))),
        ],
        "results": results
            .map(|(name, passes, fails)| json!({ "fails": fails, "name": name, "passes": passes }))
            .collect::<Vec<_>>(),
    })
}

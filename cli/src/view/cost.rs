//! Money, as people read it.

use lambdaload_core::{
    cost::{Estimate, Item},
    plan::Plan,
};

use super::numbers;

/// Below this a part is not worth a word.
const CENT: f64 = 0.01;

/// `about $0.22`, `less than $0.01`.
pub(crate) fn about(dollars_: f64) -> String {
    if dollars_ < CENT { format!("less than {}", dollars(CENT)) } else { format!("about {}", dollars(dollars_)) }
}

/// `$0.22`, `$1,204`.
pub(crate) fn dollars(dollars: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    let cents = (dollars * 100.0).round() as u64;
    if cents >= 100_000 {
        format!("${}", numbers::count((cents + 50) / 100))
    } else {
        format!("${}.{:02}", cents / 100, cents % 100)
    }
}

/// What an estimate is made of: `workers $0.19, requests $0.02, egress $0.01 for an assumed 1.2 kB a request`.
pub(crate) fn parts(estimate: &Estimate) -> String {
    let part = |what: Item, name: &str| {
        let part = estimate.part(what);
        (part >= CENT / 2.0).then(|| format!("{name} {}", dollars(part)))
    };
    let egress = match part(Item::Egress, "egress") {
        Some(egress) => egress,
        None => format!("egress less than {}", dollars(CENT)),
    };
    let each = numbers::bytes(estimate.traffic.request_bytes as f64);
    let named = [
        part(Item::Workers, "workers"),
        part(Item::Aggregator, "aggregator"),
        part(Item::Requests, "requests"),
        part(Item::Logs, "logs"),
        Some(format!("{egress} for an assumed {each} a request")),
    ];
    named.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What an estimate rests on.
pub(crate) fn basis(estimate: &Estimate, plan: &Plan) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    let requests = numbers::count(estimate.traffic.requests.round() as u64);
    let rates = plan.scenarios.iter().any(|scenario| scenario.schedule.iterations().is_some());
    let loops = plan.scenarios.iter().any(|scenario| scenario.schedule.iterations().is_none());
    let guess = match (estimate.requests_were_given, rates, loops) {
        (true, ..) => "as --assume-rps says",
        (_, true, false) => "one for each iteration",
        (_, false, _) => "one for each VU and second",
        (_, true, true) => "one for each iteration, and where VUs loop one for each VU and second",
    };
    let region = plan.platform.lambda().map(|stack| stack.region.as_str()).filter(|_| !estimate.is_regional);
    let region = region.map(|region| format!("; {region} may differ")).unwrap_or_default();
    format!("{}{region}; {requests} requests, {guess}", estimate.prices)
}

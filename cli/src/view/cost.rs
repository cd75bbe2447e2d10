//! Money, as people read it.

use lambdaload_core::{
    cost::{Estimate, Item},
    plan::{Plan, PlannedScenario},
};

use super::numbers;

/// Below this a part is not worth a word.
const CENT: f64 = 0.01;

/// `about $0.22`, `less than $0.01`.
pub(crate) fn about(amount: f64) -> String {
    if amount < CENT { format!("less than {}", dollars(CENT)) } else { format!("about {}", dollars(amount)) }
}

/// `$0.22`, `$1,204`.
pub(crate) fn dollars(amount: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    let cents = (amount * 100.0).round() as u64;
    if cents >= 100_000 {
        format!("${}", numbers::count((cents + 50) / 100))
    } else {
        format!("${}.{:02}", cents / 100, cents % 100)
    }
}

/// What an estimate is made of: `workers $0.19, requests $0.02, egress $0.01 for an assumed 1.2 kB a request`.
pub(crate) fn parts(estimate: &Estimate) -> String {
    let named = |name: &str, part: f64| (part >= CENT / 2.0).then(|| format!("{name} {}", dollars(part)));
    let egress = named("egress", estimate.part(Item::Egress));
    let egress = egress.unwrap_or_else(|| format!("egress less than {}", dollars(CENT)));
    let each = numbers::bytes(estimate.traffic.request_bytes as f64);
    let parts = [
        named("workers", estimate.part(Item::Workers)),
        named("addresses", estimate.part(Item::Addresses)),
        named("requests", estimate.part(Item::Requests)),
        named("rest", estimate.part(Item::Aggregator) + estimate.part(Item::Logs)),
        Some(format!("{egress} for an assumed {each} a request")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What an estimate rests on, in two lines.
pub(crate) fn basis(estimate: &Estimate, plan: &Plan) -> [String; 2] {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    let requests = numbers::count(estimate.traffic.requests.round() as u64);
    let counted = |scenario: &PlannedScenario| scenario.schedule.iterations().is_some();
    let (counts, loops) = (plan.scenarios.iter().any(counted), !plan.scenarios.iter().all(counted));
    let guess = match (estimate.requests_were_given, counts, loops) {
        (true, ..) => "as --assume-rps says",
        (false, true, true) => "one for each iteration, and where VUs loop one for each VU and second",
        (false, true, false) => "one for each iteration",
        (false, false, _) => "one for each VU and second",
    };
    let region = plan.platform.region().filter(|_| !estimate.is_regional);
    let region = region.map(|region| format!("; {region} may differ")).unwrap_or_default();
    [format!("assumed {requests} requests: {guess}"), format!("{}{region}, no free tier", estimate.prices)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_rounded_to_cents_and_never_to_nothing() {
        assert_eq!([0.004, 0.01, 0.219, 999.0, 1_204.4].map(dollars), ["$0.00", "$0.01", "$0.22", "$999.00", "$1,204"]);
        assert_eq!([0.0, 0.009, 0.22].map(about), ["less than $0.01", "less than $0.01", "about $0.22"]);
    }
}

//! The blocks of k6's full mode below the totals: a tree of groups, then the scenarios, each with its own groups.

use super::{
    BOLD, Style, order, printable,
    text::{Part, indent, title},
    wrap::wrapped,
};
use crate::{
    aggregate::MAX_GROUPS,
    plan::{SummaryMode, plural},
    recorder::MAX_TAG_SETS,
    verdict::{GroupSummary, LeftOut, Verdict},
};

/// One group and the groups in it. One that has no sample of its own, but a group in it has, is no less a group.
#[derive(Default)]
struct Node<'a> {
    name: &'a str,
    own: Option<&'a GroupSummary>,
    inner: Vec<Node<'a>>,
}

/// All groups and scenarios, and what is left out of them.
pub(super) fn blocks(verdict: &Verdict, style: &Style) -> String {
    let mut text = String::new();
    for group in tree(verdict, None) {
        text += &title(&format!("GROUP: {}", printable(group.name)), style);
        text += &group.results(verdict, 0, style);
    }
    let mut scenarios: Vec<&str> = verdict.summary.groups.iter().filter_map(|g| g.scenario.as_deref()).collect();
    scenarios.sort_by(|a, b| order::compare(a, b).then_with(|| a.cmp(b)));
    scenarios.dedup();
    for name in scenarios {
        let of_scenario = |g: &&GroupSummary| g.scenario.as_deref() == Some(name) && g.group.is_none();
        let scenario =
            Node { name, own: verdict.summary.groups.iter().find(of_scenario), inner: tree(verdict, Some(name)) };
        text += &title(&format!("SCENARIO: {}", printable(name)), style);
        text += &scenario.results(verdict, 0, style);
    }
    text + &left_out(verdict, style)
}

/// The groups of a scenario in the order of their first samples. k6 keeps them in a JavaScript object, in which names
/// that are whole numbers come first, by size.
fn tree<'a>(verdict: &'a Verdict, scenario: Option<&str>) -> Vec<Node<'a>> {
    let mut root = Node::default();
    for group in verdict.summary.groups.iter().filter(|g| g.scenario.as_deref() == scenario) {
        let Some(path) = group.group.as_deref() else { continue };
        let mut place = &mut root;
        for name in path.split("::").skip(1) {
            let known = place.inner.iter().position(|node| node.name == name);
            let position = known.unwrap_or_else(|| {
                place.inner.push(Node { name, ..Node::default() });
                place.inner.len() - 1
            });
            place = &mut place.inner[position];
        }
        place.own = Some(group);
    }
    root.sort();
    root.inner
}

/// The number that a JavaScript object takes a name for.
fn array_index(name: &str) -> Option<u32> {
    name.parse().ok().filter(|number: &u32| *number < u32::MAX && number.to_string() == name)
}

impl Node<'_> {
    fn sort(&mut self) {
        // Stable: all other names stay where they are, behind the numbers.
        self.inner.sort_by_key(|node| array_index(node.name).unwrap_or(u32::MAX));
        self.inner.iter_mut().for_each(Node::sort);
    }

    /// Checks, metrics and the groups within, `depth` groups deep.
    fn results(&self, verdict: &Verdict, depth: usize, style: &Style) -> String {
        let own = self.own.map(|own| Part { verdict, metrics: &own.metrics, checks: &own.checks });
        let mut text = own.map(|own| own.results(SummaryMode::Full, depth, style)).unwrap_or_default();
        for group in &self.inner {
            let words = format!("GROUP: {}", printable(group.name));
            text += &format!("{}↳ {} \n\n", indent(depth + 1), style.paint(BOLD, &words));
            text += &group.results(verdict, depth + 1, style);
        }
        text
    }
}

/// What groups and scenarios lack, and why. k6 has no such block: it keeps every sample.
fn left_out(verdict: &Verdict, style: &Style) -> String {
    let LeftOut { metrics, groups } = &verdict.summary.left_out;
    let mut sentences = Vec::new();
    if !metrics.is_empty() {
        let why = if verdict.samples.folded > 0 {
            let tag_sets = super::format::grouped(MAX_TAG_SETS as u64);
            format!(
                "a worker keeps {tag_sets} tag sets apart, and there were more. A `name` tag on requests makes fewer."
            )
        } else {
            "the last ones of a worker were lost.".to_owned()
        };
        sentences.push(format!(
            "{}: groups and scenarios are shown without, because not every sample is known with its tags: {why}",
            metrics.join(", ")
        ));
    }
    if *groups > 0 {
        sentences.push(format!(
            "{}: the summary has room for {MAX_GROUPS} groups and scenarios",
            plural(*groups, "more group")
        ));
    }
    if sentences.is_empty() {
        return String::new();
    }
    sentences.iter().fold(title("LEFT OUT", style), |text, sentence| text + &wrapped(sentence, 4, 6, style))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{summary::k6_blocks, testing::sample};

    fn group(scenario: Option<&str>, path: Option<&str>) -> GroupSummary {
        GroupSummary {
            scenario: scenario.map(str::to_owned),
            group: path.map(str::to_owned),
            metrics: Vec::new(),
            checks: Vec::new(),
        }
    }

    #[test]
    fn numbers_come_first_and_the_rest_as_it_was() {
        let mut verdict = sample::verdict();
        verdict.summary.groups =
            ["::b", "::10", "::a::x", "::2", "::02", "::a"].map(|path| group(None, Some(path))).to_vec();
        let names: Vec<&str> = tree(&verdict, None).iter().map(|node| node.name).collect();
        assert_eq!(names, ["2", "10", "b", "a", "02"]);
    }

    #[test]
    fn what_is_left_out_is_said_and_a_name_cannot_steer_the_terminal() {
        let mut verdict = sample::verdict();
        verdict.summary.groups = vec![group(Some("\u{1b}[2Jbuy"), None), group(None, Some("::\u{7}cart"))];
        verdict.summary.left_out = LeftOut { metrics: vec!["http_reqs".into(), "size".into()], groups: 3 };
        let said = |verdict: &Verdict| {
            let text = k6_blocks(verdict, SummaryMode::Full, &Style::default());
            text.split_once("GROUP: ").expect("groups").1.to_owned()
        };
        let lost = "\u{fffd}cart \n\n\n  █ SCENARIO: \u{fffd}[2Jbuy \n\n\n  █ LEFT OUT \n
    http_reqs, size: groups and scenarios are shown without, because not every
      sample is known with its tags: the last ones of a worker were lost.
    3 more groups: the summary has room for 100 groups and scenarios
";
        assert_eq!(said(&verdict), lost);
        verdict.samples.folded = 7;
        let folded = "sample is known with its tags: a worker keeps 4,000 tag sets apart, and
      there were more. A `name` tag on requests makes fewer.
    3 more";
        assert!(said(&verdict).contains(folded), "{}", said(&verdict));
    }

    #[test]
    fn the_mode_chooses_how_much_is_shown() {
        let mut verdict = sample::verdict();
        verdict.summary.groups = vec![group(Some("buy"), None)];
        let shown = |mode| k6_blocks(&verdict, mode, &Style::default());
        assert_eq!(shown(SummaryMode::Disabled), "");
        let (compact, full) = (shown(SummaryMode::Compact), shown(SummaryMode::Full));
        assert!(!compact.contains("http_req_waiting") && !compact.contains("SCENARIO"), "{compact}");
        assert!(full.contains("http_req_waiting") && full.ends_with("  █ SCENARIO: buy \n\n"), "{full}");
    }
}

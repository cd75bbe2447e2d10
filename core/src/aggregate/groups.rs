//! What each group and each scenario measured, as k6's full summary has it: merged from complete tag sets.
//!
//! k6 adds a sample to its own group, not to the groups around that one, and to its scenario. The scenario `default` is
//! not shown as one: its groups stand on their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    aggregate::{Aggregate, Merged, summary::values},
    plan::Plan,
    series::{Metric, Rollup, SeriesId},
    stats::Stats,
    verdict::{CheckSummary, GroupSummary, LeftOut, MetricSummary},
};

/// Groups and scenarios that a verdict keeps, each about three kilobytes if it has HTTP requests: a script that names its
/// groups by what it reads must not make the verdict huge.
pub const MAX_GROUPS: usize = 100;

/// A scenario, or none; and in it a group, or none for the scenario as a whole.
type Place<'a> = (Option<&'a str>, Option<String>);

/// What was measured in one place.
struct Measured<'a> {
    /// The least of any series; so the places have the order of their first samples.
    ordinal: u32,
    metrics: BTreeMap<&'a Metric, Stats>,
    /// By group and name: ordinal, samples, and those that held.
    checks: BTreeMap<(&'a str, &'a str), (u32, u64, u64)>,
}

impl Aggregate {
    /// Groups and scenarios with their figures, and what is left out of them.
    pub(super) fn groups(&self, plan: &Plan, duration: Duration) -> (Vec<GroupSummary>, LeftOut) {
        let incomplete = self.metrics_with_samples_of_unknown_tags();
        let mut places: BTreeMap<Place<'_>, Measured<'_>> = BTreeMap::new();
        for (id, merged) in self.series.iter().filter(|(id, _)| id.rollup == Rollup::TagSet) {
            for place in places_of(id) {
                let measured = places.entry(place).or_insert_with(Measured::new);
                measured.ordinal = measured.ordinal.min(merged.ordinal);
                if !incomplete.contains(id.metric.name.as_str()) {
                    measured.add(id, merged);
                }
            }
        }
        let mut places: Vec<(Place<'_>, Measured<'_>)> = places.into_iter().collect();
        // Stable: the scenario is before its groups.
        places.sort_by_key(|(_, measured)| measured.ordinal);
        let beyond = places.len().saturating_sub(MAX_GROUPS);
        places.truncate(MAX_GROUPS);
        let left_out = LeftOut {
            // Without groups nothing is missing from them.
            metrics: incomplete.into_iter().filter(|_| !places.is_empty()).map(str::to_owned).collect(),
            groups: beyond as u64,
        };
        let groups = places.into_iter().map(|(place, measured)| measured.summary(place, plan, duration));
        (groups.collect(), left_out)
    }

    /// The paths of all groups that k6 has timed or that have checks, in the order of their first samples.
    pub(super) fn group_paths(&self) -> Vec<String> {
        let mut ordinals: BTreeMap<&str, u32> = BTreeMap::new();
        let series = self.series.iter().filter(|(id, _)| id.rollup == Rollup::TagSet || id.rollup == Rollup::Check);
        for (id, merged) in series.filter(|(id, _)| matches!(id.metric.name.as_str(), "group_duration" | "checks")) {
            if let Some(path) = id.tags.get("group").filter(|path| !path.is_empty()) {
                let ordinal = ordinals.entry(path).or_insert(u32::MAX);
                *ordinal = merged.ordinal.min(*ordinal);
            }
        }
        let mut paths: Vec<(u32, &str)> = ordinals.into_iter().map(|(path, ordinal)| (ordinal, path)).collect();
        paths.sort_unstable();
        paths.into_iter().map(|(_, path)| path.to_owned()).collect()
    }

    /// Metrics of which some samples are known by metric only: those of tag sets beyond the cap, and the last ones of a
    /// worker that was lost.
    fn metrics_with_samples_of_unknown_tags(&self) -> BTreeSet<&str> {
        let mut samples: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (id, merged) in &self.series {
            let (all, with_tags) = samples.entry(&id.metric.name).or_default();
            match id.rollup {
                Rollup::All => *all += merged.total.count(),
                Rollup::TagSet => *with_tags += merged.total.count(),
                Rollup::Selector | Rollup::Check | Rollup::Rest => {}
            }
        }
        samples.into_iter().filter(|(_, (all, with_tags))| all != with_tags).map(|(name, _)| name).collect()
    }
}

/// Where k6 counts the samples of a tag set, besides the totals.
fn places_of(id: &SeriesId) -> impl Iterator<Item = Place<'_>> {
    let scenario = id.tags.get("scenario").filter(|name| *name != "default");
    // k6 does not mind if a script's own `group` tag lacks the colons.
    let group = id.tags.get("group").unwrap_or_default();
    let group = group.strip_prefix("::").unwrap_or(group);
    let hook = matches!(group, "setup" | "teardown");
    let group = (!group.is_empty() && !hook).then(|| (scenario, Some(format!("::{group}"))));
    scenario.map(|name| (Some(name), None)).into_iter().chain(group)
}

impl<'a> Measured<'a> {
    fn new() -> Self {
        Self { ordinal: u32::MAX, metrics: BTreeMap::new(), checks: BTreeMap::new() }
    }

    fn add(&mut self, id: &'a SeriesId, merged: &Merged) {
        let stats = self.metrics.entry(&id.metric).or_insert_with(|| Stats::empty(id.metric.kind));
        // Both are of the metric's type.
        let total = merged.total.stats();
        _ = stats.merge(&total);
        if id.metric.name == "checks"
            && let (Some(check), Stats::Rate { count, trues }) = (id.tags.get("check"), &*total)
        {
            let group = id.tags.get("group").unwrap_or_default();
            let (ordinal, all, held) = self.checks.entry((group, check)).or_insert((u32::MAX, 0, 0));
            *ordinal = merged.ordinal.min(*ordinal);
            *all += count;
            *held += trues;
        }
    }

    fn summary(self, (scenario, group): Place<'_>, plan: &Plan, duration: Duration) -> GroupSummary {
        let metrics = self.metrics.into_iter().map(|(metric, stats)| MetricSummary {
            name: metric.name.clone(),
            suffix: None,
            kind: metric.kind,
            contains: metric.contains,
            values: values(&stats, &plan.summary.trend_stats, duration),
        });
        let mut checks: Vec<_> = self.checks.into_iter().collect();
        checks.sort_by_key(|(_, (ordinal, ..))| *ordinal);
        let checks = checks.into_iter().map(|((group, name), (_, all, held))| CheckSummary {
            group: group.to_owned(),
            name: name.to_owned(),
            passes: held,
            fails: all - held,
        });
        GroupSummary {
            scenario: scenario.map(str::to_owned),
            group,
            metrics: metrics.collect(),
            checks: checks.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        aggregate::tests::{aggregate, chunks, sample},
        ids::RunId,
        recorder::Recorder,
        testing::contract::sample_run,
        verdict::Values,
    };

    fn tags(scenario: &str, group: &str) -> String {
        format!(r#"{{"scenario":"{scenario}","group":"{group}"}}"#)
    }

    fn groups(aggregate: &Aggregate) -> (Vec<GroupSummary>, LeftOut) {
        let plan = sample_run(&RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id")).plan;
        aggregate.groups(&plan, Duration::from_secs(10))
    }

    fn names(groups: &[GroupSummary]) -> Vec<(Option<&str>, Option<&str>)> {
        groups.iter().map(|g| (g.scenario.as_deref(), g.group.as_deref())).collect()
    }

    #[test]
    fn a_sample_is_in_its_group_and_its_scenario_and_in_no_group_around() {
        let worker = |values: [f64; 2]| {
            let lines = [
                sample("size", 1, values[0], &tags("default", "::a::b")),
                sample("size", 1, values[1], &tags("buy", "::a")),
                sample("size", 1, 9.0, &tags("buy", "")),
                sample("size", 1, 9.0, r#"{"group":"::setup"}"#),
                sample("group_duration", 1, 1.0, r#"{"group":"::setup::in"}"#),
            ];
            let declared =
                r#"{"type":"Metric","data":{"name":"size","type":"trend","contains":"default"},"metric":"size"}"#;
            vec![format!("{declared}\n{}", lines.concat())]
        };
        let merged = aggregate(&chunks(&[worker([1.0, 2.0]), worker([3.0, 4.0])], &[]));
        let (groups, left_out) = groups(&merged);
        let expected =
            [(None, Some("::a::b")), (Some("buy"), None), (Some("buy"), Some("::a")), (None, Some("::setup::in"))];
        assert_eq!((names(&groups).as_slice(), left_out), (expected.as_slice(), LeftOut::default()));
        let sums: Vec<(u64, f64)> = groups[..3]
            .iter()
            .map(|group| match &group.metrics[0].values {
                Values::Trend { count, avg, .. } => (*count, avg.0 * *count as f64),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(sums, [(2, 4.0), (4, 24.0), (2, 6.0)]);
        assert_eq!(merged.group_paths(), ["::setup::in"], "k6's tree is of what it timed and of checks");
    }

    #[test]
    fn a_metric_with_folded_samples_is_left_out_of_groups_and_others_are_not() {
        let mut recorder = Recorder::new(Vec::new(), 3);
        let lines: Vec<String> = ["/1", "/2", "/3"]
            .iter()
            .map(|url| sample("http_reqs", 1, 1.0, &format!(r#"{{"url":"{url}","group":"::a"}}"#)))
            .collect();
        recorder.feed(sample("iterations", 1, 1.0, &tags("buy", "")).as_bytes());
        recorder.feed(lines.concat().as_bytes());
        assert_eq!(recorder.counts().folded, 1);
        let mut chunk = chunks(&[vec![String::new()]], &[]).remove(0);
        chunk.series = recorder.take_windows(true);
        let (groups, left_out) = groups(&aggregate(&[chunk]));
        assert_eq!(left_out.metrics, ["http_reqs"]);
        let metrics: Vec<Vec<&str>> =
            groups.iter().map(|g| g.metrics.iter().map(|m| m.name.as_str()).collect()).collect();
        assert_eq!(metrics, [vec!["iterations"], vec![]], "the group is there, without a wrong figure");
    }

    #[test]
    fn a_lost_worker_takes_its_open_tag_sets_with_it() {
        let piece = |second| sample("http_reqs", second, 1.0, &tags("buy", ""));
        let all = chunks(&[vec![piece(1), piece(2)]], &[]);
        assert_eq!(groups(&aggregate(&all)).1, LeftOut::default());
        // The first chunk has the second's window, and not yet the tag set's of half a minute.
        let (_, left_out) = groups(&aggregate(&all[..1]));
        assert_eq!(left_out.metrics, Vec::<String>::new(), "no group is known at all");
        let other = chunks(&[vec![], vec![piece(1)]], &[]);
        let (known, left_out) = groups(&aggregate(&[all[0].clone(), other[0].clone()]));
        assert_eq!(
            (names(&known).as_slice(), left_out.metrics),
            ([(Some("buy"), None)].as_slice(), vec!["http_reqs".to_owned()])
        );
    }

    #[test]
    fn a_script_that_makes_up_groups_does_not_make_the_verdict_huge() {
        let lines: String =
            (0..300).map(|n| sample("group_duration", 1, 1.0, &tags("default", &format!("::{n}")))).collect();
        let (groups, left_out) = groups(&aggregate(&chunks(&[vec![lines]], &[])));
        assert_eq!((groups.len(), left_out.groups), (MAX_GROUPS, 300 - MAX_GROUPS as u64));
        assert_eq!(groups[0].group.as_deref(), Some("::0"));
    }
}

//! What percentiles are made of: every single sample, or what k6 has gathered of them.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    histogram::RELATIVE_ERROR,
    k6::{options::Options, stream},
    plan::Plan,
    threshold::Threshold,
};

/// Tags without which k6 refuses to aggregate, whatever its version.
const NEEDED_TAGS: [&str; 6] = ["name", "method", "status", "error", "check", "group"];

/// How a worker reads its k6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Samples {
    /// Each sample by itself, from k6's JSON output.
    #[default]
    Exact,
    /// What k6 has gathered of each series in each second. It costs k6 less.
    Aggregated,
}

/// Why k6 would not aggregate the samples of a test, or a threshold would find none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AggregatedError {
    /// The script switches tags off.
    #[error(
        "--samples aggregated: k6 needs the system tags {} for that, and the script's options.systemTags leave them out\n\
         add them there, or leave --samples out", .0.join(", ")
    )]
    SystemTags(Vec<&'static str>),
    /// A sub-metric by a tag that aggregated samples do not have.
    #[error(
        "--samples aggregated: the threshold on {key} asks for the tag `{tag}`, which k6 leaves out of aggregated samples\n\
         take another tag, or leave --samples out"
    )]
    Tag {
        /// The threshold's key.
        key: String,
        /// The tag.
        tag: String,
    },
}

impl Samples {
    /// Reads the value of `--samples`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "exact" => Ok(Self::Exact),
            "aggregated" => Ok(Self::Aggregated),
            _ => Err("expected exact or aggregated"),
        }
    }

    /// How long after it was taken a sample may be told to the worker: k6 writes five times a second, and sends what it
    /// has gathered a second after each second's end.
    pub fn delay(self) -> Duration {
        Duration::from_secs(match self {
            Self::Exact => 1,
            Self::Aggregated => 4,
        })
    }

    /// What a worker reads of k6: a `line`, or a `message`.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Exact => "line",
            Self::Aggregated => "message",
        }
    }

    /// The largest relative error of percentiles.
    pub fn percentile_error(self) -> f64 {
        match self {
            Self::Exact => RELATIVE_ERROR,
            Self::Aggregated => stream::RELATIVE_ERROR,
        }
    }

    /// Refuses a test whose samples cannot be had in this way.
    pub(super) fn check(self, options: &Options, thresholds: &[Threshold]) -> Result<(), AggregatedError> {
        if self == Self::Exact {
            return Ok(());
        }
        let missing: Vec<_> = NEEDED_TAGS.into_iter().filter(|tag| !options.has_system_tag(tag)).collect();
        if !missing.is_empty() {
            return Err(AggregatedError::SystemTags(missing));
        }
        for threshold in thresholds {
            let tags = threshold.selector.tags();
            if let Some((tag, _)) = tags.iter().find(|(tag, _)| stream::leaves_out(tag)) {
                return Err(AggregatedError::Tag { key: threshold.selector.key(), tag: tag.to_owned() });
            }
        }
        Ok(())
    }
}

impl Plan {
    /// What `--samples aggregated` would save where it is not used, if that is much; for people.
    pub fn samples_hint(&self) -> Option<&'static str> {
        (self.samples == Samples::Exact && self.k6_version.writes_json_slowly()).then_some(
            "exact; on k6 2.x --samples aggregated takes about half the CPU time a request, with percentiles within 0.78 %",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(system_tags: &str) -> Options {
        let text = format!(r#"{{"systemTags":{system_tags},"totalDuration":"1s","maxVUs":1}}"#);
        Options::parse(text.as_bytes()).expect("reads")
    }

    fn check(samples: Samples, system_tags: &str, key: &str) -> Result<(), String> {
        let threshold = Threshold::parse(key, "count>1").expect("reads");
        samples.check(&options(system_tags), &[threshold]).map_err(|error| error.to_string())
    }

    #[test]
    fn what_k6_would_refuse_is_refused_before_anything_starts() {
        let all = r#"["name","method","status","error","check","group"]"#;
        assert_eq!(check(Samples::Aggregated, "null", "http_reqs{name:a}"), Ok(()));
        assert_eq!(check(Samples::Aggregated, all, "http_reqs"), Ok(()));
        assert_eq!(check(Samples::Exact, r#"["name"]"#, "http_reqs{vu:1}"), Ok(()));
        let refused = check(Samples::Aggregated, r#"["name","status","vu"]"#, "http_reqs").expect_err("refused");
        assert!(refused.contains("the system tags method, error, check, group for that"), "{refused}");
        for tag in ["vu", "iter", "__mine", "test_run_id"] {
            let refused = check(Samples::Aggregated, all, &format!("http_reqs{{name:a,{tag}:1}}"));
            assert!(refused.expect_err("refused").contains(&format!("asks for the tag `{tag}`")));
        }
    }

    #[test]
    fn names_are_read() {
        assert_eq!(Samples::parse("exact"), Ok(Samples::Exact));
        assert_eq!(Samples::parse("aggregated"), Ok(Samples::Aggregated));
        assert!(Samples::parse("Exact").is_err());
    }
}

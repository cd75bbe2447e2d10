//! `lambdaload.toml`: what a team does not want to type again.

use std::{
    collections::BTreeMap,
    fmt,
    io::ErrorKind,
    num::NonZeroU64,
    path::{Path, PathBuf},
    time::Duration,
};

use lambdaload_core::{
    cost::Prices,
    plan::{Samples, SummaryMode, Workers},
};
use serde::{Deserialize, Deserializer, de};

use crate::{
    args::{Form, TimeUnitName},
    error::Failure,
    platform_args::{PlatformName, parse_dollars, parse_positive, parse_queue_timeout},
};

/// The file's name; it is looked for in the current folder.
pub(crate) const FILE_NAME: &str = "lambdaload.toml";

/// The file's contents. Paths are relative to its folder, which is the current one.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(crate) struct FileSettings {
    /// The script to run without an argument.
    pub(crate) script: Option<PathBuf>,
    /// See `--workers`.
    #[serde(deserialize_with = "workers")]
    pub(crate) workers: Option<Workers>,
    /// See `--min-workers`.
    pub(crate) min_workers: Option<u32>,
    /// See `--name`.
    pub(crate) name: Option<String>,
    /// See `--note`.
    pub(crate) note: Option<String>,
    /// See `-e`.
    pub(crate) env: BTreeMap<String, Scalar>,
    /// See `--env-file`.
    pub(crate) env_file: Option<PathBuf>,
    /// See `--secret`.
    pub(crate) secrets: Vec<String>,
    /// See `--tag`.
    pub(crate) tags: BTreeMap<String, Scalar>,
    /// See `--k6`.
    pub(crate) k6: Option<PathBuf>,
    /// See `--dir`.
    pub(crate) dir: Option<PathBuf>,
    /// See `--out-dir`.
    pub(crate) out_dir: Option<PathBuf>,
    /// See `--summary-export`.
    pub(crate) summary_export: Option<PathBuf>,
    /// See `--summary-trend-stats`.
    pub(crate) summary_trend_stats: Option<Vec<String>>,
    /// See `--summary-time-unit`.
    pub(crate) summary_time_unit: Option<TimeUnitName>,
    /// See `--summary-mode`.
    #[serde(deserialize_with = "summary_mode")]
    pub(crate) summary_mode: Option<SummaryMode>,
    /// See `--new-machine-readable-summary`.
    pub(crate) new_machine_readable_summary: bool,
    /// See `--samples`.
    #[serde(deserialize_with = "samples")]
    pub(crate) samples: Option<Samples>,
    /// See `--no-thresholds`.
    pub(crate) no_thresholds: bool,
    /// See `--output`.
    pub(crate) output: Option<Form>,
    /// See `--platform`.
    pub(crate) platform: Option<PlatformName>,
    /// See `--stack`.
    pub(crate) stack: Option<String>,
    /// See `--region`.
    pub(crate) region: Option<String>,
    /// See `--profile`.
    pub(crate) profile: Option<String>,
    /// See `--vus-per-worker`.
    pub(crate) vus_per_worker: Option<NonZeroU64>,
    /// See `--queue-timeout`.
    #[serde(deserialize_with = "queue_timeout")]
    pub(crate) queue_timeout: Option<Duration>,
    /// See `--reserve-concurrency`.
    pub(crate) reserve_concurrency: Option<u32>,
    /// See `--cpu`.
    pub(crate) cpu: Option<u32>,
    /// See `--memory`.
    pub(crate) memory: Option<u32>,
    /// See `--subnet-ids`.
    pub(crate) subnet_ids: Vec<String>,
    /// See `--security-group-ids`.
    pub(crate) security_group_ids: Vec<String>,
    /// The opposite of `--no-assign-public-ip`.
    pub(crate) assign_public_ip: Option<bool>,
    /// See `--spot`.
    pub(crate) spot: bool,
    /// See `--max-cost`.
    #[serde(deserialize_with = "max_cost")]
    pub(crate) max_cost: Option<f64>,
    /// See `--yes`.
    pub(crate) yes: bool,
    /// See `--assume-rps`.
    #[serde(deserialize_with = "assume_rps")]
    pub(crate) assume_rps: Option<f64>,
    /// See `--assume-request-bytes`.
    pub(crate) assume_request_bytes: Option<u64>,
    /// Prices in dollars, over those that lambdaload knows.
    pub(crate) prices: Prices,
}

impl FileSettings {
    /// Reads the file in a folder; no file is no settings.
    pub(crate) fn read(folder: &Path) -> Result<Self, Failure> {
        match std::fs::read_to_string(folder.join(FILE_NAME)) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Failure::not_valid(format!("{FILE_NAME} cannot be read")).detail(error.to_string())),
        }
    }

    /// Reads the file's text.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start));
            let place = before.map(|before| format!(", line {}", before.matches('\n').count() + 1)).unwrap_or_default();
            Failure::not_valid(format!(
                "{FILE_NAME}{place}: {}",
                error.message().replacen("unknown field", "unknown key", 1)
            ))
        })
    }
}

/// A value of a table of texts, for which a person may also write a number or a truth value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scalar(pub(crate) String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Self)
    }
}

struct ScalarVisitor;

impl de::Visitor<'_> for ScalarVisitor {
    type Value = String;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text, a number, true or false")
    }

    fn visit_str<E>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_i64<E>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<String, E> {
        Ok(truth.to_string())
    }
}

/// A number, or a text as after `--workers`.
fn workers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Workers>, D::Error> {
    read("workers", super::parse_workers, deserializer)
}

/// A word as after `--samples`.
fn samples<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Samples>, D::Error> {
    read("samples", Samples::parse, deserializer)
}

/// A duration as after `--queue-timeout`.
fn queue_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    read("queue-timeout", parse_queue_timeout, deserializer)
}

/// Dollars as after `--max-cost`.
fn max_cost<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    read("max-cost", parse_dollars, deserializer)
}

/// A number as after `--assume-rps`.
fn assume_rps<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    read("assume-rps", parse_positive, deserializer)
}

/// What is read as the value of a flag is.
fn read<'de, T, E: fmt::Display, D: Deserializer<'de>>(
    key: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let Scalar(text) = Scalar::deserialize(deserializer)?;
    parse(&text).map(Some).map_err(|expected| de::Error::custom(format!("{key} = {text}: {expected}")))
}

/// A mode as after `--summary-mode`.
fn summary_mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SummaryMode>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mode = SummaryMode::parse(&text);
    mode.map(Some).map_err(|expected| de::Error::custom(format!("summary-mode = {text}: {expected}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        FileSettings::parse(text).expect_err("refused").headline
    }

    #[test]
    fn unknown_keys_are_named_with_the_known_ones() {
        let message = refused("script = \"a.js\"\nwrokers = 4\n");
        assert!(
            message.starts_with("lambdaload.toml, line 2: unknown key `wrokers`, expected one of `script`, `workers`"),
            "{message}"
        );
        assert!(message.contains("`summary-trend-stats`"), "{message}");
    }

    #[test]
    fn values_of_the_wrong_kind_are_named_with_their_line() {
        assert_eq!(
            refused("workers = \"many\""),
            "lambdaload.toml, line 1: workers = many: expected a number or `auto`"
        );
        assert!(
            refused("\n[env]\nHOSTS = [1]")
                .starts_with("lambdaload.toml, line 3: invalid type: sequence, expected a text")
        );
        assert_eq!(
            refused("summary-mode = \"fll\""),
            "lambdaload.toml, line 1: summary-mode = fll: expected compact, full or disabled"
        );
        assert!(refused("output = \"xml\"").contains("expected `human` or `json`"));
    }

    #[test]
    fn texts_numbers_and_truth_values_are_variables() {
        let file = FileSettings::parse("workers = 4\n[env]\nHOST = \"h\"\nUSERS = 5\nFAST = true").expect("reads");
        assert_eq!(file.workers, Some(Workers::Exactly(4)));
        let values: Vec<&str> = file.env.values().map(|value| value.0.as_str()).collect();
        assert_eq!(values, ["true", "h", "5"]);
    }

    #[test]
    fn the_example_is_one() {
        let text = include_str!("../../../examples/lambdaload.toml");
        FileSettings::parse(text).expect("reads");
        // Every key is shown, set or commented out.
        for key in [
            "script",
            "workers",
            "name",
            "note",
            "k6",
            "dir",
            "out-dir",
            "summary-export",
            "summary-trend-stats",
            "summary-time-unit",
            "summary-mode",
            "new-machine-readable-summary",
            "no-thresholds",
            "output",
            "env-file",
            "secrets",
            "platform",
            "stack",
            "region",
            "profile",
            "vus-per-worker",
            "queue-timeout",
            "reserve-concurrency",
            "max-cost",
            "yes",
            "assume-rps",
            "assume-request-bytes",
            "[prices]",
            "[env]",
            "[tags]",
        ] {
            assert!(text.lines().any(|line| line.trim_start_matches("# ").starts_with(key)), "{key}");
        }
    }
}

//! Versions of k6, and all that differs between them as far as we are concerned. Code elsewhere asks here.
//!
//! | since | what changed | what follows |
//! |---|---|---|
//! | 1.0 | `k6 version --json`, all exit codes but 110 | an older one is refused: [`K6Version::check_supported`] |
//! | 1.1 | `exec.test.fail()`, exit code 110 | a script that calls it needs 1.1, as it does without us |
//! | 1.2 | extensions are fetched by default; another variable switches that off | both variables are always set |
//! | 1.3 | `--summary-mode=disabled`; `--no-summary` is gone in 2.0 | [`K6Version::no_summary_flag`] |
//! | 1.6 | `k6 deps` | [`K6Version::lists_dependencies`] |
//! | 1.8 | archives name what they depend on; 2.0 does, too | where they don't, `k6 deps` is asked, if there is one |
//! | 1.8 | aggregated samples no longer have a gauge's least and greatest value swapped | [`super::stream`] sorts them |
//! | 2.0 | no REST API unless asked for; on port 6565 before | nothing: an address of its own is always given |
//! | 2.0 | infinite samples are not written but counted in an error; written as `+Inf`, which is no JSON, before | [`super::line`] reads that; the error makes a verdict invalid, since k6's own summary would have them |
//! | 2.0 | `<`, `>` and `&` in tags are written as they are; as `\u003c` before | nothing: tags are read as JSON, once a series |
//! | 2.0 | `externally-controlled` is gone | k6 itself refuses it when it archives the script |
//! | 2.0 | each line of the JSON output is written by itself, and made at twice the cost | [`K6Version::writes_json_slowly`]: a plan says what aggregated samples would save |
//! | 2.1 | percentiles outside 0 to 100 are refused | nothing: k6 decides which thresholds there are |
//! | 2.1 | feature flags, which add tags to all samples | none is ever switched on |
//!
//! In none of the tested versions do aggregated samples, like k6's own summary, say of a gauge that was never above 0 what its greatest
//! value was: they say 0.
//!
//! In all versions times may carry an offset (`+02:00`), trailing zeros are left out, and tags may be `null`; so
//! [`super::time`] and [`super::line`] read all of that from each.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A version of k6, as `k6 version --json` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct K6Version {
    /// `1` of 1.8.1.
    pub major: u32,
    /// `8` of 1.8.1.
    pub minor: u32,
    /// `1` of 1.8.1.
    pub patch: u32,
}

/// The versions on which all tests run, by rising version. What lies between them is taken to work like them.
pub const TESTED: [K6Version; 3] = [K6Version::new(1, 1, 0), K6Version::new(1, 8, 1), K6Version::new(2, 2, 0)];

/// A k6 that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// No version could be read.
    #[error("`{0}` is not a version of k6: expected something like v1.8.1")]
    Unreadable(String),
    /// Before 1.0.
    #[error("k6 {0} is too old: lambdaload needs 1.0 or later")]
    TooOld(K6Version),
}

impl K6Version {
    /// A version by its parts.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }

    /// Reads `v1.8.1`, with or without the `v` and with anything after the patch.
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let unreadable = || VersionError::Unreadable(text.to_owned());
        let mut parts = text.trim().trim_start_matches('v').splitn(3, '.');
        let mut part = || {
            let digits: String = parts.next()?.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        };
        match (part(), part(), part()) {
            (Some(major), Some(minor), Some(patch)) => Ok(Self { major, minor, patch }),
            _ => Err(unreadable()),
        }
    }

    /// Refuses a k6 that is too old to be driven.
    pub fn check_supported(self) -> Result<(), VersionError> {
        if self.major < 1 { Err(VersionError::TooOld(self)) } else { Ok(()) }
    }

    /// What to tell who runs a k6 from outside the tested range; nothing of one from within.
    pub fn untested(self) -> Option<String> {
        let [first, .., last] = TESTED;
        let range = tested_range();
        (self < first || self > last)
            .then(|| format!("k6 {self} is outside the range that lambdaload is tested with ({range})"))
    }

    /// The flag that switches the end-of-test summary off: renamed in 1.3, the old one removed in 2.0.
    pub fn no_summary_flag(self) -> &'static str {
        if self < Self::new(1, 3, 0) { "--no-summary" } else { "--summary-mode=disabled" }
    }

    /// Whether there is `k6 deps`, which tells what a test needs beside stock k6: new in 1.6.
    pub fn lists_dependencies(self) -> bool {
        self >= Self::new(1, 6, 0)
    }

    /// Whether the JSON output costs about as much as all else that k6 does for a request: from 2.0 on.
    pub fn writes_json_slowly(self) -> bool {
        self.major >= 2
    }
}

/// The tested range for people: `1.1.0 to 2.2.0; tests run on 1.1.0, 1.8.1 and 2.2.0`.
pub fn tested_range() -> String {
    let [first, between, last] = TESTED;
    format!("{first} to {last}; tests run on {first}, {between} and {last}")
}

/// How k6's `--secret-source=file=…` reads a file; 1.1, 1.8 and 2.2 do not differ. A line for each secret is split at its
/// first `=`. Name and value are taken as they are, without quotes or escapes, so that a value with line breaks cannot be
/// told; an empty line is an error. A line that is too long is passed over without a word, with all behind it.
pub mod secret_file {
    /// Bytes of a line, without its end.
    const LONGEST_LINE: usize = 64 * 1024 - 1;

    /// The file's contents for these secrets, less those that it cannot hold.
    pub fn contents<'s>(secrets: impl Iterator<Item = (&'s str, &'s str)>) -> String {
        let lines = secrets.filter(|(name, value)| can_hold(name, value));
        lines.flat_map(|(name, value)| [name, "=", value, "\n"]).collect()
    }

    /// Whether `k6/secrets` can be given this secret.
    pub fn can_hold(name: &str, value: &str) -> bool {
        !value.contains(['\n', '\r']) && name.len() + 1 + value.len() <= LONGEST_LINE
    }
}

impl fmt::Display for K6Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_judged() {
        assert_eq!(K6Version::parse("v1.8.1"), Ok(K6Version::new(1, 8, 1)));
        assert_eq!(K6Version::parse("2.0.0-rc1"), Ok(K6Version::new(2, 0, 0)));
        assert_eq!(K6Version::parse("devel"), Err(VersionError::Unreadable("devel".into())));
        assert!(K6Version::new(0, 57, 0).check_supported().is_err());
        assert_eq!(K6Version::new(1, 1, 0).no_summary_flag(), "--no-summary");
        assert_eq!(K6Version::new(1, 3, 0).no_summary_flag(), "--summary-mode=disabled");
        assert_eq!(K6Version::new(2, 2, 0).no_summary_flag(), "--summary-mode=disabled");
        assert!(!K6Version::new(1, 5, 9).lists_dependencies() && K6Version::new(1, 6, 0).lists_dependencies());
    }

    #[test]
    fn what_is_not_tested_is_said() {
        for version in TESTED.into_iter().chain([K6Version::new(1, 1, 1), K6Version::new(2, 0, 0)]) {
            assert_eq!(version.untested(), None, "{version}");
        }
        for (version, text) in [(K6Version::new(1, 0, 9), "1.0.9"), (K6Version::new(2, 2, 1), "2.2.1")] {
            assert_eq!(
                version.untested(),
                Some(format!(
                    "k6 {text} is outside the range that lambdaload is tested with (1.1.0 to 2.2.0; tests run on 1.1.0, \
                     1.8.1 and 2.2.0)"
                ))
            );
        }
    }

    #[test]
    fn a_file_of_secrets_has_what_k6_can_read() {
        let long = "x".repeat(64 * 1024);
        let secrets = [("A", "b=\"c\" "), ("LINES", "a\nb"), ("CR", "a\r"), ("LONG", &long), ("Z", &long[..65_533])];
        let contents = secret_file::contents(secrets.into_iter());
        assert_eq!(contents, format!("A=b=\"c\" \nZ={}\n", &long[..65_533]));
        assert!(!secret_file::can_hold("ZZ", &long[..65_533]));
    }
}

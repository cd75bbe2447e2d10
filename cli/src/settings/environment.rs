//! The environment variables that lambdaload reads.

use std::collections::BTreeMap;

/// The k6 to use.
pub(crate) const K6: &str = "LAMBDALOAD_K6";
/// Folder of lambdaload's own files.
pub(crate) const DIR: &str = "LAMBDALOAD_DIR";
/// Where workers run.
pub(crate) const PLATFORM: &str = "LAMBDALOAD_PLATFORM";
/// The name of the deployment's stack.
pub(crate) const STACK: &str = "LAMBDALOAD_STACK";
/// What a run may be expected to cost.
pub(crate) const MAX_COST: &str = "LAMBDALOAD_MAX_COST";
/// How many workers.
pub(crate) const WORKERS: &str = "LAMBDALOAD_WORKERS";
/// Name of the test.
pub(crate) const NAME: &str = "LAMBDALOAD_NAME";
/// What is special about the run.
pub(crate) const NOTE: &str = "LAMBDALOAD_NOTE";
/// File for the summary in k6's shape.
pub(crate) const SUMMARY_EXPORT: &str = "LAMBDALOAD_SUMMARY_EXPORT";
/// How much of k6's summary is shown.
pub(crate) const SUMMARY_MODE: &str = "LAMBDALOAD_SUMMARY_MODE";
/// How workers read their k6.
pub(crate) const SAMPLES: &str = "LAMBDALOAD_SAMPLES";
/// Folder for report and documents.
pub(crate) const OUT_DIR: &str = "LAMBDALOAD_OUT_DIR";
/// Form of the result.
pub(crate) const OUTPUT: &str = "LAMBDALOAD_OUTPUT";
/// Set to anything, it switches colours off (<https://no-color.org>).
pub(crate) const NO_COLOR: &str = "NO_COLOR";

/// The environment at the start of the program.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    /// What the process was given. Variables that are not Unicode cannot be named by anything that looks for them here.
    pub(crate) fn of_process() -> Self {
        let unicode = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(unicode).collect())
    }

    /// The value of a variable; set to nothing is not set.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The value of a variable, as it is.
    pub(crate) fn get_even_if_empty(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(pairs: [(&str, &str); N]) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

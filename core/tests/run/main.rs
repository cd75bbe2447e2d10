//! Whole runs with fakes of everything outside, in virtual time: one behaviour a test.

#![expect(clippy::expect_used, reason = "these are tests")]

mod aggregated;
mod aggregators;
mod chaos;
mod clocks;
mod equivalence;
mod hooks;
mod k6_failures;
mod launches;
mod ledger_faults;
mod losses;
mod min_workers;
mod notices;
mod on_lambda;
mod repetition;
mod scale;
mod scene;
mod script;
mod secrets;
mod skew;
mod stops;
mod store_faults;
mod substitutes;
mod summaries;
mod usual;
mod watching;

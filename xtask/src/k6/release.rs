//! Downloading k6's official release.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::pins::Pin;
use crate::unpack;

/// Where the project publishes its releases.
pub(super) const OFFICIAL: &str = "https://github.com/grafana/k6/releases/download";

/// Several times the size of any archive; a server that sends more is not sending k6.
const MAX_BYTES: u64 = 512 << 20;

/// This machine's platform in the words of k6's release archives.
pub(super) fn platform() -> Option<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some("linux-amd64"),
        ("linux", "aarch64") => Some("linux-arm64"),
        ("macos", "x86_64") => Some("macos-amd64"),
        ("macos", "aarch64") => Some("macos-arm64"),
        _ => None,
    }
}

/// Downloads the release of `pin` for `platform` below `base`, and writes its program to `to` if its checksum is
/// the pinned one.
pub(super) fn install(pin: &Pin, base: &str, platform: Option<&str>, staging: &Path, to: &Path) -> Result<()> {
    let platform = platform.context("k6 releases no archive for this platform")?;
    let Some((_, expected)) = pin.releases.iter().find(|(name, _)| *name == platform) else {
        bail!("no checksum is pinned for the {platform} archive, and nothing is downloaded that can't be checked")
    };
    let name = format!("k6-v{}-{platform}", pin.version);
    let zipped = platform.starts_with("macos");
    let extension = if zipped { "zip" } else { "tar.gz" };
    let url = format!("{}/v{}/{name}.{extension}", base.trim_end_matches('/'), pin.version);

    let archive = staging.join("archive");
    let found = download(&url, &archive).with_context(|| format!("cannot download {url}"))?;
    ensure!(found == *expected, "{url} has the SHA-256 {found}, but the pinned one is {expected}; it was thrown away");
    let program = format!("{name}/k6");
    if zipped { unpack::from_zip(&archive, &program, to) } else { unpack::from_tar_gz(&archive, &program, to) }
}

/// Returns the SHA-256 of what was downloaded, in hex.
fn download(url: &str, to: &Path) -> Result<String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_global(Some(Duration::from_mins(10)))
        .build()
        .into();
    let response = agent.get(url).call()?;
    let mut body = response.into_body().into_reader().take(MAX_BYTES);
    let mut archive = Hashed { file: File::create(to)?, hash: Sha256::new() };
    io::copy(&mut body, &mut archive)?;
    Ok(hex(&archive.hash.finalize()))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// A file whose hash is known once it is written.
struct Hashed {
    file: File,
    hash: Sha256,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

//! Taking one program out of an archive.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flate2::read::GzDecoder;

/// Writes the entry `name` of a tar.gz to `to`, executable.
pub(crate) fn from_tar_gz(archive: &Path, name: &str, to: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(archive)?));
    for entry in archive.entries()? {
        let mut entry = entry?;
        if entry.path_bytes().as_ref() == name.as_bytes() {
            return write_program(&mut entry, to);
        }
    }
    bail!("the archive holds no {name}")
}

/// Writes the first entry of a zip whose name ends with `suffix` to `to`, executable.
pub(crate) fn from_zip(archive: &Path, suffix: &str, to: &Path) -> Result<()> {
    let mut archive = zip::ZipArchive::new(File::open(archive)?)?;
    let index = archive.file_names_raw().position(|name| name.ends_with(suffix.as_bytes()));
    let Some(index) = index else { bail!("the archive holds no …{suffix}") };
    write_program(&mut archive.by_index(index)?, to)
}

/// The bytes are on the disk when this returns, so that a rename after it never shows an empty program.
fn write_program(from: &mut impl Read, to: &Path) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(to)?;
    io::copy(from, &mut file).context("cannot unpack the archive")?;
    Ok(file.sync_all()?)
}

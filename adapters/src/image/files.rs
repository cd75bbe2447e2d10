//! What an image is made of, from where it lies.

use std::{collections::BTreeMap, fs, io, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{Architecture, Programs};

/// Why programs cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {error}")]
pub struct FolderError {
    path: String,
    error: io::Error,
}

/// The programs that a folder has for some processors, as `cargo xtask worker-programs` lays them out: `bin/k6`,
/// `bin/lambdaload-worker` and `licences/`.
pub fn programs_in(folder: &Path, architecture: Architecture) -> Result<Programs, FolderError> {
    let read = |path: &Path| fs::read(path).map_err(|error| failure(path, error));
    let mut licences = BTreeMap::new();
    gather(&folder.join("licences"), "", &mut licences)?;
    let bin = folder.join("bin");
    Ok(Programs { architecture, k6: read(&bin.join("k6"))?, worker: read(&bin.join("lambdaload-worker"))?, licences })
}

/// All files below a folder, by their paths in it.
fn gather(folder: &Path, within: &str, found: &mut BTreeMap<String, Vec<u8>>) -> Result<(), FolderError> {
    for entry in fs::read_dir(folder).map_err(|error| failure(folder, error))? {
        let entry = entry.map_err(|error| failure(folder, error))?;
        let (path, name) = (entry.path(), format!("{within}{}", entry.file_name().to_string_lossy()));
        if path.is_dir() {
            gather(&path, &format!("{name}/"), found)?;
        } else {
            found.insert(name, fs::read(&path).map_err(|error| failure(&path, error))?);
        }
    }
    Ok(())
}

fn failure(path: &Path, error: io::Error) -> FolderError {
    FolderError { path: path.display().to_string(), error }
}

/// Mozilla's certificate authorities, as programs read them.
pub(super) fn authorities() -> String {
    let mut text = String::new();
    for certificate in webpki_root_certs::TLS_SERVER_ROOT_CERTS {
        text += "-----BEGIN CERTIFICATE-----\n";
        let encoded = BASE64_STANDARD.encode(certificate);
        let lines = encoded.as_bytes().chunks(64);
        lines.for_each(|line| text.extend(line.iter().map(|byte| char::from(*byte)).chain(['\n'])));
        text += "-----END CERTIFICATE-----\n";
    }
    text
}

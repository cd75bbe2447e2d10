//! Files that a run leaves for people and programs: opened before anything starts, and whole or not there at the end.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{error::Failure, exit};

/// The report's name in the folder of a run's outputs.
pub(crate) const REPORT: &str = "report.html";
/// The verdict's name there.
pub(crate) const VERDICT: &str = "verdict.json";

/// All files of one run.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// For people.
    pub(crate) report: PendingFile,
    /// The whole verdict.
    pub(crate) verdict: PendingFile,
    /// The summaries in k6's shape: the folder's own, and the one that was asked for.
    pub(crate) summaries: Vec<PendingFile>,
}

impl Outputs {
    /// Opens all files: three in `folder`, which is made, and the summary that was asked for.
    pub(crate) fn open(folder: &Path, summary_export: Option<&Path>) -> Result<Self, Failure> {
        std::fs::create_dir_all(folder).map_err(|error| Failure::file("make the folder", folder, &error))?;
        let asked_for = summary_export.map(PendingFile::open).transpose();
        let asked_for = asked_for.map_err(|failure| Failure { exit: exit::NOT_VALID, ..failure })?;
        let own = PendingFile::open(&folder.join("summary.json"))?;
        Ok(Self {
            report: PendingFile::open(&folder.join(REPORT))?,
            verdict: PendingFile::open(&folder.join(VERDICT))?,
            summaries: std::iter::once(own).chain(asked_for).collect(),
        })
    }
}

/// A file that could be written when it was opened, and is not there until it is whole.
#[derive(Debug)]
pub(crate) struct PendingFile {
    target: PathBuf,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Written beside the target, then put in its place.
    Renamed,
    /// A pipe or a device, such as /dev/stdout: nothing can be put in its place.
    Direct(File),
}

impl PendingFile {
    /// Makes sure that `target` can be written. What was there stays until the new contents are whole.
    pub(crate) fn open(target: &Path) -> Result<Self, Failure> {
        Self::try_open(target).map_err(|error| match target.parent() {
            Some(folder) if error.kind() == io::ErrorKind::NotFound && folder != Path::new("") => {
                let failure = Failure::infrastructure(format!("cannot write {}", target.display()));
                failure.detail(format!("there is no folder {}", folder.display()))
            }
            _ => Failure::file("write", target, &error),
        })
    }

    fn try_open(target: &Path) -> io::Result<Self> {
        let target = match target.canonicalize() {
            // The place of a link's target is taken, not that of the link.
            Ok(place) => {
                // Refuses folders and read-only files.
                let file = OpenOptions::new().append(true).open(&place)?;
                if !file.metadata()?.is_file() {
                    return Ok(Self { target: place, kind: Kind::Direct(file) });
                }
                place
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => target.to_owned(),
            Err(error) => return Err(error),
        };
        // Not kept for the end: if this program is killed, nothing is to lie around.
        drop(beside(&target)?);
        Ok(Self { target, kind: Kind::Renamed })
    }

    /// Writes the contents and puts them in place.
    pub(crate) fn write(self, contents: &[u8]) -> Result<(), Failure> {
        let Self { target, kind } = self;
        let written = match kind {
            Kind::Direct(mut file) => file.write_all(contents),
            Kind::Renamed => replace(&target, contents),
        };
        written.map_err(|error| Failure::file("write", &target, &error))
    }
}

/// Puts the contents in place, whole or not at all.
pub(crate) fn replace(target: &Path, contents: &[u8]) -> io::Result<()> {
    let mut temporary = beside(target)?;
    temporary.write_all(contents)?;
    temporary.as_file().sync_all()?;
    temporary.persist(target)?;
    Ok(())
}

/// A temporary file in the same folder, with the rights of a file made by hand.
fn beside(target: &Path) -> io::Result<NamedTempFile> {
    let folder = match target.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    tempfile::Builder::new().prefix(".lambdaload-").permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("a folder");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("summary.json");
        std::fs::write(&target, "old").expect("writes");
        let pending = PendingFile::open(&target).expect("opens");
        assert_eq!(std::fs::read_to_string(&target).expect("reads"), "old");
        pending.write(b"new").expect("writes");
        assert_eq!(std::fs::read_to_string(&target).expect("reads"), "new");
        drop(PendingFile::open(&target).expect("opens"));
        assert_eq!(names(folder.path()), ["summary.json"]);
    }

    #[test]
    fn what_cannot_be_written_is_said_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("nowhere").join("summary.json");
        let failure = PendingFile::open(&missing).expect_err("refused");
        assert!(
            failure.headline.starts_with("cannot write") && failure.headline.ends_with("summary.json"),
            "{failure:?}"
        );
        assert!(PendingFile::open(folder.path()).is_err());
    }

    #[test]
    fn devices_are_written_and_links_stay() {
        PendingFile::open(Path::new("/dev/null")).expect("opens").write(b"gone").expect("writes");
        assert!(!std::fs::metadata("/dev/null").expect("is there").is_file());
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "old").expect("writes");
        std::os::unix::fs::symlink(&real, &link).expect("links");
        PendingFile::open(&link).expect("opens").write(b"new").expect("writes");
        assert!(std::fs::symlink_metadata(&link).expect("is there").is_symlink());
        assert_eq!(std::fs::read_to_string(&real).expect("reads"), "new");
    }
}

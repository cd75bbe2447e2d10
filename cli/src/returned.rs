//! Files that a script's `handleSummary()` returned, in the folder of the run's outputs and nowhere else: the script is
//! not trusted with the rest of the disk.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use lambdaload_core::summary::Returned;

use crate::{
    error::Failure,
    outputs::{REPORT, VERDICT, replace},
    printer::one_line,
};

/// Writes one file, whole or not at all; its folders are made.
pub(crate) fn write(folder: &Path, file: &Returned) -> Result<(), Failure> {
    let refused = || {
        let name = one_line(&file.name);
        Failure::infrastructure(format!("handleSummary() returned a file `{name}`, which was not written"))
    };
    let (folders, name) = place(&file.name).map_err(|reason| {
        let folder = folder.display();
        refused().detail(reason).hint(format!("its files are written in {folder}, under names of their own"))
    })?;
    let written = make_folders(folder, &folders).and_then(|folder| replace(&folder.join(name), &file.content));
    written.map_err(|error| refused().detail(error.to_string()))
}

/// The folders and the name of a file below the folder of the run's outputs.
fn place(name: &str) -> Result<(Vec<&str>, &str), &'static str> {
    let mut parts = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => parts.extend(part.to_str()),
            Component::CurDir => {}
            Component::ParentDir => return Err("it leads out of its folder"),
            Component::RootDir | Component::Prefix(_) => return Err("it is an absolute path"),
        }
    }
    match parts.split_last() {
        None => Err("it names no file"),
        Some(_) if name.ends_with('/') => Err("it names a folder"),
        Some((file, [])) if is_ours(file) => Err("lambdaload writes a file of that name itself"),
        Some((file, folders)) => Ok((folders.to_vec(), file)),
    }
}

/// Whether people would take it for what lambdaload has written. `summary.json` is not among these: it is how most
/// scripts call theirs, and takes the place of ours.
fn is_ours(name: &str) -> bool {
    // Some disks do not tell capitals from small letters.
    let name = name.to_ascii_lowercase();
    let is_log = name.strip_prefix("worker-").and_then(|rest| rest.strip_suffix(".log"));
    name == REPORT || name == VERDICT || is_log.is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
}

/// The folder below `folder`, made where it is not there. A link that lies there already may lead anywhere, and is not
/// followed.
fn make_folders(folder: &Path, folders: &[&str]) -> io::Result<PathBuf> {
    let mut path = folder.to_owned();
    for name in folders {
        path.push(name);
        match path.symlink_metadata() {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(io::Error::other(format!("{} is no folder", path.display()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::create_dir(&path)?,
            Err(error) => return Err(error),
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Returned {
        Returned { name: name.to_owned(), content: b"new".to_vec() }
    }

    #[test]
    fn files_land_in_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["summary.json", "./a/b c/\u{1f6d2}.html", "a/report.html", "worker-x.log", "...", "stdout.txt"] {
            write(folder.path(), &file(name)).unwrap_or_else(|failure| panic!("{}", failure.lines()));
            assert_eq!(std::fs::read(folder.path().join(name)).expect("is there"), b"new");
        }
        write(folder.path(), &file("a")).expect_err("there is a folder of that name");
        assert_eq!(std::fs::read(folder.path().join("a/report.html")).expect("is there"), b"new");
    }

    #[test]
    fn nothing_lands_elsewhere() {
        let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        std::os::unix::fs::symlink(other.path(), folder.path().join("link")).expect("links");
        let absolute = other.path().join("x").display().to_string();
        for name in ["../x", "a/../../x", "/", "", ".", "a/", "link/x", "nul\0", &absolute] {
            let failure = write(folder.path(), &file(name)).expect_err(name);
            assert!(failure.headline.contains(&format!("`{}`", one_line(name))), "{failure:?}");
        }
        assert_eq!(std::fs::read_dir(other.path()).expect("a folder").count(), 0);
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).expect("a folder").map(|e| e.expect("reads").file_name()).collect();
        assert_eq!(names, ["link"]);
    }

    #[test]
    fn our_own_files_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["report.html", "./Report.HTML", "verdict.json", "worker-12.log"] {
            assert!(write(folder.path(), &file(name)).expect_err(name).lines().contains("itself"), "{name}");
        }
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::NamedTempFile::new().expect("a file"));
        std::os::unix::fs::symlink(other.path(), folder.path().join("x")).expect("links");
        write(folder.path(), &file("x")).expect("is written");
        assert_eq!(std::fs::read(other.path()).expect("is there"), b"");
    }
}

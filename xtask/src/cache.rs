//! Where programs of other makers are kept, and how they get there whole.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The folder that `variable` names, or else `lambdaload/<name>` in the user's cache.
pub(crate) fn folder(variable: &str, name: &str) -> Result<PathBuf> {
    folder_from(|name| std::env::var_os(name), std::env::home_dir(), variable, name)
}

fn folder_from(
    value: impl Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
    variable: &str,
    name: &str,
) -> Result<PathBuf> {
    let path = |name| value(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = path(variable) {
        return std::path::absolute(own).with_context(|| format!("{variable} is not a usable path"));
    }
    // The XDG specification tells programs to ignore a relative path.
    let caches = path("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(home?.join(".cache")));
    let caches =
        caches.with_context(|| format!("there is no home directory to keep {name} in; set {variable} to a folder"))?;
    Ok(caches.join("lambdaload").join(name))
}

/// The folder `name` in `cache`, which `install` fills if it isn't there yet or if what is there doesn't pass `check`.
///
/// An installation that was interrupted is begun again. Of two at once, one waits for the other.
pub(crate) fn once(
    cache: &Path,
    name: &str,
    check: impl Fn(&Path) -> Result<()>,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let lock = cache.join(format!(".{name}.lock"));
    let lock = File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
    lock.lock().with_context(|| format!("cannot wait for others that install {name}"))?;

    let home = cache.join(name);
    // Written last: some installations know their own path, so they can't be moved to it when they are whole.
    let whole = home.join(".whole");
    if whole.exists() {
        match check(&home) {
            Ok(()) => return Ok(home),
            Err(why) => eprintln!("{name} in the cache is replaced: {why:#}"),
        }
    } else {
        eprintln!("{name} is not in the cache yet");
    }
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("cannot remove {}", home.display()))?;
    }
    fs::create_dir(&home).with_context(|| format!("cannot create {}", home.display()))?;
    install(&home).and_then(|()| check(&home)).with_context(|| format!("{name} can't be provided here"))?;
    File::create(whole)?.sync_all()?;
    Ok(home)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;
    use std::time::Duration;

    use anyhow::bail;

    use super::*;

    #[test]
    fn the_folder_is_where_the_environment_says() {
        let at = |variables: &'static [(&str, &str)], home: Option<&str>| {
            let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
            folder_from(value, home.map(PathBuf::from), "LAMBDALOAD_K6_CACHE", "k6")
        };
        let own = [("LAMBDALOAD_K6_CACHE", "/own"), ("XDG_CACHE_HOME", "/xdg")];
        assert_eq!(at(own.to_vec().leak(), Some("/home/me")).unwrap(), Path::new("/own"));
        assert_eq!(at(&[("XDG_CACHE_HOME", "/xdg")], Some("/home/me")).unwrap(), Path::new("/xdg/lambdaload/k6"));
        let home = Path::new("/home/me/.cache/lambdaload/k6");
        assert_eq!(at(&[], Some("/home/me")).unwrap(), home);
        assert_eq!(at(&[("LAMBDALOAD_K6_CACHE", ""), ("XDG_CACHE_HOME", "relative")], Some("/home/me")).unwrap(), home);
        assert!(at(&[], None).unwrap_err().to_string().contains("set LAMBDALOAD_K6_CACHE"));
    }

    #[test]
    fn what_is_there_and_works_is_not_installed_again() {
        let cache = tempfile::tempdir().unwrap();
        let (installed, works) = (Cell::new(0), Cell::new(true));
        let provide = || {
            let check = |_: &Path| if works.replace(true) { Ok(()) } else { bail!("it does not run") };
            once(cache.path(), "thing-1", check, |home| {
                installed.set(installed.get() + 1);
                assert_eq!(fs::read_dir(home)?.count(), 0, "an installation begins with an empty folder");
                Ok(fs::write(home.join("program"), "")?)
            })
        };
        for _ in 0..2 {
            assert_eq!(provide().unwrap(), cache.path().join("thing-1"));
        }
        assert_eq!(installed.get(), 1);
        works.set(false);
        provide().unwrap();
        assert_eq!(installed.get(), 2);
    }

    #[test]
    fn half_an_installation_is_begun_again() {
        let cache = tempfile::tempdir().unwrap();
        let fails = |home: &Path| {
            fs::write(home.join("half"), "")?;
            bail!("no network")
        };
        let said = format!("{:#}", once(cache.path(), "thing-1", |_| Ok(()), fails).unwrap_err());
        assert_eq!(said, "thing-1 can't be provided here: no network");
        let home = once(cache.path(), "thing-1", |_| Ok(()), |home| Ok(fs::write(home.join("program"), "")?)).unwrap();
        assert!(home.join("program").exists() && !home.join("half").exists());
    }

    #[test]
    fn of_two_at_once_one_waits() {
        let cache = tempfile::tempdir().unwrap();
        let installed = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    once(
                        cache.path(),
                        "thing-1",
                        |_| Ok(()),
                        |_| {
                            // Long enough for the others to come.
                            thread::sleep(Duration::from_millis(50));
                            installed.fetch_add(1, Ordering::Relaxed);
                            Ok(())
                        },
                    )
                    .unwrap()
                });
            }
        });
        assert_eq!(installed.into_inner(), 1);
    }
}

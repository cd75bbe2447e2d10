//! Which k6 is run.

use std::{
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf, absolute},
};

use lambdaload_core::k6::version::K6Version;
use rustix::fs::{Access, access};

/// The k6 that lambdaload is made for: what `cargo xtask k6` puts into the cache.
pub const PINNED_VERSION: K6Version = K6Version::new(1, 8, 1);

/// A k6 that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundK6 {
    /// The executable; absolute.
    pub path: PathBuf,
    /// How it was found.
    pub origin: Origin,
}

/// How a k6 was found, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It was named: `--k6` or `LAMBDALOAD_K6`.
    Named,
    /// It is on `PATH`.
    Path,
    /// It is in the cache.
    Cache,
}

/// There is no k6, and where it was looked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct K6NotFound {
    looked: Vec<String>,
}

impl fmt::Display for K6NotFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no k6 to run:\n")?;
        for place in &self.looked {
            writeln!(f, "  - {place}")?;
        }
        f.write_str(
            "install k6 (https://grafana.com/docs/k6/latest/set-up/install-k6/) or name one with --k6 or LAMBDALOAD_K6; \
             in a checkout of lambdaload, `cargo xtask k6` fetches the pinned one",
        )
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Named => "named by --k6 or LAMBDALOAD_K6",
            Self::Path => "found on PATH",
            Self::Cache => "from lambdaload's cache",
        })
    }
}

/// Finds the k6 to run: the one that was named, else the first on `PATH`, else the pinned one in the cache. A k6 that was
/// named and cannot be run is an error; no other takes its place.
pub fn find(named: Option<&Path>) -> Result<FoundK6, K6NotFound> {
    find_in(named, &|name| env::var_os(name), env::home_dir())
}

fn find_in(
    named: Option<&Path>,
    variable: &dyn Fn(&str) -> Option<OsString>,
    home: Option<PathBuf>,
) -> Result<FoundK6, K6NotFound> {
    if let Some(named) = named {
        let Some(path) = runnable(named) else {
            let place = format!("--k6 or LAMBDALOAD_K6 names {}, {}", named.display(), what_is_there(named));
            return Err(K6NotFound { looked: vec![place] });
        };
        return Ok(FoundK6 { path, origin: Origin::Named });
    }
    let search = variable("PATH").unwrap_or_default();
    if let Some(path) = env::split_paths(&search).find_map(|folder| runnable(&folder.join("k6"))) {
        return Ok(FoundK6 { path, origin: Origin::Path });
    }
    let mut looked = vec![format!("there is no executable `k6` on PATH ({})", search.display())];
    match cache(variable, home) {
        Some(cache) => {
            let cached = cache.join(PINNED_VERSION.to_string()).join("k6");
            if let Some(path) = runnable(&cached) {
                return Ok(FoundK6 { path, origin: Origin::Cache });
            }
            looked.push(format!("lambdaload's cache should have {}, {}", cached.display(), what_is_there(&cached)));
        }
        None => looked.push("lambdaload's cache is nowhere: HOME is not set".to_owned()),
    }
    Err(K6NotFound { looked })
}

/// The folder with a folder for each version.
fn cache(variable: &dyn Fn(&str) -> Option<OsString>, home: Option<PathBuf>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| value != OsStr::new("")).map(PathBuf::from);
    if let Some(own) = set("LAMBDALOAD_K6_CACHE") {
        return Some(own);
    }
    // The XDG specification tells programs to ignore a relative path.
    let caches = set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(home?.join(".cache")));
    Some(caches?.join("lambdaload").join("k6"))
}

/// The absolute path, if there is a file that may be executed.
fn runnable(path: &Path) -> Option<PathBuf> {
    let is_program = path.is_file() && access(path, Access::EXEC_OK).is_ok();
    if is_program { absolute(path).ok() } else { None }
}

fn what_is_there(path: &Path) -> &'static str {
    if path.is_dir() {
        "which is a folder"
    } else if path.exists() {
        "which may not be executed"
    } else {
        "which does not exist"
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    struct Machine {
        root: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            Self { root: tempfile::tempdir().unwrap() }
        }

        fn install(&self, place: &str, mode: u32) -> PathBuf {
            let path = self.root.path().join(place);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        }

        fn find(&self, named: Option<&Path>) -> Result<FoundK6, K6NotFound> {
            let path = env::join_paths([self.root.path().join("empty"), self.root.path().join("bin")]).unwrap();
            let variable = |name: &str| (name == "PATH").then(|| path.clone());
            find_in(named, &variable, Some(self.root.path().to_owned()))
        }
    }

    #[test]
    fn named_before_path_before_cache() {
        let machine = Machine::new();
        let cached = machine.install(".cache/lambdaload/k6/1.8.1/k6", 0o755);
        assert_eq!(machine.find(None), Ok(FoundK6 { path: cached, origin: Origin::Cache }));
        let on_path = machine.install("bin/k6", 0o755);
        assert_eq!(machine.find(None), Ok(FoundK6 { path: on_path, origin: Origin::Path }));
        let named = machine.install("elsewhere/my-k6", 0o755);
        assert_eq!(machine.find(Some(&named)), Ok(FoundK6 { path: named.clone(), origin: Origin::Named }));
    }

    #[test]
    fn a_named_one_that_cannot_be_run_is_not_replaced() {
        let machine = Machine::new();
        machine.install("bin/k6", 0o755);
        let message = |path: &Path| machine.find(Some(path)).unwrap_err().to_string();
        assert!(message(Path::new("/nowhere/k6")).contains("names /nowhere/k6, which does not exist"));
        assert!(message(&machine.install("plain", 0o644)).contains("which may not be executed"));
        assert!(message(machine.root.path()).contains("which is a folder"));
    }

    #[test]
    fn what_is_not_found_says_where_it_was_looked_for() {
        let machine = Machine::new();
        machine.install("bin/k6", 0o644);
        let message = machine.find(None).unwrap_err().to_string();
        for part in ["on PATH (", "/bin)", "k6/1.8.1/k6, which does not exist", "--k6", "cargo xtask k6"] {
            assert!(message.contains(part), "{part} in {message}");
        }
        let message = find_in(None, &|_| None, None).unwrap_err().to_string();
        assert!(message.contains("HOME is not set"), "{message}");
    }

    #[test]
    fn the_cache_is_where_it_was_put() {
        let variables = [("LAMBDALOAD_K6_CACHE", "/own"), ("XDG_CACHE_HOME", "/xdg")];
        let cache_with = |skip: usize| {
            let set = &variables[skip..];
            cache(&|name| set.iter().find(|(n, _)| *n == name).map(|(_, v)| v.into()), Some("/home/me".into()))
        };
        assert_eq!(cache_with(0), Some("/own".into()));
        assert_eq!(cache_with(1), Some("/xdg/lambdaload/k6".into()));
        assert_eq!(cache_with(2), Some("/home/me/.cache/lambdaload/k6".into()));
        let relative = cache(&|name| (name == "XDG_CACHE_HOME").then(|| "here".into()), Some("/home/me".into()));
        assert_eq!(relative, Some("/home/me/.cache/lambdaload/k6".into()));
    }
}

//! `lambdaload doctor`

mod aws;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use lambdaload_adapters::k6::{K6, find};
use lambdaload_core::{
    k6::version::{K6Version, tested_range},
    ports::LoadGenerator as _,
};

use crate::{
    error::Failure,
    exit, machine,
    printer::{Paint, Printer},
    settings::PlaceSettings,
    view::{numbers, table},
    wiring,
};

/// Below this a test of some thousand VUs finds its limit in descriptors before it finds it anywhere else.
const FEW_OPEN_FILES: u64 = 4_096;

/// A long run with many series stays well below this.
const LITTLE_SPACE: f64 = 1e9;

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Ok,
    /// Tests can run, some not as well.
    Warning,
    /// No test can run.
    Problem,
}

/// One check.
#[derive(Debug)]
struct Check {
    level: Level,
    what: &'static str,
    found: String,
    /// What to do about it.
    advice: Vec<String>,
}

impl Check {
    fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, what, found: found.into(), advice: Vec::new() }
    }

    fn warning(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { level: Level::Warning, advice: vec![advice.into()], ..Self::ok(what, found) }
    }

    fn problem(what: &'static str, failure: &Failure) -> Self {
        let advice = failure.details.iter().chain(&failure.hints).cloned().collect();
        Self { level: Level::Problem, advice, ..Self::ok(what, failure.headline.clone()) }
    }
}

/// Checks whether tests can run: on this machine, or in a deployment for which this machine only makes archives.
pub(super) async fn doctor(k6: Option<&Path>, place: &PlaceSettings, printer: &Printer) -> Result<i32, Failure> {
    let (k6, version) = check_k6(k6).await;
    let mut checks = vec![k6];
    match &place.deployment {
        None => {
            checks.extend([processors(), open_files(), loopback(), folder(&place.dir)]);
            checks.push(ledger(&place.dir).await);
        }
        Some(stack) => {
            checks.push(folder(&place.dir));
            checks.extend(Box::pin(aws::checks(stack, version)).await);
        }
    }
    printer.result(&render(&checks, printer.result_paint))?;
    let worst = checks.iter().map(|check| check.level).max();
    Ok(if worst == Some(Level::Problem) { exit::INFRASTRUCTURE } else { exit::OK })
}

fn render(checks: &[Check], paint: Paint) -> String {
    let mut rows = Vec::new();
    for check in checks {
        let level = match check.level {
            Level::Ok => paint.green("ok"),
            Level::Warning => paint.yellow("warning"),
            Level::Problem => paint.red("problem"),
        };
        rows.push(vec![level, check.what.to_owned(), check.found.clone()]);
        rows.extend(check.advice.iter().map(|line| vec![String::new(), String::new(), line.clone()]));
    }
    table::columns(&rows).join("\n") + "\n"
}

/// The k6 that would be used, with its version if it has one.
async fn check_k6(named: Option<&Path>) -> (Check, Option<K6Version>) {
    let found = match find::find(named) {
        Ok(found) => found,
        Err(error) => return (Check::problem("k6", &error.into()), None),
    };
    let place = format!("{}, {}", found.path.display(), found.origin);
    let version = match K6::new(&found.path).version().await {
        Ok(version) => version,
        Err(error) => return (Check::problem("k6", &Failure::from(error).detail(place)), None),
    };
    let check = match (version.check_supported(), version.untested()) {
        (Err(error), _) => Check::problem("k6", &Failure::from_error(exit::INFRASTRUCTURE, &error).detail(place)),
        (Ok(()), None) => Check::ok("k6", format!("v{version} ({place}); tested: {}", tested_range())),
        (Ok(()), Some(warning)) => {
            let advice = format!("{warning}; it will probably work. Another one can be named with --k6");
            Check::warning("k6", format!("v{version} ({place})"), advice)
        }
    };
    (check, Some(version))
}

fn processors() -> Check {
    let cores = machine::cores();
    let found = lambdaload_core::plan::plural(u64::from(cores), "processor");
    if cores > 1 {
        Check::ok("processors", found)
    } else {
        Check::warning(
            "processors",
            found,
            "workers and the target (if it is here too) share it, which shows in response times",
        )
    }
}

fn open_files() -> Check {
    let limit = machine::open_files();
    let number = |limit| if limit == u64::MAX { "no limit".to_owned() } else { numbers::count(limit) };
    let found = format!(
        "{} for each k6 process (soft limit {}, which k6 raises itself)",
        number(limit.hard),
        number(limit.soft)
    );
    if limit.hard < FEW_OPEN_FILES {
        let advice =
            "each VU holds at least one; raise the hard limit (`ulimit -Hn 65536` as root) or use more workers";
        Check::warning("open files", found, advice)
    } else {
        Check::ok("open files", found)
    }
}

/// k6 is spoken to through its REST API on loopback.
fn loopback() -> Check {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()) {
        Ok(address) => Check::ok("loopback", format!("free ports on {}", address.ip())),
        Err(error) => {
            Check::problem("loopback", &Failure::infrastructure("no free port on 127.0.0.1").detail(error.to_string()))
        }
    }
}

/// Looks without leaving anything behind.
fn folder(dir: &Path) -> Check {
    let existing = dir.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    match tempfile::tempfile_in(existing) {
        Ok(_) => space(dir, existing),
        Err(error) => Check::problem(
            "folder",
            &Failure::file("write into", existing, &error).hint("choose another folder with --dir"),
        ),
    }
}

async fn ledger(dir: &Path) -> Check {
    if !wiring::has_ledger(dir) {
        return Check::ok("ledger", "none yet; the first run makes it");
    }
    let runs = async { Ok::<_, Failure>(wiring::watch_ports(dir).await?.ledger.latest_runs(1).await?) };
    match runs.await {
        Ok(_) => Check::ok("ledger", "can be read"),
        Err(failure) => Check::problem("ledger", &failure),
    }
}

/// `existing` is the folder itself, or the nearest one above that is there.
fn space(dir: &Path, existing: &Path) -> Check {
    let writable = format!("{} can be written", dir.display());
    match rustix::fs::statvfs(existing) {
        Ok(space) => {
            let free = space.f_bavail as f64 * space.f_frsize as f64;
            let found = format!("{writable}, {} free", numbers::bytes(free));
            if free < LITTLE_SPACE {
                Check::warning(
                    "folder",
                    found,
                    "a run whose samples cannot be stored ends invalid; make room, or choose another folder with --dir",
                )
            } else {
                Check::ok("folder", found)
            }
        }
        Err(_) => Check::ok("folder", writable),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_says_what_to_do() {
        let checks = [
            Check::ok("k6", "v1.8.1"),
            Check::warning("open files", "256 for each k6 process", "raise the hard limit"),
            Check::problem(
                "folder",
                &Failure::infrastructure("cannot write into x").detail("read-only").hint("use --dir"),
            ),
        ];
        insta::assert_snapshot!(render(&checks, Paint::OFF), @r#"
    ok       k6          v1.8.1
    warning  open files  256 for each k6 process
                         raise the hard limit
    problem  folder      cannot write into x
                         read-only
                         use --dir
    "#);
    }
}

//! The command, run as a person would: in a folder of its own, with an environment of its own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::k6_binary;

/// Longer than any test takes on a busy machine; a wait that gets there has failed.
const DEADLINE: Duration = Duration::from_mins(2);

/// A folder in which the command runs, with nothing in it.
pub struct Folder {
    folder: TempDir,
}

/// What the command said and how it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The result.
    pub stdout: String,
    /// The talk.
    pub stderr: String,
}

/// A command that is running. It is killed when this is dropped.
pub struct Running {
    child: Option<Child>,
}

impl Folder {
    /// An empty folder.
    #[expect(clippy::new_without_default, reason = "it makes something on the disk")]
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a file into it.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, contents).expect("the file is written");
        path
    }

    /// Reads a file in it.
    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The command, not yet run. Of the environment it gets only what it needs and the k6 of these tests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("lambdaload"));
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path())
            .env("LAMBDALOAD_K6", k6_binary())
            .stdin(Stdio::null());
        command
    }

    /// Runs the command to its end.
    pub fn run(&self, arguments: &[&str]) -> Said {
        self.spawn(arguments).wait()
    }

    /// Starts the command.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        Running::start(self.command(arguments))
    }

    /// The verdict of the latest run, as `runs latest --output json` gives it.
    pub fn verdict(&self) -> Value {
        let said = self.run(&["runs", "latest", "--output", "json"]);
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    }
}

impl Running {
    /// Starts a command.
    pub fn start(mut command: Command) -> Self {
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
        Self { child: Some(child) }
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map(Child::id).expect("is running")
    }

    /// Sends it a signal, for example `INT`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits until `fact` gives something.
    ///
    /// # Panics
    /// With all it has said, when the command ends before that.
    pub fn wait_for<T>(mut self, what: &str, mut fact: impl FnMut(&Self) -> Option<T>) -> (Self, T) {
        let start = Instant::now();
        loop {
            if let Some(value) = fact(&self) {
                return (self, value);
            }
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            if ended || start.elapsed() > DEADLINE {
                self.signal_if_alive("KILL");
                let said = self.wait();
                panic!("waited {:?} for {what}; the command said: {said:#?}", start.elapsed());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal_if_alive(&self, name: &str) {
        if is_alive(self.pid()) {
            self.signal(name);
        }
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Said {
        let child = self.child.take().expect("is running");
        let pid = child.id();
        // The child's pipes have to be read while it runs, so the deadline is kept by another thread.
        let (ended, watch) = std::sync::mpsc::channel::<()>();
        let guard = thread::spawn(move || {
            if watch.recv_timeout(DEADLINE).is_err() {
                signal(pid, "KILL");
                return true;
            }
            false
        });
        let Output { status, stdout, stderr } = child.wait_with_output().expect("the command ends");
        // The guard has gone if the deadline has passed; it says so below.
        ended.send(()).ok();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let said = Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) };
        assert!(!guard.join().expect("the guard ends"), "still running after {DEADLINE:?}: {said:#?}");
        said
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A program of this workspace, beside the test that runs.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let folder = test.ancestors().nth(2).expect("tests are in target/<profile>/deps");
    let path = folder.join(name);
    assert!(path.exists(), "{} is not built: run `cargo build --workspace` first", path.display());
    path
}

/// Sends a signal to a process, which must be there.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("/bin/kill").args([format!("-{name}"), pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "no process {pid}");
}

/// Waits until `fact` gives something.
///
/// # Panics
/// When it has not within the deadline; `what` says what was waited for.
pub fn wait_for<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = fact() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Processes below `pid`, however deep, with their command lines.
pub fn descendants(pid: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    let processes = processes();
    while let Some(parent) = parents.pop() {
        for (child, of, line) in &processes {
            if *of == parent {
                parents.push(*child);
                found.push((*child, line.clone()));
            }
        }
    }
    found
}

/// What the programs below `pid` show of themselves in `/proc`: command lines and environments.
pub fn seen_of_descendants(pid: u32) -> Vec<Vec<u8>> {
    let read = |pid: u32, file: &str| std::fs::read(format!("/proc/{pid}/{file}"));
    let own_line = read(pid, "cmdline").unwrap_or_default();
    let seen = |pid: u32| {
        // In this order: a process that is not yet another program than `pid` has the environment of `pid` too.
        let line = read(pid, "cmdline").ok().filter(|line| *line != own_line)?;
        Some([line, read(pid, "environ").ok()?])
    };
    descendants(pid).into_iter().filter_map(|(pid, _)| seen(pid)).flatten().collect()
}

/// Whether a process is there and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

/// All processes: id, parent, command line.
fn processes() -> Vec<(u32, u32, String)> {
    let entries = std::fs::read_dir("/proc").expect("a /proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let process = |pid| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.parse().ok()?;
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, parent, String::from_utf8_lossy(&line).replace('\0', " ")))
    };
    pids.filter_map(process).collect()
}

//! A server as a process: started, waited for, and gone in the end.

use std::{
    fmt::Display,
    fs,
    io::{self, ErrorKind},
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Longer than any server takes on a busy machine.
const DEADLINE: Duration = Duration::from_mins(2);
/// Another process may take a free port before the server does.
const ATTEMPTS: usize = 5;
/// Of a server's own output, quoted when it fails.
const QUOTED_LINES: usize = 60;

/// A running server. It and all processes of its group are killed when this is dropped or when this process ends.
#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    folder: PathBuf,
    child: Child,
    keeper: Child,
}

/// Why a server is not there.
enum Failure {
    /// Somebody else has its port.
    PortTaken,
    Other(String),
}

impl Server {
    /// Starts the server `name` on a free port and waits until it answers.
    ///
    /// `command` makes the command for a port and an empty folder that is the server's own. `ready` asks a server that
    /// listens whether it really answers, and says what is missing.
    ///
    /// # Panics
    /// With the server's own output, if it doesn't answer.
    pub(super) fn start<E: Display>(
        name: &str,
        command: impl Fn(u16, &Path) -> Command,
        ready: impl Fn(u16) -> Result<(), E>,
    ) -> Self {
        for _ in 0..ATTEMPTS {
            let (mut server, program) = Self::spawn(name, &command);
            match server.wait_until(&ready) {
                Ok(()) => return server,
                Err(Failure::PortTaken) => {}
                Err(Failure::Other(why)) => panic!("{name} ({program}) {why}; it said:\n{}", server.said()),
            }
        }
        panic!("{name} found each of {ATTEMPTS} free ports taken");
    }

    fn spawn(name: &str, command: impl Fn(u16, &Path) -> Command) -> (Self, String) {
        let folder =
            tempfile::Builder::new().prefix(&format!("lambdaload-{name}-")).tempdir().expect("a folder").keep();
        let port = free_port();
        let mut command = command(port, &folder);
        let program = command.get_program().display().to_string();
        let log = fs::File::create(log(&folder)).expect("a log file");
        let errors = log.try_clone().expect("a log file");
        let child = command.process_group(0).stdin(Stdio::null()).stdout(log).stderr(errors).spawn();
        let child = child.unwrap_or_else(|error| panic!("{name} can't be started as {program}: {error}"));
        // A process that is being killed may write once more.
        let script = "read -r _; kill -s KILL -- \"-$1\"; rm -rf -- \"$2\" || { sleep 1; rm -rf -- \"$2\"; }";
        let keeper = keeper(script, &[child.id().to_string(), folder.display().to_string()]);
        (Self { port, folder, child, keeper }, program)
    }

    fn wait_until<E: Display>(&mut self, ready: impl Fn(u16) -> Result<(), E>) -> Result<(), Failure> {
        let start = Instant::now();
        let mut missing = "it doesn't listen".to_owned();
        loop {
            if let Some(status) = self.ended() {
                return Err(if self.port_is_taken() {
                    Failure::PortTaken
                } else {
                    Failure::Other(format!("ended with {status}"))
                });
            }
            match listener(self.port, self.child.id()) {
                // An answer from this port is an answer from this server only if no other listens there.
                Listener::Own => match ready(self.port) {
                    Ok(()) => return Ok(()),
                    Err(why) => missing = why.to_string(),
                },
                Listener::Other => return Err(Failure::PortTaken),
                Listener::Nobody => {}
            }
            if start.elapsed() > DEADLINE {
                return Err(Failure::Other(format!("does not answer after {DEADLINE:?}: {missing}")));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn port_is_taken(&self) -> bool {
        TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
            || self.said().to_lowercase().contains("already in use")
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    pub(super) fn url(&self) -> String {
        url(self.port)
    }

    /// Where it listens.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of what the server has said so far.
    pub(super) fn said(&self) -> String {
        let said = self.said_all();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
    }

    /// All that the server has said so far.
    pub(super) fn said_all(&self) -> String {
        String::from_utf8_lossy(&fs::read(log(&self.folder)).unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The keeper takes the end of its input as the sign.
        drop(self.keeper.stdin.take());
        _ = self.keeper.wait();
        // Without a keeper, waiting would last.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A shell that runs `script` when its input ends: it ends what a test has started.
///
/// A test's process may end without dropping anything: what is static is never dropped, and a test may be killed. Its end
/// of the pipe is closed in any case.
pub(super) fn keeper(script: &str, arguments: &[String]) -> Child {
    Command::new("/bin/sh")
        .args(["-c", script, "keeper"])
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell that ends what was started")
}

/// The address of a port of the loopback.
pub(super) fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn log(folder: &Path) -> PathBuf {
    folder.join("server.log")
}

/// A port that nobody had a moment ago.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.expect("a free port of the loopback").port()
}

/// Who listens on a port.
#[derive(Debug, PartialEq, Eq)]
enum Listener {
    Nobody,
    Own,
    Other,
}

/// Who listens on `port`: the process `pid` or another one.
fn listener(port: u16, pid: u32) -> Listener {
    let Some(inode) = ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().find_map(|table| listening(table, port)) else {
        return Listener::Nobody;
    };
    let own = |folder: io::Result<fs::ReadDir>| {
        folder.into_iter().flatten().flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == format!("socket:[{inode}]").as_str())
        })
    };
    if own(fs::read_dir(format!("/proc/{pid}/fd"))) { Listener::Own } else { Listener::Other }
}

/// The inode of the socket that listens on `port`, from one of the kernel's tables.
fn listening(table: &str, port: u16) -> Option<String> {
    let port = format!("{port:04X}");
    fs::read_to_string(table).ok()?.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Columns: number, local address, remote address, state (0A is LISTEN), …, inode.
        let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields[..] else { return None };
        (local.rsplit_once(':')?.1 == port).then(|| inode.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::wait_for;

    #[test]
    fn a_listener_is_told_from_another_process() {
        let listener_here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener_here.local_addr().unwrap().port();
        assert_eq!(listener(port, std::process::id()), Listener::Own);
        assert_eq!(listener(port, 1), Listener::Other);
        drop(listener_here);
        // A process that another test starts at this moment holds it too, until it is another program.
        wait_for("nobody to listen", || (listener(port, std::process::id()) == Listener::Nobody).then_some(()));
    }

    #[test]
    #[should_panic(expected = "ended with exit status: 3; it said:\nno coffee")]
    fn a_server_that_ends_is_quoted() {
        Server::start("teapot", |_, _| shell("echo no coffee; exit 3"), |_| Ok::<_, String>(()));
    }

    #[test]
    #[should_panic(expected = "each of 5 free ports taken")]
    fn a_port_in_use_is_tried_again_but_not_for_ever() {
        Server::start("late", |_, _| shell("echo bind: address already in use; exit 1"), |_| Ok::<_, String>(()));
    }

    fn shell(script: &str) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", script]);
        shell
    }
}

//! Child processes that never outlive this program.
//!
//! Each runs in a process group of its own, so that a terminal's Ctrl-C reaches this program only and it decides what
//! follows. On Linux the kernel signals the child when this program dies, however it dies; everywhere dropping the
//! [`Process`] kills its group.

use std::{
    future::{Future, poll_fn},
    io,
    os::unix::process::ExitStatusExt as _,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
};

use lambdaload_core::k6::exit::ProcessExit;
use rustix::process::{Pid, Signal};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStderr, ChildStdout, Command},
    runtime::Handle,
    sync::{oneshot, watch},
};

/// A child process that was started; whether it still runs is seen by [`Process::exit`].
#[derive(Debug)]
pub(crate) struct Process {
    /// Locked by whoever signals and by whoever reaps, so that a signal never goes to a later process of the same id.
    child: Arc<Mutex<Child>>,
    group: Pid,
    exit: watch::Receiver<Option<ProcessExit>>,
}

/// The ends of a child's output that were asked for as pipes.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

impl Process {
    /// Starts a command that reads `input` from its standard input, and then its end. If this program dies, the child gets
    /// `when_orphaned` (on Linux).
    pub(crate) async fn start(
        mut command: Command,
        when_orphaned: Signal,
        input: Vec<u8>,
    ) -> io::Result<(Self, Output)> {
        let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
        command.stdin(stdin).process_group(0).kill_on_drop(true);
        tie(&mut command, when_orphaned);
        let mut child = spawn(command).await?;
        if let Some(mut stdin) = child.stdin.take() {
            // A child that ends before it has read all of it says itself why.
            tokio::spawn(async move { stdin.write_all(&input).await });
        }
        let group = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let group = group.ok_or_else(|| io::Error::other("a process without an id"))?;
        let output = Output { stdout: child.stdout.take(), stderr: child.stderr.take() };
        let child = Arc::new(Mutex::new(child));
        let (sender, exit) = watch::channel(None);
        tokio::spawn(reap(Arc::clone(&child), sender));
        Ok((Self { child, group, exit }, output))
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<ProcessExit> {
        *self.exit.borrow()
    }

    /// Returns when it has ended.
    pub(crate) fn exited(&self) -> impl Future<Output = ProcessExit> + Send + use<> {
        let mut exit = self.exit.clone();
        async move {
            match exit.wait_for(Option::is_some).await.map(|found| *found) {
                Ok(Some(exit)) => exit,
                // The runtime is being shut down, and has killed the child with it.
                Ok(None) | Err(_) => KILLED,
            }
        }
    }

    /// Sends a signal to the process alone, if it still runs.
    pub(crate) fn signal(&self, signal: Signal) {
        let child = lock(&self.child);
        if child.id().is_some() {
            // It can only fail if the process is ending at this moment, which is what is wanted.
            let _ = rustix::process::kill_process(self.group, signal);
        }
    }

    /// Kills the process and all that it started, except for what moved to another process group.
    pub(crate) fn kill(&self) {
        let child = lock(&self.child);
        if child.id().is_some() {
            let _ = rustix::process::kill_process_group(self.group, Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

const KILLED: ProcessExit = ProcessExit::Signal(Signal::KILL.as_raw());

async fn reap(child: Arc<Mutex<Child>>, sender: watch::Sender<Option<ProcessExit>>) {
    // The lock is held while it is looked, not while it is waited.
    let status = poll_fn(|context| pin!(lock(&child).wait()).poll(context)).await;
    // Without a status nobody can say how it ended, as with one that was killed.
    sender.send_replace(Some(status.map_or(KILLED, exit_of)));
}

fn exit_of(status: ExitStatus) -> ProcessExit {
    match (status.code(), status.signal()) {
        (Some(code), _) => ProcessExit::Code(code),
        (None, Some(signal)) => ProcessExit::Signal(signal),
        (None, None) => KILLED,
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the kernel send `signal` to the child when its parent dies.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "there is no safe way to run prctl in the child, and nothing else survives a kill -9")]
fn tie(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    let in_child = move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        // If the parent has died already, no signal will ever come.
        if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(rustix::io::Errno::SRCH.into()) }
    };
    // SAFETY: the closure makes two system calls and allocates nothing, so it may run between fork and exec.
    unsafe { command.pre_exec(in_child) };
}

#[cfg(not(target_os = "linux"))]
fn tie(_: &mut Command, _: Signal) {}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that starts all children. The kernel takes the death of the *thread* that started a child for the death of
/// its parent, and threads of a runtime come and go; this one stays as long as the program.
static SPAWNER: LazyLock<io::Result<mpsc::Sender<Job>>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new().name("spawner".to_owned()).spawn(move || jobs.iter().for_each(|job| job()))?;
    Ok(sender)
});

async fn spawn(mut command: Command) -> io::Result<Child> {
    let spawner = SPAWNER.as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))?;
    let (sender, child) = oneshot::channel();
    let runtime = Handle::current();
    let job = Box::new(move || {
        let _inside = runtime.enter();
        // A child that nobody waits for any more is killed by being dropped.
        let _ = sender.send(command.spawn());
    });
    let gone = || io::Error::other("the thread that starts processes has ended");
    spawner.send(job).map_err(|_| gone())?;
    child.await.map_err(|_| gone())?
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Process {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Process::start(command, Signal::KILL, Vec::new()).await.unwrap().0
    }

    #[tokio::test]
    async fn how_it_ended_is_known_to_all_who_wait() {
        let process = shell("exit 7").await;
        let (one, other) = tokio::join!(process.exited(), process.exited());
        assert_eq!((one, other, process.exit()), (ProcessExit::Code(7), one, Some(one)));
        process.signal(Signal::INT);
        process.kill();
    }

    #[tokio::test]
    async fn killing_reaches_the_whole_group() {
        let (process, output) = {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", "sleep 600 & echo started; wait"]).stdout(Stdio::piped());
            Process::start(command, Signal::KILL, Vec::new()).await.unwrap()
        };
        let mut lines = tokio::io::BufReader::new(output.stdout.unwrap());
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.unwrap();
        process.kill();
        assert_eq!(process.exited().await, KILLED);
        // The pipe ends only when the sleeping grandchild, which holds it too, is gone.
        assert_eq!(tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn input_of_any_length_is_read_to_its_end_or_not_at_all() {
        let input = vec![b'x'; 1 << 20];
        let mut command = Command::new("/usr/bin/wc");
        command.arg("-c").stdout(Stdio::piped());
        let (process, output) = Process::start(command, Signal::KILL, input.clone()).await.unwrap();
        let mut lines = tokio::io::BufReader::new(output.stdout.unwrap());
        let mut line = String::new();
        tokio::io::AsyncBufReadExt::read_line(&mut lines, &mut line).await.unwrap();
        assert_eq!((line.trim(), process.exited().await), ("1048576", ProcessExit::Code(0)));
        let (process, _) = Process::start(Command::new("/bin/true"), Signal::KILL, input).await.unwrap();
        assert_eq!(process.exited().await, ProcessExit::Code(0));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_an_error() {
        let error = Process::start(Command::new("/nowhere/k6"), Signal::KILL, Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

//! The named pipe that k6 writes its samples into.

use std::{io, os::fd::OwnedFd, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use lambdaload_core::ports::{GeneratorError, Piece, SampleStream};
use rustix::{
    buffer::spare_capacity,
    fs::{Mode, OFlags},
    io::Errno,
};
use tokio::time::sleep;

use crate::process::Process;

/// Bytes that the pipe holds, the first of these that the system allows: what k6 writes in some milliseconds. A user without
/// privileges may have 64 MiB in pipes, so on one machine sixty workers have large ones, and two hundred may.
const SIZES: [usize; 2] = [1024 * 1024, 256 * 1024];

/// Bytes that one piece can have: what stays in a processor's own memory while it is read.
const PIECE: usize = 128 * 1024;

/// How long the pipe is left alone after it was emptied: at first, and at most, doubling in between while nothing comes. k6
/// writes all that has gathered every 200 ms.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(32);

/// Makes a named pipe and opens it for reading *and* writing: so neither we nor k6 ever wait for the other to open it, and
/// k6 may die before it does. What tells the end is that the process has ended and the pipe is empty.
pub(super) fn make(path: &Path) -> io::Result<OwnedFd> {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR)?;
    let pipe = rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
    enlarge(&pipe);
    Ok(pipe)
}

#[cfg(target_os = "linux")]
fn enlarge(pipe: &OwnedFd) {
    // A user who has many large pipes already may be refused; a small one is only slower.
    let _ = SIZES.iter().any(|size| rustix::pipe::fcntl_setpipe_size(pipe, *size).is_ok());
}

#[cfg(not(target_os = "linux"))]
fn enlarge(_: &OwnedFd) {}

/// The samples of one k6 process. Dropped before the end it kills the process, which could never end without a reader: it
/// waits for room in the pipe, even after it was interrupted.
///
/// The pipe is looked at from time to time; the runtime is not asked to wake us when there is something. k6 2 writes each
/// line by itself, and being woken for each costs ten times as much as reading it (measured: 1,500 ns against 140 ns).
/// k6 1 writes a dozen lines at once, and whoever reads on while it writes gets no more than those with each call.
pub(super) struct PipeStream {
    pipe: OwnedFd,
    process: Arc<Process>,
    /// Until the next look; none while there is more.
    pause: Option<Duration>,
}

impl PipeStream {
    pub(super) fn new(pipe: OwnedFd, process: Arc<Process>) -> Self {
        Self { pipe, process, pause: None }
    }

    async fn read(&mut self, piece: &mut Vec<u8>) -> Result<Option<()>, Errno> {
        piece.clear();
        piece.reserve(PIECE);
        loop {
            if let Some(pause) = self.pause {
                tokio::select! {
                    () = sleep(pause) => {}
                    _ = self.process.exited() => {}
                }
            }
            // Whatever was written before the end is in the pipe by then, so first the process is looked at, then the pipe.
            let ended = self.process.exit().is_some();
            match rustix::io::read(&self.pipe, spare_capacity(piece)) {
                Ok(length) if length > 0 => {
                    let is_empty = length < PIECE;
                    self.pause = is_empty.then_some(SHORTEST_PAUSE);
                    return Ok(Some(()));
                }
                Ok(_) | Err(Errno::AGAIN) if ended => return Ok(None),
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            self.pause = Some(self.pause.map_or(SHORTEST_PAUSE, |pause| LONGEST_PAUSE.min(pause * 2)));
        }
    }
}

#[async_trait]
impl SampleStream for PipeStream {
    async fn next(&mut self, piece: &mut Vec<u8>) -> Result<Option<Piece>, GeneratorError> {
        let read = self.read(piece).await;
        read.map(|some| some.map(|()| Piece::Lines))
            .map_err(|error| GeneratorError::Process { operation: "reading k6's samples", cause: error.into() })
    }
}

impl Drop for PipeStream {
    fn drop(&mut self) {
        self.process.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::process::Signal;
    use tokio::process::Command;

    use super::*;

    /// A stream of what a shell script writes into the pipe, which is `$1`; its folder is `$2`.
    async fn written_by(script: &str, size: Option<usize>) -> (PipeStream, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("samples");
        let pipe = make(&path).unwrap();
        if let Some(size) = size {
            rustix::pipe::fcntl_setpipe_size(&pipe, size).unwrap();
        }
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]).arg(&path).arg(folder.path());
        let (process, _) = Process::start(command, Signal::KILL, Vec::new()).await.unwrap();
        (PipeStream::new(pipe, Arc::new(process)), folder)
    }

    fn numbers(from: u32, to: u32) -> String {
        (from..=to).map(|number| number.to_string() + "\n").collect()
    }

    /// All that comes from here on, to the end.
    async fn rest(stream: &mut PipeStream) -> String {
        let (mut piece, mut all) = (Vec::new(), Vec::new());
        while stream.next(&mut piece).await.unwrap().is_some() {
            assert!(!piece.is_empty() && piece.len() <= PIECE, "{}", piece.len());
            all.extend_from_slice(&piece);
        }
        String::from_utf8(all).unwrap()
    }

    #[tokio::test]
    async fn more_than_the_pipe_holds_comes_whole_and_in_order() {
        for size in [None, Some(4_096)] {
            let (mut stream, _folder) = written_by(r#"seq 1 400000 > "$1""#, size).await;
            assert!(rest(&mut stream).await == numbers(1, 400_000), "{size:?}");
        }
    }

    #[tokio::test]
    async fn who_writes_after_a_while_is_heard_to_the_end() {
        let script = r#"exec 3> "$1"; seq 1 9 >&3; until [ -e "$2/go" ]; do sleep 0.01; done; seq 10 19 >&3"#;
        let (mut stream, folder) = written_by(script, None).await;
        let mut first = Vec::new();
        while first.len() < 18 {
            let mut piece = Vec::new();
            stream.next(&mut piece).await.unwrap().expect("it lives");
            first.extend_from_slice(&piece);
        }
        assert_eq!(String::from_utf8_lossy(&first), numbers(1, 9));
        // Nothing comes, and the pauses become longer.
        let mut looks = 0;
        while stream.pause != Some(LONGEST_PAUSE) {
            looks += 1;
            assert!(looks < 100, "{:?}", stream.pause);
            let look = tokio::time::timeout(LONGEST_PAUSE, stream.next(&mut first)).await;
            assert!(look.is_err(), "{look:?}");
        }
        fs::write(folder.path().join("go"), "").unwrap();
        assert_eq!(rest(&mut stream).await, numbers(10, 19));
    }
}

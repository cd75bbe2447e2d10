//! What this machine can take.

use std::thread;

use lambdaload_core::plan::Machine;
use rustix::process::{Resource, getrlimit};

/// File descriptors that a process may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenFiles {
    /// What a process starts with.
    pub(crate) soft: u64,
    /// What it may raise that to; k6 does so itself.
    pub(crate) hard: u64,
}

/// The limits of this process, which its children inherit.
pub(crate) fn open_files() -> OpenFiles {
    let limit = getrlimit(Resource::Nofile);
    OpenFiles { soft: limit.current.unwrap_or(u64::MAX), hard: limit.maximum.unwrap_or(u64::MAX) }
}

/// Processors that this process may use; container limits count.
pub(crate) fn cores() -> u32 {
    thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// What a plan has to know.
pub(crate) fn machine() -> Machine {
    Machine { cores: cores(), open_files: open_files().hard }
}

//! What Linux tells of running processes.

use std::fs;

/// The children of a process.
pub(crate) fn children(of: u32) -> Vec<u32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| status(*pid, "PPid:") == Some(of))
        .collect()
}

/// Resident memory, in KiB; none of a process that has ended.
pub(crate) fn resident(pid: u32) -> Option<u32> {
    status(pid, "VmRSS:")
}

/// The most that was ever resident, in KiB; none of a process that has ended.
pub(crate) fn most_resident(pid: u32) -> Option<u32> {
    status(pid, "VmHWM:")
}

/// CPU time of a process and its threads, of the user and the system, in ticks of 10 ms; also of one that has ended and
/// was not waited for.
pub(crate) fn ticks(pid: u32) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before that may have spaces and brackets in it. The 14th and 15th field of all are meant.
    let (_, fields) = text.rsplit_once(')')?;
    fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u32>().ok()).sum()
}

/// The first argument, after the program's own name.
pub(crate) fn first_argument(pid: u32) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    String::from_utf8(line.split(|byte| *byte == 0).nth(1)?.to_vec()).ok()
}

fn status(pid: u32, field: &str) -> Option<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::process::turn;

    #[test]
    fn a_child_is_found_and_looked_at() {
        let _turn = turn();
        let mut child = std::process::Command::new("/bin/sleep").arg("60").spawn().unwrap();
        let this = std::process::id();
        assert!(children(this).contains(&child.id()));
        // It is there a moment before it has arguments of its own.
        let deadline = Instant::now() + Duration::from_secs(20);
        while first_argument(child.id()).as_deref() != Some("60") {
            assert!(Instant::now() < deadline, "its argument is {:?}", first_argument(child.id()));
        }
        assert!(resident(this).is_some_and(|kibibytes| kibibytes > 100) && most_resident(this) >= resident(this));
        assert!(ticks(this).is_some());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ticks(child.id()), None);
    }
}

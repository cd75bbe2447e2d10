//! A process in a container, by the word of the kernel.

use std::{fs, path::Path, time::Duration};

use crate::cli::descendants;

/// The first process of a container, and what the kernel says of it.
#[derive(Debug)]
pub struct Process {
    /// Of this machine.
    pub pid: u32,
    /// Its user's number.
    pub uid: String,
    /// Those in effect, as a mask.
    pub capabilities: String,
    groups: String,
}

impl Process {
    /// Of this process, which runs.
    ///
    /// # Panics
    /// If it has ended.
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the container runs");
        let status = read("status");
        let line = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line");
            line.split_whitespace().next().expect("a value").to_owned()
        };
        Self { pid, uid: line("Uid:"), capabilities: line("CapEff:"), groups: read("cgroup") }
    }

    /// In bytes.
    ///
    /// # Panics
    /// If the kernel does not say.
    pub fn memory_limit(&self) -> u64 {
        number(&self.group("memory", "memory.limit_in_bytes", "memory.max"))
    }

    /// The most memory that all in the container have had, in bytes.
    ///
    /// # Panics
    /// If the kernel does not say.
    pub fn peak(&self) -> u64 {
        number(&self.group("memory", "memory.max_usage_in_bytes", "memory.peak"))
    }

    /// Of a processor, in hundred-thousandths.
    ///
    /// # Panics
    /// If the kernel does not say.
    pub fn cpu_quota(&self) -> u64 {
        // The second version of cgroups has the period beside it.
        number(&self.group("cpu", "cpu.cfs_quota_us", "cpu.max"))
    }

    /// What all in the container have used so far.
    ///
    /// # Panics
    /// If the kernel does not say.
    pub fn cpu(&self) -> Duration {
        let used = self.group("cpuacct", "cpuacct.usage", "cpu.stat");
        match used.strip_prefix("usage_usec ") {
            Some(used) => Duration::from_micros(number(used)),
            None => Duration::from_nanos(number(&used)),
        }
    }

    /// The options with which the file system at this path is mounted; none if it is no mount of its own.
    ///
    /// # Panics
    /// If it has ended.
    pub fn mount(&self, path: &str) -> Option<Vec<String>> {
        let mounts = fs::read_to_string(format!("/proc/{}/mounts", self.pid)).expect("the container runs");
        // The last one counts.
        let of_path = mounts.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>());
        let found = of_path.into_iter().find(|fields| fields.get(1) == Some(&path))?;
        Some(found.get(3)?.split(',').map(str::to_owned).collect())
    }

    /// Its child that runs this program of the image.
    ///
    /// # Panics
    /// If the kernel does not say.
    pub fn child(&self, program: &str) -> u32 {
        let runs = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == Path::new(program));
        descendants(self.pid).into_iter().map(|(pid, _)| pid).find(|pid| runs(*pid)).expect("it runs")
    }

    /// A file of the group that it is in: of the first or the second version of cgroups.
    fn group(&self, controller: &str, one: &str, two: &str) -> String {
        let path = |wanted: &str| {
            self.groups.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers.split(',').any(|one| one == wanted).then(|| path.trim_start_matches('/'))
            })
        };
        let root = Path::new("/sys/fs/cgroup");
        let file = match path(controller) {
            Some(path) => root.join(controller).join(path).join(one),
            None => root.join(path("").expect("a group")).join(two),
        };
        fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }
}

fn number(text: &str) -> u64 {
    let word = text.split_whitespace().next().unwrap_or_default();
    word.parse().unwrap_or_else(|_| panic!("no number: {text}"))
}

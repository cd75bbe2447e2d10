//! Functions in containers of a Lambda runtime, with the layer at `/opt`: what the emulator's own processes don't have.

use std::{
    fs::{self, File},
    io::Read as _,
};

use lambdaload_tests::{
    account::{Account, Differences, built},
    cli::{Folder, descendants, wait_for},
    runtime,
    servers::{Podman, podman::HOST},
    target::Target,
};

const SCRIPT: &str = r"
import http from 'k6/http';
import { check, sleep } from 'k6';
import exec from 'k6/execution';

export const options = {
  scenarios: { ask: { executor: 'shared-iterations', vus: 4, iterations: 60, maxDuration: '90s' } },
  thresholds: { iterations: ['count==60'], checks: ['rate==1'] },
};

export default function () {
  const answer = http.get(`${__ENV.TARGET}/iteration/${exec.scenario.iterationInTest}`);
  check(answer, { 'has answered': (answer) => answer.status === 404 });
  sleep(0.5);
}
";

/// A program that runs in a container.
#[derive(Debug)]
struct Program {
    container: String,
    /// Where it lies in the container.
    path: String,
    file: File,
    has_k6_variable: bool,
    user: String,
}

impl Program {
    fn of(container: &str, pid: u32) -> Option<Self> {
        let of = |name: &str| format!("/proc/{pid}/{name}");
        let status = fs::read_to_string(of("status")).ok()?;
        let environment = fs::read(of("environ")).ok()?;
        Some(Self {
            container: container.to_owned(),
            path: fs::read_link(of("exe")).ok()?.display().to_string(),
            file: File::open(of("exe")).ok()?,
            has_k6_variable: environment.split(|byte| *byte == 0).any(|one| one.starts_with(b"LAMBDALOAD_K6=")),
            user: status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().next()?.to_owned(),
        })
    }

    /// Whether it is what `sam build` built.
    fn is(&self, artefact: &str) -> bool {
        let mut contents = Vec::new();
        (&self.file).read_to_end(&mut contents).expect("the program");
        contents == fs::read(built().join(artefact)).expect("an artefact")
    }
}

/// What runs in containers at this moment.
fn programs(podman: &Podman) -> Vec<Program> {
    let below = |(container, pid): (String, u32)| {
        descendants(pid).into_iter().filter_map(move |(pid, _)| Program::of(&container, pid))
    };
    podman.containers().into_iter().flat_map(below).collect()
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn k6_of_the_layer_runs_in_runtime_containers() {
    let Some(podman) = Podman::or_skip() else { return };
    runtime::build(&podman);
    let variables = runtime::variables(&podman.host());
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // As in an account: scripts reach neither loopback, where the runtime API is, nor link-local addresses.
    let account = Account::deploy(&Differences {
        variables: &variables,
        parameters: &["AllowLoopback=false"],
        ..Differences::default()
    });
    let (folder, target) = (Folder::new(), Target::start());
    folder.write("script.js", SCRIPT);
    let url = format!("TARGET={}", target.url().replace("127.0.0.1", HOST));

    let run = account.detached(&folder, &["script.js", "--workers", "2", "-e", &url]);
    let is_k6 = |program: &&Program| program.path.ends_with("/k6");
    let programs = wait_for("k6 in two containers", || {
        let programs = programs(&podman);
        (programs.iter().filter(is_k6).count() == 2 && !target.requests().is_empty()).then_some(programs)
    });
    let verdict = account.verdict(&folder, &run);
    assert_eq!(verdict["outcome"], "passed", "{verdict:#}\n{}", account.said());
    assert_eq!(verdict["workers"].as_array().map(Vec::len), Some(2), "{verdict:#}");
    let requests = target.requests();
    assert!(requests.len() == 60 && requests.values().all(|count| *count == 1), "{requests:?}");

    // Stock k6 is the layer's, and nobody was told of another.
    let k6s: Vec<_> = programs.iter().filter(is_k6).collect();
    assert_ne!(k6s[0].container, k6s[1].container, "{programs:#?}");
    for k6 in k6s {
        assert_eq!((k6.path.as_str(), k6.user.as_str()), ("/opt/bin/k6", "1051"));
        assert!(k6.is("K6Layer/bin/k6"), "{k6:?}");
        let worker = programs.iter().find(|one| one.container == k6.container && one.path.ends_with("/bootstrap"));
        let worker = worker.unwrap_or_else(|| panic!("no worker beside k6: {programs:#?}"));
        assert!(worker.is("LauncherFunction-Shared/bootstrap") && !worker.has_k6_variable, "{worker:?}");
    }
}

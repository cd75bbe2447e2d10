//! Workers as containers of our own image, which the emulated ECS starts by podman: static k6 and static worker from scratch.

use std::{collections::BTreeSet, fs};

use lambdaload_tests::{
    account::{Account, Differences},
    cli::{Folder, Running, descendants, wait_for},
    confined::Process,
    fixture,
    servers::{Limiter, Podman},
    target::Target,
    template::worker_programs,
};
use serde_json::{Value, json};

use crate::{
    runs::facts,
    scene::{failures, reasons},
};

/// An account whose ECS runs containers, each with what its task definition says. They share the network of this machine: the way to it that the emulator gives to
/// containers with networks of their own leads nowhere under podman.
struct Cluster {
    account: Account,
    limiter: Limiter,
    podman: Podman,
    folder: Folder,
}

impl Cluster {
    /// None, said aloud, where there are no containers or no programs for them.
    fn start() -> Option<Self> {
        let programs = worker_programs()?.display().to_string();
        let podman = Podman::or_skip()?;
        let limiter = Limiter::before(&podman);
        let host = limiter.host();
        let account = Account::deploy(&Differences {
            variables: &[("DOCKER_HOST", &host)],
            edits: &[("/Resources/TaskDefinition/Properties/NetworkMode", json!("host"))],
            ..Differences::default()
        });
        limiter.ask_at(&account.endpoint());
        let folder = Folder::new();
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
        let arguments =
            ["image", "build", "--programs", &programs, "--architecture", architecture, "--output", "image.tar"];
        let said = folder.run(&arguments);
        assert_eq!(said.code, Some(0), "{said:#?}");
        let archive = folder.path().join("image.tar").display().to_string();
        let loaded = podman.run(&["load", "--quiet", "--input", &archive]);
        let image = loaded.trim().trim_start_matches("Loaded image:").trim();
        // The name by which the task definition asks for it.
        let name = account.ask(
            "definition = client('ecs').describe_task_definition(taskDefinition='lambdaload-worker')['taskDefinition']
print(json.dumps(definition['containerDefinitions'][0]['image']))",
        );
        podman.run(&["tag", image, name.as_str().expect("a name")]);
        Some(Self { account, limiter, podman, folder })
    }

    fn run(&self, arguments: &[&str]) -> Running {
        let usual = ["run", "--platform", "fargate", "--output", "json", "--quiet"];
        self.account.spawn(&self.folder, &[&usual, arguments].concat())
    }

    /// How many workers have stored something.
    fn storing(&self) -> usize {
        let records = self.account.ask(
            "table = next(t for t in client('dynamodb').list_tables()['TableNames'] if 'Table' in t)
items = client('dynamodb').scan(TableName=table, ConsistentRead=True)['Items']
print(json.dumps([json.loads(i['record']['S']) for i in items if i['sk']['S'].startswith('worker')]))",
        );
        let chunks = records.as_array().expect("records").iter().map(|record| record["chunks"].as_u64());
        chunks.filter(|chunks| *chunks > Some(0)).count()
    }

    /// The containers whose k6 runs.
    fn running(&self) -> Vec<String> {
        let has_k6 = |pid: u32| {
            let is_k6 = |pid: u32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("k6"));
            descendants(pid).into_iter().any(|(pid, _)| is_k6(pid))
        };
        self.podman.containers().into_iter().filter(|(_, pid)| has_k6(*pid)).map(|(id, _)| id).collect()
    }
}

fn verdict(said: &lambdaload_tests::cli::Said, account: &Account) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}\n{}", account.said()))
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn eight_containers_of_our_image_give_the_verdict_of_the_local_fleet() {
    let Some(cluster) = Cluster::start() else { return };
    let target = Target::start();
    let script = fixture("deterministic.js").display().to_string();
    let url = format!("TARGET={}", target.url());
    let arguments = [script.as_str(), "--workers", "8", "-e", &url, "-e", "VUS=8"];
    let local = cluster.folder.run(&[&["run", "--output", "json", "--quiet"], &arguments[..]].concat());
    let fargate = cluster.run(&arguments).wait();
    let (local, fargate) = (verdict(&local, &cluster.account), verdict(&fargate, &cluster.account));
    assert_eq!(fargate["outcome"], "passed", "{fargate:#}");
    assert_eq!(facts(&fargate), facts(&local));
    assert_eq!(fargate["workers"].as_array().map(Vec::len), Some(8));
    let requests = target.requests();
    let counts: Vec<u64> =
        requests.iter().filter(|(path, _)| path.starts_with("/iteration/")).map(|(_, count)| *count).collect();
    assert_eq!((counts.len(), counts.iter().all(|count| *count == 2)), (200, true), "{requests:?}");
    // Containers are what ran them, and all of them have ended well.
    let ended = cluster.account.ask(
        "ecs = client('ecs')
arns = ecs.list_tasks(cluster='lambdaload', desiredStatus='STOPPED')['taskArns']
tasks = ecs.describe_tasks(cluster='lambdaload', tasks=arns)['tasks']
print(json.dumps([task['containers'][0].get('exitCode') for task in tasks]))",
    );
    assert_eq!(ended, serde_json::json!([0, 0, 0, 0, 0, 0, 0, 0]), "{}", cluster.account.said());
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn containers_are_confined_and_one_that_never_starts_is_killed_or_is_stopped_is_named() {
    let Some(cluster) = Cluster::start() else { return };
    let script = fixture("steady.js").display().to_string();
    let size = ["--cpu", "512", "--memory", "1024"];
    let four = [script.as_str(), "--workers", "4", "--min-workers", "1", "-e", "DURATION=45s"];
    cluster.limiter.spoil_last();
    let running = cluster.run(&[&four[..], &size].concat());
    wait_for("three workers to have stored something", || (cluster.storing() == 3).then_some(()));
    let containers = cluster.running();
    assert_eq!(containers.len(), 3, "{containers:?}");
    // What the task definition and the run say, by the kernel's word.
    for (_, pid) in cluster.podman.containers().iter().filter(|(id, _)| containers.contains(id)) {
        let worker = Process::of(*pid);
        let has =
            |path: &str, option: &str| worker.mount(path).is_some_and(|options| options.iter().any(|o| o == option));
        assert!(has("/", "ro") && has("/tmp", "rw"), "{:?} {:?}", worker.mount("/"), worker.mount("/tmp"));
        assert_eq!((worker.uid.as_str(), worker.capabilities.as_str()), ("10001", "0000000000000000"));
        assert_eq!((worker.memory_limit(), worker.cpu_quota()), (1_024 << 20, 50_000));
        let k6 = Process::of(worker.child("/k6"));
        assert_eq!((k6.uid.as_str(), k6.capabilities.as_str()), ("10001", "0000000000000000"));
        assert_eq!((k6.memory_limit(), k6.cpu_quota()), (1_024 << 20, 50_000));
    }
    cluster.podman.run(&["kill", "--signal", "KILL", &containers[0]]);
    cluster.podman.run(&["stop", "--time", "100", &containers[1]]);
    let said = running.wait();
    let verdict = verdict(&said, &cluster.account);
    // One worker is enough, by --min-workers.
    assert_eq!((said.code, &verdict["outcome"]), (Some(0), &json!("passed")), "{verdict:#}");
    let told: String =
        verdict["reasons"].as_array().expect("reasons").iter().map(|reason| reason["message"].to_string()).collect();
    for words in ["it was told to end (SIGTERM)", "exit code 137", "its task did not start", "/not-in-the-image"] {
        assert!(told.contains(words), "{words}: {verdict:#}");
    }
    let named: BTreeSet<u64> = reasons(&verdict).iter().filter_map(|(_, worker)| *worker).collect();
    assert_eq!(named.len(), 3, "{verdict:#}");
    let kinds: BTreeSet<String> = failures(&verdict).into_values().collect();
    assert_eq!(kinds, ["lost", "not_launched", "taken"].map(str::to_owned).into(), "{verdict:#}");
    // What was stopped has uploaded all that it had measured.
    let workers = verdict["workers"].as_array().expect("workers");
    let stopped = workers.iter().find(|worker| worker["failure"]["kind"] == "taken");
    let stopped = stopped.unwrap_or_else(|| panic!("{verdict:#}"));
    assert!(stopped["samples_read"].as_u64() > Some(0), "{stopped:#}");
    assert_eq!(stopped["samples_read"], stopped["samples_merged"]);
}

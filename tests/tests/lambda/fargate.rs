//! Workers as containers of our own image, which the emulated ECS starts by podman: static k6 and static worker from scratch.

use std::{collections::BTreeSet, fs};

use lambdaload_tests::{
    account::{Account, Differences},
    cli::{Folder, Running, descendants, wait_for},
    fixture,
    servers::Podman,
    target::Target,
    template::worker_programs,
};
use serde_json::Value;

use crate::{runs::facts, scene::reasons};

/// An account whose ECS runs containers. They share the network of this machine: the way to it that the emulator gives to
/// containers with networks of their own leads nowhere under podman.
struct Cluster {
    account: Account,
    podman: Podman,
    folder: Folder,
}

impl Cluster {
    /// None, said aloud, where there are no containers or no programs for them.
    fn start() -> Option<Self> {
        let programs = worker_programs()?.display().to_string();
        let podman = Podman::or_skip()?;
        let host = podman.host();
        let account = Account::deploy(&Differences {
            variables: &[("DOCKER_HOST", &host)],
            edits: &[("NetworkMode: awsvpc", "NetworkMode: host")],
            ..Differences::default()
        });
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
        Some(Self { account, podman, folder })
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
fn a_container_that_is_killed_and_one_that_is_stopped_are_named() {
    let Some(cluster) = Cluster::start() else { return };
    let script = fixture("steady.js").display().to_string();
    let running = cluster.run(&[&script, "--workers", "4", "--min-workers", "2", "-e", "DURATION=45s"]);
    wait_for("four workers to have stored something", || (cluster.storing() == 4).then_some(()));
    let containers = cluster.running();
    assert_eq!(containers.len(), 4, "{containers:?}");
    // Not the one that has setup and teardown to do; which that is, nobody outside knows.
    cluster.podman.run(&["kill", "--signal", "KILL", &containers[0]]);
    cluster.podman.run(&["stop", "--time", "100", &containers[1]]);
    let verdict = verdict(&running.wait(), &cluster.account);
    let told: String =
        verdict["reasons"].as_array().expect("reasons").iter().map(|reason| reason["message"].to_string()).collect();
    assert!(told.contains("it was told to end (SIGTERM)"), "{verdict:#}");
    let named: BTreeSet<u64> = reasons(&verdict).iter().filter_map(|(_, worker)| *worker).collect();
    assert_eq!(named.len(), 2, "{verdict:#}");
    // What was stopped has uploaded all that it had measured.
    let of_stopped =
        verdict["workers"].as_array().expect("workers").iter().find(|worker| worker["failure"]["kind"] == "taken");
    let of_stopped = of_stopped.unwrap_or_else(|| panic!("{verdict:#}"));
    assert!(of_stopped["samples_read"].as_u64() > Some(0), "{of_stopped:#}");
    assert_eq!(of_stopped["samples_read"], of_stopped["samples_merged"]);
}

//! Runs on Fargate: the real command, launcher and aggregator, and tasks that the emulated ECS has accepted. What runs in
//! their place here are processes of the same program, with what the template and the call give a container.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use lambdaload_tests::{
    account::{Account, Differences, program},
    cli::{Folder, Running, signal},
    fixture, k6_binary,
    target::Target,
};
use serde_json::{Value, json};

/// Longer than a run takes here.
const DEADLINE: Duration = Duration::from_mins(5);

/// What becomes of a task, by the index of its worker.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Runs,
    NeverStarts,
}

/// What runs accepted tasks: each as a process.
struct Containers<'a> {
    account: &'a Account,
    metadata: String,
    names: Arc<Mutex<Vec<String>>>,
    started: BTreeMap<String, Option<Child>>,
    /// The names of workers, by their indices.
    workers: BTreeMap<usize, String>,
    /// The run of all tasks.
    run: String,
}

/// Answers as ECS's metadata service does: `/v4/N/task` is the task in place N.
fn metadata(names: Arc<Mutex<Vec<String>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked = lines.next().unwrap_or_default();
            let _rest = lines.take_while(|line| !line.is_empty()).count();
            let place = asked.split('/').nth(2).and_then(|place| place.parse::<usize>().ok()).unwrap_or(usize::MAX);
            let name = names.lock().expect("whole").get(place).cloned().unwrap_or_default();
            let body = json!({ "TaskARN": name }).to_string();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            let _gone = (&stream).write_all((head + &body).as_bytes());
        }
    });
    url
}

impl<'a> Containers<'a> {
    fn new(account: &'a Account) -> Self {
        let names = Arc::new(Mutex::new(Vec::new()));
        Self {
            account,
            metadata: metadata(names.clone()),
            names,
            started: BTreeMap::new(),
            workers: BTreeMap::new(),
            run: String::new(),
        }
    }

    /// Starts what was accepted since the last look.
    fn look(&mut self, fate: impl Fn(usize) -> Fate) {
        let accepted = self.account.ask(
            "ecs, s3 = client('ecs'), client('s3')\n\
             arns = ecs.list_tasks(cluster='lambdaload')['taskArns']\n\
             tasks = ecs.describe_tasks(cluster='lambdaload', tasks=arns)['tasks'] if arns else []\n\
             image = ecs.describe_task_definition(taskDefinition='lambdaload-worker')['taskDefinition']['containerDefinitions'][0]\n\
             pairs = lambda of: {pair['name']: pair['value'] for pair in of.get('environment', [])}\n\
             def told(task):\n\
            \x20 env = {**pairs(image), **pairs(task['overrides']['containerOverrides'][0])}\n\
            \x20 order = json.loads(env['LAMBDALOAD_TASK'])\n\
            \x20 key = f\"runs/{order['run']}/rosters/{order['first'] + 1}.json\"\n\
            \x20 try: roster = json.load(s3.get_object(Bucket=env['LAMBDALOAD_BUCKET'], Key=key)['Body'])\n\
            \x20 except s3.exceptions.NoSuchKey: return None\n\
            \x20 return [task['taskArn'], env, order['first'] + roster['names'].index(task['taskArn'])]\n\
             print(json.dumps([told(task) for task in tasks]))",
        );
        // Of those without a roster nobody knows yet who they are.
        for task in accepted.as_array().expect("tasks").iter().filter(|task| task.is_array()) {
            let name = task[0].as_str().expect("an ARN").to_owned();
            if self.started.contains_key(&name) {
                continue;
            }
            let place = {
                let mut names = self.names.lock().expect("whole");
                names.push(name.clone());
                names.len() - 1
            };
            let variables: BTreeMap<String, String> = serde_json::from_value(task[1].clone()).expect("variables");
            let order: Value = serde_json::from_str(&variables["LAMBDALOAD_TASK"]).expect("an order");
            order["run"].as_str().expect("a run").clone_into(&mut self.run);
            let worker = usize::try_from(task[2].as_u64().expect("an index")).expect("a few");
            self.workers.insert(worker, name.clone());
            if fate(worker) == Fate::NeverStarts {
                self.tell_the_reaper(
                    &name,
                    &variables["LAMBDALOAD_TASK"],
                    None,
                    "TaskFailedToStart",
                    "CannotPullContainerError: not found",
                );
                self.started.insert(name, None);
                continue;
            }
            let child = Command::new(program())
                .env_clear()
                .envs(self.account.environment())
                .envs(variables)
                .env("LAMBDALOAD_K6", k6_binary())
                .env("ECS_CONTAINER_METADATA_URI_V4", format!("{}/v4/{place}", self.metadata))
                .current_dir("/")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program starts");
            self.started.insert(name, Some(child));
        }
    }

    /// As EventBridge does, which the emulator does not.
    fn tell_the_reaper(&self, name: &str, order: &str, exit: Option<i32>, code: &str, reason: &str) {
        let event = json!({
            "detail-type": "ECS Task State Change", "source": "aws.ecs",
            "detail": {"taskArn": name, "lastStatus": "STOPPED", "stopCode": code, "stoppedReason": reason,
                "containers": [{"name": "worker", "exitCode": exit}],
                "overrides": {"containerOverrides": [{"environment": [{"name": "LAMBDALOAD_TASK", "value": order}]}]}},
        });
        let program = format!(
            "client('lambda').invoke(FunctionName='lambdaload-reaper', InvocationType='Event', Payload={:?})\nprint('null')",
            event.to_string()
        );
        self.account.ask(&program);
    }

    /// The process of a worker, by its index.
    fn pid(&self, worker: usize) -> u32 {
        self.started[&self.workers[&worker]].as_ref().expect("was started").id()
    }

    /// Exit codes of all that were started, once they have ended.
    fn ends(&mut self) -> Vec<Option<i32>> {
        self.started.values_mut().flatten().map(|child| child.wait().expect("ends").code()).collect()
    }
}

impl Drop for Containers<'_> {
    fn drop(&mut self) {
        for child in self.started.values_mut().flatten() {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

fn run(account: &Account, folder: &Folder, arguments: &[&str]) -> Running {
    // Subnets of the emulated default VPC are found by the command itself.
    account.spawn(folder, &[&["run", "--platform", "fargate", "--output", "json", "--quiet"], arguments].concat())
}

/// Plays ECS until there are so many tasks.
fn start_all(containers: &mut Containers<'_>, count: usize, fate: impl Fn(usize) -> Fate) {
    let deadline = Instant::now() + DEADLINE;
    while containers.started.len() < count {
        assert!(
            Instant::now() < deadline,
            "{} of {count} tasks: {}",
            containers.started.len(),
            containers.account.said()
        );
        containers.look(&fate);
    }
}

fn verdict(said: &lambdaload_tests::cli::Said, account: &Account) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}\n{}", account.said()))
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn twelve_tasks_give_the_verdict_of_the_local_fleet() {
    let (folder, target, account) = (Folder::new(), Target::start(), Account::deploy(&Differences::default()));
    let account = &account;
    let script = fixture("deterministic.js").display().to_string();
    let url = format!("TARGET={}", target.url());
    let arguments = [script.as_str(), "--workers", "12", "-e", &url, "-e", "VUS=12"];
    let local = folder.run(&[&["run", "--output", "json", "--quiet"], &arguments[..]].concat());
    let running = run(account, &folder, &arguments);
    let mut containers = Containers::new(account);
    start_all(&mut containers, 12, |_| Fate::Runs);
    let fargate = running.wait();
    let (local, fargate) = (verdict(&local, account), verdict(&fargate, account));
    assert_eq!(fargate["outcome"], "passed", "{fargate:#}");
    assert_eq!(fargate["thresholds"], local["thresholds"]);
    assert_eq!(fargate["summary"]["checks"], local["summary"]["checks"]);
    assert_eq!(fargate["workers"].as_array().map(Vec::len), Some(12));
    assert!(containers.ends().iter().all(|code| *code == Some(0)));
    // Each iteration was asked for once by each fleet.
    let requests = target.requests();
    let counts: Vec<u64> =
        requests.iter().filter(|(path, _)| path.starts_with("/iteration/")).map(|(_, n)| *n).collect();
    assert_eq!((counts.len(), counts.iter().all(|count| *count == 2)), (200, true), "{requests:?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_task_that_never_starts_one_that_is_killed_and_one_that_is_told_to_end_are_named() {
    let (folder, account) = (Folder::new(), Account::deploy(&Differences::default()));
    let account = &account;
    let script = fixture("steady.js").display().to_string();
    let running = run(account, &folder, &[&script, "--workers", "4", "--min-workers", "1", "-e", "DURATION=40s"]);
    let mut containers = Containers::new(account);
    start_all(&mut containers, 4, |worker| if worker == 3 { Fate::NeverStarts } else { Fate::Runs });
    let run_id = containers.run.clone();
    let deadline = Instant::now() + DEADLINE;
    loop {
        let phases = account.ask(&format!(
            "table = [t for t in client('dynamodb').list_tables()['TableNames'] if 'Table' in t][0]\n\
             items = client('dynamodb').query(TableName=table, KeyConditionExpression='pk = :p', ConsistentRead=True,\n\
               ExpressionAttributeValues={{':p': {{'S': 'run#{run_id}'}}}})['Items']\n\
             print(json.dumps([json.loads(i['record']['S']).get('phase') for i in items if i['sk']['S'].startswith('worker')]))"
        ));
        if phases.as_array().is_some_and(|phases| phases.iter().filter(|phase| **phase == "running").count() == 3) {
            break;
        }
        assert!(Instant::now() < deadline, "three workers run: {phases}\n{}", account.said());
        thread::sleep(Duration::from_millis(200));
    }
    signal(containers.pid(1), "KILL");
    signal(containers.pid(2), "TERM");
    let said = running.wait();
    let verdict = verdict(&said, account);
    let told: String =
        verdict["reasons"].as_array().expect("reasons").iter().map(|r| r["message"].to_string()).collect();
    for words in ["lambdaload image push", "it was told to end (SIGTERM)", "was lost"] {
        assert!(told.contains(words), "{words}: {verdict:#}");
    }
    let mut ends = containers.ends();
    ends.sort_unstable();
    assert_eq!(ends, [None, Some(0), Some(0)]);
}

//! What stands in for ECS where no container is started: each task that the emulator has accepted becomes a process of the
//! same program, with what the template and the call give a container.

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
    account::{Account, program},
    cli::wait_for,
    k6_binary,
    servers::Environment,
};
use serde_json::{Value, json};

/// Longer than a run takes here.
pub(crate) const DEADLINE: Duration = Duration::from_mins(5);

/// What becomes of a task, by the index of its worker.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Fate {
    Runs,
    NeverStarts,
}

/// What runs accepted tasks: each as a process.
pub(crate) struct Containers<'a> {
    account: &'a Account,
    /// What all tasks reach the account with, unless it is their role's.
    environment: Environment,
    metadata: String,
    names: Arc<Mutex<Vec<String>>>,
    pub(crate) started: BTreeMap<String, Option<Child>>,
    /// What each was told to do, by its name.
    orders: BTreeMap<String, String>,
    /// The names of workers, by their indices.
    workers: BTreeMap<usize, String>,
    /// The run of the latest tasks.
    pub(crate) run: String,
}

/// Answers as ECS does to its tasks: `/v4/N/task` is the task in place N, and `/credentials` are what their role gives them.
fn metadata(names: Arc<Mutex<Vec<String>>>, credentials: Value) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let asked = lines.next().unwrap_or_default();
            let _rest = lines.take_while(|line| !line.is_empty()).count();
            let place = asked.split('/').nth(2).and_then(|place| place.parse::<usize>().ok()).unwrap_or(usize::MAX);
            let name = names.lock().expect("whole").get(place).cloned().unwrap_or_default();
            let is_login = asked.starts_with("GET /credentials ");
            let body = if is_login { credentials.to_string() } else { json!({ "TaskARN": name }).to_string() };
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
    /// Tasks that reach the account as its root does.
    pub(crate) fn new(account: &'a Account) -> Self {
        Self::with(account, account.environment(), Value::Null)
    }

    /// Tasks that reach the account by this, with these credentials of their role.
    pub(crate) fn with_role(account: &'a Account, environment: Environment, credentials: Value) -> Self {
        let mut tasks = Self::with(account, environment, credentials);
        let address = format!("{}/credentials", tasks.metadata);
        tasks.environment.push(("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), address));
        tasks
    }

    fn with(account: &'a Account, environment: Environment, credentials: Value) -> Self {
        let names = Arc::new(Mutex::new(Vec::new()));
        Self {
            account,
            environment,
            metadata: metadata(names.clone(), credentials),
            names,
            started: BTreeMap::new(),
            orders: BTreeMap::new(),
            workers: BTreeMap::new(),
            run: String::new(),
        }
    }

    /// Starts what was accepted since the last look.
    pub(crate) fn look(&mut self, fate: impl Fn(usize) -> Fate) {
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
            self.orders.insert(name.clone(), variables["LAMBDALOAD_TASK"].clone());
            if fate(worker) == Fate::NeverStarts {
                self.tell_the_reaper(&name, None, "TaskFailedToStart", "CannotPullContainerError: not found");
                self.started.insert(name, None);
                continue;
            }
            let child = Command::new(program())
                .env_clear()
                .envs(self.environment.iter().cloned())
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
    fn tell_the_reaper(&self, name: &str, exit: Option<i32>, code: &str, reason: &str) {
        let order = &self.orders[name];
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

    /// Kills a worker, by its index, and says so as ECS does.
    pub(crate) fn kill(&mut self, worker: usize) {
        let name = self.workers[&worker].clone();
        let child = self.started.get_mut(&name).and_then(Option::as_mut).expect("was started");
        child.kill().expect("it runs");
        child.wait().expect("it ends");
        self.tell_the_reaper(&name, Some(137), "EssentialContainerExited", "Essential container in task exited");
    }

    /// The process of a worker, by its index.
    pub(crate) fn pid(&self, worker: usize) -> u32 {
        self.started[&self.workers[&worker]].as_ref().expect("was started").id()
    }

    /// Starts all tasks until there are so many.
    pub(crate) fn start_all(&mut self, count: usize, fate: impl Fn(usize) -> Fate) {
        let deadline = Instant::now() + DEADLINE;
        while self.started.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} tasks: {}", self.started.len(), self.account.said());
            self.look(&fate);
        }
    }

    /// Exit codes of all that were started, once they have ended.
    pub(crate) fn ends(&mut self) -> Vec<Option<i32>> {
        let all = self.started.iter_mut();
        let started = all.filter_map(|(name, child)| Some((name, child.as_mut()?)));
        let ends = started.map(|(name, child)| {
            wait_for(&format!("{name} to end"), || child.try_wait().expect("can be asked")).code()
        });
        ends.collect()
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

//! What Fargate makes of a task definition and the emulated ECS does not.

use std::{
    fs,
    os::unix::net::UnixListener as StdListener,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt as _, Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client, header, server, service,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

use super::{
    Podman, ask,
    podman::PROCESSES,
    say,
    serving::{Serving, lock, take_all},
};

/// What no image has.
const NO_PROGRAM: &str = "/not-in-the-image";

/// Docker's API before podman's: it gives each container that ECS creates what its task definition and its task say of its
/// user, file system, capabilities, files, processors and memory. ECS is asked for these.
#[derive(Debug)]
pub struct Limiter {
    folder: tempfile::TempDir,
    state: Arc<State>,
    _serving: Serving,
}

#[derive(Debug)]
struct State {
    podman: PathBuf,
    /// Where ECS is.
    endpoint: Mutex<Option<String>>,
    spoilt: Mutex<Spoilt>,
}

/// Whether a task never starts.
#[derive(Debug, Default)]
enum Spoilt {
    #[default]
    None,
    Last,
    /// Whoever is asked for again is the same.
    Task(String),
}

impl Limiter {
    /// Starts before this podman, for an ECS that [`ask_at`](Self::ask_at) tells of.
    ///
    /// # Panics
    /// If there can be no socket.
    pub fn before(podman: &Podman) -> Self {
        let folder = tempfile::Builder::new().prefix("lambdaload-limiter-").tempdir().expect("a folder");
        let listener = StdListener::bind(folder.path().join("docker.sock")).expect("a socket");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let podman = podman.host().trim_start_matches("unix://").into();
        let state = Arc::new(State { podman, endpoint: Mutex::default(), spoilt: Mutex::default() });
        let shared = Arc::clone(&state);
        let serving = Serving::start("limiter", || serve(listener, shared)).expect("a thread");
        Self { folder, state, _serving: serving }
    }

    /// Where Docker's clients find it: the value of `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.folder.path().join("docker.sock").display())
    }

    /// Where to ask ECS: `http://HOST:PORT`.
    pub fn ask_at(&self, endpoint: &str) {
        *lock(&self.state.endpoint) = Some(endpoint.to_owned());
    }

    /// Of the next tasks the last one never starts: its container is told to run a program that its image does not have,
    /// so that podman says what is wrong with it.
    pub fn spoil_last(&self) {
        *lock(&self.state.spoilt) = Spoilt::Last;
    }
}

async fn serve(listener: StdListener, state: Arc<State>) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    let take = |connection| {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let answer = service::service_fn(|request| answer(Arc::clone(&state), request));
            // An error is a client that went away.
            _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await;
        });
    };
    take_all(async || Ok(listener.accept().await?.0), take).await;
}

type Failure = Box<dyn std::error::Error + Send + Sync>;
/// Podman's own, as it comes, or one about what went wrong here.
type Answer = Response<Either<Incoming, Full<Bytes>>>;

async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Failure> {
    let (mut parts, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes();
    if parts.method == Method::POST && parts.uri.path().ends_with("/containers/create") {
        let asking = Arc::clone(&state);
        let limited = tokio::task::spawn_blocking(move || asking.limited(&body)).await?;
        body = match limited {
            Ok(limited) => limited.to_string().into(),
            // ECS says of the task what Docker's API says of its container.
            Err(why) => {
                let body = json!({ "message": format!("the limits of the task are not known: {why}") }).to_string();
                let mut answer = Response::new(Either::Right(Full::new(body.into())));
                *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(answer);
            }
        };
    }
    parts.headers.remove(header::TRANSFER_ENCODING);
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    let podman = UnixStream::connect(&state.podman).await?;
    let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(podman)).await?;
    tokio::spawn(connection);
    let mut answer = sender.send_request(Request::from_parts(parts, Full::new(body))).await?.map(Either::Left);
    answer.headers_mut().remove(header::CONNECTION);
    Ok(answer)
}

impl State {
    /// The container to be created, with what its task has.
    fn limited(&self, body: &[u8]) -> Result<Value, String> {
        let mut container: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let label = |name: &str| container["Labels"][format!("com.amazonaws.ecs.{name}")].as_str().map(str::to_owned);
        let Some(task) = label("task-arn") else { return Ok(container) };
        let named = label("container-name").unwrap_or_default();
        let [family, version] =
            ["task-definition-family", "task-definition-version"].map(|name| label(name).unwrap_or_default());
        let described = self.ask("DescribeTasks", &json!({ "cluster": cluster_of(&task), "tasks": [task] }))?;
        let overrides = &described["tasks"][0]["overrides"];
        let definition =
            self.ask("DescribeTaskDefinition", &json!({ "taskDefinition": format!("{family}:{version}") }))?;
        let definition = &definition["taskDefinition"];
        let own = definition["containerDefinitions"].as_array().into_iter().flatten();
        let own = own.into_iter().find(|one| one["name"] == *named).ok_or("the definition has no such container")?;
        let size = |name: &str| -> Result<u64, String> {
            let given = overrides[name].as_str().or(definition[name].as_str());
            given.and_then(|text| text.parse().ok()).ok_or_else(|| format!("{task} has no {name}"))
        };
        limit(&mut container, own, size("cpu")?, size("memory")?)?;
        let mut spoilt = lock(&self.spoilt);
        if matches!(*spoilt, Spoilt::Last) {
            // They are listed in the order in which they were asked for.
            let listed = self.ask("ListTasks", &json!({ "cluster": cluster_of(&task) }))?;
            let last = listed["taskArns"].as_array().and_then(|tasks| tasks.last()?.as_str());
            *spoilt = Spoilt::Task(last.unwrap_or_default().to_owned());
        }
        if matches!(&*spoilt, Spoilt::Task(other) if *other == task) {
            container["Entrypoint"] = json!([NO_PROGRAM]);
        }
        drop(spoilt);
        Ok(container)
    }

    fn ask(&self, action: &str, body: &Value) -> Result<Value, String> {
        let endpoint = lock(&self.endpoint).clone().ok_or("nobody has told where ECS is")?;
        ask(&endpoint, "ecs", &format!("AmazonEC2ContainerServiceV20141113.{action}"), body)
    }
}

fn cluster_of(task: &str) -> &str {
    task.rsplit('/').nth(1).unwrap_or_default()
}

/// Puts into a container what its definition says, and what the task has: parts of a processor in 1024ths, and MB.
fn limit(container: &mut Value, definition: &Value, cpu: u64, memory: u64) -> Result<(), String> {
    let bytes = memory << 20;
    if let Some(user) = part(definition, "user").as_str() {
        container["User"] = json!(user);
    }
    if let Some(seconds) = part(definition, "stopTimeout").as_u64() {
        container["StopTimeout"] = json!(seconds);
    }
    let host = &mut container["HostConfig"];
    host["ReadonlyRootfs"] = json!(part(definition, "readonlyRootFilesystem") == true);
    host["NanoCpus"] = json!(cpu * 1_000_000_000 / 1_024);
    host["Memory"] = json!(bytes);
    // No swap, as on Fargate.
    host["MemorySwap"] = json!(bytes);
    let dropped = part(part(part(definition, "linuxParameters"), "capabilities"), "drop");
    if dropped.is_array() {
        host["CapDrop"] = dropped.clone();
    }
    let mounts = part(definition, "mountPoints").as_array().into_iter().flatten();
    let mounts = mounts.map(|mount| {
        let path = part(mount, "containerPath");
        json!({ "Type": "volume", "Target": path, "ReadOnly": part(mount, "readOnly") == true })
    });
    host["Mounts"] = mounts.collect();
    // Of what is not stated podman takes more than it may here.
    let mut limits = vec![json!({ "Name": "nproc", "Soft": PROCESSES, "Hard": PROCESSES })];
    for wanted in part(definition, "ulimits").as_array().into_iter().flatten() {
        let hard = part(wanted, "hardLimit").as_u64().ok_or("a limit is no number")?;
        limits.push(own_limit(part(wanted, "name").as_str().unwrap_or_default(), hard)?);
    }
    host["Ulimits"] = Value::Array(limits);
    Ok(())
}

/// A part of a definition. The emulator keeps some by the names that they have in templates.
fn part<'a>(value: &'a Value, name: &str) -> &'a Value {
    let capital = name[..1].to_uppercase() + &name[1..];
    value.get(name).or_else(|| value.get(&capital)).unwrap_or(&Value::Null)
}

/// As much of a limit as this process may give: raising it needs a capability that containers in containers lack.
fn own_limit(name: &str, wanted: u64) -> Result<Value, String> {
    if name != "nofile" {
        return Err(format!("how much of {name} this machine gives is not known"));
    }
    let own = fs::read_to_string("/proc/self/limits").map_err(|error| error.to_string())?;
    let own = own.lines().find_map(|text| text.strip_prefix("Max open files")).unwrap_or_default();
    let own: u64 = own.split_whitespace().nth(1).and_then(|hard| hard.parse().ok()).unwrap_or(wanted);
    if own < wanted {
        say(&format!("containers have {own} of {wanted} {name}: this machine gives no more"));
    }
    Ok(json!({ "Name": name, "Soft": own.min(wanted), "Hard": own.min(wanted) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_gets_what_its_task_has() {
        let definition = json!({
            "user": "1:1", "readonlyRootFilesystem": true, "stopTimeout": 120,
            "linuxParameters": {"Capabilities": {"Drop": ["ALL"]}},
            "mountPoints": [{"sourceVolume": "tmp", "containerPath": "/tmp", "readOnly": false}],
            "ulimits": [{"Name": "nofile", "SoftLimit": 64, "HardLimit": 64}],
        });
        let mut container = json!({ "Image": "i", "HostConfig": {"NetworkMode": "host"} });
        limit(&mut container, &definition, 256, 512).unwrap();
        assert_eq!((&container["User"], &container["StopTimeout"]), (&json!("1:1"), &json!(120)));
        let host = &container["HostConfig"];
        assert_eq!((&host["NetworkMode"], &host["ReadonlyRootfs"]), (&json!("host"), &json!(true)));
        assert_eq!((&host["NanoCpus"], &host["Memory"]), (&json!(250_000_000), &json!(512 << 20)));
        assert_eq!((&host["MemorySwap"], &host["CapDrop"]), (&json!(512 << 20), &json!(["ALL"])));
        assert_eq!(host["Mounts"], json!([{"Type": "volume", "Target": "/tmp", "ReadOnly": false}]));
        assert_eq!(host["Ulimits"][1], json!({"Name": "nofile", "Soft": 64, "Hard": 64}));
        assert_eq!(cluster_of("arn:aws:ecs:eu-central-1:123456789012:task/load/0123"), "load");
    }
}

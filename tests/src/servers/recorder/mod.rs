//! What the AWS API was asked, by whom, and trouble on the way.

mod actions;

use std::{
    collections::BTreeMap,
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client, header, server, service,
};
use hyper_util::rt::TokioIo;
use percent_encoding::percent_decode_str;
use rustls::{ClientConfig, ServerConfig, pki_types::ServerName};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::OnceCell,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use actions::Asked;
pub use actions::Permission;

use super::{
    Environment, environment,
    serving::{Serving, lock, take_all},
};
use crate::tls::Certificate;

/// A proxy before an AWS API that keeps what it was asked, and can do with requests what networks and queues do.
///
/// It passes requests on as they are, with the `Host` that the client has signed, so signatures stay valid. One thing it
/// does in the place of AWS, which the emulator does not: a `RunTask` with a client token that was carried out before is
/// answered as before, and not carried out again.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    /// How it is reached: `http` or `https`.
    scheme: &'static str,
    state: Arc<State>,
    _serving: Serving,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Call {
    /// The access key it was signed with; empty if it wasn't.
    pub access_key: String,
    /// The function that has this key, if it is a function's and its process was there to be seen.
    pub function: Option<String>,
    /// What it needs leave for: mostly one action on one resource.
    pub needs: Vec<Permission>,
    /// Its path, decoded.
    pub path: String,
    /// Its headers, by name in small letters.
    pub headers: BTreeMap<String, String>,
    /// Its body, if that is JSON; else null.
    pub body: Value,
    /// Its body as it was sent.
    pub sent: Bytes,
    /// The status of the answer, which the client may not have got; `None` before there is one.
    pub status: Option<u16>,
}

impl Call {
    /// Whether it needs leave for this action, for example `lambda:InvokeFunction`.
    pub fn is(&self, action: &str) -> bool {
        self.needs.iter().any(|need| need.action == action)
    }
}

/// What may happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It comes this much later, and its client waits.
    Delayed(Duration),
    /// Its client is told at once that it was accepted (202), as of an event for a function; it comes this much later.
    Queued(Duration),
    /// It comes twice, at the same time. The client gets the answer to one.
    Twice,
    /// It never comes, and the client's connection is closed.
    Lost,
    /// It comes and is done, but the client's connection is closed before the answer.
    AnswerLost,
}

struct Rule {
    applies: Box<dyn Fn(&Call) -> bool + Send>,
    fault: Fault,
    /// How often it may still.
    times: usize,
}

#[derive(Default)]
struct State {
    upstream: Mutex<Option<String>>,
    calls: Mutex<Vec<Call>>,
    rules: Mutex<Vec<Rule>>,
    /// Names of functions by their keys.
    functions: Mutex<BTreeMap<String, Option<String>>>,
    /// What was answered to client tokens, once it was.
    tokens: Mutex<BTreeMap<String, Arc<OnceCell<Answer>>>>,
    tls: Option<Tls>,
}

/// How it speaks TLS, on both sides.
struct Tls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("upstream", &self.upstream).finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts on a free port, before nothing yet: [`forward_to`](Self::forward_to) says where requests go. So an account
    /// can be started that gives its functions this endpoint.
    pub fn start() -> Self {
        Self::start_on(State::default())
    }

    /// The same, by TLS: it has this certificate, and so must the server before which it is.
    pub fn start_with_tls(certificate: &Certificate) -> Self {
        let tls = Tls { server: certificate.server(), client: certificate.client() };
        Self::start_on(State { tls: Some(tls), ..State::default() })
    }

    fn start_on(state: State) -> Self {
        Self::try_start(Arc::new(state))
            .unwrap_or_else(|error| panic!("the recorder can't start on a free port of the loopback: {error}"))
    }

    fn try_start(state: Arc<State>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::clone(&state);
        let serving = Serving::start("recorder", || serve(listener, shared))?;
        let scheme = if state.tls.is_some() { "https" } else { "http" };
        Ok(Self { address, scheme, state, _serving: serving })
    }

    /// Starts before `endpoint`, which is `http://HOST:PORT`.
    pub fn before(endpoint: &str) -> Self {
        let recorder = Self::start();
        recorder.forward_to(endpoint);
        recorder
    }

    /// From now on, requests go to `endpoint`, which is `http://HOST:PORT`, or `https` if this speaks TLS.
    pub fn forward_to(&self, endpoint: &str) {
        let host = endpoint.trim_start_matches(self.scheme).trim_start_matches("://").trim_end_matches('/');
        *lock(&self.state.upstream) = Some(host.to_owned());
    }

    /// `http://127.0.0.1:PORT`, or `https`: what to use instead of the server's own.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// What a client needs to use the server through this.
    pub fn environment(&self) -> Environment {
        environment("AWS_ENDPOINT_URL", &self.endpoint())
    }

    /// All requests so far, in the order in which they came. One that came twice, by a [fault](Fault::Twice), is one.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.state.calls).clone()
    }

    /// The next requests to which this `applies` get this fault, as many as `times`. Of several rules that apply, the one
    /// that was made first is taken.
    pub fn make(&self, fault: Fault, times: usize, applies: impl Fn(&Call) -> bool + Send + 'static) {
        lock(&self.state.rules).push(Rule { applies: Box::new(applies), fault, times });
    }

    /// Forgets all rules. What is delayed or queued still comes.
    pub fn heal(&self) {
        lock(&self.state.rules).clear();
    }
}

async fn serve(listener: std::net::TcpListener, state: Arc<State>) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let take = |connection| {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let answer = service::service_fn(|request| answer(Arc::clone(&state), request));
            let connection: Box<dyn Connection> = match &state.tls {
                None => Box::new(connection),
                Some(tls) => match TlsAcceptor::from(Arc::clone(&tls.server)).accept(connection).await {
                    Ok(connection) => Box::new(connection),
                    // A client that does not trust it.
                    Err(_) => return,
                },
            };
            // An error is a connection that was lost, by a fault or by the client.
            _ = server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await;
        });
    };
    take_all(async || Ok(listener.accept().await?.0), take).await;
}

/// Bytes both ways.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Answer = Response<Full<Bytes>>;

/// An error closes the connection without an answer.
async fn answer(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, Failure> {
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, body.collect().await?.to_bytes());
    let (number, fault) = state.note(&request);
    // In a task of its own: what a client sent is done, even if it doesn't wait for the answer.
    let pass = |delay: Duration| {
        let (state, request) = (Arc::clone(&state), request.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let answer = state.pass_on(request).await;
            lock(&state.calls)[number].status = Some(answer.status().as_u16());
            answer
        })
    };
    match fault {
        None => Ok(pass(Duration::ZERO).await?),
        Some(Fault::Delayed(delay)) => Ok(pass(delay).await?),
        Some(Fault::Queued(delay)) => {
            pass(delay);
            Ok(plain(StatusCode::ACCEPTED, Bytes::new()))
        }
        Some(Fault::Twice) => {
            let (one, other) = tokio::join!(pass(Duration::ZERO), pass(Duration::ZERO));
            other?;
            Ok(one?)
        }
        Some(Fault::Lost) => Err("lost by a rule".into()),
        Some(Fault::AnswerLost) => {
            pass(Duration::ZERO).await?;
            Err("its answer was lost by a rule".into())
        }
    }
}

impl State {
    /// Keeps a request, and says its number and what is to happen to it.
    fn note(&self, request: &Request<Bytes>) -> (usize, Option<Fault>) {
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
        let query = request.uri().query().unwrap_or_default();
        let mut query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        // The SDKs' own name of the operation, which S3 ignores.
        query.remove("x-id");
        let asked =
            Asked { method: request.method(), path: &path, query, headers: request.headers(), body: request.body() };
        let signer = asked.signer();
        let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let call = Call {
            function: self.function(&signer.access_key),
            needs: asked.permissions(&signer.service),
            headers: request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: asked.json(),
            sent: request.body().clone(),
            status: None,
            access_key: signer.access_key,
            path: path.into_owned(),
        };
        let mut rules = lock(&self.rules);
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && (rule.applies)(&call));
        let fault = rule.map(|rule| {
            rule.times -= 1;
            rule.fault
        });
        let mut calls = lock(&self.calls);
        calls.push(call);
        (calls.len() - 1, fault)
    }

    /// The function with this key: of those that run, the one that has it in its environment. Keys of functions are
    /// temporary ones, which begin with `ASIA`; without policies, all functions have the same other key.
    fn function(&self, access_key: &str) -> Option<String> {
        if !access_key.starts_with("ASIA") {
            return None;
        }
        lock(&self.functions).entry(access_key.to_owned()).or_insert_with(|| holder(access_key)).clone()
    }

    /// Passes a request on, unless it has a client token and one with the same was done, or is being done.
    async fn pass_on(&self, request: Request<Bytes>) -> Answer {
        let Some(token) = client_token(&request) else { return self.ask(request).await };
        let known = Arc::clone(lock(&self.tokens).entry(token).or_default());
        // What was refused may be asked again.
        let done = known.get_or_try_init(async || {
            let answer = self.ask(request).await;
            if answer.status().is_success() { Ok(answer) } else { Err(answer) }
        });
        done.await.map_or_else(|refused| refused, Clone::clone)
    }

    async fn ask(&self, request: Request<Bytes>) -> Answer {
        let upstream = lock(&self.upstream).clone();
        let answer = match upstream {
            Some(upstream) => self.exchange(&upstream, request).await,
            None => Err("it was told no server yet".into()),
        };
        answer.unwrap_or_else(|why| plain(StatusCode::BAD_GATEWAY, format!("the recorder got no answer: {why}").into()))
    }

    /// Sends a request on a connection of its own.
    async fn exchange(&self, upstream: &str, request: Request<Bytes>) -> Result<Answer, Failure> {
        let connection = self.connect(upstream).await?;
        let (mut sender, connection) = client::conn::http1::handshake(TokioIo::new(connection)).await?;
        let connection = tokio::spawn(connection);
        let mut request = request.map(Full::new);
        // The body is here as a whole, so its length is known.
        for name in [header::TRANSFER_ENCODING, header::CONNECTION, header::EXPECT] {
            request.headers_mut().remove(name);
        }
        let (mut parts, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        connection.abort();
        for name in [header::TRANSFER_ENCODING, header::CONNECTION] {
            parts.headers.remove(name);
        }
        Ok(Response::from_parts(parts, Full::new(body)))
    }

    async fn connect(&self, upstream: &str) -> Result<Box<dyn Connection>, Failure> {
        let connection = TcpStream::connect(upstream).await?;
        let Some(tls) = &self.tls else { return Ok(Box::new(connection)) };
        let server = ServerName::from(connection.peer_addr()?.ip());
        Ok(Box::new(TlsConnector::from(Arc::clone(&tls.client)).connect(server, connection).await?))
    }
}

/// The client token of a `RunTask`.
fn client_token(request: &Request<Bytes>) -> Option<String> {
    let target = request.headers().get("x-amz-target")?.to_str().ok()?;
    let body: Value = target.ends_with(".RunTask").then(|| serde_json::from_slice(request.body()).ok())??;
    Some(body.get("clientToken")?.as_str()?.to_owned())
}

fn plain(status: StatusCode, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer
}

/// The name of the function whose process has this access key.
fn holder(access_key: &str) -> Option<String> {
    let key = format!("AWS_ACCESS_KEY_ID={access_key}");
    fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
        let environment = fs::read(process.path().join("environ")).ok()?;
        let mut variables = environment.split(|byte| *byte == 0).map(String::from_utf8_lossy);
        variables.clone().any(|variable| variable == key).then_some(())?;
        variables.find_map(|variable| variable.strip_prefix("AWS_LAMBDA_FUNCTION_NAME=").map(str::to_owned))
    })
}

//! Where a k6 hands over what it has gathered of its samples: an HTTP server on loopback, for that k6 alone.
//!
//! k6's `cloud` output is told to push here. What it pushes is taken in turn and answered only when the worker has room for
//! it, so a worker that is slow slows the pushes, and k6 gathers more in each; nothing is dropped. k6 tries a push again that
//! was not answered, under the same key, so what comes twice counts once.
//!
//! A script may find the port and post to it. Without the token, which is in k6's environment and in nothing that a script or
//! another user can read, it is refused before its body is read.

use std::{
    collections::VecDeque,
    convert::Infallible,
    fs::File,
    io::{self, Read as _},
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{AUTHORIZATION, CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use lambdaload_core::ports::{GeneratorError, Piece, SampleStream};
use tokio::{
    net::TcpListener,
    process::Command,
    sync::{Semaphore, mpsc},
    task::{JoinHandle, JoinSet},
};

use crate::process::Process;

/// Bytes of one push, as it is sent and as it is. A thousand series that fill all their buckets have four megabytes.
const MAX_SENT: usize = 16 << 20;
const MAX_MESSAGE: usize = 64 << 20;

/// Pushes that wait for the worker. k6 makes one at a time.
const WAITING: usize = 2;

/// Pushes that are remembered: k6 tries one three times before it goes on with the next.
const REMEMBERED: usize = 64;

/// Connections at one time. k6 has one or two.
const CONNECTIONS: usize = 16;

/// How long a connection may say nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// The name under which k6 believes its run is known; it keeps k6 from asking for one.
const REFERENCE: &str = "lambdaload";

/// The header that tells a push from the next.
const IDEMPOTENCY_KEY: &str = "k6-idempotency-key";

/// A server that listens.
#[derive(Debug)]
pub(super) struct Receiver {
    port: u16,
    token: String,
    pushes: mpsc::Receiver<Vec<u8>>,
    serving: JoinHandle<()>,
}

impl Receiver {
    pub(super) async fn listen() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let token = token()?;
        let (sender, pushes) = mpsc::channel(WAITING);
        let desk = Arc::new(Desk { expected: format!("Token {token}"), sender, seen: Mutex::default() });
        Ok(Self { port, token, pushes, serving: tokio::spawn(serve(listener, desk)) })
    }

    /// Tells k6 to push here, what it gathers of each second, and to ask nobody else for anything. Whatever of this the script
    /// says in its options counts less.
    pub(super) fn tell(&self, command: &mut Command) {
        command
            .env("K6_CLOUD_HOST", format!("http://127.0.0.1:{}", self.port))
            .env("K6_CLOUD_TOKEN", &self.token)
            .env("K6_CLOUD_PUSH_REF_ID", REFERENCE)
            .env("K6_CLOUD_TRACES_ENABLED", "false")
            .env("K6_CLOUD_STOP_ON_ERROR", "false")
            .env("K6_CLOUD_AGGREGATION_PERIOD", "1s")
            .env("K6_CLOUD_AGGREGATION_WAIT_PERIOD", "1s")
            .env("K6_CLOUD_METRIC_PUSH_INTERVAL", "1s")
            .env("K6_CLOUD_METRIC_PUSH_CONCURRENCY", "1")
            .env("K6_CLOUD_MAX_TIME_SERIES_IN_BATCH", "1000")
            .env("K6_CLOUD_TIMEOUT", "60s");
    }

    /// The samples of the process that was told.
    pub(super) fn into_stream(self, process: Arc<Process>) -> PushedStream {
        PushedStream { receiver: self, process }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// What k6 pushes. Dropped before the end it kills the process, which would try for minutes to get rid of its samples.
pub(super) struct PushedStream {
    receiver: Receiver,
    process: Arc<Process>,
}

#[async_trait]
impl SampleStream for PushedStream {
    async fn next(&mut self, piece: &mut Vec<u8>) -> Result<Option<Piece>, GeneratorError> {
        let waiting = &mut self.receiver.pushes;
        let next = tokio::select! {
            biased;
            next = waiting.recv() => next,
            // What was answered before the end is here by then.
            _ = self.process.exited() => waiting.try_recv().ok(),
        };
        Ok(next.map(|message| {
            *piece = message;
            Piece::Aggregated
        }))
    }
}

impl Drop for PushedStream {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// 128 random bits.
fn token() -> io::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        while connections.try_join_next().is_some() {}
        // A connection that is gone before it is taken is nothing to us; without descriptors it is better to wait.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let desk = Arc::clone(&desk);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let desk = Arc::clone(&desk);
                async move { Ok::<_, Infallible>(answer(&desk, request).await) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(SILENCE);
            // Whoever hangs up has no answer to wait for.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

/// What takes the pushes.
#[derive(Debug)]
struct Desk {
    expected: String,
    sender: mpsc::Sender<Vec<u8>>,
    /// Keys of pushes that were taken, the latest last.
    seen: Mutex<VecDeque<String>>,
}

async fn answer(desk: &Desk, request: Request<Incoming>) -> Response<Empty<Bytes>> {
    let status = desk.take(request).await;
    let mut response = Response::new(Empty::new());
    *response.status_mut() = status;
    if !status.is_success() {
        // A body that was not read stands in the way of the next request.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

impl Desk {
    async fn take(&self, request: Request<Incoming>) -> StatusCode {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
        if header(AUTHORIZATION.as_str()) != Some(&self.expected) {
            return StatusCode::UNAUTHORIZED;
        }
        if request.method() != Method::POST || !request.uri().path().starts_with("/v2/metrics/") {
            return StatusCode::NOT_FOUND;
        }
        let Some(key) = header(IDEMPOTENCY_KEY).map(str::to_owned) else { return StatusCode::BAD_REQUEST };
        if self.seen().contains(&key) {
            return StatusCode::NO_CONTENT;
        }
        let Ok(body) = Limited::new(request.into_body(), MAX_SENT).collect().await else {
            return StatusCode::PAYLOAD_TOO_LARGE;
        };
        let Ok(message) = uncompressed(&body.to_bytes()) else { return StatusCode::BAD_REQUEST };
        // While it waits for room k6 may give this try up; then nothing was taken.
        let Ok(room) = self.sender.reserve().await else { return StatusCode::SERVICE_UNAVAILABLE };
        let mut seen = self.seen();
        if !seen.contains(&key) {
            seen.push_back(key);
            if seen.len() > REMEMBERED {
                seen.pop_front();
            }
            room.send(message);
        }
        StatusCode::NO_CONTENT
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// k6 compresses by Snappy, in its plain form. How large a message is stands in front, and is looked at first.
fn uncompressed(body: &[u8]) -> Result<Vec<u8>, snap::Error> {
    match snap::raw::decompress_len(body)? {
        length if length > MAX_MESSAGE => Err(snap::Error::TooBig { given: length as u64, max: MAX_MESSAGE as u64 }),
        _ => snap::raw::Decoder::new().decompress_vec(body),
    }
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;

    fn compressed(message: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(message).unwrap()
    }

    /// What comes of this, if it does within what nothing here takes.
    async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
        let outcome = tokio::time::timeout(Duration::from_secs(20), future).await;
        outcome.unwrap_or_else(|_| panic!("waited in vain for {what}"))
    }

    async fn next(stream: &mut PushedStream, piece: &mut Vec<u8>) -> Option<Piece> {
        within("the next piece", stream.next(piece)).await.unwrap()
    }

    async fn push(receiver: &Receiver, token: &str, key: &str, body: Vec<u8>) -> u16 {
        let url = format!("http://127.0.0.1:{}/v2/metrics/{REFERENCE}", receiver.port);
        let request = crate::http::local().build().unwrap().post(url);
        let request = request.header("authorization", format!("Token {token}")).header("k6-idempotency-key", key);
        within("an answer", request.body(body).send()).await.unwrap().status().as_u16()
    }

    async fn process(script: &str) -> Arc<Process> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        Arc::new(Process::start(command, Signal::KILL, Vec::new()).await.unwrap().0)
    }

    #[tokio::test]
    async fn what_comes_twice_is_taken_once_and_what_is_not_k6s_never() {
        let receiver = Receiver::listen().await.unwrap();
        let token = receiver.token.clone();
        let message = b"a message".repeat(20);
        assert_eq!(push(&receiver, "guessed", "0", compressed(&message)).await, 401);
        assert_eq!(push(&receiver, &token, "1", compressed(&message)).await, 204);
        assert_eq!(push(&receiver, &token, "1", compressed(&message)).await, 204, "again");
        assert_eq!(push(&receiver, &token, "2", b"no snappy at all".to_vec()).await, 400);
        assert_eq!(push(&receiver, &token, "3", compressed(b"last")).await, 204);
        let process = process("exit 0").await;
        within("its end", process.exited()).await;
        let mut stream = receiver.into_stream(process);
        let (mut piece, mut pieces) = (Vec::new(), Vec::new());
        while let Some(kind) = next(&mut stream, &mut piece).await {
            assert_eq!(kind, Piece::Aggregated);
            pieces.push(piece.clone());
        }
        assert_eq!(pieces, [message, b"last".to_vec()]);
    }

    #[tokio::test]
    async fn a_worker_that_is_slow_keeps_k6_waiting_and_loses_nothing() {
        let receiver = Receiver::listen().await.unwrap();
        let (port, token) = (receiver.port, receiver.token.clone());
        let sending = tokio::spawn(async move {
            let client = crate::http::local().build().unwrap();
            for number in 0..20u8 {
                let request = client.post(format!("http://127.0.0.1:{port}/v2/metrics/x"));
                let request = request.header("authorization", format!("Token {token}"));
                let request = request.header("k6-idempotency-key", number.to_string()).body(compressed(&[number]));
                assert_eq!(request.send().await.unwrap().status().as_u16(), 204);
            }
        });
        let process = process("sleep 600").await;
        let mut stream = receiver.into_stream(Arc::clone(&process));
        // The channel is full, and the next push waits.
        within("pushes", async {
            while stream.receiver.pushes.len() < WAITING {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert!(!sending.is_finished());
        let mut piece = Vec::new();
        for number in 0..20u8 {
            next(&mut stream, &mut piece).await.expect("goes on");
            assert_eq!(piece, [number]);
        }
        within("the last answer", sending).await.unwrap();
        process.kill();
        assert_eq!(next(&mut stream, &mut piece).await, None);
    }

    #[test]
    fn what_says_that_it_is_huge_is_not_uncompressed() {
        // The length 2^32 - 1 in front of nothing.
        assert!(matches!(uncompressed(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Err(snap::Error::TooBig { .. })));
        assert_eq!(uncompressed(&compressed(b"small")).unwrap(), b"small");
    }

    #[test]
    fn tokens_differ() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert!(one.len() == 32 && one != other);
    }
}

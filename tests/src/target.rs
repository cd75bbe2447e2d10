//! A small HTTP server on the loopback for tests and the demo to load.
//!
//! It does the same thing on the same request every time, so what a test sees change is lambdaload.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{any, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tokio::sync::oneshot;

/// The largest body that `/bytes/{n}` sends.
const MAX_BYTES: usize = 64 << 20;

/// A running server. It stops, and closes its connections, when it is dropped.
///
/// | request | answer |
/// |---|---|
/// | `GET /`, `GET /cart`, `POST /checkout` | 200 and a word, at once |
/// | `/slow?ms=50` | 200 after so many milliseconds |
/// | `/status/{code}` | that status, 200 to 599 |
/// | `/flaky?every=10` | 500 to every tenth request to `/flaky`, else 200 |
/// | `/bytes/{n}` | 200 and n bytes |
/// | `/headers` | 200, and its headers are kept |
/// | `POST /sink` | 204, whatever its body |
/// | `/count` | the number of requests to each path so far, as JSON; it doesn't count itself |
#[derive(Debug)]
pub struct Target {
    address: SocketAddr,
    requests: Arc<Requests>,
    /// Dropped to stop the server.
    stop: Option<oneshot::Sender<()>>,
    server: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Requests {
    by_path: Mutex<BTreeMap<String, u64>>,
    headers: Mutex<Vec<BTreeMap<String, String>>>,
    flaky: AtomicU64,
}

impl Requests {
    fn count(&self, path: &str) {
        let mut by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        match by_path.get_mut(path) {
            Some(count) => *count += 1,
            None => _ = by_path.insert(path.to_owned(), 1),
        }
    }

    fn counts(&self) -> BTreeMap<String, u64> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Target {
    /// Starts on a free port. Panics where the loopback has none left.
    pub fn start() -> Self {
        match Self::on(0) {
            Ok(target) => target,
            Err(error) => panic!("the example target can't start on a free port of the loopback: {error}"),
        }
    }

    /// Starts on a port of the loopback; 0 stands for any free one. It listens once this returns.
    pub fn on(port: u16) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let requests = Arc::<Requests>::default();
        let routes = routes(Arc::clone(&requests));
        // One thread is enough: k6 needs several times the CPU that this server does for the same request.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let server = thread::Builder::new().name("example-target".to_owned()).spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    _ = axum::serve(listener, routes) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { address, requests, stop: Some(stop), server: Some(server) })
    }

    /// `http://127.0.0.1:PORT`, without a slash at its end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The headers of each request to `/headers` so far, by name in small letters.
    pub fn headers(&self) -> Vec<BTreeMap<String, String>> {
        self.requests.headers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of requests to each path so far, whatever their query and their answer.
    pub fn requests(&self) -> BTreeMap<String, u64> {
        self.requests.counts()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(server) = self.server.take() {
            // A panic in the server has been printed already.
            _ = server.join();
        }
    }
}

fn routes(requests: Arc<Requests>) -> Router {
    Router::new()
        .route("/", get("ok"))
        .route("/cart", get("cart"))
        .route("/checkout", post("paid"))
        .route("/slow", any(slow))
        .route("/status/{code}", any(status))
        .route("/flaky", any(flaky))
        .route("/bytes/{n}", get(bytes))
        .route("/headers", any(headers))
        .route("/sink", post(sink))
        .route("/count", get(count))
        .layer(middleware::from_fn_with_state(Arc::clone(&requests), note))
        .with_state(requests)
}

async fn note(State(requests): State<Arc<Requests>>, request: Request, next: Next) -> Response {
    if request.uri().path() != "/count" {
        requests.count(request.uri().path());
    }
    next.run(request).await
}

#[derive(Deserialize)]
struct Slow {
    #[serde(default = "fifty")]
    ms: u64,
}

fn fifty() -> u64 {
    50
}

async fn slow(Query(slow): Query<Slow>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(slow.ms)).await;
    "slow"
}

async fn status(Path(code): Path<u16>) -> Result<StatusCode, (StatusCode, &'static str)> {
    let code = (200..=599).contains(&code).then(|| StatusCode::from_u16(code).ok()).flatten();
    code.ok_or((StatusCode::BAD_REQUEST, "a status is a number from 200 to 599"))
}

#[derive(Deserialize)]
struct Flaky {
    #[serde(default = "ten")]
    every: std::num::NonZeroU64,
}

fn ten() -> std::num::NonZeroU64 {
    const { std::num::NonZeroU64::new(10).unwrap() }
}

async fn flaky(State(requests): State<Arc<Requests>>, Query(flaky): Query<Flaky>) -> StatusCode {
    let number = requests.flaky.fetch_add(1, Ordering::Relaxed) + 1;
    if number.is_multiple_of(flaky.every.get()) { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
}

async fn bytes(Path(n): Path<usize>) -> Result<Vec<u8>, (StatusCode, String)> {
    if n > MAX_BYTES {
        return Err((StatusCode::BAD_REQUEST, format!("at most {MAX_BYTES} bytes can be had at once")));
    }
    Ok(vec![b'x'; n])
}

async fn headers(State(requests): State<Arc<Requests>>, request: Request) -> &'static str {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    requests.headers.lock().unwrap_or_else(PoisonError::into_inner).push(headers);
    "heard"
}

async fn sink(_: Bytes) -> StatusCode {
    StatusCode::NO_CONTENT
}

async fn count(State(requests): State<Arc<Requests>>) -> Json<BTreeMap<String, u64>> {
    Json(requests.counts())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::time::Instant;

    use super::*;

    /// One request over a connection of its own: the status and the body.
    fn ask(target: &Target, method: &str, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(target.address).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: target\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[test]
    fn the_shop_answers() {
        let target = Target::start();
        assert_eq!(ask(&target, "GET", "/"), (200, "ok".to_owned()));
        assert_eq!(ask(&target, "GET", "/cart"), (200, "cart".to_owned()));
        assert_eq!(ask(&target, "POST", "/checkout"), (200, "paid".to_owned()));
        assert_eq!(ask(&target, "POST", "/sink").0, 204);
        assert_eq!(ask(&target, "GET", "/checkout").0, 405);
        assert_eq!(ask(&target, "GET", "/nowhere").0, 404);
    }

    #[test]
    fn requests_are_counted_by_path() {
        let target = Target::start();
        for path in ["/cart", "/cart?a=1", "/status/503", "/count"] {
            ask(&target, "GET", path);
        }
        assert_eq!(target.requests(), BTreeMap::from([("/cart".to_owned(), 2), ("/status/503".to_owned(), 1)]));
        assert_eq!(ask(&target, "GET", "/count").1, r#"{"/cart":2,"/status/503":1}"#);
    }

    #[test]
    fn headers_are_kept() {
        let target = Target::start();
        assert_eq!(ask(&target, "GET", "/headers").0, 200);
        assert_eq!(target.headers()[0]["host"], "target");
    }

    #[test]
    fn a_slow_answer_takes_its_time() {
        let target = Target::start();
        let start = Instant::now();
        assert_eq!(ask(&target, "GET", "/slow?ms=120").0, 200);
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(120), "it took {took:?}");
        assert_eq!(ask(&target, "GET", "/slow?ms=soon").0, 400);
    }

    #[test]
    fn every_tenth_or_nth_flaky_request_fails() {
        let target = Target::start();
        let statuses: Vec<u16> = (0..20).map(|_| ask(&target, "GET", "/flaky").0).collect();
        assert_eq!(statuses, [[200; 9].as_slice(), &[500], &[200; 9], &[500]].concat());
        let statuses: Vec<u16> = (0..6).map(|_| ask(&target, "GET", "/flaky?every=3").0).collect();
        assert_eq!(statuses, [500, 200, 200, 500, 200, 200], "requests 21 to 26 of all");
        assert_eq!(ask(&target, "GET", "/flaky?every=0").0, 400);
    }

    #[test]
    fn a_status_is_what_was_asked_for() {
        let target = Target::start();
        assert_eq!(ask(&target, "GET", "/status/503").0, 503);
        assert_eq!(ask(&target, "DELETE", "/status/204").0, 204);
        assert_eq!(ask(&target, "GET", "/status/101").0, 400);
        assert_eq!(ask(&target, "GET", "/status/teapot").0, 400);
    }

    #[test]
    fn bytes_are_as_many_as_were_asked_for() {
        let target = Target::start();
        assert_eq!(ask(&target, "GET", "/bytes/0").1.len(), 0);
        assert_eq!(ask(&target, "GET", "/bytes/100000").1.len(), 100_000);
        assert_eq!(ask(&target, "GET", "/bytes/1000000000000").0, 400);
    }

    #[test]
    fn a_dropped_target_is_gone_even_while_it_answers() {
        let target = Target::start();
        let mut waiting = TcpStream::connect(target.address).unwrap();
        write!(waiting, "GET /slow?ms=60000 HTTP/1.1\r\nHost: target\r\n\r\n").unwrap();
        while target.requests().is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        drop(target);
        // Closed or reset, but not left waiting. Its port may be another's by now.
        assert_eq!(waiting.read(&mut [0]).unwrap_or(0), 0);
    }

    #[test]
    fn a_port_in_use_is_an_error() {
        let target = Target::start();
        assert_eq!(Target::on(target.address.port()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }
}

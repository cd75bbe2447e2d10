//! A small HTTPS server on the loopback, whose certificate is its own root.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use lambdaload_tests::tls::Certificate;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A running server. It stops when it is dropped.
pub(crate) struct Https {
    address: SocketAddr,
    /// What a client has to trust, as PEM.
    pub(crate) certificate: String,
    shared: Arc<Shared>,
    server: Option<JoinHandle<()>>,
}

struct Shared {
    files: BTreeMap<&'static str, &'static str>,
    requests: Mutex<BTreeMap<String, u64>>,
    stop: AtomicBool,
}

impl Https {
    /// Serves these files, by path, on a free port.
    pub(crate) fn start(files: &[(&'static str, &'static str)]) -> Self {
        let own = Certificate::new();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            files: files.iter().copied().collect(),
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let (config, of_server) = (own.server(), Arc::clone(&shared));
        let server = thread::spawn(move || {
            for stream in listener.incoming() {
                if of_server.stop.load(Ordering::SeqCst) {
                    return;
                }
                // A client that hangs up is its own affair.
                let _ = stream.and_then(|stream| of_server.answer(stream, &config));
            }
        });
        Self { address, certificate: own.pem, shared, server: Some(server) }
    }

    /// `https://127.0.0.1:PORT`, without a slash at its end.
    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// The number of requests to each path so far.
    pub(crate) fn requests(&self) -> BTreeMap<String, u64> {
        self.shared.requests().clone()
    }
}

impl Shared {
    /// Answers one request and hangs up.
    fn answer(&self, stream: TcpStream, config: &Arc<ServerConfig>) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
        let mut reader = BufReader::new(StreamOwned::new(connection, stream));
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let target = first.split(' ').nth(1).unwrap_or_default();
        // k6 asks whether it is alone with `?_k6=1`.
        let path = target.split('?').next().unwrap_or_default();
        *self.requests().entry(path.to_owned()).or_default() += 1;
        let (status, body) = match self.files.get(path) {
            Some(body) => ("200 OK", *body),
            None => ("404 Not Found", ""),
        };
        let mut stream = reader.into_inner();
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn requests(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Https {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // It waits for a connection; this is one.
        drop(TcpStream::connect(self.address));
        if let Some(server) = self.server.take() {
            drop(server.join());
        }
    }
}

use std::process::Command;

use serde_json::{Value, json};

use super::{http, process, process::Server, provided};

/// Shopify's Toxiproxy: TCP connections that are slow, cut or swallowed.
#[derive(Debug)]
pub struct Toxiproxy {
    server: Server,
}

/// One proxy of a [`Toxiproxy`]: what comes to its endpoint goes on to one server.
#[derive(Debug)]
pub struct Proxy {
    /// Of this proxy in Toxiproxy's API.
    url: String,
    endpoint: String,
}

impl Toxiproxy {
    /// Starts one without proxies.
    pub fn start() -> Self {
        let command = |port: u16, folder: &std::path::Path| {
            let mut command = Command::new(provided("LAMBDALOAD_TOXIPROXY"));
            command.env_clear().args(["-host", "127.0.0.1", "-port", &port.to_string()]).current_dir(folder);
            command
        };
        let ready = |port| match http("GET", &format!("{}/version", process::url(port)), &[], "") {
            Ok((200, _)) => Ok(()),
            Ok((status, body)) => Err(format!("its version is answered {status}: {body}")),
            Err(error) => Err(error.to_string()),
        };
        Self { server: Server::start("toxiproxy", command, ready) }
    }

    /// A proxy before `endpoint`, which is `http://HOST:PORT`.
    pub fn before(&self, endpoint: &str) -> Proxy {
        let upstream = endpoint.trim_start_matches("http://").trim_end_matches('/');
        let name = upstream.replace([':', '.'], "-");
        let all = format!("{}/proxies", self.server.url());
        // Toxiproxy itself chooses a free port for 0.
        let made = ask("POST", &all, &json!({"name": name, "listen": "127.0.0.1:0", "upstream": upstream}));
        let listen =
            made["listen"].as_str().unwrap_or_else(|| panic!("toxiproxy made a proxy that listens nowhere: {made}"));
        Proxy { url: format!("{all}/{name}"), endpoint: format!("http://{listen}") }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The end of its log.
    pub fn said(&self) -> String {
        self.server.said()
    }
}

impl Proxy {
    /// `http://127.0.0.1:PORT`: what to use instead of the server's own.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Whether the proxy lets connections through. Switched off, it cuts those that are open and refuses new ones.
    pub fn enable(&self, enabled: bool) {
        ask("POST", &self.url, &json!({"enabled": enabled}));
    }

    /// Adds a toxic to what the server answers, for all connections, those open included.
    ///
    /// `kind` and `attributes` are Toxiproxy's, for example `latency` with `{"latency": 500}` in ms, `bandwidth` with
    /// `{"rate": 10}` in kB/s, `limit_data` with `{"bytes": 100}`, `reset_peer` with `{"timeout": 0}`.
    pub fn poison_answers(&self, kind: &str, attributes: Value) {
        self.poison("downstream", kind, attributes);
    }

    /// Adds a toxic to what the client sends. `timeout` with `{"timeout": 0}` makes the server a black hole: connections
    /// open, and nothing is answered.
    pub fn poison_requests(&self, kind: &str, attributes: Value) {
        self.poison("upstream", kind, attributes);
    }

    fn poison(&self, stream: &str, kind: &str, attributes: Value) {
        let toxic =
            json!({"name": format!("{kind}-{stream}"), "type": kind, "stream": stream, "attributes": attributes});
        ask("POST", &format!("{}/toxics", self.url), &toxic);
    }

    /// Takes all toxics away.
    pub fn heal(&self) {
        let toxics = ask("GET", &format!("{}/toxics", self.url), &Value::Null);
        for toxic in toxics.as_array().into_iter().flatten() {
            let name = toxic["name"].as_str().unwrap_or_default();
            ask("DELETE", &format!("{}/toxics/{name}", self.url), &Value::Null);
        }
    }
}

fn ask(method: &str, url: &str, body: &Value) -> Value {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    match http(method, url, &[], &body) {
        Ok((200..=299, answer)) if answer.is_empty() => Value::Null,
        Ok((200..=299, answer)) => serde_json::from_str(&answer).expect("toxiproxy answers in JSON"),
        Ok((status, answer)) => panic!("toxiproxy answers {status} to {method} {url} {body}: {answer}"),
        Err(error) => panic!("toxiproxy doesn't answer to {method} {url}: {error}"),
    }
}

use std::process::Command;

use serde_json::{Value, json};

use super::{ACCESS_KEY, Environment, REGION, environment, http, process, process::Server, provided};

/// Microburst: faults in the words of AWS (throttled, `SlowDown`, 429) before a server that works.
///
/// It needs to know that server when it starts. To put it between an account and the account's own functions, put a
/// [`Recorder`](super::Recorder) behind it, whose server can be named later.
#[derive(Debug)]
pub struct Microburst {
    server: Server,
}

impl Microburst {
    /// Starts one before `endpoint`, which is `http://HOST:PORT`, without rules.
    pub fn before(endpoint: &str) -> Self {
        let command = |port: u16, folder: &std::path::Path| {
            let mut command = Command::new(provided("LAMBDALOAD_MICROBURST"));
            command
                .env_clear()
                .env("PATH", "/usr/bin:/bin")
                .env("HOME", folder)
                .args(["--host", "127.0.0.1", "--port", &port.to_string(), "--upstream", endpoint])
                .current_dir(folder);
            command
        };
        Self { server: Server::start("microburst", command, ready) }
    }

    /// `http://127.0.0.1:PORT`: what to use instead of the server's own.
    pub fn endpoint(&self) -> String {
        self.server.url()
    }

    /// What a client needs to use the server through this.
    pub fn environment(&self) -> Environment {
        environment("AWS_ENDPOINT_URL", &self.endpoint())
    }

    /// Replaces all rules. A rule is Microburst's, for example
    /// `{"service": "dynamodb", "operation": "PutItem", "times": 3, "error": {"code": "ThrottlingException"}}`;
    /// `service` is the name in signatures (`s3`, `dynamodb`, `lambda`, …).
    pub fn set_rules(&self, rules: Value) {
        self.ask("POST", "rules", &rules);
    }

    /// Takes all rules away; what has fired stays known.
    pub fn heal(&self) {
        self.set_rules(json!([]));
    }

    /// How many faults have been made of requests of `service` so far.
    pub fn fired_count(&self, service: &str) -> usize {
        let fired = self.ask("GET", &format!("fired?limit=1000000&service={service}"), &Value::Null);
        fired.as_array().expect("microburst's faults are a list").len()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The end of its log.
    pub fn said(&self) -> String {
        self.server.said()
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}/_microburst/{path}", self.server.url());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        match http(method, &url, &[("Content-Type", "application/json")], &body) {
            Ok((200, answer)) => serde_json::from_str(&answer).expect("microburst answers in JSON"),
            Ok((status, answer)) => panic!("microburst answers {status} to {method} {path} {body}: {answer}"),
            Err(error) => panic!("microburst doesn't answer to {method} {path}: {error}"),
        }
    }
}

/// The first request of a service loads its model, which takes seconds; so each is asked once. What the server behind it
/// answers is all the same.
fn ready(port: u16) -> Result<(), ureq::Error> {
    for service in ["dynamodb", "s3", "lambda"] {
        let scope = format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20260101/{REGION}/{service}/aws4_request");
        let authorization = format!("{scope}, SignedHeaders=host, Signature=0");
        http("GET", &process::url(port), &[("Authorization", &authorization)], "")?;
    }
    Ok(())
}

use std::process::Command;

use serde_json::json;

use super::{Environment, ask, environment, process, process::Server, provided};

/// DynamoDB Local, AWS's own DynamoDB in one process: strict about expressions, sizes and reserved words.
///
/// It has no option for the address it listens on, which is every one of the machine.
#[derive(Debug)]
pub struct DynamoDbLocal {
    server: Server,
}

impl DynamoDbLocal {
    /// Starts one without tables.
    pub fn start() -> Self {
        let home = provided("LAMBDALOAD_DYNAMODB_LOCAL").join("lib");
        let command = |port: u16, folder: &std::path::Path| {
            let mut java = Command::new("java");
            java.arg("-Xmx512m")
                .arg(format!("-Djava.library.path={}", home.display()))
                .arg("-cp")
                .arg(home.join("*"))
                .arg("software.amazon.dynamodb.services.local.main.ServerRunner")
                // One database for all keys and regions.
                .args(["-inMemory", "-sharedDb", "-disableTelemetry", "-port", &port.to_string()])
                .current_dir(folder);
            java
        };
        Self { server: Server::start("dynamodb-local", command, ready) }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.server.url()
    }

    /// What a client needs to use this DynamoDB.
    pub fn environment(&self) -> Environment {
        environment("AWS_ENDPOINT_URL_DYNAMODB", &self.endpoint())
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

/// The first request is slow, and so is done here.
fn ready(port: u16) -> Result<(), String> {
    ask(&process::url(port), "dynamodb", "DynamoDB_20120810.ListTables", &json!({})).map(|_| ())
}

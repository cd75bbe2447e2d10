use std::{fs, path::Path, process::Command};

use super::{ACCESS_KEY, Environment, REGION, SECRET_KEY, environment, http, process, process::Server, provided};

/// Versity's S3 gateway on a folder: strict about signatures, checksums and conditions. Buckets are not virtual hosts.
#[derive(Debug)]
pub struct Versitygw {
    server: Server,
}

impl Versitygw {
    /// Starts one without buckets.
    pub fn start() -> Self {
        Self { server: Server::start("versitygw", command, ready) }
    }

    /// `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        self.server.url()
    }

    /// What a client needs to use this S3.
    pub fn environment(&self) -> Environment {
        environment("AWS_ENDPOINT_URL_S3", &self.endpoint())
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

fn command(port: u16, folder: &Path) -> Command {
    let [objects, accounts] = ["objects", "accounts"].map(|name| folder.join(name));
    for folder in [&objects, &accounts] {
        fs::create_dir(folder).expect("a folder in an empty one");
    }
    let mut command = Command::new(provided("LAMBDALOAD_VERSITYGW"));
    command
        .env_clear()
        .env("ROOT_ACCESS_KEY", ACCESS_KEY)
        .env("ROOT_SECRET_KEY", SECRET_KEY)
        .args(["--port", &format!("127.0.0.1:{port}"), "--region", REGION, "--health", "/health", "--quiet"])
        .arg("--iam-dir")
        .arg(accounts)
        .arg("posix")
        .arg(objects)
        .current_dir(folder);
    command
}

fn ready(port: u16) -> Result<(), String> {
    let (status, body) =
        http("GET", &format!("{}/health", process::url(port)), &[], "").map_err(|error| error.to_string())?;
    if status == 200 { Ok(()) } else { Err(format!("its health is {status}: {body}")) }
}

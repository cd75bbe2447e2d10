use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::{Environment, REGION, environment, http, process, process::Server, provided};
use crate::tls::Certificate;

/// The account that the emulator says it is.
const ACCOUNT: &str = "123456789012";

/// An emulated AWS account that runs the real function binaries.
///
/// It is lenient where AWS is strict: put [`DynamoDbLocal`](super::DynamoDbLocal) and [`Versitygw`](super::Versitygw)
/// beside it. It runs functions as its own children, gives them its own environment too, and knows neither layers nor
/// limits of memory or payload.
#[derive(Debug)]
pub struct Ministack {
    server: Server,
    /// What it is reached with by TLS, if it is.
    certificate: Option<PathBuf>,
}

impl Ministack {
    /// The number of the account.
    pub const ACCOUNT: &str = ACCOUNT;

    /// Starts an empty account whose functions talk to it directly.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts an empty account with more variables.
    ///
    /// | variable | effect |
    /// |---|---|
    /// | `AUTH=true` | policies are enforced, and signatures of all but the account's root, which is `test` |
    /// | `LAMBDA_ACCOUNT_CONCURRENCY` | functions that may run at one time |
    /// | `LAMBDA_ASYNC_RETRY_BASE_SECONDS` | pause before a failed event is tried again |
    /// | `AWS_ENDPOINT_URL` | where functions find their AWS, for a proxy between them and this account |
    /// | any other, such as `LAMBDALOAD_K6` | is in the environment of every function |
    pub fn start_with(variables: &[(&str, &str)]) -> Self {
        let command = |port, folder: &Path| {
            let mut command = command(port, folder);
            // Without it, functions are given no endpoint.
            command.env("AWS_ENDPOINT_URL", process::url(port)).envs(variables.iter().copied());
            command
        };
        let server = Server::start("ministack", command, |port| ready(&process::url(port)));
        Self { server, certificate: None }
    }

    /// Starts an empty account that is reached by TLS only, with this certificate, and more variables.
    pub fn start_with_tls(certificate: &Certificate, variables: &[(&str, &str)]) -> Self {
        let file = certificate.file();
        let command = |port, folder: &Path| {
            let mut command = command(port, folder);
            command
                .env("USE_SSL", "1")
                .env("MINISTACK_SSL_CERT", &file)
                .env("MINISTACK_SSL_KEY", certificate.key_file())
                .env("AWS_ENDPOINT_URL", by_tls(&process::url(port)))
                // What functions trust.
                .env("SSL_CERT_FILE", &file)
                .envs(variables.iter().copied());
            command
        };
        let server = Server::start("ministack", command, |port| ready(&by_tls(&process::url(port))));
        Self { server, certificate: Some(file) }
    }

    /// `http://127.0.0.1:PORT`, or with `https` if it is reached by TLS.
    pub fn endpoint(&self) -> String {
        let url = self.server.url();
        if self.certificate.is_some() { by_tls(&url) } else { url }
    }

    /// What a client needs to use this account as its root.
    pub fn environment(&self) -> Environment {
        let mut environment = environment("AWS_ENDPOINT_URL", &self.endpoint());
        if let Some(file) = &self.certificate {
            // Of Rust and Go, and of Python.
            let names = ["SSL_CERT_FILE", "AWS_CA_BUNDLE"].into_iter();
            environment.extend(names.map(|name| (name.to_owned(), file.display().to_string())));
        }
        environment
    }

    /// Its process; functions are its children.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// The end of its log, which has what functions wrote.
    pub fn said(&self) -> String {
        self.server.said()
    }

    /// All of its log.
    pub fn said_all(&self) -> String {
        self.server.said_all()
    }
}

/// With an environment built from nothing, because every function inherits it.
fn command(port: u16, folder: &Path) -> Command {
    let mut command = Command::new(provided("LAMBDALOAD_MINISTACK"));
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", folder)
        .env("TMPDIR", folder)
        .env("STATE_DIR", folder.join("state"))
        .env("S3_DATA_DIR", folder.join("s3"))
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("MINISTACK_ACCOUNT_ID", ACCOUNT)
        .env("MINISTACK_REGION", REGION)
        .env("AWS_DEFAULT_REGION", REGION)
        // It would listen on a port that is always the same.
        .env("IOT_MTLS_ENABLED", "0")
        .current_dir(folder);
    command
}

fn by_tls(url: &str) -> String {
    url.replacen("http:", "https:", 1)
}

fn ready(url: &str) -> Result<(), String> {
    let (status, body) =
        http("GET", &format!("{url}/_ministack/health"), &[], "").map_err(|error| error.to_string())?;
    if status == 200 { Ok(()) } else { Err(format!("its health is {status}: {body}")) }
}

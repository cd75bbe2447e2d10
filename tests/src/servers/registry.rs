use std::{fs, path::Path, process::Command};

use super::{http, process, process::Server};

/// Debian's package `docker-registry`.
const PROGRAM: &str = "/usr/bin/docker-registry";

/// A registry of images, empty at first: the reference implementation of the OCI's protocol.
#[derive(Debug)]
pub struct Registry {
    server: Server,
}

impl Registry {
    /// Starts one. Where it is not installed its tests are skipped aloud, in CI too.
    pub fn or_skip() -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            super::say(&format!("SKIPPED: there is no registry here: {PROGRAM} is missing (Debian: docker-registry)"));
            return None;
        }
        Some(Self { server: Server::start("registry", command, ready) })
    }

    /// Where it is: `127.0.0.1:PORT`, as names of images begin.
    pub fn host(&self) -> String {
        self.server.url().trim_start_matches("http://").to_owned()
    }
}

fn command(port: u16, folder: &Path) -> Command {
    let configuration = format!(
        "version: 0.1\nlog: {{ level: warn }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\n\
         http: {{ addr: 127.0.0.1:{port} }}\n",
        folder.join("images").display()
    );
    let path = folder.join("config.yml");
    fs::write(&path, configuration).expect("a configuration");
    let mut command = Command::new(PROGRAM);
    command.arg("serve").arg(path).env_clear().env("PATH", "/usr/bin:/bin").current_dir(folder);
    command
}

fn ready(port: u16) -> Result<(), String> {
    let (status, body) =
        http("GET", &format!("{}/v2/", process::url(port)), &[], "").map_err(|error| error.to_string())?;
    if status == 200 { Ok(()) } else { Err(format!("it answers {status}: {body}")) }
}

//! A function in the place of a real one, which notes what it was called with and answers what it was told to.

use std::{fs, io::Write as _, path::PathBuf};

use aws_sdk_lambda::{
    Client,
    primitives::Blob,
    types::{Environment, FunctionCode, Runtime, State},
};
use lambdaload_tests::{cli::wait_for, servers::Ministack};
use serde_json::Value;

use crate::account::Account;

/// What it runs. It answers only once a file says so, which a test may write later.
const BOOTSTRAP: &str = r#"#!/usr/bin/env python3
import json, os, time, urllib.request
api = "http://" + os.environ["AWS_LAMBDA_RUNTIME_API"] + "/2018-06-01/runtime/invocation/"
folder = os.environ["FOLDER"]
while True:
    event = urllib.request.urlopen(api + "next")
    with open(folder + "/event.new", "wb") as file:
        file.write(event.read())
    os.rename(folder + "/event.new", folder + "/event")
    while not os.path.exists(folder + "/answer"):
        time.sleep(0.02)
    answer = open(folder + "/answer", "rb").read()
    id = event.headers["Lambda-Runtime-Aws-Request-Id"]
    urllib.request.urlopen(urllib.request.Request(api + id + "/response", answer)).read()
"#;

/// A stand-in that can be called.
pub(crate) struct StandIn {
    folder: PathBuf,
}

impl StandIn {
    /// Makes a function of this name.
    pub(crate) fn new(account: &Account, name: &str) -> Self {
        let folder = account.folder.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
        zip.start_file("bootstrap", options).expect("a zip");
        zip.write_all(BOOTSTRAP.as_bytes()).expect("a zip");
        let zip = zip.finish().expect("a zip").into_inner();
        let client = Client::new(account.config.sdk());
        let environment = Environment::builder().variables("FOLDER", folder.display().to_string()).build();
        let request = client
            .create_function()
            .function_name(name)
            .runtime(Runtime::from("provided.al2023"))
            .handler("bootstrap")
            .role(format!("arn:aws:iam::{}:role/{name}", Ministack::ACCOUNT))
            .timeout(60)
            .environment(environment)
            .code(FunctionCode::builder().zip_file(Blob::new(zip)).build());
        account.runtime.block_on(request.send()).expect("a function is made");
        wait_for("the function to be active", || {
            let asked = client.get_function_configuration().function_name(name).send();
            let found = account.runtime.block_on(asked).expect("a function");
            (found.state() == Some(&State::Active)).then_some(())
        });
        Self { folder }
    }

    /// Lets it answer this, now or when it is called.
    pub(crate) fn answer(&self, answer: &Value) {
        let (new, name) = (self.folder.join("answer.new"), self.folder.join("answer"));
        fs::write(&new, answer.to_string()).expect("is written");
        fs::rename(new, name).expect("is there");
    }

    /// What it was called with last, if it was.
    pub(crate) fn event(&self) -> Option<Value> {
        let event = fs::read(self.folder.join("event")).ok()?;
        Some(serde_json::from_slice(&event).expect("an event in JSON"))
    }
}

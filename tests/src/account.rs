//! An emulated AWS account with the project's own template deployed into it, by `sam deploy`, from what `sam build` built:
//! the function binaries are the real ones.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::Value;

use crate::{
    cli::{Folder, Running, Said},
    k6_binary,
    servers::{Environment, Ministack},
    tls::Certificate,
};

/// Workers that a deployment of these tests has at one time.
const CAPACITY: u32 = 50;

/// An account with one deployment. It is gone, with all functions that run, when this is dropped or the test ends.
#[derive(Debug)]
pub struct Account {
    ministack: Ministack,
    /// The stack's name.
    pub stack: String,
    home: tempfile::TempDir,
}

/// What is different from usual about an account.
#[derive(Debug, Default)]
pub struct Differences<'a> {
    /// Variables of the emulator, and with it of the functions.
    pub variables: &'a [(&'a str, &'a str)],
    /// Parameters of the template: `WorkerCapacity=2`.
    pub parameters: &'a [&'a str],
    /// Places in the template, by JSON pointer, and what is there instead.
    pub edits: &'a [(&'a str, Value)],
    /// The certificate of an account that is reached by TLS only.
    pub certificate: Option<&'a Certificate>,
}

impl Account {
    /// An account that all tests of one program share: its runs are their own, its room is not.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Account> = OnceLock::new();
        SHARED.get_or_init(|| Self::deploy(&Differences::default()))
    }

    /// A new account.
    ///
    /// # Panics
    /// With what `sam deploy` said, if it fails.
    pub fn deploy(differences: &Differences<'_>) -> Self {
        let k6 = k6_binary().display().to_string();
        let variables = [&[("LAMBDALOAD_K6", k6.as_str())], differences.variables].concat();
        let home = tempfile::tempdir().expect("a folder");
        let ministack = match differences.certificate {
            Some(certificate) => Ministack::start_with_tls(certificate, &variables),
            None => Ministack::start_with(&variables),
        };
        let account = Self { ministack, stack: "lambdaload".to_owned(), home };
        account.deploy_from(&edited(account.home.path(), differences.edits), differences.parameters);
        account
    }

    /// Deploys the template (again), and returns what `sam` said.
    ///
    /// # Panics
    /// With what it said, if it fails.
    pub fn deploy_again(&self, parameters: &[&str]) -> String {
        self.deploy_from(&built().join("template.yaml"), parameters)
    }

    fn deploy_from(&self, template: &Path, parameters: &[&str]) -> String {
        let capacity = format!("WorkerCapacity={CAPACITY}");
        let usual = ["Architecture=x86_64", "AllowLoopback=true", "ReserveWorkers=false", &capacity];
        let template = template.display().to_string();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../samconfig.toml").display().to_string();
        let mut sam = Command::new(tools().join("sam"));
        sam.args(["deploy", "--template-file", &template, "--config-file", &config, "--stack-name", &self.stack])
            .args(["--no-confirm-changeset", "--parameter-overrides"])
            // Of two values for one parameter, sam takes the last.
            .args(usual.iter().chain(parameters))
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.home.path())
            .env("SAM_CLI_TELEMETRY", "0")
            .current_dir(self.home.path())
            .envs(self.ministack.environment());
        let output = sam.output().expect("sam runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "sam deploy: {}\n{said}\nthe emulator: {}", output.status, self.said());
        said
    }

    /// Where the account is.
    pub fn endpoint(&self) -> String {
        self.ministack.endpoint()
    }

    /// What a client needs to use this account as its root.
    pub fn environment(&self) -> Environment {
        self.ministack.environment()
    }

    /// The emulator's process; functions are its children.
    pub fn pid(&self) -> u32 {
        self.ministack.pid()
    }

    /// The end of the emulator's log, which has what functions wrote.
    pub fn said(&self) -> String {
        self.ministack.said()
    }

    /// All of the emulator's log.
    pub fn said_all(&self) -> String {
        self.ministack.said_all()
    }

    /// Asks the account, as its root: what this Python program prints, as JSON. It has `client`, which makes a client of a
    /// service by its name.
    ///
    /// # Panics
    /// With what the program said, if it fails.
    pub fn ask(&self, program: &str) -> Value {
        let client = "import boto3, json\n\
            from botocore.config import Config\n\
            def client(service): return boto3.client(service, config=Config(s3={'addressing_style': 'path'}))\n";
        let mut python = Command::new(tools().join("python"));
        python
            .args(["-c", &format!("{client}{program}")])
            .env_clear()
            .env("HOME", self.home.path())
            .envs(self.environment());
        answer(&mut python, program)
    }

    /// The command, not yet run, on this account.
    pub fn command(&self, folder: &Folder, arguments: &[&str]) -> Command {
        let mut command = folder.command(arguments);
        command.envs(self.environment()).env("LAMBDALOAD_PLATFORM", "lambda").env("LAMBDALOAD_STACK", &self.stack);
        command
    }

    /// Runs the command to its end.
    pub fn run(&self, folder: &Folder, arguments: &[&str]) -> Said {
        self.spawn(folder, arguments).wait()
    }

    /// Starts the command.
    pub fn spawn(&self, folder: &Folder, arguments: &[&str]) -> Running {
        Running::start(self.command(folder, arguments))
    }

    /// Starts a run that nobody watches, and returns its id.
    ///
    /// # Panics
    /// With what the command said, if it does not start it.
    pub fn detached(&self, folder: &Folder, arguments: &[&str]) -> String {
        let said = self.run(folder, &[&["run", "--detach"], arguments].concat());
        let answer: Value = serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said:#?}\nthe functions: {}", self.said()));
        answer["run"].as_str().unwrap_or_else(|| panic!("no run: {said:#?}")).to_owned()
    }

    /// Waits for a run's verdict, which the command prints as JSON.
    ///
    /// # Panics
    /// With what the command said and the functions' log, if there is none.
    pub fn verdict(&self, folder: &Folder, run: &str) -> Value {
        let said = self.run(folder, &["watch", run, "--output", "json", "--quiet"]);
        serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said:#?}\nthe functions: {}", self.said()))
    }
}

/// The template with these edits, beside the rest of what was built, in a folder of its own. It is edited by its meaning:
/// `sam build` writes YAML in its own way.
fn edited(home: &Path, edits: &[(&str, Value)]) -> PathBuf {
    let template = built().join("template.yaml");
    if edits.is_empty() {
        return template;
    }
    let folder = home.join("edited");
    fs::create_dir(&folder).expect("a folder");
    for entry in fs::read_dir(built()).expect("what was built").flatten() {
        if entry.path() != template {
            symlink(entry.path(), folder.join(entry.file_name())).expect("a link");
        }
    }
    let read = "import json, sys\nfrom samcli.yamlhelper import yaml_parse\n\
        print(json.dumps(yaml_parse(open(sys.argv[1]).read()), default=str))";
    let mut command = Command::new(tools().join("python"));
    let mut parsed = answer(command.args(["-c", read]).arg(&template), "reading the template");
    for (pointer, value) in edits {
        *parsed.pointer_mut(pointer).unwrap_or_else(|| panic!("the template has no {pointer}")) = value.clone();
    }
    // JSON is YAML.
    let template = folder.join("template.yaml");
    fs::write(&template, parsed.to_string()).expect("the template");
    template
}

/// What a program prints, as JSON.
fn answer(program: &mut Command, what: &str) -> Value {
    let output = program.output().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(output.status.success(), "{what}\n{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// What `sam build` built.
///
/// # Panics
/// If it is not known where that is.
pub fn built() -> PathBuf {
    variable("LAMBDALOAD_SAM_BUILD")
}

/// The program of all functions, which is that of tasks too.
///
/// # Panics
/// If it is not known where what `sam build` built is.
pub fn program() -> PathBuf {
    built().join("LauncherFunction-Shared/bootstrap")
}

/// The folder of `sam`.
///
/// # Panics
/// If it is not known where that is.
pub fn tools() -> PathBuf {
    variable("LAMBDALOAD_TOOLS")
}

fn variable(name: &str) -> PathBuf {
    match std::env::var_os(name) {
        Some(path) => path.into(),
        None => panic!("{name} is not set: `cargo xtask test` provides what it names and sets it"),
    }
}

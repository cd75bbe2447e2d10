//! AWS's emulator of a Lambda runtime, around one function.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use super::process::{Server, free_port};

/// In which a function has answered that is not stuck.
const DEADLINE: Duration = Duration::from_mins(1);

/// A function as a runtime calls it: it is started by the first call, and serves the later ones.
#[derive(Debug)]
pub struct RuntimeEmulator(Server);

impl RuntimeEmulator {
    /// Starts the emulator; not yet the function, which is this program with these variables.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start(emulator: &Path, program: &Path, variables: &[(&str, &str)]) -> Self {
        let command = |port, folder: &Path| {
            let address = |port: u16| format!("127.0.0.1:{port}");
            let mut command = Command::new(emulator);
            command.args(["--runtime-interface-emulator-address", &address(port)]);
            command.args(["--runtime-api-address", &address(free_port())]).arg(program).current_dir(folder);
            command.env_clear().envs(variables.iter().copied());
            command
        };
        Self(Server::start("aws-lambda-rie", command, |_| Ok::<_, String>(())))
    }

    /// Calls the function, waits until it has answered, and returns the answer.
    ///
    /// # Panics
    /// If there is none within a minute.
    pub fn invoke(&self, event: &str) -> String {
        let call = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.0.port()))?;
            stream.set_read_timeout(Some(DEADLINE))?;
            stream.set_write_timeout(Some(DEADLINE))?;
            let length = event.len();
            write!(
                stream,
                "POST /2015-03-31/functions/function/invocations HTTP/1.1\r\nHost: function\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n\r\n{event}"
            )?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = call().unwrap_or_else(|error| {
            panic!("the function does not answer within {DEADLINE:?}: {error}\n{}", self.0.said())
        });
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        body.unwrap_or_else(|| panic!("`{answer}` is no answer; the function said:\n{}", self.0.said()))
    }
}

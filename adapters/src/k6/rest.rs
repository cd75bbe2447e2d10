//! k6's REST API.

use std::{net::Ipv4Addr, time::Duration};

use lambdaload_core::ports::GeneratorPhase;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tokio::net::TcpSocket;

use crate::http;

/// For whatever k6 answers at once. A k6 that takes all processors may be slow to.
const QUICK: Duration = Duration::from_secs(5);

/// A port that no other process is given as long as this lives, while k6 may listen on it.
///
/// It is a socket that is bound and never listens. For the system its port is taken, so it is given to nobody who asks for
/// any port, nor to an outgoing connection. k6 can bind it all the same: Linux lets two sockets share a port if both have
/// said `SO_REUSEADDR`, which Go always does, and neither listens yet. Elsewhere the port is only free when it is chosen.
#[derive(Debug)]
pub(super) struct Port {
    number: u16,
    /// Held for its being bound.
    #[cfg(target_os = "linux")]
    _reservation: TcpSocket,
}

impl Port {
    pub(super) fn reserve() -> std::io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let number = socket.local_addr()?.port();
        Ok(Self {
            number,
            #[cfg(target_os = "linux")]
            _reservation: socket,
        })
    }

    pub(super) fn number(&self) -> u16 {
        self.number
    }
}

/// The API of one k6 process.
#[derive(Debug)]
pub(super) struct Rest {
    client: Client,
    port: u16,
}

/// Why a call did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum RestError {
    /// Nobody answered.
    #[error("{call}: {}", root(.source))]
    Unreachable { call: &'static str, source: reqwest::Error },
    /// k6 answered with an error.
    #[error("{call}: k6 answered {status}: {detail}")]
    Refused { call: &'static str, status: StatusCode, detail: String },
    /// k6 answered something else.
    #[error("{call}: expected k6's answer as JSON ({source}), found `{body}`")]
    Unreadable { call: &'static str, source: serde_json::Error, body: String },
}

/// `error sending request` says nothing; what it comes from does.
fn root(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: Resource<T>,
}

#[derive(Deserialize)]
struct Resource<T> {
    attributes: T,
}

#[derive(Deserialize)]
struct Status {
    status: u32,
    paused: bool,
}

#[derive(Deserialize)]
struct SetupData {
    /// Absent where there is no data; `null` is data.
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<ErrorDetail>,
}

#[derive(Deserialize)]
struct ErrorDetail {
    detail: String,
}

impl Rest {
    pub(super) fn new(port: u16) -> reqwest::Result<Self> {
        Ok(Self { client: http::local().build()?, port })
    }

    pub(super) async fn phase(&self) -> Result<GeneratorPhase, RestError> {
        let call = "GET /v1/status";
        let body = answer(call, self.request(Method::GET, "/v1/status").timeout(QUICK)).await?;
        Ok(phase(&parse(call, &body)?))
    }

    /// Lets k6 run. It refuses if it already does, and that is no error.
    pub(super) async fn resume(&self) -> Result<(), RestError> {
        match self.change_status(r#"{"paused":false}"#).await {
            Err(RestError::Refused { detail, .. })
                if detail.contains("pause and resume operations after its start") =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Ends the iterations. k6 lets itself be asked again.
    pub(super) async fn stop(&self) -> Result<(), RestError> {
        self.change_status(r#"{"stopped":true}"#).await
    }

    /// Gives the first externally-controlled scenario so many VUs in the whole; k6 works out its segment's share itself.
    /// That needs k6 1.x, and a scenario that is not over: k6 never answers then.
    pub(super) async fn scale(&self, vus: u64) -> Result<(), RestError> {
        self.change_status(&format!(r#"{{"vus":{vus}}}"#)).await
    }

    async fn change_status(&self, attributes: &str) -> Result<(), RestError> {
        let request = self.request(Method::PATCH, "/v1/status").timeout(QUICK);
        let body = format!(r#"{{"data":{{"attributes":{attributes}}}}}"#);
        answer("PATCH /v1/status", request.body(body)).await.map(drop)
    }

    /// Runs `setup()`, as long as k6 lets it. (Who hangs up first cancels it.)
    pub(super) async fn setup(&self) -> Result<Option<Vec<u8>>, RestError> {
        let call = "POST /v1/setup";
        let body = answer(call, self.request(Method::POST, "/v1/setup")).await?;
        let setup: SetupData = parse(call, &body)?;
        Ok(setup.data.map(|json| json.get().as_bytes().to_vec()))
    }

    pub(super) async fn set_setup_data(&self, json: Vec<u8>) -> Result<(), RestError> {
        let request = self.request(Method::PUT, "/v1/setup").timeout(QUICK).body(json);
        answer("PUT /v1/setup", request).await.map(drop)
    }

    /// Runs `teardown()`, as long as k6 lets it.
    pub(super) async fn teardown(&self) -> Result<(), RestError> {
        answer("POST /v1/teardown", self.request(Method::POST, "/v1/teardown")).await.map(drop)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("http://127.0.0.1:{}{path}", self.port))
    }
}

/// By k6's own numbers. Between being resumed and having started, k6 still says that it waits, but no longer that it is
/// paused.
fn phase(status: &Status) -> GeneratorPhase {
    match status {
        Status { status: 0..=3, .. } => GeneratorPhase::Starting,
        Status { status: 4, paused: true } => GeneratorPhase::Paused,
        Status { status: 4..=8, .. } => GeneratorPhase::Running,
        Status { status: 10, .. } => GeneratorPhase::Interrupted,
        // Ended, or marked as failed.
        Status { .. } => GeneratorPhase::Ended,
    }
}

async fn answer(call: &'static str, request: RequestBuilder) -> Result<Vec<u8>, RestError> {
    let unreachable = |source| RestError::Unreachable { call, source };
    let response = request.send().await.map_err(unreachable)?;
    let status = response.status();
    let body = response.bytes().await.map_err(unreachable)?;
    if status.is_success() {
        return Ok(body.into());
    }
    let detail = match serde_json::from_slice::<Errors>(&body) {
        Ok(found) => {
            found.errors.into_iter().map(|error| error.detail.trim_end().to_owned()).collect::<Vec<_>>().join("\n")
        }
        Err(_) => String::from_utf8_lossy(&body).into_owned(),
    };
    Err(RestError::Refused { call, status, detail })
}

fn parse<T: serde::de::DeserializeOwned>(call: &'static str, body: &[u8]) -> Result<T, RestError> {
    serde_json::from_slice::<Envelope<T>>(body).map(|found| found.data.attributes).map_err(|source| {
        let body = String::from_utf8_lossy(body).chars().take(200).collect();
        RestError::Unreadable { call, source, body }
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn phases_are_k6s_numbers() {
        let phase = |status, paused| phase(&Status { status, paused });
        assert_eq!((phase(0, true), phase(3, true)), (GeneratorPhase::Starting, GeneratorPhase::Starting));
        assert_eq!((phase(4, true), phase(4, false)), (GeneratorPhase::Paused, GeneratorPhase::Running));
        assert_eq!((phase(7, false), phase(8, false)), (GeneratorPhase::Running, GeneratorPhase::Running));
        assert_eq!((phase(9, false), phase(10, false)), (GeneratorPhase::Ended, GeneratorPhase::Interrupted));
    }

    #[test]
    fn no_data_and_null_differ_and_bytes_stay_as_they_are() {
        let data = |attributes: &str| {
            let setup: SetupData =
                parse("", format!(r#"{{"data":{{"attributes":{attributes}}}}}"#).as_bytes()).unwrap();
            setup.data.map(|json| json.get().to_owned())
        };
        assert_eq!(data("{}"), None);
        assert_eq!(data(r#"{"data":null}"#).as_deref(), Some("null"));
        let number = r#"{"z":12345678901234567890,"a":1.50}"#;
        assert_eq!(data(&format!(r#"{{"data":{number}}}"#)).as_deref(), Some(number));
    }

    #[tokio::test]
    async fn an_unexpected_answer_says_what_was_found() {
        let error = parse::<Status>("GET /v1/status", b"hello").err().unwrap().to_string();
        assert!(error.starts_with("GET /v1/status: expected k6's answer as JSON"), "{error}");
        assert!(error.ends_with("found `hello`"), "{error}");
    }

    #[tokio::test]
    async fn a_reserved_port_is_for_whoever_knows_it() {
        let port = Port::reserve().unwrap();
        let nobody = Rest::new(port.number()).unwrap().phase().await.unwrap_err();
        assert!(nobody.to_string().contains("refused"), "{nobody}");
        // Tokio says SO_REUSEADDR before it binds, as Go does.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port.number())).await.unwrap();
        assert_eq!(listener.local_addr().unwrap().port(), port.number());
    }
}

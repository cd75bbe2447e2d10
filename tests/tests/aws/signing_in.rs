//! Who the command is, by the ways in which people sign in to AWS: each as the AWS CLI's own files say it.

use std::{fs, net::Ipv4Addr, time::SystemTime};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::get,
};
use lambdaload_tests::{
    cli::{Running, Said},
    servers::{ACCESS_KEY, REGION, SECRET_KEY},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::account::{Account, VERSION};

/// Runs `runs list` as the profile `work` of these files, without any keys in the environment.
fn list_as(account: &Account, config: &str, variables: &[(&str, &str)]) -> Said {
    let folder = account.folder.path().join(".aws");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("config"), config).expect("a file");
    let mut command = account.command(&["runs", "list", "--profile", "work"]);
    command.env("HOME", account.folder.path()).envs(variables.iter().copied());
    for key in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"] {
        command.env_remove(key);
    }
    Running::start(command).wait()
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_profile_may_assume_a_role() {
    let account = Account::with_policies();
    let role = account.deploy("lambdaload", VERSION).role;
    let config = format!(
        "[profile work]\nregion = {REGION}\nrole_arn = {role}\nrole_session_name = night\nsource_profile = own\n\
         [profile own]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n"
    );
    let said = list_as(&account, &config, &[]);
    // The role may find the stack and nothing else.
    assert_eq!(said.code, Some(97), "{said:#?}");
    assert!(said.stderr.contains("assumed-role/lambdaload-nobody/night"), "{said:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_profile_may_have_a_program_that_signs_in() {
    let account = Account::start();
    account.deploy("lambdaload", VERSION);
    let credentials = json!({"Version": 1, "AccessKeyId": ACCESS_KEY, "SecretAccessKey": SECRET_KEY});
    account.folder.write("credentials.json", credentials.to_string());
    let file = account.folder.path().join("credentials.json").display().to_string();
    let config = format!("[profile work]\nregion = {REGION}\ncredential_process = /bin/cat {file}\n");
    let said = list_as(&account, &config, &[]);
    assert_eq!(said.code, Some(0), "{said:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_profile_may_sign_in_by_single_sign_on() {
    let account = Account::start();
    account.deploy("lambdaload", VERSION);
    let portal = Portal::start();
    let config = format!(
        "[profile work]\nregion = {REGION}\nsso_session = house\nsso_account_id = 123456789012\nsso_role_name = Tester\n\
         [sso-session house]\nsso_region = {REGION}\nsso_start_url = https://house.awsapps.com/start\n"
    );
    let variables = [("AWS_ENDPOINT_URL_SSO", portal.url.as_str())];
    // Who has not signed in is told how.
    let said = list_as(&account, &config, &variables);
    assert_eq!(said.code, Some(97), "{said:#?}");
    assert!(said.stderr.contains("aws sso login"), "{said:#?}");
    // `aws sso login` leaves a token in a file named by the SHA-1 of the session's name.
    let name = "5be93480bd8b743454a93dca084849202af43af5.json";
    let cache = account.folder.path().join(".aws/sso/cache");
    fs::create_dir_all(&cache).expect("a folder");
    let token = json!({"accessToken": "signed-in", "expiresAt": "2999-01-01T00:00:00Z"});
    fs::write(cache.join(name), token.to_string()).expect("a file");
    let said = list_as(&account, &config, &variables);
    assert_eq!(said.code, Some(0), "{said:#?}");
}

/// In the place of the portal that gives credentials of a role to whoever has signed in.
struct Portal {
    url: String,
    /// Stops it.
    _runtime: tokio::runtime::Runtime,
}

impl Portal {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let hour = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("now").as_millis() + 3_600_000;
        let hour = u64::try_from(hour).expect("milliseconds");
        let service = Router::new().route("/federation/credentials", get(credentials)).with_state(hour);
        runtime.spawn(async { axum::serve(listener, service).await });
        Self { url, _runtime: runtime }
    }
}

async fn credentials(State(expiration): State<u64>, headers: HeaderMap) -> Result<Json<Value>, StatusCode> {
    if headers.get("x-amz-sso_bearer_token").is_none_or(|token| token != "signed-in") {
        return Err(StatusCode::UNAUTHORIZED);
    }
    Ok(Json(json!({"roleCredentials": {
        "accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET_KEY, "sessionToken": "", "expiration": expiration,
    }})))
}

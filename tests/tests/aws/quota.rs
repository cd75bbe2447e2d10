//! The quota of Fargate vCPUs, asked for by the command itself of a service that the emulated account does not have.

use std::net::Ipv4Addr;

use axum::{Json, Router, http::HeaderMap, routing::post};
use lambdaload_tests::cli::{Running, Said};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    account::{Account, VERSION},
    stand_in::StandIn,
};

const SCRIPT: &str = "export const options = { vus: 10, iterations: 20 };
export default function () {}";

/// In the place of Service Quotas.
struct Quotas {
    url: String,
    /// Stops it.
    _runtime: tokio::runtime::Runtime,
}

impl Quotas {
    /// So many processors of tasks on demand, and on Spot capacity.
    fn start(on_demand: f64, spot: f64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answer = move |headers: HeaderMap, body: String| async move {
            assert_eq!(headers["x-amz-target"], "ServiceQuotasV20190624.GetServiceQuota");
            let asked: Value = serde_json::from_str(&body).expect("JSON");
            assert_eq!(asked["ServiceCode"], "fargate");
            let value = match asked["QuotaCode"].as_str() {
                Some("L-3032A538") => on_demand,
                Some("L-36FBB829") => spot,
                _ => panic!("nobody asks for {asked}"),
            };
            Json(json!({ "Quota": { "QuotaCode": asked["QuotaCode"], "Value": value } }))
        };
        let service = Router::new().route("/", post(answer));
        runtime.spawn(async { axum::serve(listener, service).await });
        Self { url, _runtime: runtime }
    }
}

/// An account with a deployment that may have 50 tasks.
fn account() -> Account {
    let account = Account::start();
    account.folder.write("script.js", SCRIPT);
    account.deploy_with_fargate("lambdaload", VERSION, 50);
    account
}

fn run(account: &Account, quotas: &Quotas, arguments: &[&str]) -> Said {
    let mut command = account.command(arguments);
    command.env("AWS_ENDPOINT_URL_SERVICE_QUOTAS", &quotas.url);
    Running::start(command).wait()
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_run_that_the_quota_has_no_room_for_is_refused_and_starts_nothing() {
    let (account, quotas) = (account(), Quotas::start(4.0, 100.0));
    let launcher = StandIn::new(&account, "lambdaload-launcher");
    launcher.answer(&json!({"state": "launched"}));
    let said = run(&account, &quotas, &["plan", "--platform", "fargate", "--workers", "4"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stdout.contains("4 Fargate vCPUs, 0 in use, 4 needed: fits"), "{said:#?}");

    let refused = "error: no room for 5 workers: 4 Fargate vCPUs, 0 in use, 5 needed";
    let said = run(&account, &quotas, &["plan", "--platform", "fargate", "--workers", "5"]);
    assert_eq!(said.code, Some(97), "{said:#?}");
    // The plan is shown all the same.
    assert!(said.stdout.contains("5 × fargate"), "{said:#?}");
    for words in [refused, "use 4 workers or fewer", "On-Demand vCPU resource count, L-3032A538"] {
        assert!(said.stderr.contains(words), "{words}: {said:#?}");
    }
    let said = run(&account, &quotas, &["run", "--platform", "fargate", "--workers", "5", "--detach"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(97), ""), "{said:#?}");
    assert!(said.stderr.contains(refused) && said.stderr.contains("L-3032A538"), "{said:#?}");
    assert_eq!(launcher.event(), None, "nobody was called");
    let listed = account.run(&["runs", "list", "--output", "json"]);
    assert_eq!((listed.code, serde_json::from_str(&listed.stdout).ok()), (Some(0), Some(json!([]))), "{listed:#?}");

    // Half as large, twice as many of them have room; and Spot capacity is another quota.
    let said = run(&account, &quotas, &["plan", "--platform", "fargate", "--workers", "8", "--cpu", "512"]);
    assert!(said.code == Some(0) && said.stdout.contains("4 needed: fits"), "{said:#?}");
    let said = run(&account, &quotas, &["plan", "--platform", "fargate", "--workers", "5", "--spot"]);
    assert!(
        said.code == Some(0) && said.stdout.contains("100 Fargate Spot vCPUs, 0 in use, 5 needed: fits"),
        "{said:#?}"
    );
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn doctor_says_whether_the_quota_has_room_for_all_workers() {
    let account = account();
    let doctor = |quotas: &Quotas| {
        let said = run(&account, quotas, &["doctor"]);
        let mut lines = said.stdout.lines().skip_while(|line| line.split_whitespace().nth(1) != Some("fargate"));
        let found = lines.next().unwrap_or_else(|| panic!("no line for fargate: {said:#?}")).to_owned();
        (found, lines.next().unwrap_or_default().to_owned())
    };
    let (found, _) = doctor(&Quotas::start(50.0, 0.0));
    assert!(found.starts_with("ok"), "{found}");
    assert!(found.ends_with("50 workers at one time; the account's quota is 50 vCPUs, 0 in use"), "{found}");
    let (found, advice) = doctor(&Quotas::start(6.0, 100.0));
    assert!(found.starts_with("warning"), "{found}");
    assert!(found.ends_with("50 workers at one time; the account's quota is 6 vCPUs, 0 in use"), "{found}");
    assert!(advice.contains("ask AWS for 50") && advice.contains("L-3032A538"), "{advice}");
}

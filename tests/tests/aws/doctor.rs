//! What `doctor` says of an account.

use lambdaload_tests::cli::Running;

use crate::account::{Account, VERSION};

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn doctor_says_what_is_there_and_what_is_missing() {
    let account = Account::start();
    let deployed = account.deploy("lambdaload", VERSION);
    let said = account.run(&["doctor"]);
    assert_eq!(said.code, Some(97), "it has no functions: {said:#?}");
    let line = |what: &str| {
        let starts = |line: &&str| line.split("  ").map(str::trim).filter(|part| !part.is_empty()).nth(1) == Some(what);
        said.stdout.lines().find(starts).unwrap_or_else(|| panic!("no line for {what}: {said:#?}")).to_owned()
    };
    for (what, found) in [
        ("credentials", "(account 123456789012)".to_owned()),
        ("region", "eu-central-1".to_owned()),
        ("stack", format!("lambdaload (CREATE_COMPLETE), lambdaload {VERSION}; 200 workers at one time, arm64")),
        ("concurrency", "573 executions at one time".to_owned()),
        ("table", format!("{} can be read; 0 runs under way", deployed.table)),
        ("bucket", format!("{} can be read", deployed.bucket)),
    ] {
        let line = line(what);
        assert!(line.starts_with("ok") && line.contains(&found), "{line}");
    }
    for (what, function) in [("launcher", "lambdaload-launcher"), ("reaper", "lambdaload-reaper")] {
        let line = line(what);
        assert!(line.starts_with("problem"), "{line}");
        assert!(said.stdout.contains(function), "{said:#?}");
    }
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn doctor_names_each_permission_that_is_missing() {
    let account = Account::with_policies();
    let deployed = account.deploy("lambdaload", VERSION);
    let somebody = account.in_role(&deployed.role);
    let mut command = account.command(&["doctor"]);
    command.envs(somebody);
    let said = Running::start(command).wait();
    assert_eq!(said.code, Some(97), "{said:#?}");
    for (action, resource) in [
        // The emulator lets everybody see the account's settings, and refuses metrics in words of another protocol.
        ("dynamodb:GetItem", deployed.table.as_str()),
        ("s3:GetObject", deployed.bucket.as_str()),
        ("lambda:InvokeFunction", "function:lambdaload-launcher"),
        ("lambda:InvokeFunction", "function:lambdaload-reaper"),
    ] {
        let statement = |line: &&str| line.contains(&format!("\"Action\":\"{action}\"")) && line.contains(resource);
        assert!(said.stdout.lines().any(|line| statement(&line)), "{action} on {resource}: {}", said.stdout);
    }
}

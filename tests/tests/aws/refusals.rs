//! What is said when there is nothing to talk to.

use lambdaload_tests::cli::{Running, Said};
use serde_json::json;

use crate::account::{Account, VERSION};

/// Runs the command with other variables; an empty one is not set.
fn run_with(account: &Account, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = account.command(arguments);
    for (name, value) in variables {
        if value.is_empty() {
            command.env_remove(name)
        } else {
            command.env(name, value)
        };
    }
    Running::start(command).wait()
}

fn refused(said: &Said, code: i32, words: &[&str]) {
    assert_eq!(said.code, Some(code), "{said:#?}");
    for words in words {
        assert!(said.stderr.contains(words), "`{words}` is not in {said:#?}");
    }
    assert_eq!(said.stdout, "");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_stack_that_is_not_there_or_not_ours_is_named_with_what_to_do() {
    let account = Account::start();
    account.folder.write("script.js", "export default function () {}");
    for arguments in [["runs", "list"].as_slice(), &["watch", "01JD8Q"], &["run"], &["plan"], &["destroy", "--yes"]] {
        let said = account.run(arguments);
        refused(&said, 104, &["there is no stack `lambdaload` in eu-central-1", "`sam build && sam deploy"]);
    }
    account.make_stack("other", &json!({"Resources": {"Bucket": {"Type": "AWS::S3::Bucket"}}}));
    let said = account.run(&["runs", "list", "--stack", "other"]);
    refused(&said, 104, &["the stack `other` is not lambdaload's: it has no output Version"]);
    let said = account.run(&["destroy", "--all", "--yes", "--stack", "other"]);
    refused(&said, 104, &["the stack `other` is not lambdaload's"]);
    assert_eq!(account.data().len(), 1, "it is still there");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_stack_of_another_version_is_refused_by_run_and_can_still_be_looked_at() {
    let account = Account::start();
    account.deploy("old", "0.0.9");
    account.folder.write("script.js", "export default function () {}");
    for command in ["run", "plan"] {
        let said = account.run(&[command, "--stack", "old"]);
        let words = format!("the stack `old` is lambdaload 0.0.9, and this command is lambdaload {VERSION}");
        refused(&said, 104, &[&words, "sam deploy --stack-name old"]);
    }
    let said = account.run(&["runs", "list", "--stack", "old"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    assert!(said.stderr.contains("warning: the stack `old` is lambdaload 0.0.9"), "{said:#?}");
    let said = account.run(&["doctor", "--stack", "old"]);
    assert!(said.stdout.contains("problem  stack"), "{said:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn without_credentials_or_region_it_is_said_what_was_looked_for() {
    let account = Account::start();
    let nobody = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
    let said = run_with(&account, &["runs", "list"], &nobody);
    refused(&said, 97, &["no AWS credentials were found", "`aws sso login`", "AWS_PROFILE"]);
    let nowhere = [("AWS_REGION", ""), ("AWS_DEFAULT_REGION", "")];
    let said = run_with(&account, &["runs", "list"], &nowhere);
    refused(&said, 97, &["no AWS region is set", "--region"]);
    // The flag is enough.
    let said = run_with(&account, &["runs", "list", "--region", "eu-west-1"], &nowhere);
    refused(&said, 104, &["there is no stack `lambdaload` in eu-west-1"]);
    let said = run_with(&account, &["doctor"], &nobody);
    assert!(said.stdout.contains("problem  credentials  no AWS credentials were found"), "{said:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn an_account_that_cannot_be_reached_is_said_to_be() {
    let account = Account::start();
    let said = run_with(&account, &["runs", "list"], &[("AWS_ENDPOINT_URL", "http://127.0.0.1:9")]);
    refused(&said, 97, &["http://127.0.0.1:9", "could not be reached", "AWS_ENDPOINT_URL"]);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_missing_permission_names_action_resource_person_and_statement() {
    let account = Account::with_policies();
    let deployed = account.deploy("lambdaload", VERSION);
    let mut command = account.command(&["runs", "list"]);
    command.envs(account.in_role(&deployed.role));
    let said = Running::start(command).wait();
    let who = "who   arn:aws:sts::123456789012:assumed-role/lambdaload-nobody/somebody";
    let statement = "{\"Action\":\"dynamodb:Query\",\"Effect\":\"Allow\",\"Resource\":\"";
    refused(&said, 97, &["not allowed: dynamodb:Query", who, &deployed.table, statement, "infra/policies/"]);
    // Whose key AWS does not know cannot be helped by a permission.
    let said = run_with(&account, &["runs", "list"], &[("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")]);
    refused(&said, 97, &["AWS_PROFILE"]);
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn what_only_a_deployment_can_do_is_refused_here() {
    let account = Account::start();
    account.folder.write("script.js", "export default function () {}");
    let said = account.run(&["run", "--detach", "--platform", "local"]);
    refused(&said, 104, &["--detach", "--platform lambda"]);
    let said = account.run(&["destroy", "--platform", "local"]);
    refused(&said, 104, &["destroy deletes a deployment", "--stack"]);
}

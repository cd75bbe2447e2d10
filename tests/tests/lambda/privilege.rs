//! Least privilege: whole runs with policies enforced, by a user that has what `infra/policies/ci-user.json` says, and
//! every call of the API against the policies.

use std::collections::BTreeSet;

use lambdaload_tests::{cli::wait_for, fixture, servers::Call, target::Target};
use serde_json::Value;

use crate::guarded::{Grant, Guarded, POLICIES, SECRET, TOPIC, not_allowed};

/// What a role is granted that these runs don't use, and why it is.
///
/// The role, the statement and the action, and the end of the resource where a statement has several.
const UNUSED: [(&str, &str); 34] = [
    (
        "aggregator CallSuccessorLauncherAndSubstitute lambda:InvokeFunction lambdaload-aggregator",
        "only of runs longer than one aggregator",
    ),
    (
        "aggregator CallSuccessorLauncherAndSubstitute lambda:InvokeFunction lambdaload-worker",
        "only if the worker that has teardown to do is lost",
    ),
    (
        "aggregator FindMissingObjects s3:ListBucket",
        "what is asked for here is there; without it an object that is missing looks forbidden",
    ),
    (
        "aggregator HandFailuresToTheReaper lambda:InvokeFunction",
        "Lambda itself hands a failed call over in the function's name",
    ),
    (
        "aggregator LetTheSchedulerCallTheReaper iam:PassRole",
        "only for a run that is started or watched over again after a fault",
    ),
    ("aggregator Log logs:CreateLogStream", "Lambda itself writes the log in the function's name"),
    ("aggregator Log logs:PutLogEvents", "Lambda itself writes the log in the function's name"),
    (
        "aggregator MakeAppointments scheduler:CreateSchedule",
        "only for a run that is started or watched over again after a fault",
    ),
    ("aggregator MergeRuns s3:PutObject interim", "only for a successor, of a run that outlives its first aggregator"),
    (
        "launcher CallWorkersAggregatorAndWhoeverWaits lambda:InvokeFunction lambdaload-launcher",
        "only if the run that it concludes gives room back",
    ),
    ("launcher ConcludeRunsThatCannotStart s3:GetObject", "only of runs that cannot start"),
    ("launcher ConcludeRunsThatCannotStart s3:PutObject", "only of runs that cannot start"),
    ("launcher DeleteSecretsOfRuns secretsmanager:DeleteSecret", "only of runs that cannot start"),
    (
        "launcher FindMissingObjects s3:ListBucket",
        "what is asked for here is there; without it an object that is missing looks forbidden",
    ),
    (
        "launcher HandFailuresToTheReaper lambda:InvokeFunction",
        "Lambda itself hands a failed call over in the function's name",
    ),
    ("launcher TellVerdicts sns:Publish", "only of runs that cannot start"),
    ("launcher Log logs:CreateLogStream", "Lambda itself writes the log in the function's name"),
    ("launcher Log logs:PutLogEvents", "Lambda itself writes the log in the function's name"),
    ("reaper CallAggregatorAndLauncher lambda:InvokeFunction lambdaload-aggregator", "only if an aggregator died"),
    (
        "reaper CallAggregatorAndLauncher lambda:InvokeFunction lambdaload-launcher",
        "only if the run that it concludes gives room back",
    ),
    (
        "reaper FindMissingObjects s3:ListBucket",
        "what is asked for here is there; without it an object that is missing looks forbidden",
    ),
    ("reaper KeepOwnFailures sqs:SendMessage", "Lambda itself keeps the call that the reaper failed at"),
    (
        "reaper LetTheSchedulerCallTheReaper iam:PassRole",
        "only for a run that is started or watched over again after a fault",
    ),
    ("reaper Log logs:CreateLogStream", "Lambda itself writes the log in the function's name"),
    ("reaper Log logs:PutLogEvents", "Lambda itself writes the log in the function's name"),
    (
        "reaper MakeAppointments scheduler:CreateSchedule",
        "only for a run that is started or watched over again after a fault",
    ),
    ("reaper TellVerdicts sns:Publish", "only of runs whose aggregator has not told"),
    ("reaper ConcludeRuns s3:GetObject", "only of runs in which workers have measured something"),
    ("reaper ReadWhatWasMeasured s3:GetObject", "only of runs in which workers have measured something"),
    (
        "worker FindMissingObjects s3:ListBucket",
        "what is asked for here is there; without it an object that is missing looks forbidden",
    ),
    (
        "worker HandFailuresToTheReaper lambda:InvokeFunction",
        "Lambda itself hands a failed call over in the function's name",
    ),
    ("worker Log logs:CreateLogStream", "Lambda itself writes the log in the function's name"),
    ("worker Log logs:PutLogEvents", "Lambda itself writes the log in the function's name"),
    ("worker RecordItself dynamodb:Query", "only if a call of a worker comes twice"),
];

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn whole_runs_need_what_policies_grant_and_nothing_less() {
    // What workers on Fargate need is not used here.
    let parameters = ["WorkerCapacity=2", "Fargate=false", &format!("NotifyTopicArns={TOPIC}")];
    let (guarded, target) = (Guarded::new(&parameters), Target::start());
    let url = format!("TARGET={}", target.url());
    let steady = fixture("steady.js").display().to_string();
    let with_secret = ["script.js", "--min-workers", "1", "--secret", "TOKEN", "-e", &url];

    // One has all the room, two wait: one that is stopped there, and one that gets room when the first is stopped.
    let first = guarded.start(&[&steady, "-e", "DURATION=90s"]);
    let gives_up = guarded.start(&with_secret);
    let waits = guarded.start(&with_secret);
    wait_for("the first run to run", || guarded.state(&first).contains("running").then_some(()));
    assert!(guarded.state(&waits).contains("queued"), "{}", guarded.state(&waits));
    guarded.run(0, &["stop", &gives_up]);
    guarded.run(0, &["stop", &first]);
    let said = guarded.run(0, &["watch", &waits, "--output", "json", "--quiet"]);
    let verdict: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"));
    assert_eq!(verdict["outcome"], "passed", "{verdict:#}");
    assert_eq!(target.requests().get("/setup"), Some(&1));
    assert_eq!(target.requests().get("/teardown"), Some(&1));
    assert!(target.headers().iter().all(|headers| headers.get("x-token").is_some_and(|token| token == SECRET)));
    // And one that somebody sees from its start to its end.
    guarded.run(0, &[&["run", "--workers", "2"][..], &with_secret].concat());

    // A stored test that starts as a schedule starts it, with secrets of its own.
    let when = ["schedule", "create", "nightly", "--cron", "0 2 * * *", "--notify", TOPIC, "--workers", "2"];
    guarded.run(0, &[&when[..], &with_secret].concat());
    guarded.run(0, &[&["schedule", "update", "nightly", "--rate", "1h"][..], &with_secret].concat());
    for what in ["pause", "resume", "show"] {
        guarded.run(0, &["schedule", what, "nightly"]);
    }
    guarded.run(0, &["schedule", "list"]);
    let started: Value =
        serde_json::from_str(&guarded.run(0, &["schedule", "run-now", "nightly"]).stdout).expect("JSON");
    guarded.run(0, &["watch", started["run"].as_str().expect("a run"), "--quiet"]);
    let has_told = || guarded.recorder.calls().iter().any(|call| call.is("sns:Publish")).then_some(());
    wait_for("the topic to be told", has_told);
    guarded.run(0, &["schedule", "delete", "nightly"]);

    let logs = guarded.run(0, &["logs", &waits]);
    let shown = guarded.run(0, &["runs", "get", &waits, "--output", "json"]);
    guarded.run(0, &["runs", "download", &waits]);
    let doctor = guarded.run(0, &["doctor"]);
    for said in [&logs, &shown, &doctor] {
        assert!(!format!("{said:?}").contains(SECRET), "{said:#?}");
    }
    assert!(logs.stdout.contains("the token is"), "{logs:#?}");

    let calls = guarded.recorder.calls();
    guarded.assert_nothing_was_refused();

    // All of this by TLS, which is all that the bucket takes.
    let policy = guarded.account.ask(
        "s3 = client('s3')
bucket = next(b['Name'] for b in s3.list_buckets()['Buckets'] if b['Name'].startswith('lambdaload-bucket'))
print(s3.get_bucket_policy(Bucket=bucket)['Policy'])",
    );
    assert_eq!(policy["Statement"][0]["Sid"], "OnlyByTls", "{policy:#}");

    // Nothing missing.
    let of_user: Vec<&Call> =
        calls.iter().filter(|call| call.access_key == guarded.user["AWS_ACCESS_KEY_ID"]).collect();
    let grants: Vec<Grant> =
        POLICIES.iter().flat_map(|policy| Grant::all(&serde_json::from_str(policy).expect("a policy"))).collect();
    assert!(!of_user.is_empty());
    assert_eq!(not_allowed(&of_user, &grants), BTreeSet::new(), "ci-user.json and schedules.json");
    let nobody: Vec<_> = calls
        .iter()
        .filter(|call| call.function.is_none() && call.access_key != guarded.user["AWS_ACCESS_KEY_ID"])
        .map(|call| (&call.access_key, &call.needs))
        .collect();
    assert!(nobody.is_empty(), "whose are these? {nobody:#?}");

    let (mut unused, mut granted) = (BTreeSet::new(), BTreeSet::new());
    let roles = ["LauncherRole", "WorkerRole", "AggregatorRole", "ReaperRole"];
    for (function, role) in ["launcher", "worker", "aggregator", "reaper"].into_iter().zip(roles) {
        let name = format!("lambdaload-{function}");
        let own: Vec<&Call> = calls.iter().filter(|call| call.function.as_deref() == Some(&name)).collect();
        assert!(!own.is_empty(), "the {function} called nobody");
        let grants = guarded.grants_of(role);
        assert_eq!(not_allowed(&own, &grants), BTreeSet::new(), "the {function}");
        let is_used = |grant: &&Grant| own.iter().any(|call| call.needs.iter().any(|need| grant.allows(need)));
        granted.extend(grants.iter().map(|grant| format!("{function} {}", grant.name)));
        unused.extend(grants.iter().filter(|grant| !is_used(grant)).map(|grant| format!("{function} {}", grant.name)));
    }
    // Nothing more than that. On a slow machine an appointment with the reaper comes before the end, and uses some.
    let reasoned: BTreeSet<String> = UNUSED.iter().map(|(grant, _)| (*grant).to_owned()).collect();
    assert_eq!(unused.difference(&reasoned).collect::<Vec<_>>(), Vec::<&String>::new(), "is granted, but never used");
    assert_eq!(reasoned.difference(&granted).collect::<Vec<_>>(), Vec::<&String>::new(), "is listed, but not granted");

    // Nobody but Secrets Manager was told the secret.
    let has_it = |bytes: &[u8]| bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
    let told: Vec<_> = calls.iter().filter(|call| has_it(&call.sent)).collect();
    assert!(!told.is_empty(), "the secret was never handed over");
    let is_handed_over =
        |call: &&Call| call.is("secretsmanager:CreateSecret") || call.is("secretsmanager:PutSecretValue");
    assert!(told.iter().all(is_handed_over), "{told:#?}");
    // The log is the emulator's own and that of the functions.
    let log = guarded.account.said_all();
    assert!(log.contains("[lambda]") && !log.contains(SECRET));
}

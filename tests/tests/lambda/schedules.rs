//! Schedules in an emulated account: made, changed, really fired by the emulated Scheduler, and gone without a trace.

use std::{
    thread,
    time::{Duration, Instant},
};

use lambdaload_tests::{
    account::{Account, Differences},
    cli::{Folder, Said},
};
use serde_json::{Value, json};

const SCRIPT: &str = "
export const options = { iterations: 4, vus: 2, thresholds: { iterations: ['count==4'] } };
export default function () {
  if (__ENV.TOKEN !== 'correct-horse-battery') { throw new Error('the secret is not there'); }
}
";

/// The emulated Scheduler looks every ten seconds, and a rate has a minute at least.
const FIRING: Duration = Duration::from_secs(150);

/// A folder with the script, and an account with a topic, of which a queue keeps what it is told.
struct Scene {
    account: Account,
    folder: Folder,
    topic: String,
}

impl Scene {
    fn new() -> Self {
        let topic = "arn:aws:sns:eu-central-1:123456789012:verdicts".to_owned();
        let parameter = format!("NotifyTopicArns={topic}");
        let account = Account::deploy(&Differences { parameters: &[&parameter], ..Differences::default() });
        let made = account.ask(
            "topic = client('sns').create_topic(Name='verdicts')['TopicArn']
sqs = client('sqs')
queue = sqs.create_queue(QueueName='heard')['QueueUrl']
arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=['QueueArn'])['Attributes']['QueueArn']
client('sns').subscribe(TopicArn=topic, Protocol='sqs', Endpoint=arn)
print(json.dumps(topic))",
        );
        assert_eq!(made, topic);
        let folder = Folder::new();
        folder.write("script.js", SCRIPT);
        Self { account, folder, topic }
    }

    fn said(&self, arguments: &[&str]) -> Said {
        let mut command = self.account.command(&self.folder, &[&["schedule"], arguments].concat());
        command.env("TOKEN", "correct-horse-battery");
        lambdaload_tests::cli::Running::start(command).wait()
    }

    /// Runs the command to its good end.
    fn schedule(&self, arguments: &[&str]) -> Said {
        let said = self.said(arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {said:#?}\n{}", self.account.said());
        said
    }

    fn create(&self, name: &str, when: &[&str]) -> Said {
        let test = ["create", name, "script.js", "--workers", "2", "--secret", "TOKEN", "--notify", &self.topic];
        self.schedule(&[&test, when].concat())
    }

    fn show(&self, name: &str) -> Value {
        let said = self.schedule(&["show", name, "--output", "json"]);
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:#?}"))
    }

    /// The firings of a schedule, once there are so many, earliest first.
    fn firings(&self, name: &str, count: usize) -> Vec<Value> {
        let start = Instant::now();
        loop {
            let mut firings = self.show(name)["firings"].as_array().expect("firings").clone();
            if firings.len() >= count {
                firings.reverse();
                return firings;
            }
            assert!(
                start.elapsed() < FIRING,
                "waited for firing {count} of {name}: {firings:#?}\n{}",
                self.account.said()
            );
            thread::sleep(Duration::from_secs(1));
        }
    }

    fn verdict(&self, firing: &Value) -> Value {
        let run = firing["run"].as_str().unwrap_or_else(|| panic!("{firing:#}"));
        // Its launcher may be about to record it.
        let start = Instant::now();
        while self.account.run(&self.folder, &["runs", "list", "--output", "json"]).stdout.find(run).is_none() {
            assert!(start.elapsed() < FIRING, "there is no run {run}: {}", self.account.said());
            thread::sleep(Duration::from_millis(200));
        }
        self.account.verdict(&self.folder, run)
    }

    /// Calls the launcher as the Scheduler does.
    fn deliver(&self, name: &str, at: &str) -> Value {
        self.account.ask(&format!(
            "event = json.dumps({{'do': 'fire', 'schedule': '{name}', 'scheduled_at': '{at}', 'tries': 0}})
answer = client('lambda').invoke(FunctionName='lambdaload-launcher', Payload=event)
print(answer['Payload'].read().decode())"
        ))
    }

    /// Subjects and texts that the topic was told, once there are so many.
    fn heard(&self, count: usize) -> Vec<(String, String)> {
        let program = format!(
            "import time
sqs = client('sqs')
queue = sqs.get_queue_url(QueueName='heard')['QueueUrl']
told, end = [], time.time() + 60
while len(told) < {count} and time.time() < end:
    for message in sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1).get('Messages', []):
        body = json.loads(message['Body'])
        told.append([body['Subject'], body['Message']])
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=message['ReceiptHandle'])
print(json.dumps(told))"
        );
        let told: Vec<(String, String)> =
            serde_json::from_value(self.account.ask(&program)).expect("subjects and texts");
        assert!(told.len() >= count, "{told:#?}\n{}", self.account.said());
        told
    }

    /// Names of schedules and secrets that the account has.
    fn kept(&self) -> Value {
        self.account.ask(
            "schedules = [s['Name'] for s in client('scheduler').list_schedules()['Schedules'] if s['GroupName'] == 'lambdaload-tests']
secrets = [s['Name'] for s in client('secretsmanager').list_secrets()['SecretList']]
print(json.dumps([sorted(schedules), sorted(secrets)]))",
        )
    }
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_schedule_is_made_changed_fired_twice_for_one_time_and_deleted() {
    let scene = Scene::new();
    let said = scene.create("nightly", &["--cron", "0 2 * * *", "--timezone", "europe/oslo", "--note", "every night"]);
    assert!(said.stdout.starts_with("nightly, version 1, is scheduled: 0 2 * * * Europe/Oslo, next "), "{said:#?}");
    assert_eq!(scene.kept(), json!([["nightly"], ["lambdaload/lambdaload/schedule/nightly"]]));
    let again = scene.said(&["create", "nightly", "script.js", "--rate", "5m", "--secret", "TOKEN"]);
    assert!(again.code == Some(104) && again.stderr.contains("there is a schedule `nightly` already"), "{again:#?}");

    let list = scene.schedule(&["list"]).stdout;
    assert!(
        list.contains("0 2 * * * Europe/Oslo") && list.contains("active") && list.contains("every night"),
        "{list}"
    );
    let shown = scene.show("nightly");
    assert_eq!(
        (&shown["expression"], &shown["state"], &shown["version"]),
        (&json!("cron(0 2 * * ? *)"), &json!("active"), &json!(1))
    );
    assert_eq!(shown["next"].as_array().map(Vec::len), Some(3), "{shown:#}");

    // What becomes of a run while another one goes on is kept, and can be changed without another version.
    assert_eq!(shown["overlap"], "skip");
    scene.create("yearly", &["--cron", "0 5 1 1 *", "--overlap", "queue"]);
    assert_eq!(scene.show("yearly")["overlap"], "queue");
    scene.schedule(&["update", "yearly", "--overlap", "allow"]);
    let changed = scene.show("yearly");
    assert_eq!((&changed["overlap"], &changed["version"]), (&json!("allow"), &json!(1)), "{changed:#}");
    assert_eq!(changed["expression"], "cron(0 5 1 1 ? *)");
    scene.schedule(&["delete", "yearly"]);

    // One scheduled time, delivered twice: one run, which says of what it is, and is told.
    for _ in 0..2 {
        assert_eq!(scene.deliver("nightly", "2026-11-23T01:00:00Z")["state"], "launched");
    }
    let firings = scene.firings("nightly", 1);
    assert_eq!(firings.len(), 1, "{firings:#?}");
    let verdict = scene.verdict(&firings[0]);
    assert_eq!(verdict["outcome"], "passed", "{verdict:#}");
    assert_eq!(
        verdict["origin"],
        json!({"schedule": "nightly", "version": 1, "scheduled_for": 1_795_395_600_000_000_i64})
    );
    assert_eq!(scene.deliver("nightly", "2026-11-23T01:00:00Z")["state"], "launched");
    let [(subject, text)] = &scene.heard(1)[..] else { panic!("told more than once") };
    assert_eq!(subject, "lambdaload: nightly passed: the threshold holds");
    assert!(text.contains("nightly, version 1, scheduled for 2026-11-23 01:00 UTC"), "{text}");

    // Paused it starts nothing, but a person can.
    scene.schedule(&["pause", "nightly"]);
    assert_eq!(scene.show("nightly")["state"], "paused");
    assert_eq!(scene.deliver("nightly", "2026-11-24T01:00:00Z")["state"], "refused");
    let run_now = scene.schedule(&["run-now", "nightly"]);
    let started: Value = serde_json::from_str(&run_now.stdout).expect("JSON");
    let verdict = scene.verdict(&started);
    assert_eq!(
        (&verdict["outcome"], &verdict["origin"]["scheduled_for"]),
        (&json!("passed"), &Value::Null),
        "{verdict:#}"
    );
    scene.schedule(&["resume", "nightly"]);
    assert_eq!(scene.show("nightly")["state"], "active");

    // Another version: its runs say so, and those of before stay as they were.
    scene.folder.write(
        "other.js",
        SCRIPT.replace("vus: 2", "vus: 3").replace("iterations: 4", "iterations: 6").replace("==4", "==6"),
    );
    let said = scene.schedule(&[
        "update",
        "nightly",
        "other.js",
        "--workers",
        "3",
        "--secret",
        "TOKEN",
        "--cron",
        "30 3 * * 1-5",
    ]);
    assert!(said.stdout.starts_with("nightly, version 2, is stored anew: 30 3 * * 1-5 Europe/Oslo"), "{said:#?}");
    assert_eq!(scene.show("nightly")["expression"], "cron(30 3 ? * MON-FRI *)");
    assert_eq!(scene.deliver("nightly", "2026-11-25T01:00:00Z")["state"], "launched");
    let verdict = scene.verdict(scene.firings("nightly", 4).last().expect("a firing"));
    assert_eq!((&verdict["outcome"], &verdict["origin"]["version"]), (&json!("passed"), &json!(2)), "{verdict:#}");
    assert_eq!(verdict["workers"].as_array().map(Vec::len), Some(3));
    let runs = scene.account.run(&scene.folder, &["runs", "list"]).stdout;
    assert!(runs.contains("nightly v2") && runs.contains("nightly v1: every night"), "{runs}");

    for (arguments, words) in [
        (&["show", "nihgtly"][..], "did you mean nightly?"),
        (&["update", "nightly", "--workers", "5"], "names its script"),
        (&["update", "nightly"], "nothing was said that could be changed"),
        (&["update", "nightly", "--at", "2020-01-01T00:00"], "there is no such time ahead"),
        (&["update", "nightly", "--notify", "arn:aws:sns:eu-central-1:1:other"], "may not tell this topic"),
        (&["create", "n", "script.js", "--secret", "TOKEN"], "a schedule needs a time"),
        (&["create", "n", "script.js", "--rate", "5m", "--timezone", "Mars/Olympus"], "there is no such time zone"),
        (&["list", "--platform", "local"], "schedules are of a deployment in an AWS account"),
    ] {
        let said = scene.said(arguments);
        assert!(said.code == Some(104) && said.stderr.contains(words), "{arguments:?}: {said:#?}");
    }

    scene.schedule(&["delete", "nightly"]);
    assert_eq!(scene.kept(), json!([[], []]));
    assert_eq!(
        scene.deliver("nightly", "2026-11-26T01:00:00Z")["message"],
        "there is no schedule `nightly` (any more)"
    );
    let gone = scene.said(&["delete", "nightly"]);
    assert!(gone.code == Some(104) && gone.stderr.contains("there is no schedule `nightly`"), "{gone:#?}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn the_scheduler_really_fires_and_destroy_leaves_no_schedule() {
    let scene = Scene::new();
    let soon = scene.account.ask(
        "from datetime import datetime, timedelta, timezone
print(json.dumps((datetime.now(timezone.utc) + timedelta(seconds=25)).strftime('%Y-%m-%dT%H:%M:%S')))",
    );
    scene.create("once", &["--at", soon.as_str().expect("a time")]);
    scene.create("often", &["--rate", "1m"]);
    for name in ["once", "often"] {
        let firing = scene.firings(name, 1).remove(0);
        let verdict = scene.verdict(&firing);
        assert_eq!(
            (&verdict["outcome"], &verdict["origin"]["schedule"]),
            (&json!("passed"), &json!(name)),
            "{verdict:#}"
        );
    }
    // Its one time has passed, and the Scheduler has forgotten it.
    assert_eq!(scene.show("once")["state"], "over");
    assert_eq!(scene.kept()[0], json!(["often"]));
    let resumed = scene.said(&["resume", "once"]);
    assert!(resumed.code == Some(104) && resumed.stderr.contains("once is over"), "{resumed:#?}");
    // A rate comes again.
    let again = scene.firings("often", 2).remove(1);
    assert_eq!(scene.verdict(&again)["outcome"], "passed");
    assert!(scene.heard(3).iter().all(|(subject, _)| subject.contains(" passed: ")));

    scene.schedule(&["pause", "often"]);
    let said = scene.account.run(&scene.folder, &["destroy", "--yes"]);
    assert!(said.code == Some(0) && said.stderr.contains("schedule often, with its secrets"), "{said:#?}");
    assert_eq!(scene.kept(), json!([[], []]));
    assert!(!said.stdout.contains("secret") && !said.stdout.contains("schedule"), "{said:#?}");
}

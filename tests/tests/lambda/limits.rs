//! Lambda ends every function after some time; what is to be done by then is done before.

use std::time::Duration;

use lambdaload_tests::account::{Account, Differences};
use serde_json::{Value, json};

use crate::scene::{Scene, reasons};

/// Lets a function live only so long.
fn shorten(account: &Account, function: &str, life: Duration) {
    let seconds = life.as_secs();
    let call = format!(
        "answer = client('lambda').update_function_configuration(FunctionName='lambdaload-{function}', Timeout={seconds})\n\
         print(answer['Timeout'])"
    );
    assert_eq!(account.ask(&call), json!(seconds));
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn an_aggregator_hands_over_before_its_time_ends() {
    let scene = Scene::new(&Differences::default());
    // It calls its successor a minute before.
    shorten(&scene.account, "aggregator", Duration::from_secs(72));
    let run = scene.detached(480, &[]);
    let verdict = scene.verdict(&run);
    scene.assert_passed_once(&verdict, 480);
    assert_eq!(verdict["samples"]["read"], verdict["samples"]["merged"], "{verdict:#}");
    let stack = "stack = client('cloudformation').describe_stacks(StackName='lambdaload')['Stacks'][0]\n\
         of = {one['OutputKey']: one['OutputValue'] for one in stack['Outputs']}\n";
    let left = format!(
        "{stack}left = client('s3').list_objects_v2(Bucket=of['Bucket'], Prefix='interim/checkpoints/{run}/')\n\
         print(json.dumps([one['Key'] for one in left.get('Contents', [])]))"
    );
    let left = scene.account.ask(&left);
    assert!(left.as_array().is_some_and(|keys| !keys.is_empty()), "no aggregator has left a checkpoint: {left}");
    let record = format!(
        "{stack}key = {{'pk': {{'S': 'run#{run}'}}, 'sk': {{'S': 'run'}}}}\n\
         item = client('dynamodb').get_item(TableName=of['Table'], Key=key)['Item']\n\
         print(item['record']['S'])"
    );
    let record: Value = scene.account.ask(&record);
    assert!(record["succession"].as_u64() >= Some(1), "nobody has taken over: {record:#}");
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_worker_that_would_be_ended_too_early_does_not_begin() {
    let scene = Scene::new(&Differences::default());
    shorten(&scene.account, "worker", Duration::from_mins(1));
    let run = scene.detached(80, &[]);
    let verdict = scene.verdict(&run);
    assert_eq!(verdict["outcome"], "invalid", "{verdict:#}");
    assert!(reasons(&verdict).iter().any(|(_, worker)| worker.is_some()), "{verdict:#}");
    let failures = verdict["workers"].as_array().expect("workers").iter().map(|worker| &worker["failure"]["kind"]);
    assert!(failures.clone().any(|kind| kind == "out_of_time"), "{verdict:#}");
    assert!(scene.asked().is_empty(), "it has run load: {:?}", scene.asked());
    scene.wait_until_no_k6();
}

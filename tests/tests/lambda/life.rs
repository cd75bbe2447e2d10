//! A deployment from its update to its end.

use lambdaload_tests::{
    account::{Account, Differences},
    cli::Folder,
};
use serde_json::{Value, json};

const SCRIPT: &str = "
export const options = { iterations: 4, vus: 2, thresholds: { iterations: ['count==4'] } };
export default function () {}
";

/// All in the account that has the stack's name, by kind; kinds of which there is nothing are left out.
fn remains(account: &Account) -> Value {
    account.ask(
        "def names(kind, found):
    found = [n for n in found if 'lambdaload' in n.replace('aws-sam-cli-managed', '')]
    return {kind: sorted(found)} if found else {}
kept = {}
kept |= names('stacks', [s['StackName'] for s in client('cloudformation').describe_stacks()['Stacks']])
kept |= names('functions', [f['FunctionName'] for f in client('lambda').list_functions()['Functions']])
kept |= names('layers', [f['LayerName'] for f in client('lambda').list_layers()['Layers']])
kept |= names('tables', client('dynamodb').list_tables()['TableNames'])
kept |= names('buckets', [b['Name'] for b in client('s3').list_buckets()['Buckets']])
kept |= names('logs', [g['logGroupName'] for g in client('logs').describe_log_groups()['logGroups']])
scheduler = client('scheduler')
kept |= names('groups', [g['Name'] for g in scheduler.list_schedule_groups()['ScheduleGroups']])
kept |= names('schedules', [s['GroupName'] + '/' + s['Name'] for s in scheduler.list_schedules()['Schedules']])
kept |= names('roles', [r['RoleName'] for r in client('iam').list_roles()['Roles']])
kept |= names('secrets', [s['Name'] for s in client('secretsmanager').list_secrets()['SecretList']])
kept |= names('queues', client('sqs').list_queues().get('QueueUrls', []))
kept |= names('alarms', [a['AlarmName'] for a in client('cloudwatch').describe_alarms()['MetricAlarms']])
print(json.dumps(kept))",
    )
}

/// The kinds of what is there.
fn kinds(found: &Value) -> Vec<&str> {
    found.as_object().expect("kinds").keys().map(String::as_str).collect()
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn a_deployment_is_updated_and_destroyed_and_nothing_is_left() {
    let (account, folder) = (Account::deploy(&Differences::default()), Folder::new());
    folder.write("script.js", SCRIPT);
    let run = account.detached(&folder, &["script.js", "--workers", "2"]);
    assert_eq!(account.verdict(&folder, &run)["outcome"], "passed");

    // An update: a variable of the functions and an output change, and runs of before are there.
    let capacity = || {
        account.ask(
            "variables = client('lambda').get_function_configuration(FunctionName='lambdaload-launcher')['Environment']
outputs = client('cloudformation').describe_stacks(StackName='lambdaload')['Stacks'][0]['Outputs']
output = next(o['OutputValue'] for o in outputs if o['OutputKey'] == 'WorkerCapacity')
print(json.dumps([variables['Variables']['LAMBDALOAD_CAPACITY'], output]))",
        )
    };
    assert_eq!(capacity(), json!(["50", "50"]));
    account.deploy_again(&["WorkerCapacity=7"]);
    assert_eq!(capacity(), json!(["7", "7"]));
    let said = account.run(&folder, &["runs", "list", "--output", "json"]);
    assert!(said.code == Some(0) && said.stdout.contains(&run), "{said:#?}");
    let again = account.detached(&folder, &["script.js", "--workers", "2"]);
    assert_eq!(account.verdict(&folder, &again)["outcome"], "passed");

    let before = remains(&account);
    for kind in ["stacks", "functions", "layers", "tables", "buckets", "logs", "groups", "schedules", "roles", "queues"]
    {
        assert!(before[kind].is_array(), "this test could not see {kind}: {before:#}");
    }

    let said = account.run(&folder, &["destroy", "--yes"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let kept = remains(&account);
    assert_eq!(kinds(&kept), ["buckets", "tables"], "{kept:#}");
    for (kind, word) in [("buckets", "bucket"), ("tables", "table")] {
        assert_eq!(kept[kind], before[kind]);
        let name = kept[kind][0].as_str().expect("a name");
        assert!(said.stdout.contains(&format!("{word} {name}")), "{said:#?}");
    }
    let said = account.run(&folder, &["destroy", "--all", "--yes"]);
    assert_eq!(said.stdout, "nothing is left of the stack `lambdaload` in eu-central-1\n", "{said:#?}");
    assert_eq!(remains(&account), json!({}));
}

#[test]
#[ignore = "needs the servers of `cargo xtask servers`"]
fn all_of_a_deployment_goes_at_once() {
    let (account, folder) = (Account::deploy(&Differences::default()), Folder::new());
    folder.write("script.js", SCRIPT);
    let run = account.detached(&folder, &["script.js", "--workers", "2"]);
    assert_eq!(account.verdict(&folder, &run)["outcome"], "passed");
    let said = account.run(&folder, &["destroy", "--all", "--yes"]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), "nothing is left of the stack `lambdaload` in eu-central-1\n"),
        "{said:#?}"
    );
    assert_eq!(remains(&account), json!({}));
}

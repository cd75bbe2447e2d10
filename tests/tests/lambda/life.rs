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
ecs, ecr = client('ecs'), client('ecr')
kept |= names('clusters', ecs.list_clusters()['clusterArns'])
found = [c for c in ecs.list_clusters()['clusterArns'] if 'lambdaload' in c]
kept |= names('tasks', [t for c in found for t in ecs.list_tasks(cluster=c)['taskArns']])
kept |= names('definitions', [d for s in ('ACTIVE', 'INACTIVE') for d in ecs.list_task_definitions(status=s)['taskDefinitionArns']])
kept |= names('repositories', [r['repositoryName'] for r in ecr.describe_repositories()['repositories']])
kept |= names('rules', [r['Name'] for r in client('events').list_rules()['Rules']])
kept |= names('topics', [t['TopicArn'] for t in client('sns').list_topics()['Topics']])
kept |= names('streams', client('kinesis').list_streams()['StreamNames'])
kept |= names('table streams', [s['StreamArn'] for s in client('dynamodbstreams').list_streams()['Streams']])
kept |= names('alarms', [a['AlarmName'] for a in client('cloudwatch').describe_alarms()['MetricAlarms']])
print(json.dumps(kept))",
    )
}

/// Starts two tasks in the cluster, registers its definition again, and pushes an image of two architectures without the
/// command. Returns how many images these are.
pub(crate) fn leave_tasks_and_images(account: &Account) -> u64 {
    let images = account.ask(
        "ecs, ecr = client('ecs'), client('ecr')
ecs.run_task(cluster='lambdaload', taskDefinition='lambdaload-worker', count=2, launchType='FARGATE')
old = ecs.describe_task_definition(taskDefinition='lambdaload-worker')['taskDefinition']
new = ecs.register_task_definition(family='lambdaload-worker', 
    containerDefinitions=[{'name': 'worker', 'image': old['containerDefinitions'][0]['image']}])
ecs.deregister_task_definition(taskDefinition=new['taskDefinition']['taskDefinitionArn'])
for tag in ('0.1.0-arm64', '0.1.0-x86_64', '0.1.0'):
    ecr.put_image(repositoryName='lambdaload-worker', imageTag=tag, imageManifest=json.dumps({'tag': tag}))
print(len(ecr.list_images(repositoryName='lambdaload-worker')['imageIds']))",
    );
    images.as_u64().expect("a number")
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

    // What nobody has ended, and what is in the way of a deletion.
    let images = leave_tasks_and_images(&account);
    let before = remains(&account);
    for kind in [
        "stacks",
        "functions",
        "layers",
        "tables",
        "buckets",
        "logs",
        "groups",
        "schedules",
        "roles",
        "queues",
        "clusters",
        "tasks",
        "definitions",
        "repositories",
        "rules",
        "alarms",
    ] {
        assert!(before[kind].is_array(), "this test could not see {kind}: {before:#}");
    }

    let said = account.run(&folder, &["destroy", "--yes"]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    for what in [
        &format!("repository lambdaload-worker with {images} images"),
        "\n  2 tasks\n",
        "task definition lambdaload-worker in 2 revisions",
        "log group /aws/ecs/lambdaload-worker",
        "log group /aws/lambda/lambdaload-aggregator",
    ] {
        assert!(said.stderr.contains(what), "{what}: {said:#?}");
    }
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

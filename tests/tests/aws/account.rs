//! An emulated account with a stack that has our outputs.

use std::{process::Command, time::Duration};

use aws_sdk_cloudformation::{
    operation::create_stack::CreateStackError,
    types::{Capability, StackStatus},
};
use lambdaload_adapters::aws::{Config, DynamoLedger, DynamoSlots, Retention, S3Store};
use lambdaload_tests::{
    cli::{Folder, Running, Said, wait_for},
    servers::{ACCESS_KEY, Environment, Ministack, REGION, SECRET_KEY},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// The version that the command says it is.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The account, and a folder in which the command runs.
pub(crate) struct Account {
    pub(crate) server: Ministack,
    pub(crate) folder: Folder,
    pub(crate) runtime: Runtime,
    pub(crate) config: Config,
}

/// What a deployment has.
pub(crate) struct Deployed {
    pub(crate) bucket: String,
    pub(crate) table: String,
    /// A role that may find the stack and nothing else.
    pub(crate) role: String,
}

impl Account {
    /// One in which everybody may do everything.
    pub(crate) fn start() -> Self {
        Self::on(Ministack::start())
    }

    /// One that enforces policies.
    pub(crate) fn with_policies() -> Self {
        Self::on(Ministack::start_with(&[("AUTH", "true")]))
    }

    fn on(server: Ministack) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let loader = aws_config::defaults(aws_config::BehaviorVersion::latest())
            .endpoint_url(server.endpoint())
            .region(aws_config::Region::new(REGION))
            .credentials_provider(aws_sdk_sts::config::Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"));
        let config = runtime.block_on(Config::load_from(loader)).expect("a configuration");
        Self { server, folder: Folder::new(), runtime, config }
    }

    /// Makes a stack of this name with our outputs, of this version.
    pub(crate) fn deploy(&self, name: &str, version: &str) -> Deployed {
        self.deploy_template(name, &template(name, version))
    }

    /// The same with workers on Fargate, so many at one time.
    pub(crate) fn deploy_with_fargate(&self, name: &str, version: &str, capacity: u32) -> Deployed {
        let mut template = template(name, version);
        let repository = format!("{}.dkr.ecr.{REGION}.amazonaws.com/{name}-worker", Ministack::ACCOUNT);
        for (output, value) in [
            ("FargateCapacity", capacity.to_string()),
            ("Cluster", name.to_owned()),
            ("WorkerImageRepository", repository),
        ] {
            template["Outputs"][output] = json!({ "Value": value });
        }
        self.deploy_template(name, &template)
    }

    fn deploy_template(&self, name: &str, template: &Value) -> Deployed {
        let outputs = self.make_stack(name, template);
        let output = |key: &str| outputs[key].as_str().expect("an output").to_owned();
        Deployed { bucket: output("Bucket"), table: output("Table"), role: output("Role") }
    }

    /// Makes a stack from a template and gives its outputs.
    pub(crate) fn make_stack(&self, name: &str, template: &Value) -> Value {
        let client = aws_sdk_cloudformation::Client::new(self.config.sdk());
        self.runtime.block_on(async {
            let request = client.create_stack().stack_name(name).template_body(template.to_string());
            let made = request.capabilities(Capability::CapabilityNamedIam).send().await;
            // One that takes long is asked for again, and is there then. Each test has an account of its own.
            let is_there = made.as_ref().is_err_and(|error| {
                error.as_service_error().is_some_and(CreateStackError::is_already_exists_exception)
            });
            assert!(made.is_ok() || is_there, "a stack is made: {made:?}");
        });
        wait_for("the stack", || {
            let found = self.runtime.block_on(client.describe_stacks().stack_name(name).send()).expect("a stack");
            let stack = found.stacks().first().expect("a stack");
            assert_ne!(stack.stack_status(), Some(&StackStatus::CreateFailed), "{stack:?}");
            let output = |output: &aws_sdk_cloudformation::types::Output| {
                Some((output.output_key()?.to_owned(), Value::from(output.output_value()?)))
            };
            let is_ready = stack.stack_status() == Some(&StackStatus::CreateComplete);
            is_ready.then(|| stack.outputs().iter().filter_map(output).collect::<serde_json::Map<_, _>>().into())
        })
    }

    /// The names of all buckets and tables.
    pub(crate) fn data(&self) -> Vec<String> {
        self.runtime.block_on(async {
            let buckets = aws_sdk_s3::Client::new(self.config.sdk()).list_buckets().send().await.expect("buckets");
            let tables = aws_sdk_dynamodb::Client::new(self.config.sdk()).list_tables().send().await.expect("tables");
            let buckets = buckets.buckets().iter().filter_map(|bucket| bucket.name().map(str::to_owned));
            buckets.chain(tables.table_names().iter().cloned()).collect()
        })
    }

    /// Credentials of somebody in a role.
    pub(crate) fn in_role(&self, role: &str) -> Environment {
        let client = aws_sdk_sts::Client::new(self.config.sdk());
        let assumed = client.assume_role().role_arn(role).role_session_name("somebody").send();
        let assumed = self.runtime.block_on(assumed).expect("the role is assumed");
        let credentials = assumed.credentials().expect("credentials");
        [
            ("AWS_ACCESS_KEY_ID", credentials.access_key_id()),
            ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key()),
            ("AWS_SESSION_TOKEN", credentials.session_token()),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// The command in this account, not yet run.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.folder.command(arguments);
        command.envs(self.server.environment()).env("LAMBDALOAD_PLATFORM", "lambda");
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Said {
        Running::start(self.command(arguments)).wait()
    }

    pub(crate) fn ledger(&self, deployed: &Deployed) -> DynamoLedger {
        let day = Duration::from_hours(24);
        DynamoLedger::new(&self.config, &deployed.table, Retention { runs: day, workers: day })
    }

    pub(crate) fn slots(&self, deployed: &Deployed) -> DynamoSlots {
        DynamoSlots::new(&self.config, &deployed.table)
    }

    pub(crate) fn store(&self, deployed: &Deployed) -> S3Store {
        S3Store::new(&self.config, &deployed.bucket)
    }
}

/// A deployment without functions, whose data outlive it as those of the real template do.
fn template(name: &str, version: &str) -> Value {
    let key = |attribute: &str, kind: &str| json!({"AttributeName": attribute, "KeyType": kind});
    let text = |attribute: &str| json!({"AttributeName": attribute, "AttributeType": "S"});
    let output = |value: Value| json!({ "Value": value });
    let find_stacks = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "cloudformation:DescribeStacks", "Resource": "*"}],
    });
    let root = format!("arn:aws:iam::{}:root", Ministack::ACCOUNT);
    let assumed_by_all = json!({
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": root}, "Action": "sts:AssumeRole"}],
    });
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Resources": {
            "Bucket": {"Type": "AWS::S3::Bucket", "DeletionPolicy": "Retain"},
            "Table": {
                "Type": "AWS::DynamoDB::Table",
                "DeletionPolicy": "Retain",
                "Properties": {
                    "BillingMode": "PAY_PER_REQUEST",
                    "AttributeDefinitions": [text("pk"), text("sk")],
                    "KeySchema": [key("pk", "HASH"), key("sk", "RANGE")],
                },
            },
            "Role": {
                "Type": "AWS::IAM::Role",
                "Properties": {
                    "RoleName": format!("{name}-nobody"),
                    "AssumeRolePolicyDocument": assumed_by_all,
                    "Policies": [{"PolicyName": "find-stacks", "PolicyDocument": find_stacks}],
                },
            },
        },
        "Outputs": {
            "Version": output(version.into()),
            "Region": output(REGION.into()),
            "Bucket": output(json!({"Ref": "Bucket"})),
            "Table": output(json!({"Ref": "Table"})),
            "LauncherFunction": output(format!("{name}-launcher").into()),
            "LauncherArn": output(format!("arn:aws:lambda:{REGION}:123456789012:function:{name}-launcher").into()),
            "TestScheduleGroup": output(format!("{name}-tests").into()),
            "TestScheduleRole": output(format!("arn:aws:iam::123456789012:role/{name}-tests").into()),
            "MissedTests": output(format!("arn:aws:sqs:{REGION}:123456789012:{name}-missed-tests").into()),
            "NotifyTopics": output("none".into()),
            "WorkerFunction": output(format!("{name}-worker").into()),
            "AggregatorFunction": output(format!("{name}-aggregator").into()),
            "ReaperFunction": output(format!("{name}-reaper").into()),
            "WorkerMemory": output("2048".into()),
            "WorkerCapacity": output("200".into()),
            "WorkersReserved": output("true".into()),
            "Architecture": output("arm64".into()),
            "K6Version": output("1.8.1".into()),
            "SecretPrefix": output(format!("lambdaload/{name}/").into()),
            "Role": output(json!({"Fn::GetAtt": ["Role", "Arn"]})),
        },
    })
}

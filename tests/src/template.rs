//! `template.yaml` in the form that `sam deploy` gives it, and what becomes of it in a stack.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::servers::say;

/// The account that stacks of these tests are in.
pub const ACCOUNT: &str = "123456789012";
/// Their Region.
pub const REGION: &str = "eu-central-1";

/// What `cargo xtask test` provides and names in a variable. Without it tests are skipped aloud.
///
/// # Panics
/// In CI, where nothing may be skipped.
pub fn provided(variable: &str) -> Option<PathBuf> {
    let found = env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if found.is_none() {
        assert!(env::var("CI").as_deref() != Ok("true"), "{variable} is not set; `cargo xtask test` sets it");
        say(&format!("SKIPPED: {variable} is not set; `cargo xtask test` sets it"));
    }
    found
}

/// The programs of the image of workers. What gives Rust for them is no package registry, so without it their tests are
/// skipped aloud, in CI too.
pub fn worker_programs() -> Option<PathBuf> {
    if let Some(why) = env::var_os("LAMBDALOAD_NO_WORKER_PROGRAMS") {
        say(&format!("SKIPPED: there is no image of workers: {}", why.display()));
        return None;
    }
    provided("LAMBDALOAD_WORKER_PROGRAMS")
}

/// The template after its transformation.
fn transformed() -> Option<&'static Value> {
    static TEMPLATE: OnceLock<Option<Value>> = OnceLock::new();
    let transform = || {
        let python = provided("LAMBDALOAD_TOOLS")?.join("python");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/transform.py");
        let output = Command::new(&python).arg(script).output();
        let output = output.unwrap_or_else(|error| panic!("cannot start {}: {error}", python.display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some(serde_json::from_slice(&output.stdout).expect("the transformed template as JSON"))
    };
    TEMPLATE.get_or_init(transform).as_ref()
}

/// A stack made of the template, as far as its names can be foretold.
pub struct Stack {
    template: &'static Value,
    name: String,
    parameters: BTreeMap<String, Value>,
}

impl Stack {
    /// A stack with the parameters' defaults, but for these. `None`, said aloud, without the tools to read the template.
    ///
    /// # Panics
    /// If the template cannot be transformed.
    pub fn of(name: &str, parameters: &[(&str, &str)]) -> Option<Self> {
        let template = transformed()?;
        let known = template["Parameters"].as_object().expect("parameters");
        let mut values: BTreeMap<String, Value> =
            known.iter().map(|(name, parameter)| (name.clone(), parameter["Default"].clone())).collect();
        for (name, value) in parameters {
            assert!(values.insert((*name).to_owned(), json!(value)).is_some(), "there is no parameter {name}");
        }
        Some(Self { template, name: name.to_owned(), parameters: values })
    }

    /// Its resources of a type, by their names in the template.
    ///
    /// # Panics
    /// If there is none.
    pub fn all(&self, of_type: &str) -> BTreeMap<String, Value> {
        let resources = self.template["Resources"].as_object().expect("resources");
        let found: BTreeMap<_, _> = resources
            .iter()
            .filter(|(_, resource)| resource["Type"] == of_type && self.has(resource))
            .map(|(name, _)| (name.clone(), self.properties(name)))
            .collect();
        assert!(!found.is_empty(), "the template has no {of_type}");
        found
    }

    /// The names of all its resources.
    ///
    /// # Panics
    /// If there are none.
    pub fn resources(&self) -> Vec<&str> {
        let resources = self.template["Resources"].as_object().expect("resources");
        resources.iter().filter(|(_, resource)| self.has(resource)).map(|(name, _)| name.as_str()).collect()
    }

    /// Whether a resource or output is in this stack.
    fn has(&self, part: &Value) -> bool {
        part.get("Condition").and_then(Value::as_str).is_none_or(|name| self.holds(&self.template["Conditions"][name]))
    }

    /// A resource as it is written, with what stands beside its properties.
    pub fn resource(&self, name: &str) -> &Value {
        &self.template["Resources"][name]
    }

    /// The properties of a resource, with everything put in.
    ///
    /// # Panics
    /// If there is no such resource.
    pub fn properties(&self, name: &str) -> Value {
        let properties = &self.resource(name)["Properties"];
        assert!(properties.is_object(), "the template has no {name}");
        self.resolve(properties)
    }

    /// The outputs.
    ///
    /// # Panics
    /// If there are none.
    pub fn outputs(&self) -> BTreeMap<String, Value> {
        let outputs = self.template["Outputs"].as_object().expect("outputs");
        let outputs = outputs.iter().filter(|(_, output)| self.has(output));
        outputs.map(|(name, output)| (name.clone(), self.resolve(&output["Value"]))).collect()
    }

    /// What a role may do: its one policy.
    ///
    /// # Panics
    /// If it has another number of policies.
    pub fn policy_of(&self, role: &str) -> Value {
        let properties = self.properties(role);
        let policies = properties["Policies"].as_array().expect("policies");
        assert_eq!(policies.len(), 1, "{role}");
        policies[0]["PolicyDocument"].clone()
    }

    /// A resource's ARN.
    ///
    /// # Panics
    /// If these tests don't know how it is made.
    pub fn arn(&self, name: &str) -> String {
        let id = self.physical(name);
        match self.resource(name)["Type"].as_str().unwrap_or_default() {
            "AWS::S3::Bucket" => format!("arn:aws:s3:::{id}"),
            "AWS::DynamoDB::Table" => format!("arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{id}"),
            "AWS::Lambda::Function" => format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{id}"),
            "AWS::IAM::Role" => format!("arn:aws:iam::{ACCOUNT}:role/{id}"),
            "AWS::SQS::Queue" => format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{id}"),
            "AWS::Logs::LogGroup" => format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{id}:*"),
            "AWS::Scheduler::ScheduleGroup" => format!("arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule-group/{id}"),
            "AWS::ECS::Cluster" => format!("arn:aws:ecs:{REGION}:{ACCOUNT}:cluster/{id}"),
            "AWS::ECR::Repository" => format!("arn:aws:ecr:{REGION}:{ACCOUNT}:repository/{id}"),
            "AWS::Events::Rule" => format!("arn:aws:events:{REGION}:{ACCOUNT}:rule/{id}"),
            other => panic!("the ARN of {name} ({other}) is not known"),
        }
    }

    fn repository_uri(&self, name: &str) -> String {
        format!("{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{}", self.physical(name))
    }

    /// What a resource is called in the account; where AWS would invent something, something of that shape.
    fn physical(&self, name: &str) -> String {
        let resource = self.resource(name);
        assert!(resource.is_object(), "the template has no {name}");
        let property = |key: &str| {
            let value = self.resolve(&resource["Properties"][key]);
            value.as_str().unwrap_or_else(|| panic!("{name} has no {key}")).to_owned()
        };
        match resource["Type"].as_str().unwrap_or_default() {
            "AWS::Lambda::Function" => property("FunctionName"),
            "AWS::Logs::LogGroup" => property("LogGroupName"),
            "AWS::SQS::Queue" => property("QueueName"),
            "AWS::Scheduler::ScheduleGroup" | "AWS::Events::Rule" => property("Name"),
            "AWS::ECS::Cluster" => property("ClusterName"),
            "AWS::ECR::Repository" => property("RepositoryName"),
            "AWS::S3::Bucket" => format!("{}-{}-1a2b3c", self.name, name.to_lowercase()),
            "AWS::Lambda::LayerVersion" => {
                format!("arn:aws:lambda:{REGION}:{ACCOUNT}:layer:{}:1", property("LayerName"))
            }
            _ => format!("{}-{name}-1A2B3C", self.name),
        }
    }

    fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::Array(values) => {
                values.iter().map(|value| self.resolve(value)).filter(|value| !value.is_null()).collect()
            }
            Value::Object(fields) => match fields.iter().next() {
                Some((function, argument))
                    if fields.len() == 1 && (function == "Ref" || function.starts_with("Fn::")) =>
                {
                    self.call(function, argument)
                }
                _ => {
                    let fields = fields.iter().map(|(key, value)| (key.clone(), self.resolve(value)));
                    fields.filter(|(_, value)| !value.is_null()).collect()
                }
            },
            plain => plain.clone(),
        }
    }

    fn call(&self, function: &str, argument: &Value) -> Value {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{function} of {value}")).to_owned();
        match function {
            "Ref" => self.reference(&text(argument)),
            "Fn::GetAtt" => match text(&argument[1]).as_str() {
                "Arn" => json!(self.arn(&text(&argument[0]))),
                "RepositoryUri" => json!(self.repository_uri(&text(&argument[0]))),
                "QueueName" => json!(self.physical(&text(&argument[0]))),
                other => panic!("the attribute {other} is not known"),
            },
            "Fn::Sub" => json!(self.substitute(&text(argument))),
            "Fn::Split" => {
                let joined = text(&self.resolve(&argument[1]));
                joined.split(text(&argument[0]).as_str()).collect()
            }
            "Fn::If" => {
                let holds = self.holds(&self.template["Conditions"][text(&argument[0])]);
                self.resolve(&argument[if holds { 1 } else { 2 }])
            }
            other => panic!("the function {other} is not known"),
        }
    }

    /// Null, which is left out, for `AWS::NoValue`.
    fn reference(&self, name: &str) -> Value {
        match name {
            "AWS::NoValue" => Value::Null,
            "AWS::StackName" => json!(self.name),
            "AWS::Region" => json!(REGION),
            "AWS::AccountId" => json!(ACCOUNT),
            "AWS::Partition" => json!("aws"),
            other => self.parameters.get(other).cloned().unwrap_or_else(|| json!(self.physical(other))),
        }
    }

    fn substitute(&self, text: &str) -> String {
        let Some((before, rest)) = text.split_once("${") else { return text.to_owned() };
        let (name, after) = rest.split_once('}').expect("a name in braces");
        let value = match name.split_once('.') {
            Some((resource, "Arn")) => self.arn(resource),
            Some((resource, "RepositoryUri")) => self.repository_uri(resource),
            Some(_) => panic!("the attribute {name} is not known"),
            None => self.reference(name).as_str().unwrap_or_else(|| panic!("{name} is no text")).to_owned(),
        };
        format!("{before}{value}{}", self.substitute(after))
    }

    fn holds(&self, condition: &Value) -> bool {
        if let Some(inner) = condition.get("Fn::Not") {
            return !self.holds(&inner[0]);
        }
        let pair = &condition["Fn::Equals"];
        assert!(pair.is_array(), "the condition {condition} is not known");
        self.resolve(&pair[0]) == self.resolve(&pair[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the process that is looked at from outside.
    const INSIDE: &str = "LAMBDALOAD_TESTS_INSIDE";

    #[test]
    fn what_is_left_out_is_said_by_a_test_that_passes() {
        if env::var_os(INSIDE).is_some() {
            assert_eq!((provided("LAMBDALOAD_NO_SUCH_THING"), worker_programs()), (None, None));
            return;
        }
        let mut inside = Command::new(env::current_exe().expect("this program"));
        inside.args(["--exact", "template::tests::what_is_left_out_is_said_by_a_test_that_passes"]);
        inside.env_remove("CI").env(INSIDE, "yes").env("LAMBDALOAD_NO_WORKER_PROGRAMS", "no Rust for musl");
        let said = inside.output().expect("it starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(stdout.contains("1 passed"), "{stdout}\n{stderr}");
        for words in ["LAMBDALOAD_NO_SUCH_THING is not set", "there is no image of workers: no Rust for musl"] {
            assert!(stderr.contains(&format!("SKIPPED: {words}")), "{words}: {stdout}\n{stderr}");
        }
    }
}

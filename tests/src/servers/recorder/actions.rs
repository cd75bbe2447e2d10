//! What a request to AWS needs leave for: the actions and resources of IAM.

use std::collections::BTreeMap;

use hyper::{HeaderMap, Method};
use serde_json::Value;

use crate::servers::{Ministack, REGION};

/// One thing that somebody needs leave for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// As in policies, for example `dynamodb:PutItem`. An action this module doesn't know has the method and the path
    /// behind the colon, so that no policy grants it.
    pub action: String,
    /// The ARN, or `*` where the service knows no resource.
    pub resource: String,
}

/// A request, as much as says what it wants.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    /// Decoded.
    pub(super) path: &'a str,
    /// Decoded.
    pub(super) query: BTreeMap<String, String>,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a [u8],
}

/// Who signed a request, and for which service.
pub(super) struct Signer {
    pub(super) access_key: String,
    /// The name in signatures.
    pub(super) service: String,
}

impl Asked<'_> {
    /// A header, or nothing.
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// From the header or from a presigned address. Both are empty of a request that isn't signed.
    pub(super) fn signer(&self) -> Signer {
        let header = self.header("authorization");
        let scope = header.split_once("Credential=").map(|(_, rest)| rest).unwrap_or_default();
        let scope = self.query.get("X-Amz-Credential").map_or(scope, String::as_str);
        let scope = scope.split(',').next().unwrap_or_default();
        // KEY/DAY/REGION/SERVICE/aws4_request
        let mut parts = scope.split('/');
        let access_key = parts.next().unwrap_or_default().to_owned();
        Signer { access_key, service: parts.nth(2).unwrap_or_default().to_owned() }
    }

    /// The body as JSON, or null.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(self.body).unwrap_or(Value::Null)
    }

    /// What the request needs leave for, in the order of the request.
    pub(super) fn permissions(&self, service: &str) -> Vec<Permission> {
        let target = self.header("x-amz-target").rsplit('.').next().unwrap_or_default();
        match service {
            "s3" => self.s3(),
            "dynamodb" => self.dynamodb(target),
            "lambda" => vec![self.lambda()],
            "scheduler" => self.scheduler(),
            "ecs" => self.ecs(target),
            "ecr" => vec![permission(service, target, &repository(&self.json()))],
            "secretsmanager" => vec![permission(service, target, &secret(&self.json()))],
            "logs" => vec![permission(service, target, &log_group(&self.json()))],
            // In policies it has another name than in signatures.
            "monitoring" => vec![permission("cloudwatch", &self.named(target), "*")],
            "cloudformation" => vec![permission(service, &self.named(target), &self.stack())],
            "sns" => {
                let topic = self.form().remove("TopicArn").unwrap_or_else(|| "*".to_owned());
                vec![permission(service, &self.named(target), &topic)]
            }
            _ => vec![permission(service, &self.named(target), "*")],
        }
    }

    /// The action as one of the protocols names it: a header, a path or a field of a form.
    fn named(&self, target: &str) -> String {
        let of_path = || self.path.split_once("/operation/").map(|(_, operation)| operation.to_owned());
        let of_form = || self.form().remove("Action");
        let named = (!target.is_empty()).then(|| target.to_owned());
        named.or_else(of_path).or_else(of_form).unwrap_or_else(|| self.unknown())
    }

    fn form(&self) -> BTreeMap<String, String> {
        let mut form = self.query.clone();
        form.extend(form_urlencoded::parse(self.body).into_owned());
        form
    }

    fn unknown(&self) -> String {
        let query: Vec<&str> = self.query.keys().map(String::as_str).collect();
        format!("{} {}?{}", self.method, self.path, query.join("&"))
    }

    fn s3(&self) -> Vec<Permission> {
        let (bucket, key) =
            self.path.trim_start_matches('/').split_once('/').unwrap_or((self.path.trim_matches('/'), ""));
        let has = |name: &str| self.query.contains_key(name);
        let object = |action: &str, key: &str| permission("s3", action, &format!("arn:aws:s3:::{bucket}/{key}"));
        if key.is_empty() {
            let action = match (self.method.as_str(), bucket) {
                ("GET", "") => "ListAllMyBuckets",
                ("GET", _) if has("uploads") => "ListBucketMultipartUploads",
                ("GET", _) if has("versions") => "ListBucketVersions",
                ("GET", _) if has("location") => "GetBucketLocation",
                ("GET", _) if self.query.is_empty() || has("list-type") || has("prefix") => "ListBucket",
                ("HEAD", _) => "ListBucket",
                ("PUT", _) if self.query.is_empty() => "CreateBucket",
                ("DELETE", _) if self.query.is_empty() => "DeleteBucket",
                ("POST", _) if has("delete") => {
                    return keys_to_delete(self.body).iter().map(|key| object("DeleteObject", key)).collect();
                }
                _ => &self.unknown(),
            };
            return vec![permission("s3", action, &format!("arn:aws:s3:::{bucket}"))];
        }
        let action = match self.method.as_str() {
            "GET" if has("uploadId") => "ListMultipartUploadParts",
            "DELETE" if has("uploadId") => "AbortMultipartUpload",
            "GET" if has("tagging") => "GetObjectTagging",
            "PUT" if has("tagging") => "PutObjectTagging",
            "DELETE" if has("tagging") => "DeleteObjectTagging",
            "GET" if has("attributes") => "GetObjectAttributes",
            "GET" | "HEAD" => "GetObject",
            "PUT" => "PutObject",
            "POST" if has("uploads") || has("uploadId") => "PutObject",
            "DELETE" => "DeleteObject",
            _ => &self.unknown(),
        };
        let mut needed = vec![object(action, key)];
        let copied = self.header("x-amz-copy-source").trim_start_matches('/');
        if !copied.is_empty() {
            needed.push(permission("s3", "GetObject", &format!("arn:aws:s3:::{copied}")));
        }
        if action == "PutObject" && !self.header("x-amz-tagging").is_empty() {
            needed.push(object("PutObjectTagging", key));
        }
        needed
    }

    /// Transactions need leave for what is in them, and have no action of their own.
    fn dynamodb(&self, target: &str) -> Vec<Permission> {
        let body = self.json();
        let table = |of: &Value| arn("dynamodb", &format!("table/{}", of["TableName"].as_str().unwrap_or_default()));
        let items = body["TransactItems"].as_array().into_iter().flatten().filter_map(Value::as_object).flatten();
        let in_items = items.map(|(kind, item)| {
            // Put, Update, Delete and Get, but ConditionCheck.
            permission("dynamodb", &format!("{kind}Item"), &table(item))
        });
        match target {
            "TransactWriteItems" | "TransactGetItems" => in_items.collect(),
            "BatchWriteItem" | "BatchGetItem" => {
                let tables = body["RequestItems"].as_object().into_iter().flatten();
                tables
                    .map(|(name, _)| permission("dynamodb", target, &arn("dynamodb", &format!("table/{name}"))))
                    .collect()
            }
            _ if body["IndexName"].is_string() => {
                let index = body["IndexName"].as_str().unwrap_or_default();
                vec![permission("dynamodb", target, &format!("{}/index/{index}", table(&body)))]
            }
            _ if body["TableName"].is_string() => vec![permission("dynamodb", target, &table(&body))],
            _ => vec![permission("dynamodb", target, "*")],
        }
    }

    fn lambda(&self) -> Permission {
        let parts: Vec<&str> = self.path.split('/').filter(|part| !part.is_empty()).collect();
        let method = self.method.as_str();
        let action = match (method, &parts[..]) {
            ("POST", [_, "functions", _, "invocations"]) => "InvokeFunction",
            ("GET", [_, "account-settings"]) => "GetAccountSettings",
            ("GET", [_, "functions"]) => "ListFunctions",
            ("POST", [_, "functions"]) => "CreateFunction",
            ("GET", [_, "functions", _]) => "GetFunction",
            ("DELETE", [_, "functions", _]) => "DeleteFunction",
            ("GET", [_, "functions", _, "configuration"]) => "GetFunctionConfiguration",
            ("PUT", [_, "functions", _, "configuration"]) => "UpdateFunctionConfiguration",
            ("PUT", [_, "functions", _, "code"]) => "UpdateFunctionCode",
            ("GET", [_, "functions", _, "concurrency"]) => "GetFunctionConcurrency",
            ("PUT", [_, "functions", _, "concurrency"]) => "PutFunctionConcurrency",
            ("GET", [_, "functions", _, "recursion-config"]) => "GetFunctionRecursionConfig",
            ("PUT", [_, "functions", _, "recursion-config"]) => "PutFunctionRecursionConfig",
            ("GET", [_, "functions", _, "event-invoke-config"]) => "GetFunctionEventInvokeConfig",
            ("PUT", [_, "functions", _, "event-invoke-config"]) => "PutFunctionEventInvokeConfig",
            _ => &self.unknown(),
        };
        let function = match parts.get(2).map(|name| name.rsplit("function:").next().unwrap_or(name)) {
            Some(name) => arn("lambda", &format!("function:{name}")),
            None => "*".to_owned(),
        };
        permission("lambda", action, &function)
    }

    /// Tasks belong to a cluster, and a family means its latest definition. Whoever starts tasks passes on the roles of
    /// their definition, too; which these are the request does not say.
    fn ecs(&self, target: &str) -> Vec<Permission> {
        let body = self.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default();
        let full =
            |id: &str, resource: String| if id.starts_with("arn:") { id.to_owned() } else { arn("ecs", &resource) };
        let cluster = text("cluster").rsplit('/').next().unwrap_or_default();
        let task = |id: &str| full(id, format!("task/{cluster}/{id}"));
        let needed = |resource: &str| permission("ecs", target, resource);
        match target {
            "RunTask" => {
                let definition = text("taskDefinition");
                let mut needs = vec![needed(&full(definition, format!("task-definition/{definition}:*")))];
                if body["tags"].as_array().is_some_and(|tags| !tags.is_empty()) {
                    needs.push(permission("ecs", "TagResource", &task("*")));
                }
                needs
            }
            "StopTask" => vec![needed(&task(text("task")))],
            "DescribeTasks" => {
                let tasks = body["tasks"].as_array().into_iter().flatten().filter_map(Value::as_str);
                tasks.map(|id| needed(&task(id))).collect()
            }
            "ListTasks" => vec![needed(&arn("ecs", &format!("container-instance/{cluster}/*")))],
            _ if !cluster.is_empty() => vec![needed(&arn("ecs", &format!("cluster/{cluster}")))],
            _ => vec![needed("*")],
        }
    }

    /// Whoever makes an appointment passes a role on, too.
    fn scheduler(&self) -> Vec<Permission> {
        let parts: Vec<&str> = self.path.split('/').filter(|part| !part.is_empty()).collect();
        let body = self.json();
        let group = self.query.get("groupName").map(String::as_str).or(body["GroupName"].as_str()).unwrap_or("default");
        let action = match (self.method.as_str(), &parts[..]) {
            ("GET", ["schedules"]) => "ListSchedules",
            ("POST", ["schedules", _]) => "CreateSchedule",
            ("PUT", ["schedules", _]) => "UpdateSchedule",
            ("GET", ["schedules", _]) => "GetSchedule",
            ("DELETE", ["schedules", _]) => "DeleteSchedule",
            ("GET", ["schedule-groups"]) => "ListScheduleGroups",
            ("GET", ["schedule-groups", _]) => "GetScheduleGroup",
            ("DELETE", ["schedule-groups", _]) => "DeleteScheduleGroup",
            _ => &self.unknown(),
        };
        let resource = match &parts[..] {
            ["schedules", name] => arn("scheduler", &format!("schedule/{group}/{name}")),
            ["schedule-groups", name] => arn("scheduler", &format!("schedule-group/{name}")),
            _ => "*".to_owned(),
        };
        let passed = body["Target"]["RoleArn"].as_str().map(|role| permission("iam", "PassRole", role));
        std::iter::once(permission("scheduler", action, &resource)).chain(passed).collect()
    }

    fn stack(&self) -> String {
        match self.form().remove("StackName") {
            Some(stack) if stack.starts_with("arn:") => stack,
            Some(stack) => arn("cloudformation", &format!("stack/{stack}/*")),
            None => "*".to_owned(),
        }
    }
}

fn permission(service: &str, action: &str, resource: &str) -> Permission {
    Permission { action: format!("{service}:{action}"), resource: resource.to_owned() }
}

fn arn(service: &str, resource: &str) -> String {
    format!("arn:aws:{service}:{REGION}:{}:{resource}", Ministack::ACCOUNT)
}

/// Of a secret that is known by its name only, without the six characters that Secrets Manager adds.
fn secret(body: &Value) -> String {
    match body["SecretId"].as_str().or(body["Name"].as_str()) {
        Some(id) if id.starts_with("arn:") => id.to_owned(),
        Some(name) => arn("secretsmanager", &format!("secret:{name}")),
        None => "*".to_owned(),
    }
}

fn repository(body: &Value) -> String {
    body["repositoryName"].as_str().map_or_else(|| "*".to_owned(), |name| arn("ecr", &format!("repository/{name}")))
}

fn log_group(body: &Value) -> String {
    match body["logGroupIdentifier"].as_str().or(body["logGroupName"].as_str()) {
        Some(id) if id.starts_with("arn:") => id.to_owned(),
        Some(name) => arn("logs", &format!("log-group:{name}:*")),
        None => "*".to_owned(),
    }
}

/// The keys in the body of `DeleteObjects`.
fn keys_to_delete(body: &[u8]) -> Vec<String> {
    let body = String::from_utf8_lossy(body);
    let keys = body.split("<Key>").skip(1).filter_map(|rest| rest.split("</Key>").next());
    keys.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use hyper::header::{AUTHORIZATION, HeaderValue};

    use super::*;

    /// What a request needs leave for, as `action resource`.
    fn needs(service: &str, method: &str, address: &str, headers: &[(&'static str, &str)], body: &str) -> Vec<String> {
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let scope = format!(
            "AWS4-HMAC-SHA256 Credential=AKIA/20260101/eu-central-1/{service}/aws4_request, SignedHeaders=host"
        );
        all.insert(AUTHORIZATION, HeaderValue::from_str(&scope).unwrap());
        let method = method.parse().unwrap();
        let query = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let asked = Asked { method: &method, path, query, headers: &all, body: body.as_bytes() };
        let signer = asked.signer();
        assert_eq!((signer.access_key.as_str(), signer.service.as_str()), ("AKIA", service));
        let needs = asked.permissions(&signer.service);
        needs.into_iter().map(|need| format!("{} {}", need.action, need.resource)).collect()
    }

    #[test]
    fn actions_of_s3_are_those_of_policies() {
        let ask = |method, address| needs("s3", method, address, &[], "");
        assert_eq!(ask("GET", "/b?list-type=2&prefix=a"), ["s3:ListBucket arn:aws:s3:::b"]);
        assert_eq!(ask("GET", "/b/"), ["s3:ListBucket arn:aws:s3:::b"]);
        assert_eq!(ask("HEAD", "/b"), ["s3:ListBucket arn:aws:s3:::b"]);
        assert_eq!(ask("GET", "/b?lifecycle="), ["s3:GET /b?lifecycle arn:aws:s3:::b"]);
        assert_eq!(ask("GET", "/b/runs/1/a"), ["s3:GetObject arn:aws:s3:::b/runs/1/a"]);
        assert_eq!(ask("HEAD", "/b/k"), ["s3:GetObject arn:aws:s3:::b/k"]);
        assert_eq!(ask("PUT", "/b/k"), ["s3:PutObject arn:aws:s3:::b/k"]);
        assert_eq!(ask("PUT", "/b/k?partNumber=1&uploadId=u"), ["s3:PutObject arn:aws:s3:::b/k"]);
        assert_eq!(ask("POST", "/b/k?uploads="), ["s3:PutObject arn:aws:s3:::b/k"]);
        assert_eq!(ask("DELETE", "/b/k?uploadId=u"), ["s3:AbortMultipartUpload arn:aws:s3:::b/k"]);
        assert_eq!(ask("DELETE", "/b/k"), ["s3:DeleteObject arn:aws:s3:::b/k"]);
        let body = "<Delete><Object><Key>a</Key></Object><Object><Key>b/c</Key></Object></Delete>";
        let both = ["s3:DeleteObject arn:aws:s3:::b/a", "s3:DeleteObject arn:aws:s3:::b/b/c"];
        assert_eq!(needs("s3", "POST", "/b?delete=", &[], body), both);
        let headers = [("x-amz-copy-source", "/from/k"), ("x-amz-tagging", "a=b")];
        let three = [
            "s3:PutObject arn:aws:s3:::b/k",
            "s3:GetObject arn:aws:s3:::from/k",
            "s3:PutObjectTagging arn:aws:s3:::b/k",
        ];
        assert_eq!(needs("s3", "PUT", "/b/k", &headers, ""), three);
    }

    #[test]
    fn tasks_are_those_of_a_cluster() {
        let ask = |action: &str, body| {
            let target = format!("AmazonEC2ContainerServiceV20141113.{action}");
            needs("ecs", "POST", "/", &[("x-amz-target", &target)], body)
        };
        let of = |resource: &str| format!("arn:aws:ecs:eu-central-1:123456789012:{resource}");
        let run = r#"{"cluster": "c", "taskDefinition": "w", "count": 2, "tags": [{"key": "a", "value": "b"}]}"#;
        assert_eq!(
            ask("RunTask", run),
            [format!("ecs:RunTask {}", of("task-definition/w:*")), format!("ecs:TagResource {}", of("task/c/*"))]
        );
        assert_eq!(ask("StopTask", r#"{"cluster": "c", "task": "1"}"#), [format!("ecs:StopTask {}", of("task/c/1"))]);
        let tasks = format!(r#"{{"cluster": "c", "tasks": ["1", "{}"]}}"#, of("task/c/2"));
        let both = ["task/c/1", "task/c/2"].map(|task| format!("ecs:DescribeTasks {}", of(task)));
        assert_eq!(ask("DescribeTasks", &tasks), both);
        assert_eq!(
            ask("ListTasks", r#"{"cluster": "c"}"#),
            [format!("ecs:ListTasks {}", of("container-instance/c/*"))]
        );
        let target = [("x-amz-target", "AmazonEC2ContainerRegistry_V20150921.ListImages")];
        assert_eq!(
            needs("ecr", "POST", "/", &target, r#"{"repositoryName": "r"}"#),
            ["ecr:ListImages arn:aws:ecr:eu-central-1:123456789012:repository/r"]
        );
    }

    #[test]
    fn a_transaction_needs_what_is_in_it() {
        let ask = |action: &str, body| {
            needs("dynamodb", "POST", "/", &[("x-amz-target", &format!("DynamoDB_20120810.{action}"))], body)
        };
        let table = "arn:aws:dynamodb:eu-central-1:123456789012:table/t";
        assert_eq!(ask("UpdateItem", r#"{"TableName": "t"}"#), [format!("dynamodb:UpdateItem {table}")]);
        assert_eq!(
            ask("Query", r#"{"TableName": "t", "IndexName": "i"}"#),
            [format!("dynamodb:Query {table}/index/i")]
        );
        assert_eq!(ask("ListTables", "{}"), ["dynamodb:ListTables *"]);
        let items = r#"{"TransactItems": [{"Put": {"TableName": "t"}}, {"ConditionCheck": {"TableName": "t"}}]}"#;
        let two = [format!("dynamodb:PutItem {table}"), format!("dynamodb:ConditionCheckItem {table}")];
        assert_eq!(ask("TransactWriteItems", items), two);
    }

    #[test]
    fn every_protocol_names_its_action() {
        let function = "arn:aws:lambda:eu-central-1:123456789012:function:f";
        let invoke = needs("lambda", "POST", "/2015-03-31/functions/f/invocations", &[], "{}");
        assert_eq!(invoke, [format!("lambda:InvokeFunction {function}")]);
        let by_arn = format!("/2015-03-31/functions/{function}/invocations");
        assert_eq!(needs("lambda", "POST", &by_arn, &[], "{}"), [format!("lambda:InvokeFunction {function}")]);
        let settings = needs("lambda", "GET", "/2016-08-19/account-settings", &[], "");
        assert_eq!(settings, ["lambda:GetAccountSettings *"]);
        let schedule = r#"{"GroupName": "g", "Target": {"RoleArn": "arn:aws:iam::1:role/r"}}"#;
        let create = [
            "scheduler:CreateSchedule arn:aws:scheduler:eu-central-1:123456789012:schedule/g/s",
            "iam:PassRole arn:aws:iam::1:role/r",
        ];
        assert_eq!(needs("scheduler", "POST", "/schedules/s", &[], schedule), create);
        let delete = needs("scheduler", "DELETE", "/schedules/s?groupName=g", &[], "");
        assert_eq!(delete, ["scheduler:DeleteSchedule arn:aws:scheduler:eu-central-1:123456789012:schedule/g/s"]);
        let target = [("x-amz-target", "secretsmanager.GetSecretValue")];
        let secret = ["secretsmanager:GetSecretValue arn:aws:secretsmanager:eu-central-1:123456789012:secret:a/b"];
        assert_eq!(needs("secretsmanager", "POST", "/", &target, r#"{"SecretId": "a/b"}"#), secret);
        let stack = ["cloudformation:DescribeStacks arn:aws:cloudformation:eu-central-1:123456789012:stack/ll/*"];
        let form = "Action=DescribeStacks&Version=2010-05-15&StackName=ll";
        assert_eq!(needs("cloudformation", "POST", "/", &[], form), stack);
        let publish = "Action=Publish&TopicArn=arn%3Aaws%3Asns%3Aeu-central-1%3A1%3At&Message=a";
        assert_eq!(needs("sns", "POST", "/", &[], publish), ["sns:Publish arn:aws:sns:eu-central-1:1:t"]);
        assert_eq!(needs("sts", "POST", "/", &[], "Action=GetCallerIdentity"), ["sts:GetCallerIdentity *"]);
        let cbor = "/service/GraniteServiceVersion20100801/operation/GetMetricData";
        assert_eq!(needs("monitoring", "POST", cbor, &[], ""), ["cloudwatch:GetMetricData *"]);
        assert_eq!(needs("sqs", "GET", "/odd?b=1", &[], ""), ["sqs:GET /odd?b *"]);
    }
}

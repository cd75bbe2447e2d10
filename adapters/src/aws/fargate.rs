//! What an account has for tasks: subnets, and a quota of processors.

use std::time::SystemTime;

use aws_sdk_cloudwatch::{
    primitives::DateTime,
    types::{Datapoint, Dimension, Statistic},
};
use lambdaload_core::ports::{CallError, Cause};
use serde::Deserialize;
use serde_json::json;

use super::{
    account::{Account, LOOKED_AT},
    error::call_error,
    signed::{QUOTED, Question, ask, refused},
};

/// Processors of tasks that may run at one time in an account and region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskQuota {
    /// The quota as it is applied.
    pub limit: f64,
    /// What of it was in use in the last minutes.
    pub in_use: f64,
}

#[derive(Deserialize)]
struct QuotaAnswer {
    #[serde(rename = "Quota")]
    quota: Quota,
}

#[derive(Deserialize)]
struct Quota {
    #[serde(rename = "Value")]
    value: f64,
}

impl Account {
    /// The subnets of the region's default VPC, one for each availability zone; none where that was deleted.
    pub async fn default_subnets(&self) -> Result<Vec<String>, CallError> {
        let failed = |cause: Cause| CallError { operation: "looking for the subnets of the default VPC", cause };
        let question = Question {
            service: "EC2",
            name: "ec2",
            headers: vec![("content-type", "application/x-www-form-urlencoded")],
            body: "Action=DescribeSubnets&Version=2016-11-15&Filter.1.Name=default-for-az&Filter.1.Value.1=true"
                .to_owned(),
        };
        let (status, answer) = ask(&self.config, question).await.map_err(failed)?;
        if status != 200 {
            let said = [text_of(&answer, "Code").next(), text_of(&answer, "Message").next()];
            let said = said.into_iter().flatten().collect::<Vec<_>>().join(": ");
            return Err(failed(
                format!("EC2 says {said} ({status}); it takes ec2:DescribeSubnets, or --subnet-ids to do without")
                    .into(),
            ));
        }
        Ok(subnets(&answer))
    }

    /// How many processors tasks may have, on Spot capacity or on demand.
    pub async fn task_quota(&self, spot: bool) -> Result<TaskQuota, CallError> {
        let failed = |cause: Cause| CallError { operation: "reading the quota of Fargate vCPUs", cause };
        let code = if spot { "L-36FBB829" } else { "L-3032A538" };
        let (service, target) = ("Service Quotas", "ServiceQuotasV20190624.GetServiceQuota");
        let body = json!({ "ServiceCode": "fargate", "QuotaCode": code });
        let question = Question::json(service, "servicequotas", target, &body);
        let (status, answer) = ask(&self.config, question).await.map_err(failed)?;
        if status != 200 {
            return Err(failed(refused(service, "servicequotas:GetServiceQuota", status, &answer).into()));
        }
        let QuotaAnswer { quota } = serde_json::from_str(&answer).map_err(|error| {
            let found: String = answer.trim().chars().take(QUOTED).collect();
            failed(format!("Service Quotas answers with no quota ({error}) but with: {found}").into())
        })?;
        Ok(TaskQuota { limit: quota.value, in_use: self.task_vcpus(spot).await? })
    }

    /// How many processors tasks had in the last minutes, by CloudWatch.
    async fn task_vcpus(&self, spot: bool) -> Result<f64, CallError> {
        let now = SystemTime::now();
        let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        let statistics = self
            .cloudwatch
            .get_metric_statistics()
            .namespace("AWS/Usage")
            .metric_name("ResourceCount")
            .dimensions(dimension("Service", "Fargate"))
            .dimensions(dimension("Type", "Resource"))
            .dimensions(dimension("Resource", "vCPU"))
            .dimensions(dimension("Class", if spot { "Standard/Spot" } else { "Standard/OnDemand" }))
            .start_time(DateTime::from(now.checked_sub(LOOKED_AT).unwrap_or(now)))
            .end_time(DateTime::from(now))
            .period(60)
            .statistics(Statistic::Maximum)
            .send()
            .await
            .map_err(|error| {
                let subject = self.subject("CloudWatch", "metrics of Fargate");
                call_error(
                    "reading how many Fargate vCPUs are in use",
                    &subject,
                    "cloudwatch:GetMetricStatistics",
                    &error,
                )
            })?;
        Ok(statistics.datapoints().iter().filter_map(Datapoint::maximum).fold(0.0, f64::max))
    }
}

/// The subnets that EC2 lists, each once.
fn subnets(answer: &str) -> Vec<String> {
    let mut found: Vec<String> = text_of(answer, "subnetId").map(str::to_owned).collect();
    found.sort();
    found.dedup();
    found
}

/// What stands in the elements of this name, which have no others in them.
fn text_of<'a>(xml: &'a str, element: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let mut rest = xml;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&open)?;
        let (text, after) = after.split_once(&close)?;
        rest = after;
        Some(text.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_read_from_ec2_s_answer() {
        let answer = "<DescribeSubnetsResponse><subnetSet><item><subnetId>subnet-2</subnetId><state>available</state></item>\
                      <item><subnetId>subnet-1</subnetId></item></subnetSet></DescribeSubnetsResponse>";
        assert_eq!(subnets(answer), ["subnet-1", "subnet-2"]);
        assert_eq!(subnets("<subnetSet/>"), Vec::<String>::new());
        let error = "<Response><Errors><Error><Code>UnauthorizedOperation</Code><Message>no</Message></Error></Errors></Response>";
        assert_eq!(text_of(error, "Code").next(), Some("UnauthorizedOperation"));
    }
}

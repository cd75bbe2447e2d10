//! What wakes a reaper: an appointment, or a call that came to nothing.

use serde::Deserialize;

use crate::{
    deployment::variable,
    ids::RunId,
    ports::{AggregatorTask, Timestamp, WorkerTask},
    records::{Failure, FailureKind},
    run::{
        batch::Order,
        fire::FireRequest,
        tasks::{StopReason, TaskEnd},
    },
};

/// What a reaper is to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReaperEvent {
    /// A run: an appointment, or somebody who wants it to be looked at now.
    Look {
        /// The run.
        run: RunId,
    },
    /// A function that was called, and what became of it.
    Failed(FailedCall),
    /// A task that has ended.
    Stopped(StoppedTask),
}

/// A task of ECS that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoppedTask {
    /// What it was told to do.
    pub order: Order,
    /// What ECS calls it: its ARN.
    pub name: String,
    /// What became of it, unless its process ended as it should.
    pub end: Option<CallEnd>,
}

/// A call of another function that came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedCall {
    /// Who was called.
    pub called: Called,
    /// What became of the call.
    pub end: CallEnd,
}

/// Who was called, for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// A worker.
    Worker(WorkerTask),
    /// An aggregator.
    Aggregator(AggregatorTask),
    /// The launcher, for this run.
    Launcher(RunId),
    /// The launcher, by a schedule.
    Schedule(FireRequest),
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// It never began.
    NeverBegan,
    /// Lambda ended it after so many seconds, as Lambda writes them.
    TimedOut {
        /// Seconds; empty if Lambda does not say.
        seconds: String,
    },
    /// It was killed, which is how a function ends that needs too much memory.
    Killed,
    /// It failed, in these words.
    Failed(String),
    /// It was a task and has ended, for this reason.
    Stopped(TaskEnd),
}

/// An event that is no reaper's.
#[derive(Debug, thiserror::Error)]
#[error("the reaper does not understand this event: {0}")]
pub struct UnknownEvent(String);

/// Words of others are cut at this length.
const MAX_WORDS: usize = 600;

impl ReaperEvent {
    /// Reads `{"run": "<id>"}`, or the record that Lambda sends to the destination of failed asynchronous calls.
    pub fn parse(json: &[u8]) -> Result<Self, UnknownEvent> {
        let event: Event = serde_json::from_slice(json).map_err(|error| UnknownEvent(error.to_string()))?;
        match event {
            Event { detail_type: Some(kind), detail: Some(detail), .. } if kind == TASK_CHANGE => detail.event(),
            Event { run: Some(run), request_context: None, .. } => Ok(Self::Look { run: run_id(&run)? }),
            Event { request_context: Some(context), request_payload: Some(payload), .. } => {
                let end = end_of(&context, event.response_context.as_ref(), event.response_payload.as_ref());
                Ok(Self::Failed(FailedCall { called: payload.called()?, end }))
            }
            Event { .. } => Err(UnknownEvent("it has neither `run` nor `requestContext` and `requestPayload`".into())),
        }
    }
}

impl Called {
    /// The run for which the call was; none if a schedule named none.
    pub(super) fn run(&self, now: Timestamp) -> Option<RunId> {
        match self {
            Self::Worker(task) => Some(task.run.clone()),
            Self::Aggregator(task) => Some(task.run.clone()),
            Self::Launcher(run) => Some(run.clone()),
            Self::Schedule(request) => request.due(now).map(|due| due.run),
        }
    }
}

impl CallEnd {
    /// The failure of a worker that was called.
    pub(super) fn failure(&self) -> Failure {
        let kind = match self {
            Self::NeverBegan => FailureKind::NotLaunched,
            Self::TimedOut { .. } | Self::Killed | Self::Failed(_) => FailureKind::Lost,
            Self::Stopped(end) => end.kind,
        };
        Failure { kind, message: self.words(), exit: None, log: Vec::new() }
    }

    /// What became of whoever was called.
    pub fn words(&self) -> String {
        match self {
            Self::NeverBegan => {
                "Lambda did not start it in time: all concurrency that is reserved for it, or left in the \
                account, was in use (throttled)"
                    .to_owned()
            }
            Self::TimedOut { seconds } if seconds.is_empty() => "Lambda ended it, since its time was over".to_owned(),
            Self::TimedOut { seconds } => format!("Lambda ended it after {seconds} s, since its time was over"),
            Self::Killed => "Lambda killed it, which it does when a function needs more memory than it has".to_owned(),
            Self::Failed(words) => format!("it failed: {words}"),
            Self::Stopped(end) => end.words.clone(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    run: Option<String>,
    request_context: Option<RequestContext>,
    request_payload: Option<Payload>,
    response_context: Option<ResponseContext>,
    response_payload: Option<ResponsePayload>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    detail: Option<TaskDetail>,
}

/// The kind of EventBridge's event about a task.
const TASK_CHANGE: &str = "ECS Task State Change";

/// What ECS says of a task.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TaskDetail {
    task_arn: String,
    #[serde(default)]
    started_by: String,
    #[serde(default)]
    last_status: String,
    #[serde(default)]
    stop_code: String,
    #[serde(default)]
    stopped_reason: String,
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    overrides: Overrides,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    exit_code: Option<i32>,
    #[serde(default)]
    reason: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Overrides {
    #[serde(default)]
    container_overrides: Vec<ContainerOverride>,
}

#[derive(Deserialize)]
struct ContainerOverride {
    #[serde(default)]
    environment: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    value: String,
}

impl TaskDetail {
    fn event(self) -> Result<ReaperEvent, UnknownEvent> {
        if self.last_status != "STOPPED" {
            return Err(UnknownEvent(format!("the task {} has not stopped", self.task_arn)));
        }
        let variables = self.overrides.container_overrides.into_iter().flat_map(|container| container.environment);
        let order = variables.into_iter().find(|variable| variable.name == variable::ORDER);
        let Some(order) = order.and_then(|order| serde_json::from_str(&order.value).ok()) else {
            // Which worker it was is not known, but whose.
            let none_of_ours = |_| UnknownEvent(format!("the task {} is none of ours", self.task_arn));
            return Ok(ReaperEvent::Look { run: RunId::parse(&self.started_by).map_err(none_of_ours)? });
        };
        let container = self.containers.first();
        let end = StopReason {
            code: &self.stop_code,
            reason: &self.stopped_reason,
            exit: container.and_then(|container| container.exit_code),
            container: container.map_or("", |container| &container.reason),
        };
        let end = end.explain().map(CallEnd::Stopped);
        Ok(ReaperEvent::Stopped(StoppedTask { order, end, name: self.task_arn }))
    }
}

#[derive(Deserialize)]
struct RequestContext {
    #[serde(default)]
    condition: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResponseContext {
    function_error: Option<String>,
}

/// What a function returned that failed, or what Lambda says in its place.
#[derive(Deserialize)]
#[serde(untagged)]
enum ResponsePayload {
    Error {
        #[serde(rename = "errorType", default)]
        kind: String,
        #[serde(rename = "errorMessage")]
        message: String,
    },
    Other(serde::de::IgnoredAny),
}

/// The event of one of the other functions, by what only it has.
#[derive(Deserialize)]
struct Payload {
    run: Option<String>,
    index: Option<u32>,
    attempt: Option<u32>,
    succession: Option<u32>,
    #[serde(rename = "do")]
    what: Option<String>,
    #[serde(flatten)]
    rest: serde_json::Map<String, serde_json::Value>,
}

impl Payload {
    fn called(&self) -> Result<Called, UnknownEvent> {
        use crate::ids::{Attempt, WorkerIndex};
        if self.what.as_deref() == Some("fire") {
            let mut request = self.rest.clone();
            request.extend(self.run.clone().map(|run| ("run".to_owned(), run.into())));
            let request = serde_json::from_value(request.into());
            return request.map(Called::Schedule).map_err(|error| UnknownEvent(error.to_string()));
        }
        let Some(run) = &self.run else { return Err(UnknownEvent("its `requestPayload` has no `run`".to_owned())) };
        let run = run_id(run)?;
        match (self.index, self.attempt, self.succession, &self.what) {
            (Some(index), Some(attempt), None, None) => {
                Ok(Called::Worker(WorkerTask { run, index: WorkerIndex(index), attempt: Attempt(attempt) }))
            }
            (None, None, Some(succession), None) => Ok(Called::Aggregator(AggregatorTask { run, succession })),
            (None, None, None, Some(_)) => Ok(Called::Launcher(run)),
            _ => Err(UnknownEvent("its `requestPayload` is no event of worker, aggregator or launcher".to_owned())),
        }
    }
}

fn run_id(text: &str) -> Result<RunId, UnknownEvent> {
    RunId::parse(text).map_err(|error| UnknownEvent(error.to_string()))
}

fn end_of(request: &RequestContext, response: Option<&ResponseContext>, payload: Option<&ResponsePayload>) -> CallEnd {
    if request.condition == "EventAgeExceeded" {
        return CallEnd::NeverBegan;
    }
    let (kind, message) = match payload {
        Some(ResponsePayload::Error { kind, message }) => (kind.as_str(), message.as_str()),
        Some(ResponsePayload::Other(_)) | None => ("", ""),
    };
    let has_timed_out = kind == "Sandbox.Timedout" || message.contains("Task timed out after");
    if has_timed_out {
        let (_, after) = message.split_once("timed out after ").unwrap_or_default();
        let seconds = after.split_whitespace().next().unwrap_or_default();
        let seconds = seconds.strip_suffix(".00").unwrap_or(seconds);
        return CallEnd::TimedOut { seconds: seconds.to_owned() };
    }
    if kind == "Runtime.OutOfMemory" || message.contains("signal: killed") {
        return CallEnd::Killed;
    }
    let words = match (message, kind, response.and_then(|response| response.function_error.as_deref())) {
        ("", "", Some(error)) => error,
        ("", "", None) => "Lambda does not say why",
        ("", kind, _) => kind,
        (message, ..) => message,
    };
    CallEnd::Failed(words.chars().take(MAX_WORDS).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::ids::{Attempt, WorkerIndex};

    const RUN: &str = "01JD8QZV3M4T5W6X7Y8Z9A0B4K";

    /// A record as Lambda sends it.
    fn record(condition: &str, payload: &serde_json::Value, error: &serde_json::Value) -> serde_json::Value {
        json!({
            "version": "1.0", "timestamp": "2026-11-22T12:03:04.567Z",
            "requestContext": {"requestId": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
                "functionArn": "arn:aws:lambda:eu-central-1:123456789012:function:some-name:$LATEST",
                "condition": condition, "approximateInvokeCount": 1},
            "requestPayload": payload,
            "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
            "responsePayload": error,
        })
    }

    fn parse(value: &serde_json::Value) -> Result<ReaperEvent, String> {
        ReaperEvent::parse(value.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    fn end_of(condition: &str, error: &serde_json::Value) -> CallEnd {
        match parse(&record(condition, &json!({"run": RUN, "succession": 0}), error)) {
            Ok(ReaperEvent::Failed(FailedCall { end, .. })) => end,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_appointment_names_a_run() {
        let run = RunId::parse(RUN).expect("an id");
        assert_eq!(parse(&json!({"run": RUN})), Ok(ReaperEvent::Look { run }));
        assert!(parse(&json!({"run": "x"})).expect_err("refused").contains("`x` is not a run id"));
    }

    #[test]
    fn who_was_called_is_told_by_the_event() {
        let run = RunId::parse(RUN).expect("an id");
        let task = WorkerTask { run: run.clone(), index: WorkerIndex(2), attempt: Attempt(1) };
        let aggregator = AggregatorTask { run: run.clone(), succession: 3 };
        let error = json!({"errorType": "x", "errorMessage": "y"});
        for (payload, called) in [
            (serde_json::to_value(&task), Called::Worker(task)),
            (serde_json::to_value(&aggregator), Called::Aggregator(aggregator)),
            (Ok(json!({"do": "resume", "run": RUN})), Called::Launcher(run.clone())),
            (
                Ok(json!({"do": "fire", "schedule": "nightly", "scheduled_at": "2026-11-22T12:00:00Z", "tries": 1})),
                Called::Schedule(FireRequest {
                    version: None,
                    schedule: crate::schedule::ScheduleName::parse("nightly").expect("a name"),
                    scheduled_at: Some("2026-11-22T12:00:00Z".into()),
                    run: None,
                    tries: 1,
                }),
            ),
            (
                Ok(json!({"do": "start", "run": RUN, "version": "0.1.0", "plan": {"of": "others"}})),
                Called::Launcher(run),
            ),
        ] {
            let end = CallEnd::Failed("y".into());
            let event = parse(&record("RetriesExhausted", &payload.expect("JSON"), &error));
            assert_eq!(event, Ok(ReaperEvent::Failed(FailedCall { called, end })));
        }
    }

    #[test]
    fn ends_are_put_in_words() {
        let error = |kind: &str, message: &str| json!({"errorType": kind, "errorMessage": message});
        let exhausted = |kind: &str, message: &str| end_of("RetriesExhausted", &error(kind, message));
        let timed_out = |seconds: &str| CallEnd::TimedOut { seconds: seconds.into() };
        let words = "2026-11-22T12:15:00.123Z e4b46cbf Task timed out after 900.00 seconds";
        assert_eq!(exhausted("Sandbox.Timedout", words), timed_out("900"));
        assert_eq!(
            exhausted("Sandbox.Timedout", "RequestId: e4 Error: Task timed out after 3.05 seconds"),
            timed_out("3.05")
        );
        assert_eq!(exhausted("Sandbox.Timedout", ""), timed_out(""));
        let killed = "RequestId: e4b46cbf Error: Runtime exited with error: signal: killed";
        assert_eq!(exhausted("Runtime.ExitError", killed), CallEnd::Killed);
        let crashed = "RequestId: e4b46cbf Error: Runtime exited with error: exit status 101";
        assert_eq!(exhausted("Runtime.ExitError", crashed), CallEnd::Failed(crashed.into()));
        assert_eq!(end_of("EventAgeExceeded", &json!(null)), CallEnd::NeverBegan);
        assert_eq!(end_of("RetriesExhausted", &json!(null)), CallEnd::Failed("Unhandled".into()));
        assert_eq!(end_of("RetriesExhausted", &json!("text")), CallEnd::Failed("Unhandled".into()));
        assert_eq!(exhausted("x", &"é".repeat(2_000)), CallEnd::Failed("é".repeat(600)));
        assert_eq!(timed_out("900").words(), "Lambda ended it after 900 s, since its time was over");
    }

    fn task_event(order: &str, status: &str, exit: Option<i32>, code: &str, reason: &str) -> serde_json::Value {
        json!({"version": "0", "source": "aws.ecs", "detail-type": "ECS Task State Change", "region": "eu-central-1",
            "detail": {"taskArn": "arn:aws:ecs:eu-central-1:123456789012:task/lambdaload/0123", "lastStatus": status,
                "desiredStatus": "STOPPED", "stopCode": code, "stoppedReason": reason, "startedBy": RUN,
                "containers": [{"name": "worker", "exitCode": exit, "lastStatus": "STOPPED"}],
                "overrides": {"containerOverrides": [{"name": "worker", "environment": [
                    {"name": "LAMBDALOAD_TASK_MEMORY", "value": "2048"}, {"name": "LAMBDALOAD_TASK", "value": order}]}]}}})
    }

    #[test]
    fn a_task_that_has_ended_says_who_it_was_and_why() {
        let order = format!(r#"{{"run":"{RUN}","first":10,"count":10,"attempt":1}}"#);
        let stopped = |exit, code, reason| match parse(&task_event(&order, "STOPPED", exit, code, reason)) {
            Ok(ReaperEvent::Stopped(stopped)) => stopped,
            other => panic!("{other:?}"),
        };
        let taken = stopped(Some(137), "SpotInterruption", "Your Spot Task was interrupted.");
        assert!(matches!(&taken.order, Order::Batch(batch) if batch.first == WorkerIndex(10)), "{taken:?}");
        assert_eq!(taken.name, "arn:aws:ecs:eu-central-1:123456789012:task/lambdaload/0123");
        assert_eq!(taken.end.expect("failed").failure().kind, FailureKind::Taken);
        let failed = stopped(None, "TaskFailedToStart", "CannotPullContainerError: x").end.expect("failed");
        assert_eq!(failed.failure().kind, FailureKind::NotLaunched);
        assert_eq!(stopped(Some(0), "EssentialContainerExited", "Essential container in task exited").end, None);
        assert!(parse(&task_event(&order, "RUNNING", None, "", "")).is_err());
        // Without its order it says whose it was.
        let without = task_event("", "STOPPED", None, "", "");
        assert_eq!(parse(&without), Ok(ReaperEvent::Look { run: RunId::parse(RUN).expect("an id") }));
        let mut others = without;
        others["detail"]["startedBy"] = json!("somebody");
        assert!(parse(&others).expect_err("refused").contains("is none of ours"));
    }

    #[test]
    fn what_else_comes_is_refused() {
        for other in [
            json!({}),
            json!([]),
            json!({"requestContext": {"condition": "x"}}),
            record("RetriesExhausted", &json!({"run": RUN}), &json!(null)),
            record("RetriesExhausted", &json!({"run": RUN, "succession": 1, "index": 1, "attempt": 1}), &json!(null)),
            record("RetriesExhausted", &json!("text"), &json!(null)),
            record("RetriesExhausted", &json!({"do": "resume"}), &json!(null)),
            record("RetriesExhausted", &json!({"do": "fire", "schedule": "a b"}), &json!(null)),
        ] {
            assert!(parse(&other).is_err(), "{other}");
        }
        assert!(ReaperEvent::parse(b"{").is_err());
    }
}

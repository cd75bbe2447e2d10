use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sdk_scheduler::types::{ActionAfterCompletion, FlexibleTimeWindowMode};
use axum::{body::Bytes, http::request::Parts, response::Response};
use lambdaload_adapters::aws::{AwsFunctions, Calls, FunctionNames, missing_permission};
use lambdaload_core::{
    ports::{AggregatorTask, Functions as _, Timestamp},
    run::launch::{LaunchReply, LaunchRequest},
};

use crate::common::{Stub, config, json_error, ministack, name, run_id};

const REAPER: &str = "arn:aws:lambda:eu-central-1:123456789012:function:reaper";
const ROLE: &str = "arn:aws:iam::123456789012:role/schedule";

fn names(group: &str) -> FunctionNames {
    FunctionNames {
        aggregator: "aggregator".into(),
        launcher: "launcher".into(),
        reaper_arn: REAPER.into(),
        schedule_group: group.into(),
        schedule_role: ROLE.into(),
    }
}

#[tokio::test]
#[ignore = "needs the servers of `cargo xtask servers`"]
async fn appointments_are_made_once() {
    let config = config(&ministack()).await;
    let scheduler = aws_sdk_scheduler::Client::new(config.sdk());
    let group = name("group");
    scheduler.create_schedule_group().name(&group).send().await.unwrap();
    let functions = AwsFunctions::new(&config, names(&group));

    // 2030-01-01 00:00:00 UTC, and a bit.
    let at = Timestamp(1_893_456_000_000_001);
    functions.reap_at(&run_id(1), "begin", at).await.unwrap();
    functions.reap_at(&run_id(1), "begin", at.plus(Duration::from_hours(1))).await.unwrap();
    functions.reap_at(&run_id(1), "end", at.plus(Duration::from_hours(2))).await.unwrap();

    let made = scheduler.list_schedules().group_name(&group).send().await.unwrap();
    assert_eq!(made.schedules().len(), 2);
    let begin = scheduler.get_schedule().group_name(&group).name(format!("{}-begin", run_id(1))).send().await.unwrap();
    assert_eq!(begin.schedule_expression(), Some("at(2030-01-01T00:00:01)"));
    assert_eq!(begin.flexible_time_window().unwrap().mode(), &FlexibleTimeWindowMode::Off);
    assert_eq!(begin.action_after_completion(), Some(&ActionAfterCompletion::Delete));
    let target = begin.target().unwrap();
    assert_eq!((target.arn(), target.role_arn()), (REAPER, ROLE));
    assert_eq!(target.input(), Some(format!(r#"{{"run":"{}"}}"#, run_id(1)).as_str()));
    assert_eq!(target.retry_policy().unwrap().maximum_retry_attempts(), Some(10));

    // A moment that is past becomes one that soon comes.
    functions.reap_at(&run_id(2), "end", Timestamp(0)).await.unwrap();
    let end = scheduler.get_schedule().group_name(&group).name(format!("{}-end", run_id(2))).send().await.unwrap();
    let now = Timestamp(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap());
    let today = aws_smithy_types::DateTime::from_secs(now.0 / 1_000_000);
    let today = today.fmt(aws_smithy_types::date_time::Format::DateTime).unwrap();
    assert!(end.schedule_expression().unwrap().starts_with(&format!("at({}", &today[..8])), "{end:?}");
}

#[tokio::test]
async fn functions_are_called_with_their_tasks() {
    let calls: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let heard = Arc::clone(&calls);
    let lambda = move |head: Parts, body: Bytes, number| {
        heard.lock().unwrap().push((head.uri.path().to_owned(), String::from_utf8(body.to_vec()).unwrap()));
        async move {
            if number == 1 {
                json_error(429, "TooManyRequestsException", "Rate Exceeded.")
            } else {
                Response::builder().status(202).body("".into()).unwrap()
            }
        }
    };
    let stub = Stub::start(lambda).await;
    let config = config(&stub.endpoint).await;
    let functions = AwsFunctions::new(&config, names("group"));
    let task = AggregatorTask { run: run_id(1), succession: 2 };
    functions.aggregate(&task).await.unwrap();
    functions.launch(&run_id(1)).await.unwrap();
    Calls::new(&config, "launcher", REAPER).reap(&run_id(1)).await.unwrap();
    let calls = calls.lock().unwrap().clone();
    let path = |name: &str| format!("/2015-03-31/functions/{name}/invocations");
    let id = run_id(1);
    let aggregate = (path("aggregator"), format!(r#"{{"run":"{id}","succession":2}}"#));
    assert_eq!(
        calls,
        [
            aggregate.clone(),
            aggregate,
            (path("launcher"), format!(r#"{{"do":"resume","run":"{id}"}}"#)),
            (
                path("arn%3Aaws%3Alambda%3Aeu-central-1%3A123456789012%3Afunction%3Areaper"),
                format!(r#"{{"run":"{id}"}}"#)
            ),
        ]
    );
}

#[tokio::test]
async fn the_launcher_is_waited_for() {
    let replies = |_, _, number| async move {
        match number {
            1 => {
                // Longer than any other call may take.
                tokio::time::sleep(Duration::from_secs(6)).await;
                Response::builder().body(r#"{"state":"queued","place":3}"#.into()).unwrap()
            }
            2 => Response::builder()
                .header("x-amz-function-error", "Unhandled")
                .body(r#"{"errorType":"Launch","errorMessage":"the archive is not in the store"}"#.into())
                .unwrap(),
            3 => Response::builder().body(r#"{"state":"postponed"}"#.into()).unwrap(),
            _ => json_error(
                403,
                "AccessDeniedException",
                "User: arn:aws:iam::1:user/ci is not authorized to perform: lambda:InvokeFunction on resource: \
                 arn:aws:lambda:eu-central-1:1:function:launcher because no identity-based policy allows it",
            ),
        }
    };
    let stub = Stub::start(replies).await;
    let calls = Calls::new(&config(&stub.endpoint).await, "launcher", REAPER);
    let request = LaunchRequest::Resume { run: run_id(1) };
    assert_eq!(calls.start(&request).await.unwrap(), LaunchReply::Queued { place: 3 });
    let error = calls.start(&request).await.unwrap_err().to_string();
    let expected = "calling the launcher: function `launcher` failed: the archive is not in the store. Its log group is \
                    /aws/lambda/launcher";
    assert_eq!(error, expected);
    let error = calls.start(&request).await.unwrap_err().to_string();
    assert!(error.contains("its answer was not understood") && error.contains("of another version?"), "{error}");
    let error = calls.start(&request).await.unwrap_err();
    assert_eq!(missing_permission(&error).map(|missing| missing.action.as_str()), Some("lambda:InvokeFunction"));
}

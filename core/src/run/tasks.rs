//! Why tasks of ECS did not start, or ended, in words that say what to do.

use crate::records::FailureKind;

/// What ECS says of a task that has stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopReason<'a> {
    /// Its stop code: `TaskFailedToStart`.
    pub code: &'a str,
    /// Its reason, in ECS's words.
    pub reason: &'a str,
    /// How its process ended, if it began.
    pub exit: Option<i32>,
    /// What ECS says of its container.
    pub container: &'a str,
}

/// What became of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskEnd {
    /// What kind of end.
    pub kind: FailureKind,
    /// For people.
    pub words: String,
}

/// Words of others are cut at this length.
const MAX_WORDS: usize = 400;

impl StopReason<'_> {
    /// What became of the task; none if its process ended as it should, and so has said itself what there was to say.
    pub fn explain(&self) -> Option<TaskEnd> {
        let Self { code, reason, exit, container } = *self;
        let said = [reason, container].into_iter().filter(|said| !said.is_empty()).collect::<Vec<_>>().join("; ");
        let said: String = said.chars().take(MAX_WORDS).collect();
        let end = |kind, words: String| Some(TaskEnd { kind, words });
        match (code, exit) {
            ("SpotInterruption", _) => {
                end(FailureKind::Taken, "AWS took its Spot capacity back (SpotInterruption)".to_owned())
            }
            (_, Some(0)) => None,
            _ if said.contains("OutOfMemory") => {
                let words =
                    "it needed more memory than its task has: give workers more (--memory), or use more workers";
                end(FailureKind::Lost, format!("{words} ({said})"))
            }
            ("TaskFailedToStart", _) | (_, None) => {
                let what_to_do = refusal(&said).map(|words| format!("{words} ")).unwrap_or_default();
                end(FailureKind::NotLaunched, format!("its task did not start: {what_to_do}({})", or_nothing(&said)))
            }
            ("UserInitiated", Some(exit)) => {
                end(FailureKind::Lost, format!("somebody stopped its task (exit code {exit}; {})", or_nothing(&said)))
            }
            (_, Some(137)) => {
                let words =
                    "its task was killed (exit code 137), which happens to one that needs more memory than it has";
                end(FailureKind::Lost, format!("{words} ({})", or_nothing(&said)))
            }
            (_, Some(exit)) => {
                end(FailureKind::Lost, format!("its task ended with exit code {exit} ({})", or_nothing(&said)))
            }
        }
    }
}

fn or_nothing(said: &str) -> &str {
    if said.is_empty() { "ECS gave no reason" } else { said }
}

/// What to do about what keeps tasks from starting; none for what is not known.
pub fn refusal(said: &str) -> Option<&'static str> {
    let has = |words: &[&str]| words.iter().any(|word| said.contains(word));
    Some(if has(&["limit on the number of vCPUs"]) {
        "the account's quota of Fargate vCPUs is used up: use fewer or smaller workers, or ask AWS for more (Service Quotas, \
         AWS Fargate, L-3032A538; for Spot L-36FBB829)"
    } else if has(&["Capacity is unavailable"]) {
        "AWS has no Fargate capacity there at the moment: try again later, name subnets of other availability zones \
         (--subnet-ids), or go without --spot"
    } else if has(&["CannotPullContainerError", "CannotPullECRContainer", "CannotPullImageManifest"]) {
        "its image could not be pulled: push one of this version (`lambdaload image push`), and see that tasks reach ECR, by a \
         public address, a NAT gateway or VPC endpoints"
    } else if has(&["ResourceInitializationError"]) {
        "what it needs before it starts could not be had: see that its image is whole and that tasks reach ECR and CloudWatch Logs, by a public address, \
         a NAT gateway or VPC endpoints"
    } else if has(&["CannotStartContainerError", "CannotCreateContainerError"]) {
        "its container could not be started: is the image of the stack's architecture?"
    } else if has(&["Timeout waiting for network interface", "ENI", "network interface"]) {
        "it got no network interface: look at the subnets' free addresses and the quota of network interfaces"
    } else if has(&["RESOURCE:"]) {
        "the cluster lacks what it needs: lambdaload's stack uses Fargate, which lacks nothing; was its cluster changed?"
    } else {
        return None;
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explain(code: &str, reason: &str, exit: Option<i32>, container: &str) -> Option<(FailureKind, String)> {
        StopReason { code, reason, exit, container }.explain().map(|end| (end.kind, end.words))
    }

    #[test]
    fn ends_are_explained() {
        let exited = "Essential container in task exited";
        assert_eq!(explain("EssentialContainerExited", exited, Some(0), ""), None);
        for (code, reason, exit, container, kind, words) in [
            (
                "TaskFailedToStart",
                "CannotPullContainerError: pull image manifest has been retried 5 time(s)",
                None,
                "",
                FailureKind::NotLaunched,
                "push one of this version (`lambdaload image push`)",
            ),
            (
                "TaskFailedToStart",
                "ResourceInitializationError: unable to pull secrets or registry auth",
                None,
                "",
                FailureKind::NotLaunched,
                "see that its image is whole and that tasks reach ECR and CloudWatch Logs",
            ),
            (
                "",
                "Timeout waiting for network interface provisioning to complete.",
                None,
                "",
                FailureKind::NotLaunched,
                "it got no network interface",
            ),
            (
                "TaskFailedToStart",
                "Capacity is unavailable at this time. Please try again later",
                None,
                "",
                FailureKind::NotLaunched,
                "AWS has no Fargate capacity there at the moment",
            ),
            (
                "TaskFailedToStart",
                "",
                None,
                "",
                FailureKind::NotLaunched,
                "its task did not start: (ECS gave no reason)",
            ),
            (
                "EssentialContainerExited",
                exited,
                Some(137),
                "OutOfMemoryError: Container killed due to memory usage",
                FailureKind::Lost,
                "more memory than its task has: give workers more (--memory)",
            ),
            ("EssentialContainerExited", exited, Some(137), "", FailureKind::Lost, "killed (exit code 137)"),
            ("EssentialContainerExited", exited, Some(1), "", FailureKind::Lost, "ended with exit code 1"),
            ("UserInitiated", "Task stopped by user", Some(143), "", FailureKind::Lost, "somebody stopped its task"),
            (
                "SpotInterruption",
                "Your Spot Task was interrupted.",
                Some(137),
                "",
                FailureKind::Taken,
                "Spot capacity back",
            ),
            // One that has left in time is a loss all the same, if it has not said so itself.
            (
                "SpotInterruption",
                "Your Spot Task was interrupted.",
                Some(0),
                "",
                FailureKind::Taken,
                "Spot capacity back",
            ),
        ] {
            let (found, said) = explain(code, reason, exit, container).expect("an end");
            assert_eq!(found, kind, "{code} {reason}");
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let quota = "You\u{2019}ve reached the limit on the number of vCPUs you can run concurrently";
        assert!(refusal(quota).is_some_and(|words| words.contains("L-3032A538")));
        assert!(refusal("RESOURCE:MEMORY").is_some());
        assert_eq!(refusal("MISSING"), None);
    }
}

//! What AWS has to do with a failure: who may not do what, what state the stack is in, and what to do.

use std::error::Error;

use lambdaload_adapters::aws::{
    ConfigError, DeletionError, MissingPermission, SecretsError, Stack, StackError, missing_permission,
};
use lambdaload_core::ports::CallError;

use super::Failure;
use crate::exit;

/// Where the ready-made policies are, in words.
const POLICIES: &str = "infra/policies/ has the whole policies: ci-user.json for running tests, schedules.json beside it for schedules, operator.json for deploying and destroying";

impl Failure {
    /// The failure of an error that was caused by a permission that somebody lacks, if it was.
    pub(super) fn of_missing_permission(error: &(dyn Error + 'static)) -> Option<Self> {
        missing_permission(error).map(Self::from)
    }

    /// A stack that another version of lambdaload was deployed as: both would write and read what the other does not know.
    pub(crate) fn other_version(stack: &Stack) -> Self {
        let (name, theirs, ours) = (&stack.name, &stack.version, env!("CARGO_PKG_VERSION"));
        Self::not_valid(format!("the stack `{name}` is lambdaload {theirs}, and this command is lambdaload {ours}"))
            .detail("both write and read the same records, so they have to be the same version")
            .hint(format!(
                "update the stack (`sam build && sam deploy --stack-name {name}` in lambdaload {ours}), or use the command of {theirs}"
            ))
    }
}

impl From<&MissingPermission> for Failure {
    fn from(missing: &MissingPermission) -> Self {
        let failure = Self::infrastructure(format!("not allowed: {}", missing.action))
            .detail(format!("who   {}", missing.principal))
            .detail(format!("on    {}", missing.resource));
        let failure = match &missing.reason {
            Some(reason) => failure.detail(format!("why   {reason}")),
            None => failure,
        };
        if missing.is_forbidden() {
            return failure
                .hint("something forbids it: a further permission does not help, what forbids it must change");
        }
        failure
            .hint(format!("add this statement to {}:", missing.policy()))
            .hint(format!("  {}", missing.statement()))
            .hint(POLICIES)
    }
}

infrastructure!(CallError, ConfigError, SecretsError);

impl From<StackError> for Failure {
    fn from(error: StackError) -> Self {
        let headline = error.to_string();
        let mut lines = headline.lines().map(str::to_owned);
        let failure = Self::not_valid(lines.next().unwrap_or_default());
        let failure = lines.fold(failure, Self::detail);
        match error {
            StackError::Missing { name, .. } => failure
                .hint(format!("`sam build && sam deploy --stack-name {name}` makes it; the README says how"))
                .hint("--stack (LAMBDALOAD_STACK) names another one, --region (AWS_REGION) another region, --profile (AWS_PROFILE) another account")
                .hint("`lambdaload doctor --platform lambda` says whose credentials are used"),
            StackError::NotReady { name, status, .. } => failure.hint(what_to_do(&name, &status)),
            StackError::NotOurs { name, .. } => failure
                .hint("--stack (LAMBDALOAD_STACK) names another one")
                .hint(format!("if it is an older lambdaload: `sam build && sam deploy --stack-name {name}` updates it")),
            StackError::Output { name, .. } => {
                failure.hint(format!("`sam build && sam deploy --stack-name {name}` repairs it"))
            }
            StackError::Call(error) => error.into(),
        }
    }
}

/// What to do about a stack in a state in which it cannot be used.
fn what_to_do(name: &str, status: &str) -> String {
    let events = format!("`aws cloudformation describe-stack-events --stack-name {name}` says why");
    match status {
        "REVIEW_IN_PROGRESS" => {
            format!("its deployment was prepared and never confirmed: run `sam deploy --stack-name {name}` again")
        }
        "DELETE_FAILED" => {
            format!("`lambdaload destroy --stack {name}` tries again, and says what could not be deleted")
        }
        "CREATE_FAILED" | "ROLLBACK_COMPLETE" | "ROLLBACK_FAILED" => {
            format!(
                "its first deployment failed; {events}. `lambdaload destroy --stack {name}` removes what is left of it; then deploy again"
            )
        }
        "UPDATE_FAILED" | "UPDATE_ROLLBACK_FAILED" => format!(
            "its update failed, and so did going back; {events}. Then `aws cloudformation continue-update-rollback --stack-name {name}`"
        ),
        "DELETE_IN_PROGRESS" => "somebody is deleting it: wait for the end, then deploy again".to_owned(),
        in_progress if in_progress.ends_with("_IN_PROGRESS") => {
            "somebody is deploying it: wait for the end, then try again".to_owned()
        }
        _ => events,
    }
}

impl From<DeletionError> for Failure {
    fn from(error: DeletionError) -> Self {
        let failure = Self::infrastructure(error.to_string());
        match error {
            DeletionError::Failed { reasons, .. } => reasons
                .into_iter()
                .fold(failure, Self::detail)
                .hint("remove what stands in the way, then `lambdaload destroy` again"),
            DeletionError::Slow { name } => failure.hint(format!(
                "CloudFormation goes on; `aws cloudformation describe-stack-events --stack-name {name}` says with what"
            )),
            DeletionError::Call(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use lambdaload_core::ports::LedgerError;

    use super::*;

    fn missing(reason: Option<&str>) -> MissingPermission {
        MissingPermission {
            action: "lambda:InvokeFunction".into(),
            resource: "arn:aws:lambda:eu-central-1:123456789012:function:lambdaload-launcher".into(),
            principal: "arn:aws:iam::123456789012:user/ci".into(),
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn a_missing_permission_is_told_with_the_statement_that_grants_it() {
        let reason = "no identity-based policy allows the lambda:InvokeFunction action";
        let error = CallError { operation: "calling the launcher", cause: missing(Some(reason)).into() };
        let failure = Failure::from(error);
        assert_eq!(failure.exit, exit::INFRASTRUCTURE);
        insta::assert_snapshot!(failure.lines(), @r#"
        not allowed: lambda:InvokeFunction
          who   arn:aws:iam::123456789012:user/ci
          on    arn:aws:lambda:eu-central-1:123456789012:function:lambdaload-launcher
          why   no identity-based policy allows the lambda:InvokeFunction action
          add this statement to its policy:
            {"Action":"lambda:InvokeFunction","Effect":"Allow","Resource":"arn:aws:lambda:eu-central-1:123456789012:function:lambdaload-launcher"}
          infra/policies/ has the whole policies: ci-user.json for running tests, schedules.json beside it for schedules, operator.json for deploying and destroying
        "#);
    }

    #[test]
    fn a_missing_permission_is_found_under_what_it_was_needed_for() {
        let error = LedgerError::Unavailable { operation: "reading run X", cause: missing(None).into() };
        assert_eq!(Failure::from(error).headline, "not allowed: lambda:InvokeFunction");
    }

    #[test]
    fn what_is_forbidden_cannot_be_granted() {
        let failure = Failure::from(&missing(Some("with an explicit deny in a service control policy")));
        insta::assert_snapshot!(failure.lines(), @r#"
        not allowed: lambda:InvokeFunction
          who   arn:aws:iam::123456789012:user/ci
          on    arn:aws:lambda:eu-central-1:123456789012:function:lambdaload-launcher
          why   with an explicit deny in a service control policy
          something forbids it: a further permission does not help, what forbids it must change
        "#);
    }

    #[test]
    fn a_stack_that_is_not_there_says_how_to_get_one() {
        let error = StackError::Missing { name: "lambdaload".into(), region: "eu-central-1".into() };
        insta::assert_snapshot!(Failure::from(error).lines(), @r#"
        there is no stack `lambdaload` in eu-central-1
          `sam build && sam deploy --stack-name lambdaload` makes it; the README says how
          --stack (LAMBDALOAD_STACK) names another one, --region (AWS_REGION) another region, --profile (AWS_PROFILE) another account
          `lambdaload doctor --platform lambda` says whose credentials are used
        "#);
    }

    #[test]
    fn every_state_of_a_stack_has_something_to_do() {
        let said = |status: &str| {
            let error = StackError::NotReady { name: "x".into(), status: status.into(), reason: Some("a role".into()) };
            Failure::from(error).lines()
        };
        insta::assert_snapshot!(said("ROLLBACK_COMPLETE"), @r#"
        the stack `x` cannot be used: it is ROLLBACK_COMPLETE
          CloudFormation says: a role
          its first deployment failed; `aws cloudformation describe-stack-events --stack-name x` says why. `lambdaload destroy --stack x` removes what is left of it; then deploy again
        "#);
        for (status, expected) in [
            ("CREATE_IN_PROGRESS", "somebody is deploying it"),
            ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "somebody is deploying it"),
            ("DELETE_IN_PROGRESS", "somebody is deleting it"),
            ("DELETE_FAILED", "`lambdaload destroy --stack x` tries again"),
            ("REVIEW_IN_PROGRESS", "never confirmed"),
            ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name x"),
            ("SOMETHING_NEW", "describe-stack-events --stack-name x"),
        ] {
            assert!(said(status).contains(expected), "{status}: {}", said(status));
        }
    }

    #[test]
    fn a_stack_that_could_not_be_deleted_names_what_stands_in_the_way() {
        let reasons = vec!["Bucket (b): The bucket you tried to delete is not empty".to_owned()];
        let error = DeletionError::Failed { name: "x".into(), status: "DELETE_FAILED".into(), reasons };
        insta::assert_snapshot!(Failure::from(error).lines(), @r#"
        the stack `x` could not be deleted: it is DELETE_FAILED
          Bucket (b): The bucket you tried to delete is not empty
          remove what stands in the way, then `lambdaload destroy` again
        "#);
    }
}

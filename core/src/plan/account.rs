//! Whether an account has room for a run's workers beside everything else that runs in it.

use serde::{Deserialize, Serialize};

use crate::{
    plan::{FargateStack, plural, task_quota},
    summary::format::grouped,
};

/// Invocations that a run has beside its workers: the launcher, an aggregator and its successor, the reaper.
const HELPERS: u32 = 4;

/// Concurrent executions of Lambda functions, in one account and region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The quota as it is applied.
    pub limit: u32,
    /// What is left of it after all functions' reservations.
    pub unreserved: u32,
    /// Executions now of functions without a reservation of their own (`UnreservedConcurrentExecutions`).
    pub in_use: u32,
    /// What is reserved for the worker function; none if it shares with all others.
    pub worker_reserved: Option<u32>,
}

/// An account without room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found}\n{advice}")]
pub struct NoRoom {
    /// What is missing.
    pub found: String,
    /// What to do about it.
    pub advice: String,
}

/// Whether workers have room if `reserve` is kept for the user's own functions; in words.
pub fn account_room(workers: u32, account: &Account, reserve: u32) -> Result<String, NoRoom> {
    let Account { limit, unreserved, in_use, worker_reserved } = *account;
    let number = |number: u32| grouped(number.into());
    let ask = "ask AWS for more: Service Quotas, AWS Lambda, Concurrent executions (L-B99A9384)";
    let reserved = worker_reserved.filter(|reserved| *reserved > 0);
    if let Some(reserved) = reserved.filter(|reserved| *reserved < workers) {
        let found = format!(
            "no room for {}: {} concurrent executions are reserved for the stack's worker function",
            plural(workers.into(), "worker"),
            number(reserved)
        );
        let advice =
            format!("use {reserved} workers or fewer, or deploy the stack with a larger WorkerCapacity; {ask}");
        return Err(NoRoom { found, advice });
    }
    let shared = if reserved.is_some() { HELPERS } else { workers.saturating_add(HELPERS) };
    let free = unreserved.saturating_sub(in_use).saturating_sub(reserve);
    let words = format!(
        "{} concurrent, {} in use, {} kept for your own functions",
        number(limit),
        number(in_use),
        number(reserve)
    );
    let words = match reserved {
        Some(reserved) => format!("{words}, {} reserved for workers", number(reserved)),
        None if unreserved < limit => format!("{words}, {} reserved by others", number(limit - unreserved)),
        None => words,
    };
    if shared <= free {
        return Ok(format!("{words}: fits"));
    }
    let found = format!("no room for {}: {words}, {} free", plural(workers.into(), "worker"), number(free));
    let fewer = match free.saturating_sub(HELPERS) {
        most if reserved.is_none() && most > 0 => format!("use {most} workers or fewer, "),
        _ => String::new(),
    };
    Err(NoRoom { found, advice: format!("{fewer}keep less with --reserve-concurrency, or {ask}") })
}

/// Processors of tasks, in one account and region.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskAccount {
    /// The quota as it is applied.
    pub limit: f64,
    /// What of it is in use.
    pub in_use: f64,
}

/// Whether workers on Fargate have processors; in words.
pub fn task_room(workers: u32, stack: &FargateStack, account: &TaskAccount) -> Result<String, NoRoom> {
    let needed = f64::from(workers) * stack.vcpus();
    let free = (account.limit - account.in_use).max(0.0);
    let words = format!(
        "{} Fargate{} vCPUs, {} in use, {} needed",
        account.limit,
        if stack.spot { " Spot" } else { "" },
        account.in_use,
        needed
    );
    if needed <= free {
        return Ok(format!("{words}: fits"));
    }
    let found = format!("no room for {}: {words}", plural(workers.into(), "worker"));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "casts of floats saturate")]
    let fitting = (free / stack.vcpus()).floor() as u32;
    let fewer = if fitting > 0 { format!("use {fitting} workers or fewer, ") } else { String::new() };
    let advice = format!(
        "{fewer}give each less (--cpu), or ask AWS for more: Service Quotas, AWS Fargate, {}",
        task_quota(stack.spot)
    );
    Err(NoRoom { found, advice })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: Account = Account { limit: 1_000, unreserved: 1_000, in_use: 37, worker_reserved: None };

    #[test]
    fn room_is_what_others_leave() {
        let fits = account_room(12, &ACCOUNT, 100).expect("fits");
        assert_eq!(fits, "1,000 concurrent, 37 in use, 100 kept for your own functions: fits");
        let most = 1_000 - 37 - 100 - 4;
        assert!(account_room(most, &ACCOUNT, 100).is_ok());
        let none = account_room(most + 1, &ACCOUNT, 100).expect_err("no room");
        assert_eq!(
            none.to_string(),
            "no room for 860 workers: 1,000 concurrent, 37 in use, 100 kept for your own functions, 863 free\n\
             use 859 workers or fewer, keep less with --reserve-concurrency, or ask AWS for more: Service Quotas, AWS Lambda, \
             Concurrent executions (L-B99A9384)"
        );
    }

    #[test]
    fn what_others_have_reserved_is_not_free() {
        let account = Account { unreserved: 400, ..ACCOUNT };
        let fits = account_room(200, &account, 100).expect("fits");
        assert!(fits.contains("600 reserved by others: fits"), "{fits}");
        assert!(account_room(260, &account, 100).is_err());
    }

    #[test]
    fn reserved_workers_need_room_for_their_helpers_only() {
        let account = Account { unreserved: 800, worker_reserved: Some(200), ..ACCOUNT };
        assert!(account_room(200, &account, 700).expect("fits").contains("200 reserved for workers: fits"));
        let none = account_room(201, &account, 0).expect_err("no room").to_string();
        assert!(none.starts_with("no room for 201 workers: 200 concurrent executions are reserved"), "{none}");
        assert!(none.contains("use 200 workers or fewer") && none.contains("WorkerCapacity"), "{none}");
        assert!(account_room(1, &account, 760).is_err(), "no room for the aggregator");
        assert!(account_room(1, &account, u32::MAX).is_err());
    }

    #[test]
    fn tasks_need_processors() {
        let stack = FargateStack { cpu: 512, memory_mb: 1_024, ..crate::testing::stack::fargate() };
        let account = TaskAccount { limit: 6.0, in_use: 1.5 };
        assert_eq!(task_room(9, &stack, &account), Ok("6 Fargate vCPUs, 1.5 in use, 4.5 needed: fits".to_owned()));
        let none = task_room(10, &stack, &account).expect_err("no room").to_string();
        assert_eq!(
            none,
            "no room for 10 workers: 6 Fargate vCPUs, 1.5 in use, 5 needed\n\
             use 9 workers or fewer, give each less (--cpu), or ask AWS for more: Service Quotas, AWS Fargate, Fargate \
             On-Demand vCPU resource count, L-3032A538"
        );
    }

    #[test]
    fn a_new_account_has_little() {
        let account = Account { limit: 10, unreserved: 10, in_use: 0, worker_reserved: None };
        let none = account_room(6, &account, 100).expect_err("no room").to_string();
        assert!(none.contains("0 free\nkeep less with --reserve-concurrency, or ask AWS"), "{none}");
        assert!(account_room(6, &account, 0).is_ok());
    }
}

//! Whether tests can run in an account.

use lambdaload_adapters::aws::{Account, Concurrency, Config, Found, Stack, Stacks, TaskQuota, missing_permission};
use lambdaload_core::{
    ids::RunId,
    k6::version::K6Version,
    plan::{self, plural},
    ports::{CallError, StoreError, keys},
};

use super::Check;
use crate::{
    error::Failure,
    settings::StackSettings,
    view::numbers,
    wiring::{Deployment, aws_config},
};

/// The quota of all functions' concurrent executions, by its name and code in Service Quotas.
const QUOTA: (&str, &str) = ("Concurrent executions", "L-B99A9384");

/// The id of a run that began in 1970.
const NO_RUN: &str = "00000000000000000000000000";

/// Lambda leaves so many executions to functions that have reserved none, whatever others reserve.
const LEFT_BY_LAMBDA: u32 = 100;

/// Looks at everything that a run in this deployment would need. `local_k6` is what makes archives here.
pub(super) async fn checks(settings: &StackSettings, local_k6: Option<K6Version>) -> Vec<Check> {
    let config = match aws_config(settings).await {
        Ok(config) => config,
        Err(failure) => return vec![Check::problem("credentials", &failure)],
    };
    let account = Account::new(&config);
    let who = match account.identity().await {
        Ok(who) => Check::ok("credentials", format!("{} (account {})", who.arn, who.account)),
        // Whoever is not known to AWS can do nothing else either.
        Err(error) => return vec![Check::problem("credentials", &error.into())],
    };
    let mut checks = vec![who, Check::ok("region", config.region())];
    let found = match Stacks::new(&config).find(&settings.stack).await {
        Ok(found) => found,
        Err(error) => {
            checks.push(Check::problem("stack", &error.into()));
            checks.extend(concurrency(&account, None, &config).await);
            return checks;
        }
    };
    match found.usable() {
        Err(error) => {
            checks.push(Check::problem("stack", &error.into()));
            checks.extend(concurrency(&account, None, &config).await);
        }
        Ok(stack) => {
            let deployment = Deployment::new(config.clone(), settings.clone(), stack);
            checks.push(version(&found, &deployment));
            checks.push(k6(&deployment.stack, local_k6));
            checks.extend(concurrency(&account, Some(&deployment.stack), &config).await);
            if let Some(parts) = &deployment.stack.fargate {
                checks.extend(fargate(&account, parts.capacity).await);
            }
            checks.push(table(&deployment).await);
            checks.push(bucket(&deployment).await);
            checks.extend(functions(&account, &deployment.stack).await);
        }
    }
    checks
}

fn version(found: &Found, deployment: &Deployment) -> Check {
    let Stack { name, version, architecture, worker_memory, worker_capacity, .. } = &deployment.stack;
    match deployment.check_version() {
        Ok(()) => Check::ok(
            "stack",
            format!(
                "{name} ({}), lambdaload {version}; {worker_capacity} workers at one time, {architecture}, {worker_memory} MB each",
                found.status
            ),
        ),
        Err(failure) => Check::problem("stack", &failure),
    }
}

/// The workers' k6 need not be the one that makes archives here, but what is tested is that they are one.
fn k6(stack: &Stack, local: Option<K6Version>) -> Check {
    let theirs = stack.k6_version.trim_start_matches('v');
    match local {
        Some(local) if local.to_string() != theirs => Check::warning(
            "k6 of the stack",
            format!("v{theirs}, and v{local} on this machine"),
            format!(
                "use k6 {theirs} here too (--k6 PATH): archives of a newer one, or of another major version, are refused"
            ),
        ),
        _ => Check::ok("k6 of the stack", format!("v{theirs}")),
    }
}

async fn concurrency(account: &Account, stack: Option<&Stack>, config: &Config) -> Vec<Check> {
    let (quota, in_use) = tokio::join!(account.concurrency(), account.in_use());
    let quota = match quota {
        Ok(quota) => quota,
        Err(error) => return vec![Check::problem("concurrency", &error.into())],
    };
    match in_use {
        Ok(in_use) => vec![room(quota, in_use, stack, config.region())],
        Err(error) => vec![room(quota, 0, stack, config.region()), Check::problem("metrics", &error.into())],
    }
}

/// Whether the account has processors and a network for workers on Fargate. Runs on Lambda go on without.
async fn fargate(account: &Account, capacity: u32) -> [Check; 2] {
    let (quota, subnets) = tokio::join!(account.task_quota(false), account.default_subnets());
    let unknown = |what, error: CallError, advice: &str| Check::warning(what, error.to_string(), advice.to_owned());
    let quota = match quota {
        Ok(quota) => task_quota_check(quota, capacity),
        Err(error) => unknown("fargate", error, "see what keeps it from being read: runs on fargate need it"),
    };
    let subnets = match subnets {
        Ok(subnets) if subnets.is_empty() => Check::warning(
            "subnets",
            "there is no default VPC",
            "name subnets of another one with --subnet-ids, or subnet-ids in lambdaload.toml".to_owned(),
        ),
        Ok(subnets) => Check::ok("subnets", format!("{} of the default VPC", plural(subnets.len() as u64, "subnet"))),
        Err(error) => unknown("subnets", error, "name some with --subnet-ids"),
    };
    [quota, subnets]
}

fn task_quota_check(quota: TaskQuota, capacity: u32) -> Check {
    let TaskQuota { limit, in_use } = quota;
    let found = format!(
        "{} at one time; the account's quota is {limit} vCPUs, {in_use} in use",
        plural(capacity.into(), "worker")
    );
    // Each has one unless a run says otherwise.
    if limit - in_use >= f64::from(capacity) {
        return Check::ok("fargate", found);
    }
    let advice = format!(
        "workers of 1 vCPU beyond that will not start; ask AWS for {capacity}: Service Quotas, AWS Fargate, {}",
        plan::task_quota(false)
    );
    Check::warning("fargate", found, advice)
}

/// What the account allows, what of it is free, and what to ask AWS for if that is little.
fn room(quota: Concurrency, in_use: u32, stack: Option<&Stack>, region: &str) -> Check {
    let Concurrency { limit, unreserved } = quota;
    let number = |number: u32| numbers::count(number.into());
    let capacity = stack.map(|stack| stack.worker_capacity);
    let reserved = stack.is_some_and(|stack| stack.workers_reserved);
    let free = unreserved.saturating_sub(in_use);
    let found = format!(
        "{} executions at one time, {} reserved by functions, {} in use, {} free",
        number(limit),
        number(limit.saturating_sub(unreserved)),
        number(in_use),
        number(free)
    );
    // Workers that have reserved theirs need no more than the few helpers beside them.
    let needed = match capacity {
        Some(capacity) if !reserved => capacity.saturating_add(LEFT_BY_LAMBDA),
        _ => LEFT_BY_LAMBDA,
    };
    if free >= needed {
        return Check::ok("concurrency", found);
    }
    let wanted = limit.max(unreserved).saturating_add(needed - free).next_multiple_of(LEFT_BY_LAMBDA);
    let (name, code) = QUOTA;
    let mut check = Check::warning(
        "concurrency",
        found,
        format!(
            "{}ask AWS for {}: Service Quotas, AWS Lambda, {name} ({code})",
            capacity
                .filter(|_| !reserved)
                .map(|capacity| format!(
                    "{} and {} for your own functions do not fit; ",
                    plural(capacity.into(), "worker"),
                    LEFT_BY_LAMBDA
                ))
                .unwrap_or_default(),
            number(wanted)
        ),
    );
    check
        .advice
        .push(format!("https://{region}.console.aws.amazon.com/servicequotas/home/services/lambda/quotas/{code}"));
    check.advice.push(format!(
        "aws service-quotas request-service-quota-increase --region {region} --service-code lambda --quota-code {code} --desired-value {wanted}"
    ));
    check
}

async fn table(deployment: &Deployment) -> Check {
    let book = match deployment.slots().slots().await {
        Ok(book) => book,
        Err(error) => return Check::problem("table", &error.into()),
    };
    let now = deployment.watch_ports().clock.now();
    let held = book.held.values().filter(|held| held.until > now);
    let workers: u32 = held.clone().map(|held| held.workers).sum();
    let runs = plural(held.count() as u64, "run");
    let waiting = match book.waiting.iter().filter(|waiting| waiting.until > now).count() {
        0 => String::new(),
        waiting => format!(", {} waiting for room", plural(waiting as u64, "run")),
    };
    let found = format!(
        "{} can be read; {runs} under way with {}{waiting}",
        deployment.stack.table,
        plural(workers.into(), "worker")
    );
    Check::ok("table", found)
}

/// Looks for something of a run that there is not: whether we may look is what matters.
async fn bucket(deployment: &Deployment) -> Check {
    let name = &deployment.stack.bucket;
    let run = match RunId::parse(NO_RUN) {
        Ok(run) => run,
        Err(error) => return Check::problem("bucket", &Failure::infrastructure(error.to_string())),
    };
    match deployment.watch_ports().store.get(&keys::live(&run)).await {
        Ok(_) | Err(StoreError::NotFound(_) | StoreError::AlreadyExists(_)) => {
            Check::ok("bucket", format!("{name} can be read"))
        }
        Err(error) => {
            let hidden = missing_permission(&error).is_some_and(|missing| missing.action == "s3:GetObject");
            let mut check = Check::problem("bucket", &error.into());
            if hidden {
                // S3 says so too if it only may not tell that an object is not there.
                check.advice.push(format!(
                    "or s3:ListBucket on arn:aws:s3:::{name}, without which S3 denies what is not there"
                ));
            }
            check
        }
    }
}

async fn functions(account: &Account, stack: &Stack) -> Vec<Check> {
    let (launcher, reaper) = (&stack.launcher_function, &stack.reaper_function);
    let (may_launch, may_reap) = tokio::join!(account.may_call(launcher), account.may_call(reaper));
    let check = |what, function: &str, may: Result<(), _>| match may {
        Ok(()) => Check::ok(what, format!("{function} can be called")),
        Err(error) => Check::problem(what, &Failure::from(error)),
    };
    vec![check("launcher", launcher, may_launch), check("reaper", reaper, may_reap)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{commands::doctor::render, printer::Paint};

    fn stack(workers_reserved: bool) -> Stack {
        Stack {
            name: "lambdaload".into(),
            account: "123456789012".into(),
            version: "0.1.0".into(),
            region: "eu-central-1".into(),
            bucket: "b".into(),
            table: "t".into(),
            launcher_function: "l".into(),
            launcher_arn: "arn:l".into(),
            test_group: "lambdaload-tests".into(),
            test_role: "arn:r".into(),
            missed_tests: "arn:m".into(),
            notify_topics: Vec::new(),
            worker_function: "w".into(),
            aggregator_function: "a".into(),
            reaper_function: "r".into(),
            worker_memory: 2_048,
            worker_capacity: 200,
            workers_reserved,
            architecture: "arm64".into(),
            k6_version: "1.8.1".into(),
            secret_prefix: "lambdaload/lambdaload/".into(),
            fargate: None,
        }
    }

    #[test]
    fn little_concurrency_says_what_to_ask_aws_for() {
        let region = "eu-central-1";
        let checks = [
            room(Concurrency { limit: 1_000, unreserved: 800 }, 37, Some(&stack(true)), region),
            room(Concurrency { limit: 1_000, unreserved: 1_000 }, 37, Some(&stack(false)), region),
            room(Concurrency { limit: 10, unreserved: 10 }, 0, Some(&stack(false)), region),
            room(Concurrency { limit: 10, unreserved: 10 }, 0, None, region),
        ];
        insta::assert_snapshot!(render(&checks, Paint::OFF), @r#"
        ok       concurrency  1,000 executions at one time, 200 reserved by functions, 37 in use, 763 free
        ok       concurrency  1,000 executions at one time, 0 reserved by functions, 37 in use, 963 free
        warning  concurrency  10 executions at one time, 0 reserved by functions, 0 in use, 10 free
                              200 workers and 100 for your own functions do not fit; ask AWS for 300: Service Quotas, AWS Lambda, Concurrent executions (L-B99A9384)
                              https://eu-central-1.console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384
                              aws service-quotas request-service-quota-increase --region eu-central-1 --service-code lambda --quota-code L-B99A9384 --desired-value 300
        warning  concurrency  10 executions at one time, 0 reserved by functions, 0 in use, 10 free
                              ask AWS for 100: Service Quotas, AWS Lambda, Concurrent executions (L-B99A9384)
                              https://eu-central-1.console.aws.amazon.com/servicequotas/home/services/lambda/quotas/L-B99A9384
                              aws service-quotas request-service-quota-increase --region eu-central-1 --service-code lambda --quota-code L-B99A9384 --desired-value 100
        "#);
    }

    #[test]
    fn another_k6_than_the_stacks_is_a_warning() {
        let checks = [
            k6(&stack(true), Some(K6Version::new(1, 8, 1))),
            k6(&stack(true), None),
            k6(&stack(true), Some(K6Version::new(2, 2, 0))),
        ];
        insta::assert_snapshot!(render(&checks, Paint::OFF), @r#"
        ok       k6 of the stack  v1.8.1
        ok       k6 of the stack  v1.8.1
        warning  k6 of the stack  v1.8.1, and v2.2.0 on this machine
                                  use k6 1.8.1 here too (--k6 PATH): archives of a newer one, or of another major version, are refused
        "#);
    }
}

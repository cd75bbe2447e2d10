//! What the template tells a function in its environment; see `lambdaload_core::deployment`.

use std::{env, time::Duration};

use lambdaload_core::{
    deployment::{Function, K6_PATH, TASK, TASK_K6_PATH, variable},
    run::batch::Order,
};

const DAY: Duration = Duration::from_hours(24);

/// A function's environment. What a function does not use it is not given: an empty text.
pub(crate) struct Settings {
    pub(crate) function: Function,
    /// What a worker is told that no function is, but a task of its own; none in a function.
    pub(crate) task: Option<TaskSettings>,
    pub(crate) bucket: String,
    pub(crate) table: String,
    /// How long runs are kept, and the records of their workers.
    pub(crate) retention: Duration,
    pub(crate) capacity: u32,
    /// Where tasks run; none in a stack without Fargate.
    pub(crate) fargate: Option<FargateSettings>,
    pub(crate) worker: String,
    pub(crate) aggregator: String,
    pub(crate) launcher: String,
    pub(crate) reaper_arn: String,
    pub(crate) schedule_group: String,
    pub(crate) schedule_role: String,
    pub(crate) secret_prefix: String,
    pub(crate) k6: String,
    pub(crate) blocked_ips: Vec<String>,
    /// Memory in MB; Lambda says so itself.
    pub(crate) memory: Option<u64>,
}

/// A variable is missing or has a value that means nothing: the template and the program are not of one version.
#[derive(Debug, thiserror::Error)]
#[error("the variable {name}: expected {expected}, found `{found}`; deploy the template that belongs to this program")]
pub(crate) struct SettingsError {
    name: &'static str,
    expected: &'static str,
    found: String,
}

impl Settings {
    /// Reads the process's environment.
    pub(crate) fn of_environment() -> Result<Self, SettingsError> {
        Self::read(|name| env::var(name).ok())
    }

    fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsError> {
        let given = |name: &'static str| get(name).unwrap_or_default();
        let wrong = |name, expected| SettingsError { name, expected, found: given(name) };
        let expected = "launcher, worker, aggregator, reaper or task";
        let word = given(variable::FUNCTION);
        let is_task = word == TASK;
        let function = if is_task { Some(Function::Worker) } else { Function::of(&word) };
        let function = function.ok_or_else(|| wrong(variable::FUNCTION, expected))?;
        let task = if is_task { Some(TaskSettings::read(&given)?) } else { None };
        if let Some(missing) = function.variables().iter().find(|name| given(name).is_empty()) {
            return Err(wrong(missing, "a value"));
        }
        let number = |name: &'static str| {
            let used = function.variables().contains(&name);
            if used { given(name).parse().map_err(|_| wrong(name, "a number")) } else { Ok(0) }
        };
        Ok(Self {
            function,
            task,
            bucket: given(variable::BUCKET),
            table: given(variable::TABLE),
            retention: DAY.saturating_mul(number(variable::RETENTION_DAYS)?),
            capacity: number(variable::CAPACITY)?,
            fargate: FargateSettings::read(function, &given)?,
            worker: given(variable::WORKER_FUNCTION),
            aggregator: given(variable::AGGREGATOR_FUNCTION),
            launcher: given(variable::LAUNCHER_FUNCTION),
            reaper_arn: given(variable::REAPER_ARN),
            schedule_group: given(variable::SCHEDULE_GROUP),
            schedule_role: given(variable::SCHEDULE_ROLE),
            secret_prefix: given(variable::SECRET_PREFIX),
            k6: get(variable::K6).unwrap_or_else(|| if is_task { TASK_K6_PATH } else { K6_PATH }.to_owned()),
            blocked_ips: given(variable::BLOCKED_IPS).split(',').map(str::to_owned).collect(),
            memory: get(if is_task { variable::TASK_MEMORY } else { "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" })
                .and_then(|megabytes| megabytes.parse().ok()),
        })
    }
}

/// Where tasks run.
pub(crate) struct FargateSettings {
    pub(crate) capacity: u32,
    pub(crate) cluster: String,
    pub(crate) definition: String,
}

impl FargateSettings {
    fn read(function: Function, given: &impl Fn(&'static str) -> String) -> Result<Option<Self>, SettingsError> {
        let names = function.fargate_variables();
        if names.iter().all(|name| given(name).is_empty()) {
            return Ok(None);
        }
        if let Some(name) = names.iter().find(|name| given(name).is_empty()) {
            return Err(SettingsError {
                name,
                expected: "a value, as the other variables of Fargate have",
                found: String::new(),
            });
        }
        let (name, found) = (variable::TASK_CAPACITY, given(variable::TASK_CAPACITY));
        let capacity = found.parse().map_err(|_| SettingsError { name, expected: "a number", found })?;
        let (cluster, definition) = (given(variable::CLUSTER), given(variable::TASK_DEFINITION));
        Ok(Some(Self { capacity, cluster, definition }))
    }
}

/// What only a task is told.
pub(crate) struct TaskSettings {
    /// What it is to do.
    pub(crate) order: Order,
    /// Where it learns what ECS calls it; empty outside of ECS.
    pub(crate) metadata: String,
}

impl TaskSettings {
    fn read(given: &impl Fn(&'static str) -> String) -> Result<Self, SettingsError> {
        let (name, found) = (variable::ORDER, given(variable::ORDER));
        let expected = "JSON that names a run, and a worker or a batch of workers";
        let order = serde_json::from_str(&found).map_err(|_| SettingsError { name, expected, found })?;
        Ok(Self { order, metadata: given(variable::TASK_METADATA) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(function: &str, but: Option<(&str, &str)>) -> Result<Settings, String> {
        let value = |name: &str| match name {
            variable::FUNCTION => Some(function.to_owned()),
            variable::K6 | "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" | variable::TASK_METADATA => None,
            variable::ORDER => {
                Some(r#"{"run":"01JD8QZV3M4T5W6X7Y8Z9A0B4K","first":20,"count":10,"attempt":1}"#.to_owned())
            }
            _ => Some("7".to_owned()),
        };
        let read = Settings::read(|name| match but {
            Some((changed, to)) if changed == name => Some(to.to_owned()),
            _ => value(name),
        });
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn each_function_needs_what_it_uses() {
        for function in Function::ALL {
            assert!(read(function.word(), None).is_ok(), "{function:?}");
            for name in function.variables().iter().chain(function.fargate_variables()) {
                let error = read(function.word(), Some((name, ""))).err();
                assert!(error.is_some_and(|error| error.contains(name)), "{function:?} does without {name}");
            }
        }
    }

    #[test]
    fn a_task_is_a_worker_that_is_told_what_to_do() {
        let settings = read(TASK, None).expect("reads");
        let task = settings.task.expect("a task");
        assert!(matches!(&task.order, Order::Batch(batch) if batch.count == 10), "{:?}", task.order);
        assert_eq!((settings.function, settings.k6.as_str()), (Function::Worker, TASK_K6_PATH));
        assert_eq!((settings.memory, task.metadata), (Some(7), String::new()));
        for (name, value) in [(variable::ORDER, "{}"), (variable::ORDER, ""), (variable::BUCKET, "")] {
            let error = read(TASK, Some((name, value))).err();
            assert!(error.is_some_and(|error| error.contains(name)), "{name}={value}");
        }
    }

    #[test]
    fn a_stack_may_be_without_fargate() {
        let without = |name: &str| match name {
            variable::TASK_CAPACITY | variable::CLUSTER | variable::TASK_DEFINITION => None,
            variable::FUNCTION => Some("launcher".to_owned()),
            _ => Some("7".to_owned()),
        };
        assert!(Settings::read(without).is_ok_and(|settings| settings.fargate.is_none()));
        let with = read("launcher", None).expect("reads").fargate.expect("has it");
        assert_eq!((with.capacity, with.cluster.as_str(), with.definition.as_str()), (7, "7", "7"));
    }

    #[test]
    fn values_are_read() {
        let settings = read("worker", Some((variable::BLOCKED_IPS, "10.0.0.0/8,::1/128"))).expect("reads");
        assert_eq!(settings.blocked_ips, ["10.0.0.0/8", "::1/128"]);
        assert_eq!((settings.k6.as_str(), settings.retention), (K6_PATH, DAY * 7));
        let error = read("launcher", Some((variable::CAPACITY, "many"))).err().expect("refused");
        assert!(error.starts_with("the variable LAMBDALOAD_CAPACITY: expected a number, found `many`"), "{error}");
        assert!(read("Reaper", None).err().is_some_and(|error| error.contains("launcher, worker")));
    }
}

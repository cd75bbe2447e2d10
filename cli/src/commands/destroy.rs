//! `lambdaload destroy`

use lambdaload_adapters::{
    aws::{Config, DynamoSlots, Found, Leftovers, Places, Remain, Remains, Stack, StackError, Stacks, stop_all_tasks},
    clock::TokioClock,
};
use lambdaload_core::{
    plan::plural,
    ports::{Clock as _, SlotBook as _},
    slots::Slots,
};

use super::approve::{Answer, confirm};
use crate::{
    error::Failure,
    exit,
    printer::Printer,
    settings::{PlaceSettings, StackSettings},
    signals::Signals,
    wiring,
};

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Whether the data go too.
    pub(super) all: bool,
    /// Whether nobody is asked.
    pub(super) yes: bool,
}

/// Deletes the deployment, and its data if that was said, and lists what is left by AWS's own word.
pub(super) async fn destroy(place: &PlaceSettings, extent: Extent, printer: &Printer) -> Result<i32, Failure> {
    let Some(settings) = &place.deployment else {
        return Err(Failure::not_valid("destroy deletes a deployment in an AWS account: which one?").hint(
            "`lambdaload destroy --stack lambdaload` names it; runs on this machine are in the folder .lambdaload",
        ));
    };
    let config = wiring::aws_config(settings).await?;
    let target = find(&config, settings).await?;
    if target.is_there {
        refuse_while_runs_go_on(&config, &target).await?;
    }
    let mut signals = Signals::listen()?;
    approve(&config, &target, extent, printer, &mut signals).await?;
    let leftovers = target.leftovers(&config);
    if let Some(places) = target.places() {
        // First, so that none starts a test meanwhile.
        Remains::new(&config, places).remove_schedules().await?;
    }
    if target.is_there {
        printer.talk(&format!("deleting {}; that takes some minutes", target.words(&config)));
        if let Some(fargate) = target.stack.as_ref().and_then(|stack| stack.fargate.as_ref()) {
            // A cluster in which something runs cannot be deleted.
            let stopped = stop_all_tasks(&config, &fargate.cluster).await?;
            if stopped > 0 {
                printer.talk(&format!("{} of workers that nobody has ended stopped", plural(stopped as u64, "task")));
            }
        }
        leftovers.remove_images().await?;
        Stacks::new(&config).delete(&target.found).await?;
        printer.talk(&format!("{} is deleted", target.words(&config)));
    }
    leftovers.remove().await?;
    let Some(places) = target.places() else {
        // A deployment that failed at once has left no word of any data.
        printer.talk("the stack had no data of runs");
        return Ok(exit::OK);
    };
    let remains = Remains::new(&config, places);
    if extent.all {
        printer.talk("deleting the data of all runs");
        let mut told = 0;
        let mut on_progress = |removed: usize| {
            // A line for each ten thousand is enough to see that it goes on.
            if removed / 10_000 > told {
                told = removed / 10_000;
                printer.talk(&format!("{removed} objects deleted"));
            }
        };
        remains.remove(&mut on_progress).await?;
    }
    let left = [leftovers.list().await?, remains.list().await?].concat();
    printer.result(&account_of(&left, &target, settings, &config))?;
    Ok(if extent.all && !left.is_empty() { exit::INFRASTRUCTURE } else { exit::OK })
}

/// The deployment to be deleted.
struct Target {
    found: Found,
    /// Whether the stack is still there; of one that was deleted before, only the data may be.
    is_there: bool,
    stack: Option<Stack>,
}

impl Target {
    fn words(&self, config: &Config) -> String {
        format!("the stack `{}` in {}", self.found.name, config.region())
    }

    fn leftovers(&self, config: &Config) -> Leftovers {
        let fargate = self.stack.as_ref().and_then(|stack| stack.fargate.as_ref());
        Leftovers::new(config, &self.found.name, fargate)
    }

    fn places(&self) -> Option<Places> {
        self.stack.as_ref().map(wiring::places)
    }
}

/// The stack, or the latest one of the name that was deleted and may have left data.
async fn find(config: &Config, settings: &StackSettings) -> Result<Target, Failure> {
    let stacks = Stacks::new(config);
    let (found, is_there) = match stacks.find(&settings.stack).await {
        Ok(found) => (found, true),
        Err(missing @ StackError::Missing { .. }) => match stacks.find_deleted(&settings.stack).await {
            Ok(Some(found)) => (found, false),
            Ok(None) | Err(_) => return Err(missing.into()),
        },
        Err(error) => return Err(error.into()),
    };
    match found.stack() {
        Ok(stack) => Ok(Target { found, is_there, stack: Some(stack) }),
        // A stack whose creation failed has no outputs; one that has others belongs to somebody else.
        Err(StackError::NotOurs { .. }) if found.outputs.is_empty() && found.failed_to_create() => {
            Ok(Target { found, is_there, stack: None })
        }
        Err(error) => Err(error.into()),
    }
}

/// Workers of a run would go on for minutes without anybody who could stop or judge them.
async fn refuse_while_runs_go_on(config: &Config, target: &Target) -> Result<(), Failure> {
    let Some(stack) = &target.stack else { return Ok(()) };
    // Of a table that is gone already nobody can ask.
    let Ok(slots) = DynamoSlots::new(config, &stack.table).slots().await else { return Ok(()) };
    let Ok(of_tasks) = DynamoSlots::of_tasks(config, &stack.table).slots().await else { return Ok(()) };
    let now = TokioClock::new().now();
    let runs = |slots: Slots| {
        let held = slots.held.into_iter().filter(|(_, held)| held.until > now).map(|(run, _)| run);
        let waiting = slots.waiting.into_iter().filter(|waiting| waiting.until > now).map(|waiting| waiting.run);
        held.chain(waiting).map(|run| run.to_string()).collect::<Vec<_>>()
    };
    let under_way = [runs(slots), runs(of_tasks)].concat();
    if under_way.is_empty() {
        return Ok(());
    }
    let failure = Failure::not_valid(format!("{} has runs under way", target.words(config)));
    let failure = under_way.iter().fold(failure, |failure, run| failure.detail(format!("run {run}")));
    Err(failure.hint("wait for their end, or `lambdaload stop` each of them"))
}

/// Says what will go, and asks whether it may.
async fn approve(
    config: &Config,
    target: &Target,
    extent: Extent,
    printer: &Printer,
    signals: &mut Signals,
) -> Result<(), Failure> {
    let mut goes = Vec::new();
    if target.is_there {
        goes.push(format!("{}: functions, roles, schedules, alarms, queues", target.words(config)));
    }
    goes.extend(target.leftovers(config).list().await?.iter().map(Remain::to_string));
    if let Some(places) = target.places() {
        let remains = Remains::new(config, places);
        let schedules = remains.schedules().await?;
        goes.extend(schedules.iter().map(|schedule| format!("schedule {schedule}, with its secrets")));
        if extent.all {
            let left = remains.list().await?;
            let others = left.iter().filter(|remain| !matches!(remain, Remain::Schedule(_)));
            goes.extend(others.map(|remain| format!("{remain}, for good")));
        }
    }
    if goes.is_empty() {
        return Ok(());
    }
    printer.talk(&format!("this deletes\n  {}", goes.join("\n  ")));
    if extent.yes {
        return Ok(());
    }
    let failure = match confirm("Delete it?", printer, signals).await {
        Answer::Yes => return Ok(()),
        Answer::No => Failure::stopped("nothing was deleted, as you said"),
        Answer::Signal => Failure::stopped("stopped; nothing was deleted"),
        Answer::Nobody => Failure::not_valid("nothing was deleted: there is no terminal to ask at"),
    };
    Err(failure.hint("--yes deletes without asking"))
}

/// What is left, with how to get rid of it.
fn account_of(left: &[Remain], target: &Target, settings: &StackSettings, config: &Config) -> String {
    if left.is_empty() {
        return format!("nothing is left of {}\n", target.words(config));
    }
    let mut text = format!("left of {}:\n", target.words(config));
    text.extend(left.iter().map(|remain| format!("  {remain}\n")));
    text + &format!(
        "they keep all runs, and cost what S3, DynamoDB and Secrets Manager ask for storage\n\
         `lambdaload destroy --all --stack {} --region {}` deletes them\n",
        settings.stack,
        config.region()
    )
}

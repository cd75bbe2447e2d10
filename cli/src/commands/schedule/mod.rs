//! `lambdaload schedule`

mod change;
mod create;
mod show;

use jiff::tz::TimeZone;
use lambdaload_adapters::{aws::Schedules, clock::TokioClock};
use lambdaload_core::{
    deployment::NO_TOPICS,
    ports::{Clock as _, LedgerError, StoredTests, Timestamp},
    schedule::{ScheduleName, StoredTest, Timing},
};

use crate::{
    error::Failure,
    exit,
    printer::Printer,
    schedule_args::ScheduleCommand,
    settings::{PlaceSettings, Sources},
    similar,
    wiring::Deployment,
};

/// So many people never change one schedule at one moment.
const CONFLICTS: usize = 20;

/// Does what is to be done with schedules.
pub(super) async fn schedule(
    what: ScheduleCommand,
    sources: Sources,
    place: &PlaceSettings,
    printer: &Printer,
) -> Result<i32, Failure> {
    let Some(stack) = &place.deployment else {
        return Err(Failure::not_valid(
            "schedules are of a deployment in an AWS account: EventBridge Scheduler starts their tests",
        )
        .hint("--stack NAME or --platform lambda says of which")
        .hint("`lambdaload run checkout.js --every 10m --times 6` repeats a test on this machine"));
    };
    match what {
        ScheduleCommand::Create(args) => Box::pin(create::create(*args, sources, stack, printer)).await,
        ScheduleCommand::Update(args) => Box::pin(create::update(*args, sources, stack, printer)).await,
        ScheduleCommand::List(form) => {
            let form = sources.form(&form)?;
            show::list(&Book::open(Deployment::find(stack).await?), form, printer).await
        }
        ScheduleCommand::Show { schedule, form } => {
            let form = sources.form(&form)?;
            show::show(&schedule, &Book::open(Deployment::find(stack).await?), form, printer).await
        }
        ScheduleCommand::Pause { schedule } => {
            change::pause(&schedule, true, &Book::open(ours(stack).await?), printer).await
        }
        ScheduleCommand::Resume { schedule } => {
            change::pause(&schedule, false, &Book::open(ours(stack).await?), printer).await
        }
        ScheduleCommand::RunNow { schedule } => {
            change::run_now(&schedule, &Book::open(ours(stack).await?), printer).await
        }
        ScheduleCommand::Delete { schedule } => {
            change::delete(&schedule, &Book::open(ours(stack).await?), printer).await
        }
    }
}

/// A deployment that this command may change: both have to be the same version.
async fn ours(stack: &crate::settings::StackSettings) -> Result<Deployment, Failure> {
    let deployment = Deployment::find(stack).await?;
    deployment.check_version()?;
    Ok(deployment)
}

/// The schedules of a deployment.
struct Book {
    deployment: Deployment,
    tests: Box<dyn StoredTests>,
    schedules: Schedules,
}

impl Book {
    fn open(deployment: Deployment) -> Self {
        Self { tests: Box::new(deployment.tests()), schedules: deployment.schedules(), deployment }
    }

    /// The stored test of this name.
    async fn test(&self, name: &ScheduleName) -> Result<StoredTest, Failure> {
        if let Some(test) = self.tests.test(name).await? {
            return Ok(test);
        }
        let all = self.tests.all().await?;
        let failure = Failure::not_valid(format!("there is no schedule `{name}` in {}", self.deployment.words()));
        Err(match similar::one_of(name.as_str(), all.iter().map(|test| test.name.as_str())) {
            Some(other) => failure.hint(format!("did you mean {other}?")),
            None => failure.hint("`lambdaload schedule list` shows those there are"),
        })
    }

    /// Changes a stored test, again and again until nobody came between, and its schedule with it.
    async fn change(
        &self,
        name: &ScheduleName,
        mut change: impl FnMut(&mut StoredTest) -> Result<(), Failure>,
    ) -> Result<StoredTest, Failure> {
        let mut conflicts = 0;
        let stored = loop {
            let mut test = self.test(name).await?;
            change(&mut test)?;
            test.updated_at = now();
            match self.tests.replace(&test).await {
                // It fires at this moment, or somebody else changes it too.
                Err(LedgerError::Conflict(_)) if conflicts < CONFLICTS => conflicts += 1,
                outcome => break outcome?,
            }
        };
        self.schedules.put(&stored).await?;
        Ok(stored)
    }
}

fn now() -> Timestamp {
    TokioClock::new().now()
}

/// A time zone by its name, as it is written properly.
fn zone(name: &str) -> Result<(TimeZone, String), Failure> {
    let found = TimeZone::get(name).ok().and_then(|zone| {
        let proper = zone.iana_name()?.to_owned();
        Some((zone, proper))
    });
    found.ok_or_else(|| {
        let names: Vec<String> = jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
        let failure = Failure::not_valid(format!("--timezone {name}: there is no such time zone"))
            .detail("expected a name of the IANA database such as Europe/Oslo, America/New_York or UTC");
        match similar::one_of(name, names.iter().map(String::as_str)) {
            Some(other) => failure.hint(format!("did you mean {other}?")),
            None => failure,
        }
    })
}

/// The next times of a schedule, as people read them.
fn next_times(test: &StoredTest, count: usize) -> Vec<jiff::Zoned> {
    let zone = TimeZone::get(&test.timezone).unwrap_or(TimeZone::UTC);
    let instant = |at: Timestamp| jiff::Timestamp::from_microsecond(at.0).unwrap_or_default();
    test.timing.next(instant(now()), instant(test.updated_at), &zone, count)
}

/// A schedule that would never fire is a mistake.
fn refuse_never(timing: &Timing, timezone: &str) -> Result<(), Failure> {
    let (zone, _) = zone(timezone)?;
    let now = jiff::Timestamp::from_microsecond(now().0).unwrap_or_default();
    if !timing.next(now, now, &zone, 1).is_empty() {
        return Ok(());
    }
    Err(match timing {
        Timing::At(at) => Failure::not_valid(format!("--at {at}: there is no such time ahead in {timezone}"))
            .detail("it is past, or the clock leaves it out because summer time begins"),
        other => Failure::not_valid(format!("{other} never comes")),
    })
}

/// The topic that is told; none for nobody.
fn topic(notify: &str, deployment: &Deployment) -> Result<Option<String>, Failure> {
    let known = &deployment.stack.notify_topics;
    if notify == NO_TOPICS {
        return Ok(None);
    }
    if known.iter().any(|topic| topic == notify) {
        return Ok(Some(notify.to_owned()));
    }
    let all: Vec<&str> = known.iter().map(String::as_str).chain([notify]).collect();
    let found = if known.is_empty() {
        "it was deployed with none".to_owned()
    } else {
        format!("it was deployed with {}", known.join(", "))
    };
    Err(Failure::not_valid(format!("--notify {notify}: {} may not tell this topic", deployment.words()))
        .detail(found)
        .hint(format!("`sam deploy --parameter-overrides NotifyTopicArns={}` lets it", all.join(","))))
}

/// What a command about a schedule ends with.
fn done(words: &str, printer: &Printer) -> Result<i32, Failure> {
    printer.result(&format!("{words}\n"))?;
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_those_of_the_database() {
        assert_eq!(zone("europe/oslo").expect("is one").1, "Europe/Oslo");
        assert_eq!(zone("UTC").expect("is one").1, "UTC");
        for bad in ["Europe/Osloo", "Mars/Olympus", "", "+01:00", "../etc/passwd"] {
            assert!(zone(bad).is_err(), "{bad}");
        }
        assert!(zone("Europe/Osloo").expect_err("refused").lines().contains("did you mean Europe/Oslo?"));
    }
}

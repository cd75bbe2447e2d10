//! Telling somebody a verdict: a few lines to the topic that a run names.
//!
//! Whoever concludes the run tells it; and whoever looks at the run later, if that one has died. So it is told at least once,
//! and hardly ever twice.

use serde::{Deserialize, Serialize};

use crate::{
    ports::{CallError, LedgerError, Timestamp},
    records::RunRecord,
    run::{
        AccountPorts, UpdateError,
        timely::{CALL_PATIENCE, PATIENCE, persist},
        update_run,
    },
    schedule::{StoredTest, utc},
    summary::{Style, conclusion, headline},
    verdict::Verdict,
};

/// Who is told a run's verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipient {
    /// The ARN of an SNS topic.
    pub topic: String,
    /// Whether it has been told.
    pub told: bool,
}

/// A message as mail programs show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// One line of up to 99 ASCII characters, as SNS takes it.
    pub subject: String,
    /// A few lines.
    pub text: String,
}

/// SNS takes a subject of less than a hundred characters.
const LONGEST_SUBJECT: usize = 99;

/// Why nobody was told.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    /// The run.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// The topic.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl From<LedgerError> for NotifyError {
    fn from(error: LedgerError) -> Self {
        Self::Update(error.into())
    }
}

impl Message {
    /// A verdict in a few lines.
    pub fn of_verdict(verdict: &Verdict) -> Self {
        let name = verdict.origin.as_ref().map_or(verdict.name.as_str(), |origin| origin.schedule.as_str());
        let first = format!("{name} {}: {}", verdict.outcome.word(), headline(verdict));
        let style = Style { color: false, width: 80 };
        let block = conclusion(verdict, &style, None);
        let note = verdict.note.as_ref().map(|note| format!("\n{note}\n")).unwrap_or_default();
        let text = format!("{first}\n{note}{block}\n`lambdaload runs get {}` shows all of it\n", verdict.run);
        Self { subject: subject(&format!("lambdaload: {first}")), text }
    }

    /// That there was no run.
    fn of_nothing(stored: &StoredTest, scheduled_for: Option<Timestamp>, why: &str) -> Self {
        let name = &stored.name;
        let moment =
            scheduled_for.map_or_else(|| "a start by a person".to_owned(), |at| format!("its firing of {}", utc(at)));
        let text = format!(
            "{name} did not run: {why}\n\nThis was {moment}, of version {}. There is no verdict.\n\
             `lambdaload schedule show {name}` shows the schedule\n",
            stored.version
        );
        Self { subject: subject(&format!("lambdaload: {name} did not run")), text }
    }
}

/// What SNS takes of a text.
fn subject(text: &str) -> String {
    let taken = |character: char| if character.is_ascii_graphic() || character == ' ' { character } else { '?' };
    text.chars().map(taken).take(LONGEST_SUBJECT).collect()
}

/// Tells a run's verdict to whoever it names, unless that was done. The ports always answer.
pub(super) async fn tell(ports: &AccountPorts, run: &RunRecord) -> Result<(), NotifyError> {
    if run.notice.as_ref().is_none_or(|notice| notice.told) {
        return Ok(());
    }
    let AccountPorts { clock, ledger, notifier, .. } = ports;
    let run = persist(&**clock, PATIENCE, || ledger.run(&run.id)).await?;
    let Some(Recipient { topic, told: false }) = &run.notice else { return Ok(()) };
    let Some(verdict) = persist(&**clock, PATIENCE, || ledger.verdict(&run.id)).await? else { return Ok(()) };
    let message = Message::of_verdict(&verdict);
    persist(&**clock, CALL_PATIENCE, || notifier.publish(topic, &message)).await?;
    let told = || {
        update_run(&**ledger, &run.id, |run| {
            let notice = run.notice.as_mut().filter(|notice| !notice.told);
            Ok(notice.map(|notice| notice.told = true).is_some())
        })
    };
    persist(&**clock, PATIENCE, told).await?;
    Ok(())
}

/// Tells that a schedule fired and nothing ran. Nobody can be told that this failed; it stands in the stored test.
pub(super) async fn tell_of_nothing(
    ports: &AccountPorts,
    test: &StoredTest,
    scheduled_for: Option<Timestamp>,
    why: &str,
) {
    if let Some(topic) = &test.notify {
        let message = Message::of_nothing(test, scheduled_for, why);
        drop(persist(&*ports.clock, CALL_PATIENCE, || ports.notifier.publish(topic, &message)).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        schedule::{Origin, ScheduleName},
        testing::sample,
    };

    #[test]
    fn a_verdict_is_told_in_a_few_lines() {
        let origin = Origin {
            schedule: ScheduleName::parse("nightly").expect("a name"),
            version: 3,
            scheduled_for: Some(Timestamp(1_795_348_800_000_000)),
        };
        let verdict = Verdict { origin: Some(origin), note: Some("after cache change".into()), ..sample::verdict() };
        let Message { subject, text } = Message::of_verdict(&verdict);
        assert_eq!(subject, "lambdaload: nightly failed: 1 of 4 thresholds crossed");
        assert!(text.starts_with("nightly failed: 1 of 4 thresholds crossed\n\nafter cache change\n"), "{text}");
        assert!(text.contains("nightly, version 3, scheduled for 2026-11-22 12:00 UTC"), "{text}");
        assert!(text.contains("http_req_failed") && text.contains(verdict.run.as_str()), "{text}");
        assert!(text.lines().count() < 30 && !text.contains('\u{1b}'), "{text}");
        let invalid = Message::of_verdict(&sample::incomplete());
        assert!(invalid.subject.ends_with("invalid: the measurement is not complete"), "{}", invalid.subject);
    }

    #[test]
    fn a_subject_is_what_sns_takes() {
        assert_eq!(subject("a\nb – é"), "a?b ? ?");
        assert_eq!(subject(&"x".repeat(500)).len(), 99);
    }
}

//! Schedules as people read them.

use std::collections::BTreeMap;

use console::truncate_str;
use jiff::Zoned;
use lambdaload_core::{
    ids::RunId,
    plan::plural,
    schedule::{Fired, Firing, StoredTest, Timing, utc},
};

use super::{numbers, table};
use crate::printer::{Paint, one_line};

/// Where a schedule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It starts its test when the time comes.
    Active,
    /// It starts nothing until somebody resumes it.
    Paused,
    /// Its one time has passed.
    Over,
    /// EventBridge Scheduler does not have it.
    Missing,
}

impl State {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Over => "over",
            Self::Missing => "missing",
        }
    }

    fn painted(self, paint: Paint) -> String {
        match self {
            Self::Active => self.word().to_owned(),
            Self::Paused | Self::Missing => paint.yellow(self.word()),
            Self::Over => paint.dim(self.word()),
        }
    }
}

/// A schedule with what was found out about it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) test: StoredTest,
    pub(crate) state: State,
    /// The next times; none unless it is active.
    pub(crate) next: Vec<Zoned>,
    /// What became of its runs, of those that were looked at: an outcome, or a status.
    pub(crate) ends: BTreeMap<RunId, String>,
}

/// `Mon 23 Nov 2026 02:00 +01:00`
pub(crate) fn moment(at: &Zoned) -> String {
    at.strftime("%a %-d %b %Y %H:%M %:z").to_string()
}

/// The list. `width` is that of the terminal, for which lines are cut.
pub(crate) fn table(shown: &[Shown], paint: Paint, width: Option<usize>) -> String {
    let head = ["schedule", "when", "state", "next", "test", "version", "workers", "latest", "note"];
    let mut rows = vec![head.map(|title| paint.dim(title)).to_vec()];
    rows.extend(shown.iter().map(|shown| row(shown, paint)));
    let cut = |line: &String| width.map_or(line.clone(), |width| truncate_str(line, width, "…").into_owned());
    table::columns(&rows).iter().map(cut).collect::<Vec<_>>().join("\n") + "\n"
}

fn row(shown: &Shown, paint: Paint) -> Vec<String> {
    let none = || "–".to_owned();
    let Shown { test, state, next, .. } = shown;
    vec![
        test.name.to_string(),
        when(test),
        state.painted(paint),
        next.first().map_or_else(none, moment),
        one_line(&test.plan.name),
        test.version.to_string(),
        test.plan.workers.to_string(),
        test.firings.first().map_or_else(none, |firing| came_to(firing, shown, paint).0),
        one_line(test.plan.note.as_deref().unwrap_or_default().lines().next().unwrap_or_default()),
    ]
}

/// `0 2 * * * Europe/Oslo`, `every 10m`
pub(crate) fn when(test: &StoredTest) -> String {
    match &test.timing {
        Timing::Rate(_) => test.timing.to_string(),
        Timing::Cron(_) | Timing::At(_) => format!("{} {}", test.timing, test.timezone),
    }
}

/// What a firing came to, in a word, and why if that is to be said.
fn came_to<'s>(firing: &'s Firing, shown: &Shown, paint: Paint) -> (String, &'s str) {
    match &firing.fired {
        Fired::Started { .. } => {
            let word = shown.ends.get(&firing.run).map_or("started", String::as_str);
            let painted = match word {
                "passed" => paint.green(word),
                "failed" => paint.red(word),
                "invalid" => paint.yellow(word),
                _ => word.to_owned(),
            };
            (painted, "")
        }
        Fired::Skipped { why } => (paint.dim("skipped"), why),
        Fired::Refused { why } => (paint.yellow("not started"), why),
    }
}

/// One schedule with all there is to say.
pub(crate) fn one(shown: &Shown, paint: Paint) -> String {
    let Shown { test, state, next, .. } = shown;
    let plan = &test.plan;
    let mut text = format!("{}   {}   {}\n", paint.bold(test.name.as_str()), when(test), state.painted(paint));
    let mut add = |label: &str, lines: Vec<String>| text += &table::labelled(label, lines, paint);
    let first = if matches!(test.timing, Timing::Rate(_)) { "about " } else { "" };
    add("next", next.iter().map(|next| format!("{first}{}", moment(next))).collect());
    add(
        "test",
        vec![format!(
            "{}, version {}   {}   archive {}",
            one_line(&plan.name),
            test.version,
            plural(plan.workers.into(), "worker"),
            plan.archive.hash.short()
        )],
    );
    add("note", plan.note.as_deref().map(one_line).into_iter().collect());
    if !plan.secrets.is_empty() {
        add("secrets", vec![one_line(&plan.secrets.join(", "))]);
    }
    add("overlap", vec![test.overlap.word().to_owned()]);
    add("tells", test.notify.as_deref().map(one_line).into_iter().collect());
    add("scheduler", vec![test.timing.expression()]);
    if *state == State::Missing {
        let words =
            format!("EventBridge Scheduler does not have it: `lambdaload schedule resume {}` makes it anew", test.name);
        add("warning", vec![paint.yellow(&words)]);
    }
    if test.firings.is_empty() {
        return text + "\nit has not started anything yet\n";
    }
    let head = ["scheduled for", "run", "version", "came to", ""];
    let mut rows = vec![head.map(|title| paint.dim(title)).to_vec()];
    rows.extend(test.firings.iter().map(|firing| {
        let (word, why) = came_to(firing, shown, paint);
        let run =
            if matches!(firing.fired, Fired::Started { .. }) { numbers::short_id(&firing.run) } else { "–".into() };
        vec![
            firing.scheduled_for.map_or_else(|| "by a person".to_owned(), utc),
            run,
            firing.version.to_string(),
            word,
            one_line(why),
        ]
    }));
    text + "\n" + &table::columns(&rows).join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, offset};
    use lambdaload_core::{ports::Timestamp, testing::contract::sample_stored};

    use super::*;

    const ZONE: Offset = offset(1);

    fn shown() -> Shown {
        let mut test = sample_stored("nightly");
        test.version = 3;
        test.plan.note = Some("before the release".into());
        let minute = |n: i64| Timestamp(1_795_348_800_000_000 + n * 60_000_000);
        let fired = [
            Fired::Started { after: None },
            Fired::Skipped { why: "run 01M81J18G0 of this schedule was still under way".into() },
            Fired::Refused { why: "the script's archive is not in the store".into() },
        ];
        for (n, fired) in (0..).zip(fired) {
            let run = RunId::derived(minute(n), "nightly");
            let scheduled_for = (n != 1).then(|| minute(n));
            test.remember(Firing { run, version: 2, scheduled_for, fired_at: minute(n), fired });
        }
        let now = jiff::Timestamp::from_microsecond(minute(0).0).expect("a time");
        let next = test.timing.next(now, now, &ZONE.to_time_zone(), 2);
        let ends = [(RunId::derived(minute(0), "nightly"), "passed".to_owned())].into();
        Shown { test, state: State::Active, next, ends }
    }

    #[test]
    fn schedules_in_a_table() {
        let other = Shown { test: sample_stored("a"), state: State::Paused, next: Vec::new(), ends: BTreeMap::new() };
        insta::assert_snapshot!(table(&[other, shown()], Paint::OFF, None), @r#"
        schedule  when                   state   next                          test  version  workers  latest       note
        a         0 2 * * * Europe/Oslo  paused  –                             a.js  1        3        –            with `quotes`, "more" and ümläuts
        nightly   0 2 * * * Europe/Oslo  active  Mon 23 Nov 2026 02:00 +01:00  a.js  3        3        not started  before the release
        "#);
    }

    #[test]
    fn one_schedule_with_what_came_of_it() {
        insta::assert_snapshot!(one(&shown(), Paint::OFF), @r"
        nightly   0 2 * * * Europe/Oslo   active
        next          Mon 23 Nov 2026 02:00 +01:00
                      Tue 24 Nov 2026 02:00 +01:00
        test          a.js, version 3   3 workers   archive 3f9c…9c
        note          before the release
        overlap       skip
        scheduler     cron(0 2 * * ? *)

        scheduled for         run        version  came to
        2026-11-22 12:02 UTC  –          2        not started  the script's archive is not in the store
        by a person           –          2        skipped      run 01M81J18G0 of this schedule was still under way
        2026-11-22 12:00 UTC  01M81J…Q8  2        passed
        ");
        let missing = Shown { state: State::Missing, next: Vec::new(), ..shown() };
        assert!(one(&missing, Paint::OFF).contains("EventBridge Scheduler does not have it"));
    }
}

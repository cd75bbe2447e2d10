//! Cron expressions: the five fields that everybody knows, read by our own rules and written as EventBridge Scheduler wants
//! them.
//!
//! Both forms are made from the same sets of numbers, so what is shown as the next time is what was asked for there.

use std::fmt::Write as _;

use jiff::civil::{Date, Time, Weekday};
use serde::{Deserialize, Serialize};

/// What can be said with five fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cron {
    /// As it was written.
    text: String,
    minutes: Values,
    hours: Values,
    days: Values,
    months: Values,
    /// From 0 for Sunday.
    weekdays: Values,
}

/// The text is no expression that can be kept; says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}")]
pub struct InvalidCron {
    text: String,
    problem: String,
}

/// One of the five: its name, its least and greatest number, and names for numbers.
struct Field {
    name: &'static str,
    least: u32,
    greatest: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, greatest: 59, names: &[] },
    Field { name: "hour", least: 0, greatest: 23, names: &[] },
    Field { name: "day of month", least: 1, greatest: 31, names: &[] },
    Field { name: "month", least: 1, greatest: 12, names: &MONTHS },
    // 7 is Sunday too.
    Field { name: "day of week", least: 0, greatest: 7, names: &WEEKDAYS },
];

/// Short for five fields.
const SHORT: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The longest that each month may be, from January.
const LONGEST: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// A set of numbers up to 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Values(u64);

impl Values {
    fn has(self, value: u32) -> bool {
        value < 64 && self.0 & (1 << value) != 0
    }

    fn add(&mut self, value: u32) {
        self.0 |= 1_u64.checked_shl(value).unwrap_or(0);
    }

    fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |value| self.has(*value))
    }

    fn is_all(self, least: u32, greatest: u32) -> bool {
        (least..=greatest).all(|value| self.has(value))
    }

    /// `*`, `7`, `0,15,30,45`, `1-5,9`.
    fn written(self, least: u32, greatest: u32, name: impl Fn(u32) -> String) -> String {
        if self.is_all(least, greatest) {
            return "*".to_owned();
        }
        let mut text = String::new();
        let mut rest = self.iter().peekable();
        while let Some(first) = rest.next() {
            let mut end = first;
            while rest.next_if_eq(&(end + 1)).is_some() {
                end += 1;
            }
            let comma = if text.is_empty() { "" } else { "," };
            let between = if end == first + 1 { "," } else { "-" };
            // Writing to a string cannot fail.
            let _ = match end - first {
                0 => write!(text, "{comma}{}", name(first)),
                _ => write!(text, "{comma}{}{between}{}", name(first), name(end)),
            };
        }
        text
    }
}

impl Cron {
    /// Reads five fields, or one of the words that stand for them.
    pub fn parse(text: &str) -> Result<Self, InvalidCron> {
        let refused = |problem: String| InvalidCron { text: text.to_owned(), problem };
        let trimmed = text.trim();
        let long =
            SHORT.iter().find(|(short, _)| trimmed.eq_ignore_ascii_case(short)).map_or(trimmed, |(_, long)| long);
        if long.starts_with('@') {
            let known: Vec<&str> = SHORT.iter().map(|(short, _)| *short).collect();
            return Err(refused(format!("expected five fields or one of {}", known.join(", "))));
        }
        let parts: Vec<&str> = long.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = parts[..] else {
            let found = parts.len();
            let aws = if found == 6 || long.starts_with("cron(") {
                "; this is AWS's form of six, which is made from the usual one"
            } else {
                ""
            };
            let expected = "expected five fields (minute, hour, day of month, month, day of week)";
            return Err(refused(format!("{expected}, found {found}{aws}")));
        };
        let [minutes, hours, days, months, mut weekdays] =
            read([minute, hour, day, month, weekday]).map_err(refused)?;
        if weekdays.has(7) {
            weekdays = Values((weekdays.0 | 1) & 0x7f);
        }
        let cron = Self { text: long.to_owned(), minutes, hours, days, months, weekdays };
        if !cron.any_day() && !cron.any_weekday() {
            let problem = "a day of month and a day of week: EventBridge Scheduler takes one of them only; make a schedule \
                           for each, with * in the other field";
            return Err(refused(problem.to_owned()));
        }
        let exists = |month: u32| {
            let longest = LONGEST.get(month.saturating_sub(1) as usize).copied().unwrap_or(0);
            cron.days.iter().any(|day| day <= longest)
        };
        if !cron.months.iter().any(exists) {
            return Err(refused("there is no such day in any year".to_owned()));
        }
        Ok(cron)
    }

    /// As EventBridge Scheduler wants it: six fields, of which one of the two days is `?`.
    pub fn expression(&self) -> String {
        let number = |value: u32| value.to_string();
        let (minutes, hours) = (self.minutes.written(0, 59, number), self.hours.written(0, 23, number));
        let months = self.months.written(1, 12, number);
        let (days, weekdays) = if self.any_weekday() {
            (self.days.written(1, 31, number), "?".to_owned())
        } else {
            let name = |value: u32| WEEKDAYS.get(value as usize).copied().unwrap_or_default().to_owned();
            ("?".to_owned(), self.weekdays.written(0, 6, name))
        };
        format!("cron({minutes} {hours} {days} {months} {weekdays} *)")
    }

    /// Whether it fires on that day.
    pub(super) fn is_on(&self, date: Date) -> bool {
        let number = |value: i8| u32::try_from(value).unwrap_or(0);
        self.months.has(number(date.month()))
            && self.days.has(number(date.day()))
            && self.weekdays.has(number(Weekday::to_sunday_zero_offset(date.weekday())))
    }

    /// The times of a day on which it fires, in their order.
    pub(super) fn times(&self) -> impl Iterator<Item = Time> {
        let minute_of = |value: u32| i8::try_from(value).unwrap_or(0);
        self.hours.iter().flat_map(move |hour| {
            self.minutes.iter().filter_map(move |minute| Time::new(minute_of(hour), minute_of(minute), 0, 0).ok())
        })
    }

    fn any_day(&self) -> bool {
        self.days.is_all(1, 31)
    }

    fn any_weekday(&self) -> bool {
        self.weekdays.is_all(0, 6)
    }
}

impl TryFrom<String> for Cron {
    type Error = InvalidCron;

    fn try_from(text: String) -> Result<Self, InvalidCron> {
        Self::parse(&text)
    }
}

impl From<Cron> for String {
    fn from(cron: Cron) -> Self {
        cron.text
    }
}

impl std::fmt::Display for Cron {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn read(parts: [&str; 5]) -> Result<[Values; 5], String> {
    let mut all = [Values::default(); 5];
    for ((values, field), part) in all.iter_mut().zip(&FIELDS).zip(parts) {
        *values = field.read(part)?;
    }
    Ok(all)
}

impl Field {
    /// A list of `*`, `5`, `1-5`, each perhaps with a step: `*/15`, `8-18/2`.
    fn read(&self, part: &str) -> Result<Values, String> {
        let mut values = Values::default();
        for item in part.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(step)),
                None => (item, None),
            };
            let step_by = match step.map(str::parse::<u32>) {
                None => 1,
                Some(Ok(step)) if (1..=self.greatest).contains(&step) => step,
                Some(_) => return Err(format!("{}: `{item}`: expected a step from 1 to {}", self.name, self.greatest)),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (self.least, self.greatest.min(self.least + self.span())),
                Some((first, last)) => (self.number(first)?, self.number(last)?),
                // As cron has it, `5/15` goes on to the end.
                None if step.is_some() => (self.number(range)?, self.greatest.min(self.least + self.span())),
                None => {
                    let only = self.number(range)?;
                    (only, only)
                }
            };
            if first > last {
                return Err(format!("{}: `{item}`: expected a range from less to more", self.name));
            }
            (first..=last).step_by(step_by as usize).for_each(|value| values.add(value));
        }
        Ok(values)
    }

    /// How far the last number is from the first one, with Sunday once.
    fn span(&self) -> u32 {
        if self.greatest == 7 { 6 } else { self.greatest - self.least }
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        let by_name = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let number = match by_name {
            Some(position) => u32::try_from(position).ok().map(|position| position + self.least),
            // Signs are no digits.
            None if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            None => None,
        };
        number.filter(|number| (self.least..=self.greatest).contains(number)).ok_or_else(|| {
            let names = match (self.names.first(), self.names.last()) {
                (Some(first), Some(last)) => format!(", or a name ({first}, … {last})"),
                _ => String::new(),
            };
            format!("{}: `{text}`: expected a number from {} to {}{names}", self.name, self.least, self.greatest)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_fields_become_six() {
        for (text, expected) in [
            ("0 2 * * *", "cron(0 2 * * ? *)"),
            ("* * * * *", "cron(* * * * ? *)"),
            ("*/15 * * * *", "cron(0,15,30,45 * * * ? *)"),
            ("5/20 * * * *", "cron(5,25,45 * * * ? *)"),
            ("30 8-18/2 * * *", "cron(30 8,10,12,14,16,18 * * ? *)"),
            ("0 9 * * 1-5", "cron(0 9 ? * MON-FRI *)"),
            ("0 9 * * MON-FRI", "cron(0 9 ? * MON-FRI *)"),
            ("0 9 * * mon,Wed,fri", "cron(0 9 ? * MON,WED,FRI *)"),
            ("0 9 * * 0", "cron(0 9 ? * SUN *)"),
            ("0 9 * * 7", "cron(0 9 ? * SUN *)"),
            ("0 9 * * 5-7", "cron(0 9 ? * SUN,FRI,SAT *)"),
            ("0 9 * * */2", "cron(0 9 ? * SUN,TUE,THU,SAT *)"),
            ("0 9 * * 0-7", "cron(0 9 * * ? *)"),
            ("0 9 * * */1", "cron(0 9 * * ? *)"),
            ("0 0 1,15 JAN,jul *", "cron(0 0 1,15 1,7 ? *)"),
            ("0 0 1-3,5,7-8 1-6 *", "cron(0 0 1-3,5,7,8 1-6 ? *)"),
            ("0 0 29 2 *", "cron(0 0 29 2 ? *)"),
            ("  0   2 * *\t* ", "cron(0 2 * * ? *)"),
            ("@daily", "cron(0 0 * * ? *)"),
            ("@Weekly", "cron(0 0 ? * SUN *)"),
            ("@monthly", "cron(0 0 1 * ? *)"),
            ("@annually", "cron(0 0 1 1 ? *)"),
            ("@hourly", "cron(0 * * * ? *)"),
        ] {
            let cron = Cron::parse(text).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(cron.expression(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_in_words() {
        for (text, words) in [
            ("", "expected five fields (minute, hour, day of month, month, day of week), found 0"),
            ("0 2 * *", "found 4"),
            ("0 2 * * ? *", "found 6; this is AWS's form"),
            ("cron(0 2 * * ? *)", "this is AWS's form"),
            ("0 2 ? * *", "day of month: `?`: expected a number from 1 to 31"),
            ("60 2 * * *", "minute: `60`: expected a number from 0 to 59"),
            ("0 24 * * *", "hour: `24`: expected a number from 0 to 23"),
            ("0 2 0 * *", "day of month: `0`: expected a number from 1 to 31"),
            ("0 2 32 * *", "expected a number from 1 to 31"),
            ("0 2 * 13 *", "month: `13`: expected a number from 1 to 12, or a name (JAN, … DEC)"),
            ("0 2 * * 8", "day of week: `8`: expected a number from 0 to 7, or a name (SUN, … SAT)"),
            ("0 2 * * MONDAY", "`MONDAY`"),
            ("+5 2 * * *", "minute: `+5`"),
            ("-5 2 * * *", "minute: ``"),
            ("5- 2 * * *", "minute: ``"),
            ("5,,6 2 * * *", "minute: ``"),
            ("*/0 * * * *", "minute: `*/0`: expected a step from 1 to 59"),
            ("*/60 * * * *", "expected a step from 1 to 59"),
            ("*/x * * * *", "expected a step"),
            ("30-10 * * * *", "minute: `30-10`: expected a range from less to more"),
            ("0 2 L * *", "day of month: `L`"),
            ("0 2 * * 5#1", "day of week: `5#1`"),
            ("0 2 1 * MON", "EventBridge Scheduler takes one of them only"),
            ("0 2 30 2 *", "there is no such day in any year"),
            ("0 2 31 4,6,9,11 *", "there is no such day in any year"),
            ("99999999999999999999 * * * *", "expected a number from 0 to 59"),
            ("@reboot", "expected five fields or one of @hourly, @daily"),
            ("nonsense", "found 1"),
        ] {
            let error = Cron::parse(text).expect_err(text).to_string();
            assert!(error.starts_with(&format!("`{text}`: ")) && error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_expression_is_never_longer_than_the_scheduler_takes() {
        // Odd minutes and hours are the longest of all.
        let cron = Cron::parse("1-59/2 1-23/2 1-31/2 1-11/2 *").expect("reads");
        assert!(cron.expression().len() <= 256, "{}", cron.expression().len());
    }

    #[test]
    fn it_is_kept_as_it_was_written() {
        let cron = Cron::parse("0 9 * * MON-FRI").expect("reads");
        let json = serde_json::to_string(&cron).expect("writes");
        assert_eq!(json, r#""0 9 * * MON-FRI""#);
        assert_eq!(serde_json::from_str::<Cron>(&json).expect("reads"), cron);
        assert!(serde_json::from_str::<Cron>(r#""0 9""#).is_err());
    }
}

//! Numbers as k6 1.8.1 prints them.
//!
//! k6 writes its summary in JavaScript, so that language's way of writing numbers is part of the format: no exponent
//! below 10²¹, the shortest digits that read back, `Infinity` and `NaN` by name. Where k6's own rules end in something
//! odd (`-1500000ns`, `4.828033483609561 B`), so do ours: the promise is the same text for the same value.

use std::time::Duration;

use crate::{plan::TimeUnit, series::Contains};

/// A value of a metric, by what its values are: milliseconds, bytes or plain numbers.
pub fn value(value: f64, contains: Contains, unit: Option<TimeUnit>) -> String {
    match contains {
        Contains::Time => milliseconds(value, unit),
        Contains::Data => bytes(value),
        Contains::Default => number(value),
    }
}

/// A time given in milliseconds. Without a unit its size chooses one, and what is beyond two decimals is cut off; with
/// a unit it is rounded to two decimals.
pub fn milliseconds(value: f64, unit: Option<TimeUnit>) -> String {
    match unit {
        None => by_size(value),
        Some(TimeUnit::Seconds) => fixed(value * 0.001, 2) + "s",
        Some(TimeUnit::Milliseconds) => fixed(value, 2) + "ms",
        Some(TimeUnit::Microseconds) => fixed(value * 1000.0, 2) + "µs",
    }
}

/// A time in the unit that its size chooses.
pub fn duration(value: Duration) -> String {
    by_size(value.as_secs_f64() * 1000.0)
}

fn by_size(milliseconds: f64) -> String {
    if milliseconds == 0.0 {
        return "0s".to_owned();
    }
    // Negative times end here too, whatever their size.
    if milliseconds < 0.001 {
        return shortest((milliseconds * 1e6).trunc()) + "ns";
    }
    if milliseconds < 1.0 {
        return cut(milliseconds * 1000.0) + "µs";
    }
    if milliseconds < 1000.0 {
        return cut(milliseconds) + "ms";
    }
    if milliseconds < 60_000.0 {
        return cut(milliseconds / 1000.0) + "s";
    }
    let whole = |number: f64| shortest(number.trunc());
    let (seconds, minutes) = (milliseconds % 60_000.0 / 1000.0, (milliseconds / 60_000.0).trunc());
    if minutes < 60.0 {
        format!("{}m{}s", whole(minutes), whole(seconds))
    } else {
        format!("{}h{}m{}s", whole(minutes / 60.0), whole(minutes % 60.0), whole(seconds))
    }
}

/// Data, in steps of 1000: one decimal below ten of a unit, none from there on.
pub fn bytes(value: f64) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    if value < 10.0 {
        return shortest(value) + " B";
    }
    let (mut unit, mut divisor) = (0, 1.0);
    while unit + 1 < UNITS.len() && value / divisor >= 1000.0 {
        unit += 1;
        divisor *= 1000.0;
    }
    let tenths = (value / divisor * 10.0 + 0.5).floor() / 10.0;
    format!("{} {}", fixed(tenths, u8::from(tenths < 10.0)), UNITS[unit])
}

/// A plain number: at most six decimals, rounded, without zeros at the end.
pub fn number(value: f64) -> String {
    // The text of a number always reads back as one.
    shortest(fixed(value, 6).parse().unwrap_or(value))
}

/// A share, in percent with two decimals; what is beyond them is cut off.
pub fn percent(share: f64) -> String {
    fixed((share * 100.0 * 100.0).trunc() / 100.0, 2) + "%"
}

/// A whole number in groups of three digits: `5,437,740`. For our own lines; k6 does not group.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// Up to two decimals, what is beyond them cut off.
fn cut(value: f64) -> String {
    shortest((value * 100.0).trunc() / 100.0)
}

/// The shortest digits that read back as the number.
fn shortest(value: f64) -> String {
    ryu_js::Buffer::new().format(value).to_owned()
}

/// So many decimals, rounded; half a unit goes away from zero.
fn fixed(value: f64, decimals: u8) -> String {
    ryu_js::Buffer::new().format_to_fixed(value, decimals).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read off real runs of k6 1.8.1; `golden/summary/magnitudes` has many more.
    #[test]
    fn times_by_their_size() {
        for (milliseconds, text) in [
            (0.0, "0s"),
            (1e-7, "0ns"),
            (1e-6, "1ns"),
            (0.000_999, "999ns"),
            (0.001, "1µs"),
            (0.001_15, "1.14µs"),
            (0.999_99, "999.99µs"),
            (1.0, "1ms"),
            (1.15, "1.14ms"),
            (8.2, "8.19ms"),
            (999.999_999_9, "999.99ms"),
            (1000.0, "1s"),
            (1009.99, "1s"),
            (59_999.0, "59.99s"),
            (60_000.0, "1m0s"),
            (61_500.0, "1m1s"),
            (3_599_999.0, "59m59s"),
            (3_600_000.0, "1h0m0s"),
            (90_061_001.0, "25h1m1s"),
            (1e20, "27777777777777h46m40s"),
            (-1e-7, "0ns"),
            (-1.9e-6, "-1ns"),
            (-1500.0, "-1500000000ns"),
            (-1e15, "-1e+21ns"),
            (f64::INFINITY, "InfinityhNaNmNaNs"),
            (f64::NEG_INFINITY, "-Infinityns"),
            (f64::NAN, "NaNhNaNmNaNs"),
        ] {
            assert_eq!(by_size(milliseconds), text, "{milliseconds} ms");
        }
        assert_eq!(duration(Duration::from_millis(90_500)), "1m30s");
    }

    #[test]
    fn times_in_one_unit() {
        let check = |unit, cases: &[(f64, &str)]| {
            for (value, text) in cases {
                assert_eq!(milliseconds(*value, Some(unit)), *text, "{value} ms");
            }
        };
        let in_seconds = [
            (0.0, "0.00s"),
            (5.0, "0.01s"),
            (1005.0, "1.01s"),
            (1115.0, "1.11s"),
            (10_045.0, "10.04s"),
            (-0.5, "-0.00s"),
        ];
        check(TimeUnit::Seconds, &in_seconds);
        check(TimeUnit::Milliseconds, &[(1234.5678, "1234.57ms"), (0.00012, "0.00ms"), (-0.5, "-0.50ms")]);
        check(
            TimeUnit::Microseconds,
            &[(1234.5678, "1234567.80µs"), (123_456.789, "123456789.00µs"), (0.00024, "0.24µs")],
        );
    }

    #[test]
    fn plain_numbers() {
        for (value, text) in [
            (0.0, "0"),
            (-1e-7, "0"),
            (1.23e-6, "0.000001"),
            (0.007_812_5, "0.007813"),
            (-0.007_812_5, "-0.007813"),
            (1.0 / 3.0, "0.333333"),
            (0.999_999_9, "1"),
            (999.999_999_9, "1000"),
            (1234.5678, "1234.5678"),
            (123_456_789.123_456, "123456789.123456"),
            (81_820_638_742.476_99, "81820638742.47699"),
            (1e15, "1000000000000000"),
            (123_456_789_012_345.67, "123456789012345.67"),
            (1e20, "100000000000000000000"),
            (1.5e21, "1.5e+21"),
            (1e100, "1e+100"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(number(value), text, "{value}");
        }
    }

    #[test]
    fn data_in_steps_of_a_thousand() {
        for (value, text) in [
            (0.0, "0 B"),
            (4.828_033_483_609_561, "4.828033483609561 B"),
            (61.444, "61 B"),
            (61.452, "62 B"),
            (963.0, "963 B"),
            (1013.0, "1.0 kB"),
            (9914.0, "9.9 kB"),
            (9964.0, "10 kB"),
            (18_539.653_723_763_61, "19 kB"),
            (99_515.0, "100 kB"),
            (944_535.240_781_868_7, "945 kB"),
            (999_516.0, "1000 kB"),
            (1_000_016.0, "1.0 MB"),
            (999_600_119.0, "1000 MB"),
            (2_500_000_120.0, "2.5 GB"),
            (1e30, "1000000 YB"),
        ] {
            assert_eq!(bytes(value), text, "{value}");
        }
    }

    #[test]
    fn shares_are_cut_not_rounded() {
        for (share, text) in [
            (0.0, "0.00%"),
            (0.29, "28.99%"),
            (0.0115, "1.14%"),
            (88.0 / 140.0, "62.85%"),
            (2.0 / 3.0, "66.66%"),
            (0.99999, "99.99%"),
            (1.0, "100.00%"),
        ] {
            assert_eq!(percent(share), text, "{share}");
        }
    }

    #[test]
    fn whole_numbers_in_groups() {
        for (count, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (5_437_740, "5,437,740"), (123_456, "123,456")] {
            assert_eq!(grouped(count), text);
        }
    }
}

//! Numbers with their units, short enough for a line.

use lambdaload_core::{ids::RunId, series::Contains};

/// Thousands apart: `2,391`.
pub(crate) use lambdaload_core::summary::format::grouped as count;

/// A number per second: `2,391`, `398.2`, `0.05`.
pub(crate) fn rate(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number below 2^53")]
    // The sum of nothing is -0.
    match number + 0.0 {
        number if !(0.0..1e15).contains(&number) => "–".to_owned(),
        number if number >= 1000.0 => count(number.round() as u64),
        number if number >= 10.0 => trim(number, 1),
        number => trim(number, 2),
    }
}

/// Milliseconds as a time: `812 µs`, `84 ms`, `1.21 s`, `2m5s`.
pub(crate) fn milliseconds(milliseconds: f64) -> String {
    match milliseconds {
        time if !time.is_finite() => time.to_string(),
        0.0 => "0 s".to_owned(),
        time if time.abs() < 0.9995 => format!("{} µs", three_digits(time * 1e3)),
        time if time.abs() < 999.5 => format!("{} ms", three_digits(time)),
        time if time.abs() < 59_995.0 => format!("{} s", three_digits(time / 1e3)),
        time => lambdaload_core::plan::words(std::time::Duration::try_from_secs_f64(time / 1e3).unwrap_or_default()),
    }
}

/// A share as a percentage: `0.31 %`, `99.7 %`. It says 0 or 100 only of none and all.
pub(crate) fn percent(share: f64) -> String {
    match share * 100.0 {
        percent if percent <= 0.0 => "0 %".to_owned(),
        percent if percent >= 100.0 => "100 %".to_owned(),
        percent if percent < 0.005 => "<0.01 %".to_owned(),
        percent if percent > 99.99 => ">99.99 %".to_owned(),
        // Rounded up, a share just below 100 would claim to be all.
        percent if percent >= 99.9 => format!("{} %", trim((percent * 100.0).floor() / 100.0, 2)),
        percent if percent < 10.0 => format!("{} %", trim(percent, 2)),
        percent => format!("{} %", trim(percent, 1)),
    }
}

/// Bytes in steps of 1,000, as k6 writes them: `41 kB`.
pub(crate) fn bytes(number: f64) -> String {
    let mut number = number;
    for unit in ["B", "kB", "MB", "GB"] {
        if number < 999.5 {
            return format!("{} {unit}", three_digits(number));
        }
        number /= 1e3;
    }
    format!("{} TB", three_digits(number))
}

/// A value in the unit of its metric.
pub(crate) fn value(number: f64, contains: Contains) -> String {
    match contains {
        Contains::Time => milliseconds(number),
        Contains::Data => bytes(number),
        Contains::Default => trim(number, 4),
    }
}

/// A run's id for people: first and last letters.
pub(crate) fn short_id(id: &RunId) -> String {
    match (id.as_str().get(..6), id.as_str().get(24..)) {
        (Some(head), Some(tail)) => format!("{head}…{tail}"),
        _ => id.to_string(),
    }
}

fn three_digits(number: f64) -> String {
    match number.abs() {
        size if size < 9.995 => trim(number, 2),
        size if size < 99.95 => trim(number, 1),
        _ => trim(number, 0),
    }
}

/// At most so many decimals, without zeros at the end.
fn trim(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!([0, 999, 1_000, 5_437_740].map(count), ["0", "999", "1,000", "5,437,740"]);
        assert_eq!([0.0, -0.0, 0.05, 398.24, 2_390.7].map(rate), ["0", "0", "0.05", "398.2", "2,391"]);
        assert_eq!(
            [0.0, 0.0312, 0.812, 9.4, 84.0, 412.3, 1_214.0, 125_000.0].map(milliseconds),
            ["0 s", "31.2 µs", "812 µs", "9.4 ms", "84 ms", "412 ms", "1.21 s", "2m5s"]
        );
        assert_eq!([999.7, 59_999.0].map(milliseconds), ["1 s", "59s"]);
        assert_eq!([512.0, 41_200.0, 1_500_000.0].map(bytes), ["512 B", "41.2 kB", "1.5 MB"]);
    }

    #[test]
    fn a_percentage_never_claims_all_or_none() {
        assert_eq!(
            [0.0, 0.0031, 0.000_001, 0.5, 0.997, 0.999_57, 0.999_96, 1.0].map(percent),
            ["0 %", "0.31 %", "<0.01 %", "50 %", "99.7 %", "99.95 %", ">99.99 %", "100 %"]
        );
    }

    #[test]
    fn ids_keep_their_ends() {
        assert_eq!(short_id(&RunId::parse("01JD8QZV3M4T5W6X7Y8Z9A0B4K").expect("an id")), "01JD8Q…4K");
    }
}

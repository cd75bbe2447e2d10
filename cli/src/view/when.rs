//! How long ago something was, as people say it.

use jiff::{Timestamp, Zoned, civil::Date, tz::TimeZone};

/// `just now`, `42s ago`, `2m ago`, `3h ago`, `yesterday 14:05`, `Fri 02:00`, `3 Nov`, `3 Nov 2025`, in a time zone.
pub(crate) fn when(
    at: lambdaload_core::ports::Timestamp,
    now: lambdaload_core::ports::Timestamp,
    zone: &TimeZone,
) -> String {
    let (Some(at_zoned), Some(now_zoned)) = (zoned(at, zone), zoned(now, zone)) else { return "–".to_owned() };
    let seconds = now.since(at).as_secs();
    let days = days_between(at_zoned.date(), now_zoned.date());
    match (days, seconds) {
        // Clocks differ, so what was just made may lie ahead.
        (_, 0) => "just now".to_owned(),
        (_, 1..60) => format!("{seconds}s ago"),
        (_, 60..3_600) => format!("{}m ago", seconds / 60),
        (0, _) => format!("{}h ago", seconds / 3_600),
        (1, _) => at_zoned.strftime("yesterday %H:%M").to_string(),
        (2..=6, _) => at_zoned.strftime("%a %H:%M").to_string(),
        _ if at_zoned.year() == now_zoned.year() => at_zoned.strftime("%-d %b").to_string(),
        _ => at_zoned.strftime("%-d %b %Y").to_string(),
    }
}

fn zoned(at: lambdaload_core::ports::Timestamp, zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_microsecond(at.0).ok()?.to_zoned(zone.clone()))
}

fn days_between(earlier: Date, later: Date) -> i64 {
    earlier.duration_until(later).as_hours() / 24
}

#[cfg(test)]
mod tests {
    use jiff::{
        civil::DateTime,
        tz::{Offset, offset},
    };

    use super::*;

    /// A zone that needs no data of the system's.
    const ZONE: Offset = offset(2);

    fn told(at: &str, now: &str) -> String {
        let time = |text: &str| {
            let local: DateTime = text.parse().expect("a time");
            let zoned = local.to_zoned(ZONE.to_time_zone()).expect("a time");
            lambdaload_core::ports::Timestamp(zoned.timestamp().as_microsecond())
        };
        when(time(at), time(now), &ZONE.to_time_zone())
    }

    #[test]
    fn the_nearer_the_finer() {
        let now = "2026-06-10T15:00:00";
        for (at, words) in [
            ("2026-06-10T15:00:00", "just now"),
            ("2026-06-10T15:00:05", "just now"),
            ("2026-06-10T14:59:18", "42s ago"),
            ("2026-06-10T14:58:00", "2m ago"),
            ("2026-06-10T00:01:00", "14h ago"),
            ("2026-06-09T23:59:00", "yesterday 23:59"),
            ("2026-06-05T02:00:00", "Fri 02:00"),
            ("2026-06-03T02:00:00", "3 Jun"),
            ("2025-07-03T02:00:00", "3 Jul 2025"),
        ] {
            assert_eq!(told(at, now), words, "{at}");
        }
    }

    #[test]
    fn minutes_do_not_care_for_midnight() {
        assert_eq!(told("2026-06-09T23:50:00", "2026-06-10T00:05:00"), "15m ago");
    }
}

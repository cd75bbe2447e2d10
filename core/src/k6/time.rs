//! The times in k6's output: RFC 3339 with up to nine decimals, in the zone of the machine.

/// Reads times; fast when they share the minute with the one before, as nearly all do, and faster when they are the same:
/// k6 gives all that it has measured of a request one time.
#[derive(Debug, Default)]
pub struct TimeReader {
    /// The last time that was read, and what it is.
    last: Vec<u8>,
    last_ns: i64,
    /// `2026-11-22T12:29:` of the last minute that was worked out.
    minute: [u8; 17],
    /// `Z` or `+02:00` of that time.
    zone: Vec<u8>,
    /// The start of that minute in nanoseconds since the Unix epoch.
    minute_ns: i64,
}

impl TimeReader {
    /// Nanoseconds since the Unix epoch; `None` for what is no such time or lies beyond the years 1678 to 2262.
    #[inline]
    pub fn read(&mut self, text: &[u8]) -> Option<i64> {
        if text != self.last.as_slice() || text.is_empty() {
            self.last_ns = self.work_out(text)?;
            self.last.clear();
            self.last.extend_from_slice(text);
        }
        Some(self.last_ns)
    }

    fn work_out(&mut self, text: &[u8]) -> Option<i64> {
        let zone_at = if text.last() == Some(&b'Z') { text.len() - 1 } else { text.len().checked_sub(6)? };
        let (minute, rest) = text.get(..zone_at)?.split_first_chunk::<17>()?;
        let zone = &text[zone_at..];
        if *minute != self.minute || zone != self.zone.as_slice() {
            self.minute_ns = minute_start(minute, zone)?;
            self.minute = *minute;
            self.zone.clear();
            self.zone.extend_from_slice(zone);
        }
        let (seconds, fraction) = rest.split_first_chunk::<2>()?;
        let seconds = i64::from(number(seconds)?);
        if seconds > 60 {
            return None;
        }
        Some(self.minute_ns + seconds * 1_000_000_000 + nanoseconds(fraction)?)
    }
}

/// `.123` and so on, up to nine digits; nothing is zero.
fn nanoseconds(fraction: &[u8]) -> Option<i64> {
    let Some((point, digits)) = fraction.split_first() else { return Some(0) };
    if *point != b'.' || digits.is_empty() || digits.len() > 9 {
        return None;
    }
    let mut value = i64::from(number(digits)?);
    for _ in digits.len()..9 {
        value *= 10;
    }
    Some(value)
}

/// Of nine digits at most, which fit.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit <= 9).then(|| value * 10 + u32::from(digit))
    })
}

fn minute_start(minute: &[u8; 17], zone: &[u8]) -> Option<i64> {
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':'] = *minute else { return None };
    let year = i64::from(number(&[y1, y2, y3, y4])?);
    let (month, day) = (i64::from(number(&[m1, m2])?), i64::from(number(&[d1, d2])?));
    let (hour, minute) = (i64::from(number(&[h1, h2])?), i64::from(number(&[n1, n2])?));
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 {
        return None;
    }
    let offset = match zone {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let minutes = i64::from(number(&[*h1, *h2])?) * 60 + i64::from(number(&[*m1, *m2])?);
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let minutes = (days_since_epoch(year, month, day) * 24 + hour) * 60 + minute - offset;
    minutes.checked_mul(60_000_000_000)
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, by counting years from March so that leap days come last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_any_zone_and_precision() {
        let mut reader = TimeReader::default();
        let mut read = |text: &str| reader.read(text.as_bytes());
        assert_eq!(read("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(read("2026-11-22T12:19:21.51725612Z"), Some(1_795_349_961_517_256_120));
        assert_eq!(read("2026-11-22T12:19:59.5Z"), Some(1_795_349_999_500_000_000));
        assert_eq!(read("2026-11-22T14:19:21.51725612+02:00"), Some(1_795_349_961_517_256_120));
        assert_eq!(read("2026-11-22T06:49:21.51725612-05:30"), Some(1_795_349_961_517_256_120));
        assert_eq!(read("2024-02-29T00:00:00Z"), Some(1_709_164_800_000_000_000));
        assert_eq!(read("2000-03-01T00:00:00.000000001Z"), Some(951_868_800_000_000_001));
        assert_eq!(read("2000-03-01T00:00:00.00000000xZ"), None);
        assert_eq!(read("2000-03-01T00:00:00.000000001Z"), Some(951_868_800_000_000_001));
    }

    #[test]
    fn other_texts_are_not_times() {
        let mut reader = TimeReader::default();
        for bad in [
            "",
            "Z",
            "now",
            "2026-11-22",
            "2026-11-22T12:19:2xZ",
            "2026-13-22T12:19:21Z",
            "2026-11-22T12:19:21.Z",
            "2026-11-22T12:19:21.1234567890Z",
            "2026-11-22 12:19:21Z",
            "9999-11-22T12:19:21Z",
            "2026-11-22T12:19:21+0200",
        ] {
            assert_eq!(reader.read(bad.as_bytes()), None, "{bad}");
        }
    }
}

//! What all lines of one series have in common.
//!
//! But for time and value, k6 writes the same bytes for each sample of a series. Whoever guesses rightly of which series the
//! next line is needs to compare only: neither to look for where its parts end, nor for the series.

use memchr::memchr;

use crate::k6::line::{AFTER_METRIC, AFTER_TIME, AFTER_VALUE, BEFORE_METRIC, END, number};

/// Longer than any time or number that k6 writes.
const LONG: usize = 48;

/// The bytes of a series' lines before the time and after the value, line break included.
#[derive(Debug)]
pub struct Frame {
    head: Box<[u8]>,
    tail: Box<[u8]>,
}

impl Frame {
    /// Of the series with this metric and these tags, as they are in a line.
    pub fn new(metric: &[u8], tags: &[u8]) -> Self {
        Self {
            head: [BEFORE_METRIC, metric, AFTER_METRIC].concat().into(),
            tail: [AFTER_VALUE, tags, END, b"\n"].concat().into(),
        }
    }

    /// The metric's name.
    #[inline]
    pub fn metric(&self) -> &[u8] {
        &self.head[BEFORE_METRIC.len()..self.head.len() - AFTER_METRIC.len()]
    }

    /// The tags as in a line.
    #[inline]
    pub fn tags(&self) -> &[u8] {
        &self.tail[AFTER_VALUE.len()..self.tail.len() - END.len() - 1]
    }

    /// Time and value of the line at the beginning of `text`, and what follows it; `None` if that is no whole line of this
    /// series. What it takes, [`super::line::read`] would take for the same.
    #[inline]
    pub fn cut<'a>(&self, text: &'a [u8]) -> Option<(&'a [u8], f64, &'a [u8])> {
        let rest = text.strip_prefix(&*self.head)?;
        let (time, rest) = split_at(b'"', rest)?;
        let (value, rest) = split_at(b',', rest.strip_prefix(AFTER_TIME)?)?;
        Some((time, number(value)?, rest.strip_prefix(&*self.tail)?))
    }
}

#[inline]
fn split_at(byte: u8, text: &[u8]) -> Option<(&[u8], &[u8])> {
    memchr(byte, text.get(..LONG).unwrap_or(text)).map(|end| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::k6::line::{Line, read};

    const TAGS: &[u8] = br#"{"group":"","name":"a, b"}"#;

    fn line(metric: &str, time: &str, value: &str) -> String {
        let tags = String::from_utf8_lossy(TAGS);
        format!(r#"{{"metric":"{metric}","type":"Point","data":{{"time":"{time}","value":{value},"tags":{tags}}}}}"#)
    }

    #[test]
    fn a_frame_knows_its_series() {
        let frame = Frame::new(b"http_reqs", TAGS);
        assert_eq!((frame.metric(), frame.tags()), (&b"http_reqs"[..], TAGS));
        assert_eq!((Frame::new(b"", b"").metric(), Frame::new(b"", b"").tags()), (&b""[..], &b""[..]));
    }

    #[test]
    fn what_is_not_of_the_series_or_not_whole_is_left_alone() {
        let frame = Frame::new(b"http_reqs", TAGS);
        let whole = format!("{}\nand", line("http_reqs", "2026-11-22T12:19:21.5Z", "4.5"));
        assert_eq!(frame.cut(whole.as_bytes()), Some((&b"2026-11-22T12:19:21.5Z"[..], 4.5, &b"and"[..])));
        for end in 0..whole.len() - 3 {
            assert_eq!(frame.cut(&whole.as_bytes()[..end]), None, "{end}");
        }
        let metadata = whole.replace("}}\n", "},\"metadata\":{\"vu\":\"1\"}}\n");
        let others = [line("http_req", "t", "1"), line("http_reqs", "t", "x"), line("http_reqs", "t", ""), metadata];
        for other in others {
            assert_eq!(frame.cut(format!("{other}\n").as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn it_takes_a_line_for_what_reading_takes_it_for(
            metric in "[a-z_]{1,12}|\"|,", time in "[0-9TZ:.\"\\\\-]{0,60}", value in "[0-9.e+-]{1,60}|\\+Inf|,|\"",
        ) {
            let frame = Frame::new(b"m", TAGS);
            let text = line(if metric.len() > 6 { "m" } else { &metric }, &time, &value);
            if let Some((time, value, rest)) = frame.cut(format!("{text}\n").as_bytes()) {
                let Ok(Line::Point(point)) = read(text.as_bytes()) else { panic!("{text}") };
                prop_assert_eq!((point.metric, point.time, point.value.to_bits()), (&b"m"[..], time, value.to_bits()));
                prop_assert_eq!((point.tags_json(), rest), (TAGS, &b""[..]));
            }
        }
    }
}

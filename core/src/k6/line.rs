//! One line of k6's `--out json`: a sample, or the declaration of a metric.
//!
//! Every supported k6 writes a sample's keys in one order, so a line is cut where they must be, without reading it as
//! JSON; a line that differs is read as JSON all the same. Tags stay unread: their bytes are the key of a series.

use std::{borrow::Cow, collections::BTreeMap};

use memchr::{memchr, memmem};
use serde::Deserialize;

use crate::series::{Contains, Metric, MetricKind, Tags};

/// A sample's line, around its metric, time, value and tags.
pub(super) const BEFORE_METRIC: &[u8] = b"{\"metric\":\"";
pub(super) const AFTER_METRIC: &[u8] = b"\",\"type\":\"Point\",\"data\":{\"time\":\"";
pub(super) const AFTER_TIME: &[u8] = b"\",\"value\":";
pub(super) const AFTER_VALUE: &[u8] = b",\"tags\":";
pub(super) const END: &[u8] = b"}}";

/// What one line says.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    /// A sample.
    Point(Point<'a>),
    /// A metric, declared before its first sample.
    Metric(Metric),
}

/// One sample.
#[derive(Debug, PartialEq)]
pub struct Point<'a> {
    /// The metric's name.
    pub metric: &'a [u8],
    /// When it was taken, for [`super::time::TimeReader`].
    pub time: &'a [u8],
    /// Its value; infinite where the script gave infinity.
    pub value: f64,
    /// The tags as JSON, followed by `,"metadata":{…}` where the sample has some.
    tags: Cow<'a, [u8]>,
}

/// A line that is neither.
#[derive(Debug, thiserror::Error)]
#[error("neither a sample nor a metric")]
pub struct Unreadable;

impl<'a> Point<'a> {
    /// The bytes that tell series apart. Those of samples with metadata hold it too, so that it can be told from tags
    /// without looking for it in every line; see [`Point::tags_json`].
    #[inline]
    pub fn tags_and_metadata(&self) -> &[u8] {
        &self.tags
    }

    /// The tags alone. (Within a JSON string the quotes would be escaped, so the pattern cannot be part of a tag.)
    pub fn tags_json(&self) -> &[u8] {
        match memmem::find(&self.tags, b"},\"metadata\":{") {
            Some(end) => &self.tags[..=end],
            None => &self.tags,
        }
    }

    #[inline]
    fn cut(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(BEFORE_METRIC)?;
        let (metric, rest) = rest.split_at(memchr(b'"', rest)?);
        let rest = rest.strip_prefix(AFTER_METRIC)?;
        let (time, rest) = rest.split_at(memchr(b'"', rest)?);
        let rest = rest.strip_prefix(AFTER_TIME)?;
        let (value, rest) = rest.split_at(memchr(b',', rest)?);
        let tags = rest.strip_prefix(AFTER_VALUE)?.strip_suffix(END)?;
        Some(Self { metric, time, value: number(value)?, tags: Cow::Borrowed(tags) })
    }
}

/// Reads the JSON of a tag set; `null` is none.
pub fn read_tags(json: &[u8]) -> Result<Tags, Unreadable> {
    let tags: Option<BTreeMap<String, String>> = serde_json::from_slice(json).map_err(|_| Unreadable)?;
    Ok(tags.unwrap_or_default().into_iter().collect())
}

/// Reads one line, without its line break.
#[inline]
pub fn read(line: &[u8]) -> Result<Line<'_>, Unreadable> {
    match Point::cut(line) {
        Some(point) => Ok(Line::Point(point)),
        None => read_json(line),
    }
}

/// A JSON number, or the `+Inf` that k6 1.x writes though JSON has no such thing.
#[inline]
pub(super) fn number(text: &[u8]) -> Option<f64> {
    match text {
        b"0" => Some(0.0),
        b"1" => Some(1.0),
        b"+Inf" => Some(f64::INFINITY),
        b"-Inf" => Some(f64::NEG_INFINITY),
        _ if text.first().is_some_and(|b| b.is_ascii_digit() || *b == b'-') => fast_float2::parse(text).ok(),
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum JsonLine<'a> {
    Metric {
        data: JsonMetric,
    },
    Point {
        #[serde(borrow)]
        metric: &'a str,
        #[serde(borrow)]
        data: JsonPoint<'a>,
    },
}

#[derive(Deserialize)]
struct JsonMetric {
    name: String,
    r#type: MetricKind,
    contains: Contains,
}

#[derive(Deserialize)]
struct JsonPoint<'a> {
    time: &'a str,
    value: f64,
    #[serde(default)]
    tags: Option<BTreeMap<String, String>>,
}

#[cold]
fn read_json(line: &[u8]) -> Result<Line<'_>, Unreadable> {
    match serde_json::from_slice(line).map_err(|_| Unreadable)? {
        JsonLine::Metric { data } => {
            Ok(Line::Metric(Metric { name: data.name, kind: data.r#type, contains: data.contains }))
        }
        JsonLine::Point { metric, data } => {
            let tags = serde_json::to_vec(&data.tags.unwrap_or_default()).map_err(|_| Unreadable)?;
            Ok(Line::Point(Point {
                metric: metric.as_bytes(),
                time: data.time.as_bytes(),
                value: data.value,
                tags: Cow::Owned(tags),
            }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn point(line: &str) -> (String, String, f64, Tags) {
        match read(line.as_bytes()) {
            Ok(Line::Point(point)) => (
                String::from_utf8_lossy(point.metric).into_owned(),
                String::from_utf8_lossy(point.time).into_owned(),
                point.value,
                read_tags(point.tags_json()).expect("tags"),
            ),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_sample_as_k6_writes_it() {
        let line = r#"{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-22T12:19:21.523666156Z","value":1,"tags":{"emoji":"é😀,{}","group":"","name":"a\"b\u003c\\"}}}"#;
        let tags = Tags::from_iter([("emoji", "é😀,{}"), ("group", ""), ("name", "a\"b<\\")]);
        assert_eq!(point(line), ("http_reqs".into(), "2026-11-22T12:19:21.523666156Z".into(), 1.0, tags));
    }

    #[test]
    fn metadata_is_no_tag() {
        let line = r#"{"metric":"tt","type":"Point","data":{"time":"t","value":-0.5,"tags":{"s":"},\"metadata\":{"},"metadata":{"iter":"0"}}}"#;
        assert_eq!(point(line).3, Tags::from_iter([("s", "},\"metadata\":{")]));
    }

    #[test]
    fn values_as_k6_writes_them() {
        for (text, value) in [
            ("+Inf", f64::INFINITY),
            ("-Inf", f64::NEG_INFINITY),
            ("1e+21", 1e21),
            ("1e-07", 1e-7),
            ("-3", -3.0),
            ("4.674794", 4.674_794),
        ] {
            let line = format!(r#"{{"metric":"tt","type":"Point","data":{{"time":"t","value":{text},"tags":{{}}}}}}"#);
            assert_eq!(point(&line).2.to_bits(), value.to_bits(), "{text}");
        }
    }

    #[test]
    fn another_order_of_keys_and_null_tags_are_read_too() {
        let line = r#"{"type":"Point","metric":"m1","data":{"value":2.5,"tags":null,"time":"t"}}"#;
        assert_eq!(point(line), ("m1".into(), "t".into(), 2.5, Tags::default()));
    }

    #[test]
    fn a_declaration() {
        let line = br#"{"type":"Metric","data":{"name":"my_trend","type":"trend","contains":"time","thresholds":["p(95)<1"],"submetrics":null},"metric":"my_trend"}"#;
        let metric = Metric { name: "my_trend".into(), kind: MetricKind::Trend, contains: Contains::Time };
        assert_eq!(read(line).expect("reads"), Line::Metric(metric));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_cut_line_makes_it_panic(end in 0usize..200, junk in any::<u8>()) {
            let line = br#"{"metric":"http_reqs","type":"Point","data":{"time":"2026-11-22T12:19:21.5Z","value":1,"tags":{"a":"b"},"metadata":{"vu":"1"}}}"#;
            let mut cut = line[..end.min(line.len())].to_vec();
            let _ = read(&cut);
            cut.push(junk);
            let _ = read(&cut);
        }
    }
}

//! What k6 says on standard error: one JSON object a line.

use std::{
    borrow::Cow,
    collections::VecDeque,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use lambdaload_core::{ports::Unwritten, secrets::Secrets};
use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

/// Of so many different messages the last are kept. A script may fail in another way in each iteration.
const KEPT: usize = 50;

/// Longer lines are cut, so that a script that logs a response body cannot fill the memory.
const LONGEST_LINE: u64 = 256 * 1024;

/// What k6 says from 2.0 on of samples that it leaves out because JSON has no infinity, with their number as `failed`.
const UNWRITTEN: &str = "Sample(s) couldn't be marshalled to JSON";

/// What k6 calls its output of aggregated samples in its messages. All errors of it are about a batch that it has given up,
/// after three tries or at once: `Failed to push metrics to the cloud`.
const AGGREGATED: &str = "cloudv2";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How bad it is.
    pub level: Level,
    /// Whether the script wrote it, with `console.log` and the like.
    pub from_script: bool,
    /// What it says; may have several lines.
    pub text: String,
}

/// How bad a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For those who look into something.
    Debug,
    /// For information.
    Info,
    /// Something that may be wrong.
    Warning,
    /// Something that is wrong.
    Error,
}

/// Who is told all messages of all k6 processes, one by one, as they come.
pub type Listener = Arc<dyn Fn(&Message) + Send + Sync>;

impl fmt::Display for Message {
    /// The script's own words as they are; k6's with what they are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match (self.from_script, self.level) {
            (true, _) => "",
            (false, Level::Debug) => "k6 debug: ",
            (false, Level::Info) => "k6: ",
            (false, Level::Warning) => "k6 warning: ",
            (false, Level::Error) => "k6 error: ",
        };
        write!(f, "{prefix}{}", self.text)
    }
}

#[derive(Default, Deserialize)]
struct Line {
    level: String,
    msg: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    failed: serde_json::Value,
    #[serde(default)]
    output: serde_json::Value,
}

impl Message {
    /// What a line says, and of what that it could not be written. `None` if k6 wrote it otherwise than as a log message, as
    /// the Go runtime does when it panics.
    fn read(line: &[u8]) -> Option<(Self, Unwritten)> {
        let line: Line = match serde_json::from_slice(line) {
            Ok(line) => line,
            Err(_) => read_text(line)?,
        };
        let from_script = line.source == "console";
        let is_unwritten = !from_script && line.msg == UNWRITTEN;
        let level = match line.level.as_str() {
            "panic" | "fatal" | "error" => Level::Error,
            "warning" => Level::Warning,
            "info" => Level::Info,
            _ => Level::Debug,
        };
        let is_given_up = !from_script && level == Level::Error && line.output == AGGREGATED;
        let unwritten = Unwritten {
            samples: if is_unwritten { line.failed.as_u64().unwrap_or(1) } else { 0 },
            batches: u64::from(is_given_up),
        };
        let mut text = line.msg.trim_end().to_owned();
        if !line.error.is_empty() {
            text = format!("{text}: {}", line.error.trim_end());
        }
        Some((Self { level, from_script, text }, unwritten))
    }
}

/// What k6 logs before it has read in which form it is to log: `time="…" level=error msg="…"`.
fn read_text(line: &[u8]) -> Option<Line> {
    let (_, rest) = std::str::from_utf8(line).ok()?.strip_prefix("time=")?.split_once(" level=")?;
    let (level, msg) = rest.trim_end().split_once(" msg=")?;
    // Go's quotes are JSON's, but for rare control characters.
    let msg = if msg.starts_with('"') { serde_json::from_str(msg).ok()? } else { msg.to_owned() };
    Some(Line { level: level.to_owned(), msg, ..Line::default() })
}

/// The errors and warnings of one k6 process: k6's own and exceptions of the script, without what the script logs.
#[derive(Debug, Default)]
pub(super) struct Log {
    unwritten: AtomicU64,
    given_up: AtomicU64,
    kept: Mutex<VecDeque<Kept>>,
}

#[derive(Debug)]
struct Kept {
    level: Level,
    text: String,
    times: u64,
}

impl Log {
    /// Reads all that k6 says until it ends, and passes on none of the secrets.
    pub(super) async fn follow(
        &self,
        stderr: impl AsyncRead + Unpin,
        listener: Option<Listener>,
        secrets: &Secrets,
    ) -> io::Result<()> {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        let mut before_was_read = true;
        while next_line(&mut reader, &mut line).await? {
            if line.len() as u64 == LONGEST_LINE {
                // It is cut, perhaps within a secret.
                line.truncate(line.len() - secrets.longest().min(line.len()));
            }
            let read = Message::read(&line);
            let is_read = read.is_some();
            let text = || String::from_utf8_lossy(&line).trim_end().to_owned();
            let otherwise =
                || (Message { level: Level::Error, from_script: false, text: text() }, Unwritten::default());
            let (mut message, unwritten) = read.unwrap_or_else(otherwise);
            self.unwritten.fetch_add(unwritten.samples, Ordering::Relaxed);
            self.given_up.fetch_add(unwritten.batches, Ordering::Relaxed);
            if let Cow::Owned(masked) = secrets.redact(&message.text) {
                message.text = masked;
            }
            // A panic writes pages; its first line says what happened, and the listener gets the rest.
            if is_read || before_was_read {
                self.keep(&message);
            }
            before_was_read = is_read;
            if let Some(listener) = &listener {
                listener(&message);
            }
        }
        Ok(())
    }

    fn keep(&self, message: &Message) {
        if message.from_script || message.level < Level::Warning {
            return;
        }
        let mut kept = self.lock();
        let before = kept.iter().position(|k| k.text == message.text).and_then(|i| kept.remove(i));
        let times = before.map_or(0, |k| k.times) + 1;
        kept.push_back(Kept { level: message.level, text: message.text.clone(), times });
        if kept.len() > KEPT {
            kept.pop_front();
        }
    }

    /// What k6 says it could not write.
    pub(super) fn unwritten(&self) -> Unwritten {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Unwritten { samples: of(&self.unwritten), batches: of(&self.given_up) }
    }

    /// Messages at least as bad as `level`, each once, the one that came last at the end.
    pub(super) fn messages(&self, level: Level) -> Vec<String> {
        let words = |k: &Kept| match k.times {
            1 => k.text.clone(),
            times => format!("{} ({times} times)", k.text),
        };
        self.lock().iter().filter(|k| k.level >= level).map(words).collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the next line into `line`; false at the end.
async fn next_line(reader: &mut (impl AsyncBufRead + Unpin), line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut rest = Vec::new();
    let mut part = &mut *line;
    while (&mut *reader).take(LONGEST_LINE).read_until(b'\n', part).await? as u64 == LONGEST_LINE
        && !part.ends_with(b"\n")
    {
        // Read on to the end of the line, and forget it.
        rest.clear();
        part = &mut rest;
    }
    Ok(!line.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn follow(text: &[u8]) -> (Log, Vec<String>) {
        follow_with(text, &Secrets::default()).await
    }

    async fn follow_with(text: &[u8], secrets: &Secrets) -> (Log, Vec<String>) {
        let log = Log::default();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = {
            let heard = Arc::clone(&heard);
            Arc::new(move |message: &Message| heard.lock().unwrap().push(message.to_string()))
        };
        log.follow(text, Some(listener), secrets).await.unwrap();
        let heard = heard.lock().unwrap().clone();
        (log, heard)
    }

    #[tokio::test]
    async fn messages_lose_their_wrapping_and_keep_their_lines() {
        let (log, heard) = follow(
            br#"{"level":"error","msg":"Error: broken\nsecond line\n\tat file:///a.js:3:5(14)\n","source":"stacktrace","time":"2026"}
{"error":"dial tcp: refused","level":"warning","msg":"Request Failed","time":"2026"}
{"level":"info","msg":"hello\nworld","source":"console","time":"2026"}
{"level":"error","msg":"console.error is the script's","source":"console","time":"2026"}
"#,
        )
        .await;
        let exception = "Error: broken\nsecond line\n\tat file:///a.js:3:5(14)";
        assert_eq!(log.messages(Level::Warning), [exception, "Request Failed: dial tcp: refused"]);
        assert_eq!(log.messages(Level::Error), [exception]);
        let k6_error = format!("k6 error: {exception}");
        let k6_warning = "k6 warning: Request Failed: dial tcp: refused";
        assert_eq!(heard, [&k6_error, k6_warning, "hello\nworld", "console.error is the script's"]);
    }

    #[tokio::test]
    async fn samples_that_k6_could_not_write_are_counted() {
        let (log, _) = follow(
            br#"{"error":"json: unsupported value: +Inf","failed":5,"filename":"s","level":"error","msg":"Sample(s) couldn't be marshalled to JSON","output":"json"}
{"level":"error","msg":"Sample(s) couldn't be marshalled to JSON","failed":7,"source":"console"}
{"error":"json: unsupported value: -Inf","failed":2,"level":"error","msg":"Sample(s) couldn't be marshalled to JSON"}
"#,
        )
        .await;
        assert_eq!(log.unwritten(), Unwritten { samples: 7, batches: 0 }, "what the script says is no word of k6's");
    }

    #[tokio::test]
    async fn batches_that_k6_gave_up_are_counted() {
        let (log, _) = follow(
            br#"{"error":"unexpected HTTP error: 500","level":"error","msg":"Failed to push metrics to the cloud","output":"cloudv2"}
{"level":"error","msg":"Failed to push metrics to the cloud","output":"cloudv2","source":"console"}
{"level":"warning","msg":"Tag __x has been discarded since it is reserved for Cloud operations.","output":"cloudv2"}
{"error":"context deadline exceeded","level":"error","msg":"Failed to push metrics to the cloud","output":"cloudv2"}
"#,
        )
        .await;
        assert_eq!(log.unwritten(), Unwritten { samples: 0, batches: 2 }, "what the script says is no word of k6's");
    }

    #[tokio::test]
    async fn what_k6_says_of_its_flags_is_read_too() {
        let (log, _) = follow(
            b"time=\"2026-11-22T15:24:30Z\" level=error msg=\"invalid argument \\\"x\\\" for \\\"-d\\\" flag\"\n\
              time=\"2026\" level=warning msg=short\n",
        )
        .await;
        assert_eq!(log.messages(Level::Warning), [r#"invalid argument "x" for "-d" flag"#, "short"]);
        assert_eq!(log.messages(Level::Error).len(), 1);
    }

    #[tokio::test]
    async fn secrets_are_passed_on_to_nobody() {
        let secrets: Secrets = std::iter::once(("TOKEN".to_owned(), "hun\"ter2".to_owned())).collect();
        let mut text = br#"{"level":"error","msg":"Error: hun\"ter2\n\tat a","source":"stacktrace"}
{"level":"warning","msg":"Request Failed","error":"Get \"http://h/?t=hun%22ter2\": refused"}
{"level":"info","msg":"hun\"ter2","source":"console"}
panic: hun"ter2
"#
        .to_vec();
        // Cut after two letters of it.
        text.extend(std::iter::repeat_n(b'x', usize::try_from(LONGEST_LINE).unwrap() - 2));
        text.extend(b"hun\"ter2\n");
        let (log, heard) = follow_with(&text, &secrets).await;
        let masked = ["Error: ***\n\tat a", "Request Failed: Get \"http://h/?t=***\": refused", "panic: ***"];
        assert_eq!(log.messages(Level::Warning)[..3], masked);
        assert_eq!((heard.len(), &*heard[2]), (5, "***"));
        assert!(heard[4].ends_with("xx"), "not hu");
    }

    #[tokio::test]
    async fn repetitions_are_counted_and_the_number_of_messages_is_bounded() {
        let mut text = String::new();
        for i in 0..200 {
            text +=
                &format!("{{\"level\":\"error\",\"msg\":\"number {i}\"}}\n{{\"level\":\"error\",\"msg\":\"again\"}}\n");
        }
        let messages = follow(text.as_bytes()).await.0.messages(Level::Error);
        assert_eq!(messages.len(), KEPT);
        assert_eq!(messages[KEPT - 2..], ["number 199", "again (200 times)"]);
    }

    #[tokio::test]
    async fn of_what_is_no_json_the_first_line_is_kept() {
        let (log, heard) = follow(b"panic: oh\n\ngoroutine 1 [running]:\n{\"level\":\"error\",\"msg\":\"x\"}").await;
        assert_eq!(log.messages(Level::Error), ["panic: oh", "x"]);
        assert_eq!(heard.len(), 4);
    }

    #[tokio::test]
    async fn a_line_without_end_does_not_fill_the_memory() {
        let mut text = vec![b'x'; 5 * usize::try_from(LONGEST_LINE).unwrap()];
        text.extend_from_slice(b"\n{\"level\":\"error\",\"msg\":\"next\"}\n");
        let (log, heard) = follow(&text).await;
        assert_eq!(heard[0].len() as u64, LONGEST_LINE + "k6 error: ".len() as u64);
        assert_eq!(log.messages(Level::Error).last().map(String::as_str), Some("next"));
    }
}

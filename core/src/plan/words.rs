//! Numbers and durations in the words of a plan.

use std::time::Duration;

/// `1 VU`, `2 VUs`.
pub fn plural(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// A duration in words a k6 user knows: `1h30m`, `2m`, `7m30s`, `500ms`.
pub fn words(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = String::new();
    if hours > 0 {
        text += &format!("{hours}h");
    }
    if minutes > 0 {
        text += &format!("{minutes}m");
    }
    if rest > 0 && seconds < 3600 * 10 {
        text += &format!("{rest}s");
    }
    if seconds < 1 && millis > 0 {
        text += &format!("{millis}ms");
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

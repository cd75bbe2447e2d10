//! The clocks of this machine.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use lambdaload_core::ports::{Clock, Timestamp};
use tokio::time::Instant;

/// The machine's own clocks, and Tokio's timers, which wake at most a millisecond or two late.
#[derive(Debug)]
pub struct TokioClock {
    started: Instant,
}

impl TokioClock {
    /// A clock whose monotonic time starts at zero now.
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        // A machine that thinks it is before 1970 is at 1970: the time is shown, it orders nothing.
        Timestamp(0).plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_clocks_go_on_while_it_sleeps() {
        let clock = TokioClock::new();
        let (wall, monotonic) = (clock.now(), clock.monotonic());
        clock.sleep(Duration::from_millis(20)).await;
        assert!(clock.monotonic() >= monotonic + Duration::from_millis(20));
        assert!(clock.now().since(wall) >= Duration::from_millis(19));
        assert!(wall > Timestamp(1_700_000_000_000_000), "microseconds since 1970");
    }
}

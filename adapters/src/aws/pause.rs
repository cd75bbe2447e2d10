//! Waiting before trying again.

use std::time::Duration;

/// The pause before the second try is a random part of this, that before the third of twice as much, and so on: many that
/// were refused at one moment do not come back at one moment.
const FIRST: Duration = Duration::from_millis(100);

/// No pause is longer.
const LONGEST: Duration = Duration::from_secs(2);

/// Waits after so many tries, at least one.
pub(super) async fn pause(tries: u32) {
    let most = FIRST.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(LONGEST);
    tokio::time::sleep(most.mul_f64(0.25 + 0.75 * fastrand::f64())).await;
}

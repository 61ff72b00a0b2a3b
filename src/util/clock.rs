//! The wall clock at the edge: the core takes the time as an argument, and this is where it comes from.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

thread_local! {
    /// The seam of a simulation, which runs a cluster on one thread and in its own time.
    static SIMULATED: Cell<Option<(Instant, i64)>> = const { Cell::new(None) };
}

/// Milliseconds since the epoch.
pub fn now_ms() -> i64 {
    if let Some((since, then_ms)) = SIMULATED.get() {
        return then_ms.saturating_add(i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// From now on this thread goes by the runtime's clock, which may be paused: it is `now_ms` now. `None` ends that.
pub fn simulate(now_ms: Option<i64>) {
    SIMULATED.set(now_ms.map(|now_ms| (Instant::now(), now_ms)));
}

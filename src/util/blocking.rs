//! Work that may block for long, off the threads that serve the network.
//!
//! On a runtime with one thread (a test's, the simulation's) there is no other thread to spare, and the work is done in
//! its turn by that one: so a run goes the same way every time. Owns no state.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinError;

/// Runs `work` to its end. Fails only when it panicked. Must be called inside a runtime.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    if is_alone(&Handle::current()) {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// Starts work that nobody waits for; may be called from any thread.
pub fn start(runtime: &Handle, work: impl FnOnce() + Send + 'static) {
    if is_alone(runtime) {
        drop(runtime.spawn(async move { work() }));
    } else {
        drop(runtime.spawn_blocking(work));
    }
}

fn is_alone(runtime: &Handle) -> bool {
    runtime.runtime_flavor() == RuntimeFlavor::CurrentThread
}

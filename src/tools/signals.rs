//! SIGINT and SIGTERM for tools that clean up when they are ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SigSet, Signal};

/// Holds the signal that came, if one did.
#[derive(Clone, Default)]
pub struct Signals {
    caught: Arc<AtomicI32>,
}

impl Signals {
    /// Catches both from now on; call it before other threads are started. A second signal ends the process at once.
    pub fn catch() -> Signals {
        let signals = Signals::default();
        let mut set = SigSet::empty();
        set.add(Signal::SIGINT);
        set.add(Signal::SIGTERM);
        if set.thread_block().is_err() {
            return signals;
        }
        let caught = Arc::clone(&signals.caught);
        std::thread::spawn(move || {
            while let Ok(signal) = set.wait() {
                let code = 128 + signal as i32;
                if caught.swap(code, Ordering::SeqCst) != 0 {
                    std::process::exit(code);
                }
            }
        });
        signals
    }

    /// The exit code of the signal that came: 128 and its number.
    pub fn exit_code(&self) -> Option<i32> {
        Some(self.caught.load(Ordering::SeqCst)).filter(|code| *code != 0)
    }
}

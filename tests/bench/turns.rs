//! Ours and Kafka's by turns: a machine that is slower for a while, since others use it too, must be so for both.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::broker::Kind;

/// Whose turn it is. Every side takes as many turns as the others.
pub struct Turns {
    sides: Vec<Kind>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// A side has panicked: its turn never comes again.
    broken: bool,
}

/// Ends the turn, however it ends.
struct End<'a>(&'a Turns);

impl Drop for End<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken += 1;
        state.broken |= std::thread::panicking();
        self.0.changed.notify_all();
    }
}

impl Turns {
    pub fn new(sides: Vec<Kind>) -> Turns {
        Turns { sides, state: Mutex::default(), changed: Condvar::new() }
    }

    pub fn has(&self, side: Kind) -> bool {
        self.sides.contains(&side)
    }

    /// Waits for the turn of `side`, and takes it.
    pub fn take<T>(&self, side: Kind, turn: impl FnOnce() -> T) -> T {
        let place = self.sides.iter().position(|s| *s == side).expect("one of the sides");
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let others = |state: &mut State| !state.broken && state.taken % self.sides.len() != place;
        let state = self.changed.wait_while(state, others).unwrap_or_else(PoisonError::into_inner);
        assert!(!state.broken, "the other side has failed");
        drop(state);
        let _end = End(self);
        turn()
    }
}

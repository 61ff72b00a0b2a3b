//! Random numbers that are the same on every machine and in every build: SplitMix64.

use std::time::Duration;

/// One stream of numbers. Streams with different labels do not disturb each other, so that what two tasks draw in the
/// same moment does not depend on which of them comes first.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64, label: &str) -> Random {
        let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
        for byte in label.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut random = Random(state);
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From `low` to `high`, both among them.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True so many times in a thousand.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        if items.is_empty() {
            return None;
        }
        let at = self.below(items.len() as u64);
        items.get(at as usize)
    }

    pub fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.within(low, high))
    }

    /// A delay on a wire: mostly short, sometimes not. `slow` is how often in a thousand.
    pub fn delay(&mut self, slow: u64) -> Duration {
        if !self.chance(slow) {
            return self.millis(0, 3);
        }
        match self.below(8) {
            0 => self.millis(200, 1500),
            1 | 2 => self.millis(50, 300),
            _ => self.millis(4, 40),
        }
    }
}

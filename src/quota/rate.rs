//! A rate as Kafka's `SimpleRate` measures it: a ring of samples, each of one window, over the time since the oldest of
//! them began. Owns nothing but the samples; the caller brings the time, in milliseconds since the epoch.

/// How a rate is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Samples kept, the present one included; at least 1.
    pub samples: usize,
    /// Milliseconds of each; at least 1.
    pub window_ms: i64,
}

impl Windows {
    /// From settings such as `replication.quota.window.num` and `replication.quota.window.size.seconds`.
    pub fn new(samples: i32, window_seconds: i32) -> Windows {
        Windows {
            samples: usize::try_from(samples).unwrap_or(1).max(1),
            window_ms: i64::from(window_seconds.max(1)) * 1_000,
        }
    }
}

impl Default for Windows {
    /// Kafka's: ten whole seconds and the present one.
    fn default() -> Windows {
        Windows::new(11, 1)
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    began_ms: i64,
    total: f64,
}

/// What was counted in the last windows.
#[derive(Clone, Debug)]
pub struct Rate {
    windows: Windows,
    samples: Vec<Sample>,
    current: usize,
}

impl Rate {
    pub fn new(windows: Windows) -> Rate {
        Rate { windows, samples: Vec::new(), current: 0 }
    }

    pub fn record(&mut self, amount: f64, now_ms: i64) {
        let fresh = Sample { began_ms: now_ms, total: 0.0 };
        if self.samples.is_empty() {
            self.samples.push(fresh);
        }
        let complete = |sample: &Sample| now_ms - sample.began_ms >= self.windows.window_ms;
        if self.samples.get(self.current).is_some_and(complete) {
            self.current = (self.current + 1) % self.windows.samples;
            match self.samples.get_mut(self.current) {
                Some(oldest) => *oldest = fresh,
                None => self.samples.push(fresh),
            }
        }
        if let Some(sample) = self.samples.get_mut(self.current) {
            sample.total += amount;
        }
    }

    /// Per second. A beginning counts as a whole window, so that the first record makes no peak.
    pub fn per_second(&mut self, now_ms: i64) -> f64 {
        let expires_ms = i64::try_from(self.windows.samples).unwrap_or(i64::MAX).saturating_mul(self.windows.window_ms);
        for sample in &mut self.samples {
            if now_ms - sample.began_ms >= expires_ms {
                *sample = Sample { began_ms: now_ms, total: 0.0 };
            }
        }
        let Some(oldest_ms) = self.samples.iter().map(|s| s.began_ms).min() else { return 0.0 };
        let elapsed_ms = (now_ms - oldest_ms).max(self.windows.window_ms);
        self.samples.iter().map(|s| s.total).sum::<f64>() / (elapsed_ms as f64 / 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_no_rate() {
        assert_eq!(Rate::new(Windows::default()).per_second(1_000), 0.0);
    }

    #[test]
    fn the_first_window_counts_whole() {
        let mut rate = Rate::new(Windows::default());
        rate.record(500.0, 10_000);
        assert_eq!(rate.per_second(10_001), 500.0);
        assert_eq!(rate.per_second(11_000), 500.0);
        assert_eq!(rate.per_second(12_000), 250.0);
    }

    #[test]
    fn a_steady_flow_has_its_rate_and_old_samples_go() {
        let mut rate = Rate::new(Windows::new(11, 1));
        for tenth in 0..400 {
            rate.record(10.0, tenth * 100);
        }
        // 40 s of 100 a second: what is kept began 10 s ago.
        let seen = rate.per_second(40_000);
        assert!((90.0..=110.0).contains(&seen), "{seen}");
        assert!(rate.per_second(45_000) < 70.0);
        assert_eq!(rate.per_second(60_000), 0.0);
    }

    #[test]
    fn one_sample_is_a_window_that_jumps() {
        let mut rate = Rate::new(Windows::new(1, 2));
        rate.record(100.0, 0);
        assert_eq!(rate.per_second(1_999), 50.0);
        assert_eq!(rate.per_second(2_000), 0.0);
        rate.record(10.0, 2_500);
        assert_eq!(rate.per_second(2_600), 5.0);
    }

    #[test]
    fn a_clock_that_goes_back_does_no_harm() {
        let mut rate = Rate::new(Windows::default());
        rate.record(100.0, 10_000);
        rate.record(100.0, 5_000);
        assert_eq!(rate.per_second(5_000), 200.0);
    }
}

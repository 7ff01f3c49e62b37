//! A token bucket: so much a minute, and no more than a second's worth at once.

use std::time::Duration;

use tokio::time::Instant;

/// What is left of a limit per minute.
///
/// Something larger than the bucket is let through when the bucket is full and paid off
/// afterwards, so no request is too large to be sent. A client that needs two buckets at once, and
/// learns what a request has used only when it is answered, is why this is no crate.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_sec: f64,
    capacity: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(per_minute: f64, now: Instant) -> Self {
        let per_sec = per_minute / 60.0;
        let capacity = per_sec.max(1.0);
        Self {
            per_sec,
            capacity,
            level: capacity,
            filled: now,
        }
    }

    /// When `amount` may be taken.
    pub(crate) fn ready(&mut self, amount: f64, now: Instant) -> Instant {
        self.refill(now);
        let missing = amount.min(self.capacity) - self.level;
        // Waiting to the microsecond would come back a little too early and wait again.
        let wait = Duration::try_from_secs_f64(missing.max(0.0) / self.per_sec);
        match wait {
            Ok(Duration::ZERO) => now,
            Ok(wait) => now + wait + Duration::from_millis(1),
            Err(_) => now + Duration::from_secs(3_600),
        }
    }

    pub(crate) fn take(&mut self, amount: f64, now: Instant) {
        self.refill(now);
        self.level -= amount;
    }

    /// Gives back what was taken too much, or takes what was taken too little.
    pub(crate) fn correct(&mut self, taken: f64, used: f64) {
        self.level = (self.level + taken - used).min(self.capacity);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = (self.level + passed * self.per_sec).min(self.capacity);
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 120 a minute are 2 a second, which is also what fits: two at once, the third half a second
    /// later.
    #[test]
    fn requests_are_spread_over_the_minute() {
        let start = Instant::now();
        let mut bucket = Bucket::new(120.0, start);
        for _ in 0..2 {
            assert_eq!(bucket.ready(1.0, start), start);
            bucket.take(1.0, start);
        }
        let third = bucket.ready(1.0, start) - start;
        assert!((third.as_secs_f64() - 0.501).abs() < 1e-6, "{third:?}");
    }

    /// 600 a minute are 10 a second. A request of 30 goes at once and leaves -20; when it turns out
    /// to have used 10, the bucket is empty, and 5 are there after half a second.
    #[test]
    fn large_requests_pass_and_estimates_are_corrected() {
        let start = Instant::now();
        let mut bucket = Bucket::new(600.0, start);
        assert_eq!(bucket.ready(30.0, start), start);
        bucket.take(30.0, start);
        let later = bucket.ready(5.0, start) - start;
        assert!((later.as_secs_f64() - 2.501).abs() < 1e-6, "{later:?}");
        bucket.correct(30.0, 10.0);
        let later = bucket.ready(5.0, start) - start;
        assert!((later.as_secs_f64() - 0.501).abs() < 1e-6, "{later:?}");
    }
}

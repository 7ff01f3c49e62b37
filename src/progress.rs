//! How far a stage is: a bar on a terminal, a log line now and then elsewhere.
//!
//! This is the one exception to "the library does not print": indicatif draws to standard error,
//! and only when that is a terminal. Otherwise progress goes through `tracing` like all else.

use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Log lines are at least this far apart: often enough to see life, seldom enough to read a log.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// What shows progress and metrics instead of bars and log lines.
pub trait Screen: fmt::Debug + Send + Sync {
    /// A piece of work begins, of which `done` of `total` is done already. The one before it is over.
    fn begin(&self, label: &str, done: u64, total: u64);

    /// So much of it is done.
    fn advance(&self, done: u64);

    /// It has logged these values.
    fn metrics(&self, values: &[(&str, f64)]);

    /// It is over.
    fn end(&self);
}

/// A process has one terminal, so there is one screen for all.
static SCREEN: RwLock<Option<Arc<dyn Screen>>> = RwLock::new(None);

/// Shows on `screen` what begins from now on; on bars and log lines again with `None`.
pub fn show_on(screen: Option<Arc<dyn Screen>>) {
    *SCREEN.write().unwrap_or_else(PoisonError::into_inner) = screen;
}

/// The screen, if there is one.
pub(crate) fn screen() -> Option<Arc<dyn Screen>> {
    SCREEN
        .read()
        .unwrap_or_else(PoisonError::into_inner)
        .clone()
}

/// Counts the work done towards a total, and shows it. Dropping it ends the show.
#[derive(Debug)]
pub struct Progress {
    count: Count,
    /// `None` where standard error is no terminal.
    bar: Option<ProgressBar>,
    /// Takes the place of bar and log lines.
    screen: Option<Arc<dyn Screen>>,
    started: Instant,
    last_line: Instant,
}

#[derive(Debug)]
struct Count {
    label: String,
    unit: String,
    total: u64,
    /// Work that was done before, which must not count towards the rate.
    before: u64,
    done: u64,
    message: String,
}

impl Progress {
    /// Starts to count: `label` says what is done, `unit` names what is counted, in the plural.
    pub fn new(label: &str, total: u64, unit: &str) -> Self {
        let (label, unit) = (label.to_string(), unit.to_string());
        let screen = screen();
        if let Some(screen) = &screen {
            screen.begin(&label, 0, total);
        }
        let has_bar = screen.is_none() && std::io::stderr().is_terminal();
        let bar = has_bar.then(|| draw(&label, total, &unit));
        let count = Count {
            label,
            unit,
            total,
            before: 0,
            done: 0,
            message: String::new(),
        };
        Self {
            count,
            bar,
            screen,
            started: Instant::now(),
            last_line: Instant::now(),
        }
    }

    /// Starts from work that an earlier process did.
    pub fn resumed_at(mut self, done: u64) -> Self {
        (self.count.before, self.count.done) = (done, done);
        if let Some(screen) = &self.screen {
            screen.begin(&self.count.label, done, self.count.total);
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
        self
    }

    /// Counts `n` more.
    pub fn inc(&mut self, n: u64) {
        self.count.done += n;
        if let Some(screen) = &self.screen {
            screen.advance(self.count.done);
        } else if self.bar.is_none() && self.last_line.elapsed() >= BETWEEN_LINES {
            self.last_line = Instant::now();
            tracing::info!("{}", self.count.line(self.started.elapsed()));
        }
        self.redraw();
    }

    /// What to say beside the count from now on, such as `reward 0.31`.
    pub fn message(&mut self, message: String) {
        self.count.message = message;
        self.redraw();
    }

    fn redraw(&self) {
        if let Some(bar) = &self.bar {
            // Not indicatif's own rate: it counts the work of an earlier process as today's.
            bar.set_message(self.count.pace(self.started.elapsed()));
            bar.set_position(self.count.done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(screen) = &self.screen {
            screen.end();
        }
        match &self.bar {
            // The bar stays on the screen as it is: it may have been stopped by an error.
            Some(bar) => bar.abandon(),
            None => tracing::info!("{}", self.count.last_line(self.started.elapsed())),
        }
    }
}

impl Count {
    /// `rl 40/150 steps, 2.1 steps/s, 52 s left, reward 0.31`
    fn line(&self, elapsed: Duration) -> String {
        self.after_count(&self.pace(elapsed))
    }

    /// `rl 150/150 steps, 2.1 steps/s, in 71 s, reward 0.31`
    fn last_line(&self, elapsed: Duration) -> String {
        let took = format!("in {}", in_words(elapsed.as_secs_f64()));
        self.after_count(&self.join(elapsed, Some(took)))
    }

    /// `2.1 steps/s, 52 s left, reward 0.31`
    fn pace(&self, elapsed: Duration) -> String {
        let rate = self.rate(elapsed).filter(|_| self.total > self.done);
        let left = rate.map(|rate| in_words((self.total - self.done) as f64 / rate));
        self.join(elapsed, left.map(|left| format!("{left} left")))
    }

    fn join(&self, elapsed: Duration, time: Option<String>) -> String {
        let rate = self
            .rate(elapsed)
            .map(|rate| rate_in_words(rate, &self.unit));
        let message = Some(self.message.clone()).filter(|message| !message.is_empty());
        [rate, time, message]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn after_count(&self, rest: &str) -> String {
        let Self {
            label,
            unit,
            total,
            done,
            ..
        } = self;
        let comma = if rest.is_empty() { "" } else { ", " };
        format!("{label} {done}/{total} {unit}{comma}{rest}")
    }

    /// Units per second, `None` before there is anything to divide.
    fn rate(&self, elapsed: Duration) -> Option<f64> {
        let rate = (self.done - self.before) as f64 / elapsed.as_secs_f64();
        (rate.is_finite() && rate > 0.0).then_some(rate)
    }
}

fn draw(label: &str, total: u64, unit: &str) -> ProgressBar {
    let template =
        format!("{{prefix}} {{bar:30}} {{pos}}/{{len}} {unit}, {{elapsed}} so far, {{msg}}");
    let style =
        ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total)
        .with_style(style)
        .with_prefix(label.to_string());
    // A step may take a minute: the clock should run meanwhile.
    bar.enable_steady_tick(Duration::from_secs(1));
    bar
}

/// In the unit of time that leaves a number worth reading.
fn rate_in_words(per_second: f64, unit: &str) -> String {
    let (rate, time) = match per_second {
        rate if rate >= 0.1 => (rate, "s"),
        rate if rate * 60.0 >= 0.1 => (rate * 60.0, "min"),
        rate => (rate * 3600.0, "h"),
    };
    if rate >= 100.0 {
        format!("{rate:.0} {unit}/{time}")
    } else {
        format!("{rate:.1} {unit}/{time}")
    }
}

fn in_words(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", (seconds + 30) / 60),
        _ => format!("{} h {:02} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(done: u64, before: u64, message: &str) -> Count {
        let (label, unit, message) = ("rl".into(), "steps".into(), message.into());
        Count {
            label,
            unit,
            total: 150,
            before,
            done,
            message,
        }
    }

    #[test]
    fn lines_read_well() {
        let line = |count: Count, seconds| count.line(Duration::from_secs(seconds));
        // 40 steps in 19 s: 2.105 per second, 110 / 2.105 = 52.25 s left.
        let expected = "rl 40/150 steps, 2.1 steps/s, 52 s left, reward 0.31";
        assert_eq!(line(count(40, 0, "reward 0.31"), 19), expected);
        // 4 steps in 80 s: 3 per minute, 110 / 0.05 = 2200 s = 36.7 min left.
        assert_eq!(
            line(count(40, 36, ""), 80),
            "rl 40/150 steps, 3.0 steps/min, 37 min left"
        );
        assert_eq!(line(count(40, 40, ""), 0), "rl 40/150 steps");
        // 1 step in 2 h: 149 * 2 h left.
        assert_eq!(
            line(count(1, 0, ""), 7200),
            "rl 1/150 steps, 0.5 steps/h, 298 h 00 min left"
        );
        let last = count(150, 0, "").last_line(Duration::from_millis(1_500));
        assert_eq!(last, "rl 150/150 steps, 100 steps/s, in 2 s");
    }

    #[test]
    fn counting_past_the_total_is_no_error() {
        let mut progress = Progress::new("label", 2, "pairs").resumed_at(1);
        progress.inc(5);
        progress.message("agreement 0.9".to_string());
        assert_eq!(progress.count.done, 6);
        assert_eq!(
            progress.count.line(Duration::from_secs(1)),
            "label 6/2 pairs, 5.0 pairs/s, agreement 0.9"
        );
    }
}

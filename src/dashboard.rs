//! The terminal dashboard of `--tui`: curves, progress and the time left, drawn by burn-train.
//!
//! burn-train's training loop is not used; its renderer is fed with the progress and the metrics of
//! ours. Each piece of work has a renderer of its own, for burn-train reckons the time left from one
//! count that only grows. Three things of it are mended here: it reads keys in a mode in which
//! Ctrl-C is none, its "stop immediately" is a panic in whoever talks to it next, and both would
//! leave the terminal as it is.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use burn_train::Interrupter;
use burn_train::metric::{
    MetricDefinition, MetricEntry, MetricId, NumericAttributes, NumericEntry, SerializedEntry,
};
use burn_train::renderer::tui::TuiMetricsRendererWrapper;
use burn_train::renderer::{MetricState, MetricsRenderer};
use ratatui::crossterm::event::DisableMouseCapture;
use ratatui::crossterm::{execute, terminal};

use crate::progress::Screen;
use crate::run::Interrupt;

/// A renderer takes the terminal on a thread of its own; longer it does not take.
const PATIENCE: Duration = Duration::from_secs(1);

type MakeRenderer = dyn Fn(Interrupter) -> Box<dyn MetricsRenderer> + Send + Sync;

/// The dashboard: a [`Screen`] for [`progress::show_on`](crate::progress::show_on).
pub struct Dashboard {
    make: Box<MakeRenderer>,
    interrupt: Interrupt,
    /// What the user's wish to end at once does; it does not come back.
    kill: fn(),
    shown: Mutex<Option<Shown>>,
}

/// A piece of work that is on the screen.
struct Shown {
    renderer: Box<dyn MetricsRenderer>,
    interrupter: Interrupter,
    /// Metrics that the renderer knows.
    known: BTreeSet<String>,
}

impl Dashboard {
    /// A dashboard on the standard output, which has to be a terminal. Its key `q` offers to stop,
    /// which asks `interrupt`, and to end at once, which calls `kill` when the terminal is as it was
    /// before.
    pub fn on_terminal(interrupt: &Interrupt, kill: fn()) -> Self {
        let make = |interrupter| -> Box<dyn MetricsRenderer> {
            let renderer = TuiMetricsRendererWrapper::new(interrupter, None);
            let_ctrl_c_through();
            Box::new(renderer)
        };
        Self::with(make, interrupt, kill)
    }

    fn with(
        make: impl Fn(Interrupter) -> Box<dyn MetricsRenderer> + Send + Sync + 'static,
        interrupt: &Interrupt,
        kill: fn(),
    ) -> Self {
        Self {
            make: Box::new(make),
            interrupt: interrupt.clone(),
            kill,
            shown: Mutex::default(),
        }
    }

    /// Lets `tell` talk to the renderer, if there is one, and hears what the user wants.
    fn tell(&self, tell: impl FnOnce(&mut Shown)) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(one) = shown.as_mut() else {
            return;
        };
        if catch_unwind(AssertUnwindSafe(|| tell(one))).is_err() {
            // It has given the terminal back, and would panic again when it is dropped.
            std::mem::forget(shown.take());
            (self.kill)();
            return;
        }
        if one.interrupter.should_stop() {
            self.interrupt.request();
        }
    }
}

impl Screen for Dashboard {
    fn begin(&self, label: &str, done: u64, total: u64) {
        self.end();
        let interrupter = Interrupter::new();
        let mut renderer = (self.make)(interrupter.clone());
        // One epoch that holds all the work: more would be counted from 1, not from 0.
        renderer.start(1, 1, Some(total as usize), Some(label));
        renderer.start_split("train", total as usize);
        renderer.update_split(done as usize);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        *shown = Some(Shown {
            renderer,
            interrupter,
            known: BTreeSet::new(),
        });
    }

    fn advance(&self, done: u64) {
        self.tell(|shown| shown.renderer.update_split(done as usize));
    }

    fn metrics(&self, values: &[(&str, f64)]) {
        self.tell(|shown| {
            values
                .iter()
                .for_each(|&(name, value)| shown.metric(name, value))
        });
    }

    fn end(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = shown.take();
        if catch_unwind(AssertUnwindSafe(|| drop(ended))).is_err() {
            (self.kill)();
        }
    }
}

impl Shown {
    fn metric(&mut self, name: &str, value: f64) {
        let id = MetricId::new(Arc::new(name.to_string()));
        if self.known.insert(name.to_string()) {
            self.renderer.register_metric(MetricDefinition {
                metric_id: id.clone(),
                name: Arc::new(name.to_string()),
                description: None,
                attributes: NumericAttributes::default().into(),
            });
        }
        let text = format!("{value:.4}");
        let entry = MetricEntry::new(id, SerializedEntry::new(text.clone(), text));
        let point = value.is_finite().then_some(NumericEntry::Value(value));
        self.renderer
            .update_train(MetricState::Numeric(entry, point));
    }
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.debug_struct("Dashboard").finish_non_exhaustive()
    }
}

/// Gives the terminal back as it was before the dashboard, which need not be on it.
pub fn restore() {
    // Nothing can be done about a terminal that refuses.
    let _ = execute!(io::stdout(), DisableMouseCapture);
    ratatui::restore();
}

/// Makes Ctrl-C a signal again once the renderer has taken the keys. Elsewhere than on Unix, `q` is
/// the only way to stop.
fn let_ctrl_c_through() {
    let started = Instant::now();
    while !terminal::is_raw_mode_enabled().unwrap_or(true) && started.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
    #[cfg(unix)]
    {
        use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
        let stdin = io::stdin();
        if let Ok(mut settings) = tcgetattr(&stdin) {
            settings.local_flags |= LocalFlags::ISIG;
            // Without it Ctrl-C is ignored, as burn-train has it.
            let _ = tcsetattr(&stdin, SetArg::TCSANOW, &settings);
        }
    }
}

#[cfg(test)]
mod tests;

//! The dashboard with a renderer that writes down what it is told.

use burn_train::logger::{EvaluationProgressLogger, TrainingProgressLogger};
use burn_train::renderer::{EvaluationName, MetricsRendererEvaluation, MetricsRendererTraining};

use super::*;

type Told = Arc<Mutex<Vec<String>>>;

/// Stops at the metric `stop`, as at the key `s`, and panics at `kill`, as after the key `k`.
struct Recorder(Told, Interrupter);

impl Recorder {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

impl MetricsRenderer for Recorder {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.note(format!("register {}", definition.name));
    }
}

impl MetricsRendererTraining for Recorder {
    fn update_train(&mut self, state: MetricState) {
        let MetricState::Numeric(entry, value) = state else {
            panic!("not a number");
        };
        let text = entry.serialized_entry.formatted;
        match text.as_str() {
            "1.0000" => self.1.stop(None),
            "2.0000" => panic!("Killing training from user input."),
            _ => self.note(format!("{text} {:?}", value.map(|value| value.current()))),
        }
    }

    fn update_valid(&mut self, _: MetricState) {}
}

impl MetricsRendererEvaluation for Recorder {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl TrainingProgressLogger for Recorder {
    fn start(&mut self, epochs: usize, first: usize, items: Option<usize>, label: Option<&str>) {
        self.note(format!("start {epochs} {first} {items:?} {label:?}"));
    }

    fn update_epoch(&mut self, _: usize) {}

    fn start_split(&mut self, split: &str, items: usize) {
        self.note(format!("{split} of {items}"));
    }

    fn update_split(&mut self, items: usize) {
        self.note(format!("at {items}"));
    }

    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for Recorder {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.note("closed".into());
    }
}

fn dashboard(interrupt: &Interrupt, kill: fn()) -> (Dashboard, Told) {
    let told = Told::default();
    let copy = Arc::clone(&told);
    let make = move |interrupter| -> Box<dyn MetricsRenderer> {
        Box::new(Recorder(Arc::clone(&copy), interrupter))
    };
    (Dashboard::with(make, interrupt, kill), told)
}

#[test]
fn progress_and_metrics_reach_the_renderer() {
    let (screen, told) = dashboard(&Interrupt::default(), || ());
    // Between two pieces of work there is nobody to tell.
    screen.advance(7);
    screen.begin("sft", 2, 4);
    screen.metrics(&[("loss", 0.5), ("kl", f64::NAN)]);
    screen.advance(3);
    screen.metrics(&[("loss", 0.25)]);
    screen.begin("rl", 0, 9);
    screen.end();
    screen.metrics(&[("loss", 0.25)]);
    let expected = [
        "start 1 1 Some(4) Some(\"sft\")",
        "train of 4",
        "at 2",
        "register loss",
        "0.5000 Some(0.5)",
        "register kl",
        "NaN None",
        "at 3",
        "0.2500 Some(0.25)",
        "closed",
        "start 1 1 Some(9) Some(\"rl\")",
        "train of 9",
        "at 0",
        "closed",
    ];
    assert_eq!(*told.lock().unwrap(), expected);
}

#[test]
fn the_users_wish_to_stop_is_an_interrupt() {
    let interrupt = Interrupt::default();
    let (screen, _) = dashboard(&interrupt, || ());
    screen.begin("rl", 0, 9);
    screen.metrics(&[("loss", 0.5)]);
    assert!(!interrupt.requested());
    screen.metrics(&[("stop", 1.0)]);
    assert!(interrupt.requested());
}

#[test]
fn the_users_wish_to_end_at_once_is_no_panic() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static KILLED: AtomicUsize = AtomicUsize::new(0);
    let kill = || {
        KILLED.fetch_add(1, Ordering::SeqCst);
    };
    let (screen, told) = dashboard(&Interrupt::default(), kill);
    screen.begin("rl", 0, 9);
    screen.metrics(&[("kill", 2.0)]);
    assert_eq!(KILLED.load(Ordering::SeqCst), 1);
    // The renderer is left alone.
    screen.end();
    assert!(!told.lock().unwrap().contains(&"closed".to_string()));
}

//! The wish to stop, from a signal handler to the loops.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A flag that a loop looks at between two steps; clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks the loops to save and end. Whether that had been asked before.
    pub fn request(&self) -> bool {
        self.0.swap(true, Ordering::SeqCst)
    }

    /// Whether the loops are to end.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

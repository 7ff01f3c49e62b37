//! Stage 5.
pub mod stats;

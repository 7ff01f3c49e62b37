//! Stage 4.
pub mod advantage;
pub mod loss;

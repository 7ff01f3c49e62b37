//! Labelers behind endpoints, against a server on the loopback that answers with known
//! probabilities and, on request, fails in every way that servers fail.
//!
//! `cargo test --release --features http --test endpoint`

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod command;
mod labeler;
mod mock;
mod overlap;
mod revise;

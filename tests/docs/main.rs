//! README and the book in `docs/`: what they show parses, compiles or runs, what they link to is
//! there, and the reference is of the code as it is.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod code;
mod commands;
mod configs;
mod links;
mod pages;
mod reference;

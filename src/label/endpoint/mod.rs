//! A labeler behind OpenAI-compatible endpoints: a provider, or a fleet of vLLM, SGLang, llama.cpp
//! or Ollama servers.
//!
//! [`Client`] asks: it knows questions, answers, tokens and money, and nothing of labels. Asking is
//! concurrent inside this room alone; what it shows is blocking. Start reading at `schedule.rs`.

mod config;

#[cfg(feature = "http")]
mod account;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod fleet;
#[cfg(feature = "http")]
mod limit;
#[cfg(feature = "http")]
mod retry;
#[cfg(feature = "http")]
mod schedule;
#[cfg(feature = "http")]
mod transport;
#[cfg(feature = "http")]
mod wire;

pub use config::{Api, EndpointAddress, EndpointConfig, Fallback, MaxTokensField, Price};
#[cfg(feature = "http")]
pub use {account::Account, client::Asked, client::Client, wire::Request};

//! A labeler behind OpenAI-compatible endpoints: a provider, or a fleet of vLLM, SGLang, llama.cpp
//! or Ollama servers.
//!
//! `Client` asks: it knows questions, answers, tokens and money, and nothing of labels.
//! `EndpointAnswerer` makes probabilities of what it is told. Asking is concurrent inside this
//! room alone; what it shows is blocking. Start reading at `schedule.rs`.

#[cfg(not(feature = "http"))]
mod absent;
mod config;

#[cfg(feature = "http")]
mod account;
#[cfg(feature = "http")]
mod answerer;
#[cfg(feature = "http")]
mod client;
#[cfg(feature = "http")]
mod fleet;
#[cfg(feature = "http")]
mod limit;
#[cfg(feature = "http")]
mod reading;
#[cfg(feature = "http")]
mod retry;
#[cfg(feature = "http")]
mod schedule;
#[cfg(feature = "http")]
mod transport;
#[cfg(feature = "http")]
mod wire;

#[cfg(not(feature = "http"))]
pub use absent::EndpointAnswerer;
pub use config::{Api, EndpointAddress, EndpointConfig, Fallback, MaxTokensField, Price};
#[cfg(feature = "http")]
pub use {
    account::Account, answerer::EndpointAnswerer, client::Asked, client::Client,
    reading::read_response, wire::Query,
};

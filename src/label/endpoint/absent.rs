//! What stands for endpoints in a binary that was built without them.

use std::path::Path;

use super::config::EndpointConfig;
use crate::error::{Error, Result};
use crate::label::{Answered, Answerer, Choice, Decoding, Question, Reply, Request};

/// A model behind endpoints. There is never one: the cargo feature `http` is off.
#[derive(Debug)]
pub struct EndpointAnswerer(());

impl EndpointConfig {
    /// Refuses: the cargo feature `http` is off.
    ///
    /// # Errors
    /// Always.
    pub fn init(&self, _answers: &Path, _seed: u64) -> Result<EndpointAnswerer> {
        Err(missing())
    }

    /// Refuses: the cargo feature `http` is off.
    ///
    /// # Errors
    /// Always.
    pub fn ready(&self) -> Result<()> {
        Err(missing())
    }
}

fn missing() -> Error {
    Error::FeatureMissing {
        what: "labeler `http`",
        feature: "http",
    }
}

impl Answerer for EndpointAnswerer {
    fn name(&self) -> &str {
        "none"
    }

    fn choose(&mut self, _: &[Question], _: &[String]) -> Result<Vec<Answered<Choice>>> {
        Err(missing())
    }

    fn write(&mut self, _: &[Request], _: &Decoding) -> Result<Vec<Answered<Reply>>> {
        Err(missing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_feature_is_named() {
        let text = "model = 'm'\nendpoints = [{ base_url = 'http://localhost:8000/v1' }]";
        let config: EndpointConfig = toml::from_str(text).unwrap();
        let expected = "labeler `http` is not compiled in; rebuild with `--features http`";
        assert_eq!(config.ready().unwrap_err().to_string(), expected);
        let made = config.init(Path::new("answers.jsonl"), 1);
        assert_eq!(made.unwrap_err().to_string(), expected);
    }
}

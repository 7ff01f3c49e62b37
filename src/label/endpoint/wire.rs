//! Requests and responses as they travel: OpenAI's `chat/completions` and `completions`, in the
//! dialects of the servers that imitate them.
//!
//! The types are our own because that is where servers differ: log-probabilities come as a list of
//! objects (chat, and llama.cpp's completions) or as parallel lists (completions), counts of tokens
//! may be absent, and requests carry fields that OpenAI does not know.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::config::{Api, EndpointConfig};
use crate::run::{Answer, AnswerToken};

/// What a model is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// The question: the user's message, or the text to go on with.
    pub prompt: String,
    /// Tokens to write at most.
    pub max_tokens: usize,
    /// Temperature of the sampling; 0 takes the most likely token.
    pub temperature: f64,
    /// Smallest set of tokens with this probability is sampled from.
    pub top_p: f64,
    /// So many most likely tokens are sampled from; 0 for all. OpenAI knows no such limit, so it is
    /// sent only if there is one.
    pub top_k: usize,
    /// Seed of the sampling, for servers that take one.
    pub seed: Option<u64>,
    /// The text ends before the first of these.
    pub stop: Vec<String>,
    /// Alternatives to each token whose log-probabilities are wanted; 0 for none.
    pub top_logprobs: usize,
}

impl Query {
    /// The question as JSON, with every parameter that tells its answers apart.
    pub(crate) fn body(&self, config: &EndpointConfig) -> Value {
        let mut body = Map::new();
        body.insert("model".into(), config.model.clone().into());
        body.insert(
            config.max_tokens_field.name().into(),
            self.max_tokens.into(),
        );
        body.insert("temperature".into(), self.temperature.into());
        if self.top_p < 1.0 {
            body.insert("top_p".into(), self.top_p.into());
        }
        if self.top_k > 0 {
            body.insert("top_k".into(), self.top_k.into());
        }
        if let Some(seed) = self.seed {
            body.insert("seed".into(), seed.into());
        }
        if !self.stop.is_empty() {
            body.insert("stop".into(), self.stop.clone().into());
        }
        match config.api {
            Api::Chat => {
                let message = json!([{ "role": "user", "content": self.prompt }]);
                body.insert("messages".into(), message);
                if self.top_logprobs > 0 {
                    body.insert("logprobs".into(), true.into());
                    body.insert("top_logprobs".into(), self.top_logprobs.into());
                }
            }
            Api::Completions => {
                body.insert("prompt".into(), self.prompt.clone().into());
                if self.top_logprobs > 0 {
                    body.insert("logprobs".into(), self.top_logprobs.into());
                }
            }
        }
        for (name, value) in &config.extra_body {
            body.insert(name.clone(), json!(value));
        }
        Value::Object(body)
    }
}

/// The JSON that is sent: the question without the fields that the server refuses.
pub(crate) fn sent(mut body: Value, config: &EndpointConfig) -> String {
    if let Some(fields) = body.as_object_mut() {
        for field in &config.omit_fields {
            fields.remove(field.name());
        }
    }
    body.to_string()
}

/// SHA-256 of what is asked and where, in hexadecimal: two requests with one key have one answer.
///
/// The address is no part of it, since endpoints of a fleet serve the same model.
pub(crate) fn key(api: Api, body: &Value) -> String {
    let mut hash = Sha256::new();
    hash.update(api.path());
    update(&mut hash, body);
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Hashes a value with the fields of objects in alphabetical order: how a JSON map is ordered
/// depends on a feature of `serde_json` that any crate of the build may switch on.
fn update(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Object(fields) => {
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            hash.update([b'{']);
            for (name, value) in fields {
                hash.update(Value::from(name.as_str()).to_string());
                update(hash, value);
            }
            hash.update([b'}']);
        }
        Value::Array(items) => {
            hash.update([b'[']);
            items.iter().for_each(|item| update(hash, item));
            hash.update([b']']);
        }
        scalar => hash.update(scalar.to_string() + ","),
    }
}

#[derive(Deserialize)]
struct Response {
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
}

#[derive(Deserialize)]
struct Choice {
    text: Option<String>,
    message: Option<Message>,
    finish_reason: Option<String>,
    logprobs: Option<LogProbs>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

#[derive(Deserialize)]
struct LogProbs {
    /// Chat.
    content: Option<Vec<Token>>,
    /// Completions: parallel lists.
    tokens: Option<Vec<String>>,
    token_logprobs: Option<Vec<Option<f64>>>,
    top_logprobs: Option<Vec<Option<BTreeMap<String, f64>>>>,
}

#[derive(Deserialize)]
struct Token {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Vec<Alternative>,
}

#[derive(Deserialize)]
struct Alternative {
    token: String,
    logprob: f64,
}

/// Reads a response. `estimate` is the number of prompt tokens for servers that do not count.
///
/// # Errors
/// What is wrong with it, in a few words.
pub(crate) fn answer(text: &str, key: &str, model: &str, estimate: u64) -> Result<Answer, String> {
    let response: Response =
        serde_json::from_str(text).map_err(|error| format!("no response as expected: {error}"))?;
    let choice = response.choices.into_iter().next();
    let choice = choice.ok_or("a response without choices")?;
    let content = choice
        .message
        .map(|message| message.content.unwrap_or_default());
    let written = content.or(choice.text).ok_or("a choice without text")?;
    let tokens = choice.logprobs.map(tokens).unwrap_or_default();
    let (prompt_tokens, completion_tokens) = match response.usage {
        Some(usage) => (usage.prompt_tokens, usage.completion_tokens),
        None => (estimate, tokens.len() as u64),
    };
    Ok(Answer {
        key: key.into(),
        model: model.into(),
        text: written,
        finish_reason: choice.finish_reason,
        tokens,
        prompt_tokens,
        completion_tokens,
    })
}

fn tokens(log_probs: LogProbs) -> Vec<AnswerToken> {
    if let Some(content) = log_probs.content {
        let alternative = |found: Alternative| (found.token, found.logprob);
        let token = |found: Token| AnswerToken {
            token: found.token,
            log_prob: found.logprob,
            top: found.top_logprobs.into_iter().map(alternative).collect(),
        };
        return content.into_iter().map(token).collect();
    }
    let written = log_probs.tokens.unwrap_or_default();
    let own = log_probs.token_logprobs.unwrap_or_default();
    let top = log_probs.top_logprobs.unwrap_or_default();
    let mut top = top.into_iter().map(|top| sorted(top.unwrap_or_default()));
    let pairs = written.into_iter().zip(own);
    pairs
        .map_while(|(token, log_prob)| {
            Some(AnswerToken {
                token,
                log_prob: log_prob?,
                top: top.next().unwrap_or_default(),
            })
        })
        .collect()
}

/// The most likely token first, as chat responses list them.
fn sorted(top: BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let mut top: Vec<(String, f64)> = top.into_iter().collect();
    top.sort_by(|a, b| b.1.total_cmp(&a.1));
    top
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> EndpointConfig {
        let text = "model = 'm'\nendpoints = [{ base_url = 'http://localhost:1/v1' }]\n";
        toml::from_str(&format!("{text}{more}")).unwrap()
    }

    fn request() -> Query {
        Query {
            prompt: "which?".into(),
            max_tokens: 4,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            seed: None,
            stop: Vec::new(),
            top_logprobs: 5,
        }
    }

    #[test]
    fn both_interfaces_are_asked_in_their_own_words() {
        let more = "extra_body = { chat_template_kwargs = { enable_thinking = false } }\n\
                    max_tokens_field = 'max_completion_tokens'";
        let chat = json!({
            "model": "m", "max_completion_tokens": 4, "temperature": 0.0, "logprobs": true,
            "top_logprobs": 5, "messages": [{ "role": "user", "content": "which?" }],
            "chat_template_kwargs": { "enable_thinking": false },
        });
        assert_eq!(request().body(&config(more)), chat);
        let plain = json!({
            "model": "m", "max_tokens": 4, "temperature": 0.0, "logprobs": 5, "prompt": "which?",
        });
        assert_eq!(request().body(&config("api = 'completions'")), plain);
    }

    #[test]
    fn refused_fields_are_not_sent_but_tell_answers_apart() {
        let config = config("omit_fields = ['temperature', 'seed']");
        let of = |seed| Query {
            seed: Some(seed),
            ..request()
        };
        let [one, two] = [1, 2].map(|seed| of(seed).body(&config));
        assert_ne!(key(config.api, &one), key(config.api, &two));
        let texts = [sent(one, &config), sent(two, &config)];
        assert_eq!(texts[0], texts[1]);
        assert!(!texts[0].contains("seed") && !texts[0].contains("temperature"));
        assert!(texts[0].contains("max_tokens"), "{}", texts[0]);
    }

    #[test]
    fn every_parameter_is_part_of_the_key() {
        let of = |request: &Query, more: &str| {
            let config = config(more);
            key(config.api, &request.body(&config))
        };
        let base = of(&request(), "");
        assert_eq!(base.len(), 64);
        assert_eq!(
            of(&request(), "timeout_secs = 3"),
            base,
            "no part of the question"
        );
        let seeded = Query {
            seed: Some(1),
            ..request()
        };
        let warmer = Query {
            temperature: 0.7,
            ..request()
        };
        let all = [
            base,
            of(&seeded, ""),
            of(&warmer, ""),
            of(&request(), "api = 'completions'"),
            of(&request(), "extra_body = { top_k = 1 }"),
        ];
        assert!((0..5).all(|i| (0..i).all(|j| all[i] != all[j])));
    }

    #[test]
    fn responses_of_chat_and_completions_are_read_alike() {
        let chat = r#"{"id":"x","choices":[{"index":0,"finish_reason":"stop",
            "message":{"role":"assistant","content":"2"},
            "logprobs":{"content":[{"token":"2","logprob":-0.1,"bytes":[50],
              "top_logprobs":[{"token":"2","logprob":-0.1,"bytes":[50]},
                              {"token":"1","logprob":-2.5,"bytes":null}]}]}}],
            "usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}"#;
        let plain = r#"{"choices":[{"text":"2","finish_reason":"stop","logprobs":{
            "tokens":["2"],"token_logprobs":[-0.1],"text_offset":[0],
            "top_logprobs":[{"1":-2.5,"2":-0.1}]}}],
            "usage":{"prompt_tokens":7,"completion_tokens":1}}"#;
        let read = |text| answer(text, "k", "m", 99).unwrap();
        assert_eq!(read(chat), read(plain));
        let expected = AnswerToken {
            token: "2".into(),
            log_prob: -0.1,
            top: vec![("2".into(), -0.1), ("1".into(), -2.5)],
        };
        assert_eq!(read(chat).tokens, [expected]);
        assert_eq!(read(chat).prompt_tokens, 7);
    }

    #[test]
    fn missing_parts_are_taken_as_such_and_wrong_ones_named() {
        let bare = r#"{"choices":[{"message":{"content":null},"logprobs":null}]}"#;
        let found = answer(bare, "k", "m", 99).unwrap();
        assert_eq!((found.text.as_str(), found.prompt_tokens), ("", 99));
        assert!(found.tokens.is_empty());
        for (text, error) in [
            ("{\"choices\":[]}", "a response without choices"),
            ("{\"choices\":[{}]}", "a choice without text"),
            (
                "<html>",
                "no response as expected: expected value at line 1 column 1",
            ),
        ] {
            assert_eq!(answer(text, "k", "m", 0).unwrap_err(), error);
        }
    }
}

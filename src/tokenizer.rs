//! Text to token ids and back, from the `tokenizer.json` of a Hugging Face folder.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::error::{Error, Result};

/// A tokenizer and the tokens that end a text.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    eos: Vec<u32>,
    /// Where it was read from, so that it can be copied beside a model trained with it.
    source: PathBuf,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, and the end-of-text tokens from `generation_config.json` or
    /// `config.json`.
    ///
    /// # Errors
    /// A file is missing or malformed, or no end-of-text token is named.
    pub fn load(dir: &Path) -> Result<Self> {
        let path = dir.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let inner: tokenizers::Tokenizer = text
            .parse()
            .map_err(|e: tokenizers::Error| Error::file(&path, e.to_string()))?;
        let eos = eos_tokens(dir)?;
        Ok(Self {
            inner,
            eos,
            source: path,
        })
    }

    /// Token ids of a text, with the special tokens that the tokenizer puts around a text (such as
    /// `<s>`).
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode_prompt(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, true)
    }

    /// Token ids of a text that continues another: without special tokens.
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode_continuation(&self, text: &str) -> Result<Vec<u32>> {
        self.encode(text, false)
    }

    fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, special);
        let encoding = encoding.map_err(|e| Error::file(&self.source, e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of a completion, ended by the end-of-text token.
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode_completion(&self, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode_continuation(text)?;
        ids.extend(self.eos.first());
        Ok(ids)
    }

    /// Text of token ids, special tokens left out.
    ///
    /// # Errors
    /// The tokenizer fails on the ids.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner
            .decode(ids, true)
            .map_err(|e| Error::file(&self.source, e.to_string()))
    }

    /// Tokens that end a text.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Number of tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Copies the tokenizer's files into the folder of a model.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn save(&self, dir: &Path) -> Result<()> {
        let folder = self.source.parent().unwrap_or(Path::new("."));
        for name in [
            "tokenizer.json",
            "tokenizer_config.json",
            "generation_config.json",
        ] {
            let (from, to) = (folder.join(name), dir.join(name));
            if from.exists() {
                std::fs::copy(&from, &to).map_err(Error::io("write", &to))?;
            }
        }
        Ok(())
    }
}

/// `eos_token_id` is one id or a list of them, in either of two files.
fn eos_tokens(dir: &Path) -> Result<Vec<u32>> {
    for name in ["generation_config.json", "config.json"] {
        let path = dir.join(name);
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let config: Value =
            serde_json::from_str(&text).map_err(|e| Error::file(&path, e.to_string()))?;
        let ids: Vec<u32> = match config.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.iter().filter_map(as_id).collect(),
            Some(id) => as_id(id).into_iter().collect(),
            None => Vec::new(),
        };
        if !ids.is_empty() {
            return Ok(ids);
        }
    }
    Err(Error::file(
        dir.join("config.json"),
        "`eos_token_id` is missing",
    ))
}

fn as_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

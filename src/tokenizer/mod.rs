//! Text to token ids and back, from the `tokenizer.json` of a Hugging Face folder, and
//! conversations to text, by its chat template.

mod chat;
mod jinja;
mod special;
mod template;

use std::path::{Path, PathBuf};

pub use special::SpecialTokens;
pub use template::{ChatTemplate, Ending};

use crate::contained::contained;
use crate::error::{Error, Result};
use crate::hub::{self, Wanted};
use crate::model::{base_of, is_adapter};

/// A tokenizer, its special tokens and its chat template.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    eos: Vec<u32>,
    special: SpecialTokens,
    chat_template: Option<ChatTemplate>,
    /// Where it was read from, so that it can be copied beside a model trained with it.
    source: PathBuf,
}

impl Tokenizer {
    /// Reads `tokenizer.json`, the special tokens and the chat template beside it, and the
    /// end-of-text tokens from `generation_config.json`, else `config.json`, else the tokenizer's
    /// own `eos_token`. What the folder of an adapter lacks of these is that of its base.
    ///
    /// # Errors
    /// A file is missing or malformed, no end-of-text token is named, or the base of an adapter is
    /// not where this says.
    pub fn load(dir: &Path) -> Result<Self> {
        let dir = &hub::resolve(dir, Wanted::Description)?;
        if is_adapter(dir) && !dir.join("tokenizer.json").exists() {
            return Self::load(&base_of(dir)?);
        }
        let path = dir.join("tokenizer.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let mut inner = parse(&text).map_err(|message| Error::file(&path, message))?;
        // Some files still carry the lengths of the training that they were saved from.
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| Error::file(&path, e.to_string()))?;
        let special = SpecialTokens::read(dir)?;
        let mut eos = special::eos_ids(dir)?;
        if eos.is_empty() && is_adapter(dir) {
            eos = special::eos_ids(&base_of(dir)?)?;
        }
        if eos.is_empty() {
            let own = special.get("eos_token");
            eos.extend(own.and_then(|token| inner.token_to_id(token)));
        }
        if eos.is_empty() {
            let message = "`eos_token_id` is missing, and the tokenizer names no `eos_token`";
            return Err(Error::file(dir.join("config.json"), message));
        }
        Ok(Self {
            inner,
            eos,
            chat_template: ChatTemplate::read(dir, &special)?,
            special,
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
        let encoding = own(|| self.inner.encode_fast(text, special));
        let encoding = encoding.map_err(|e| Error::file(&self.source, e))?;
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
        let text = own(|| self.inner.decode(ids, true));
        text.map_err(|e| Error::file(&self.source, e))
    }

    /// Tokens that end a text.
    pub fn eos(&self) -> &[u32] {
        &self.eos
    }

    /// Special tokens by their names.
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// How conversations are written; many base models have none.
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.chat_template.as_ref()
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
            "special_tokens_map.json",
            "chat_template.jinja",
            "chat_template.json",
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

/// A tokenizer from the text of its file, which has to be JSON of no great depth: the reader of
/// `tokenizers` knows no limit.
fn parse(text: &str) -> Result<tokenizers::Tokenizer, String> {
    let _: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    own(|| text.parse())
}

/// What `tokenizers` makes of something; it panics at much that is wrong in its file.
fn own<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    contained(work)?.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_tokenizer_is_an_error() {
        let whole = include_str!("../../models/labeler-xs/tokenizer.json");
        parse(whole).unwrap();
        let check = |text: &str, words: &str| {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        check(&whole[..whole.len() / 2], "EOF");
        // No JSON, in the decoder: the reader of `tokenizers` panics.
        let torn = whole.replace("\"decoder\": {", "\"decoder\": { 3: 1, ");
        check(&torn, "key must be a string");
        check("[]", "invalid type");
        check("{}", "Model missing");
        let mut json: serde_json::Value = serde_json::from_str(whole).unwrap();
        json["decoder"] = serde_json::json!({ "type": 1 });
        check(&json.to_string(), "untagged enum DecoderUntagged");
        // Deeper than serde_json goes.
        let deep = format!("{{\"decoder\":{}", "[".repeat(100_000));
        check(&deep, "recursion limit exceeded");
    }

    /// `tokenizers` looks the token up without asking whether it is there.
    #[test]
    fn a_template_of_unknown_tokens_is_an_error() {
        let from = Path::new("models/labeler-xs");
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(from.join("config.json"), folder.path().join("config.json")).unwrap();
        let text = std::fs::read_to_string(from.join("tokenizer.json")).unwrap();
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        json["post_processor"] = serde_json::json!({
            "type": "TemplateProcessing", "pair": [], "special_tokens": {},
            "single": [{ "SpecialToken": { "id": "B", "type_id": 0 } }],
        });
        let path = folder.path().join("tokenizer.json");
        std::fs::write(&path, json.to_string()).unwrap();
        let tokenizer = Tokenizer::load(folder.path()).unwrap();
        let said = tokenizer.encode_prompt("my dog").unwrap_err().to_string();
        assert!(
            said.ends_with("tokenizer.json: no entry found for key"),
            "{said}"
        );
        assert!(tokenizer.encode_continuation("my dog").is_ok());
    }
}

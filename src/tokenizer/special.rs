//! Special tokens of a tokenizer, by the names that `tokenizer_config.json` and its elders give
//! them.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Special tokens as texts: `bos_token`, `eos_token`, `pad_token`, `unk_token`, ...
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SpecialTokens {
    /// Name to text, or to a list of texts for `additional_special_tokens`; what a chat template
    /// sees as variables.
    pub named: Map<String, Value>,
}

impl SpecialTokens {
    /// Reads `special_tokens_map.json` and, above it, `tokenizer_config.json`; either may be
    /// absent.
    ///
    /// # Errors
    /// A file is malformed.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let mut named = Map::new();
        for name in ["special_tokens_map.json", "tokenizer_config.json"] {
            let Some(Value::Object(fields)) = read_json(&dir.join(name))? else {
                continue;
            };
            for (name, value) in fields {
                let plural = ["additional_special_tokens", "extra_special_tokens"];
                if plural.contains(&name.as_str()) {
                    let texts: Vec<Value> = match value {
                        Value::Array(tokens) => tokens.iter().filter_map(text).collect(),
                        _ => continue,
                    };
                    named.insert("additional_special_tokens".into(), texts.into());
                } else if let Some(text) = text(&value).filter(|_| name.ends_with("_token")) {
                    named.insert(name, text);
                }
            }
        }
        Ok(Self { named })
    }

    /// The text of a token by its name, such as `bos_token`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.named.get(name)?.as_str()
    }
}

/// The text of a token: a string, or an `AddedToken` with a field `content`.
fn text(token: &Value) -> Option<Value> {
    let content = token.get("content").unwrap_or(token);
    content.is_string().then(|| content.clone())
}

/// A JSON file, `None` when there is none.
pub(super) fn read_json(path: &Path) -> Result<Option<Value>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let value = serde_json::from_str(&text).map_err(|e| Error::file(path, e.to_string()))?;
    Ok(Some(value))
}

/// `eos_token_id` of `generation_config.json` or `config.json`, one id or a list of them; empty when
/// neither names one.
pub(super) fn eos_ids(dir: &Path) -> Result<Vec<u32>> {
    for name in ["generation_config.json", "config.json"] {
        let Some(config) = read_json(&dir.join(name))? else {
            continue;
        };
        let ids: Vec<u32> = match config.get("eos_token_id") {
            Some(Value::Array(ids)) => ids.iter().filter_map(as_id).collect(),
            Some(id) => as_id(id).into_iter().collect(),
            None => Vec::new(),
        };
        if !ids.is_empty() {
            return Ok(ids);
        }
    }
    Ok(Vec::new())
}

fn as_id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_texts_or_objects() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write(
            "special_tokens_map.json",
            r#"{"bos_token":"<a>","sep_token":"<sep>"}"#,
        )
        .unwrap();
        let config = r#"{"bos_token":"<s>","eos_token":{"content":"</s>","special":true},
            "pad_token":null,"model_max_length":3,"additional_special_tokens":["<x>",{"content":"<y>"}]}"#;
        write("tokenizer_config.json", config).unwrap();
        let found = SpecialTokens::read(folder.path()).unwrap();
        assert_eq!(found.get("bos_token"), Some("<s>"));
        assert_eq!(found.get("eos_token"), Some("</s>"));
        assert_eq!(found.get("sep_token"), Some("<sep>"));
        assert_eq!(found.get("pad_token"), None);
        assert_eq!(
            found.named["additional_special_tokens"],
            serde_json::json!(["<x>", "<y>"])
        );
        assert_eq!(found.named.len(), 4);
    }

    #[test]
    fn generation_config_has_the_first_word_on_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        assert!(eos_ids(folder.path()).unwrap().is_empty());
        write("config.json", r#"{"eos_token_id":7}"#).unwrap();
        assert_eq!(eos_ids(folder.path()).unwrap(), [7]);
        write("generation_config.json", r#"{"eos_token_id":[5,6]}"#).unwrap();
        assert_eq!(eos_ids(folder.path()).unwrap(), [5, 6]);
        write("generation_config.json", "{}").unwrap();
        assert_eq!(eos_ids(folder.path()).unwrap(), [7]);
    }
}

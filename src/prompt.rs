//! How prompts and completions become the tokens that a policy or a reward model reads.
//!
//! A text goes through the run file's `policy.prompt_template`, and its completion ends with the
//! end-of-text token. A conversation goes through the tokenizer's chat template, and its completion
//! ends as the template ends a turn. The tokens of a prompt are the same whether a completion
//! follows or not.

use std::borrow::Cow;

use crate::config::PolicyConfig;
use crate::error::Result;
use crate::record::{Answer, Context, Conversation};
use crate::tokenizer::Tokenizer;

impl PolicyConfig {
    /// Tokens of a prompt.
    ///
    /// # Errors
    /// The tokenizer fails on the text, or has no chat template for a conversation.
    pub fn encode_prompt(&self, tokenizer: &Tokenizer, prompt: &Context) -> Result<Vec<u32>> {
        match prompt {
            Context::Text(text) => tokenizer.encode_prompt(&self.render(text)),
            Context::Conversation(conversation) => {
                tokenizer.encode_chat(&self.conversation(conversation))
            }
        }
    }

    /// Tokens of a completion that follows those of `prompt`, with what ends it.
    ///
    /// # Errors
    /// As [`PolicyConfig::encode_prompt`].
    pub fn encode_completion(
        &self,
        tokenizer: &Tokenizer,
        prompt: &Context,
        completion: &Answer,
    ) -> Result<Vec<u32>> {
        match prompt {
            Context::Text(_) => tokenizer.encode_completion(&completion.text),
            Context::Conversation(conversation) => {
                tokenizer.encode_answer(&self.conversation(conversation), completion)
            }
        }
    }

    /// A conversation with the run file's variables of the chat template, which the row's own come
    /// before.
    pub fn conversation<'a>(&self, conversation: &'a Conversation) -> Cow<'a, Conversation> {
        if self.chat_template_kwargs.is_empty() {
            return Cow::Borrowed(conversation);
        }
        let mut whole = conversation.clone();
        let own = std::mem::replace(
            &mut whole.chat_template_kwargs,
            self.chat_template_kwargs.clone(),
        );
        whole.chat_template_kwargs.extend(own);
        Cow::Owned(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_of_a_row_come_before_those_of_the_run() {
        let text = "model = 'm'\n[chat_template_kwargs]\na = 1\nb = false";
        let policy: PolicyConfig = toml::from_str(text).unwrap();
        let mut asked = Conversation::default();
        asked.chat_template_kwargs.insert("a".into(), json!(2));
        let found = policy.conversation(&asked);
        assert_eq!(
            serde_json::Value::from(found.chat_template_kwargs.clone()),
            json!({ "a": 2, "b": false })
        );
        let plain: PolicyConfig = toml::from_str("model = 'm'").unwrap();
        assert_eq!(plain.conversation(&asked).as_ref(), &asked);
    }
}

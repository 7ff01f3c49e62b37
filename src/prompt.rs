//! How prompts and completions become the tokens that a policy or a reward model reads.
//!
//! A text goes through the run file's `policy.prompt_template`, and its completion ends with the
//! end-of-text token. A conversation goes through the tokenizer's chat template, and its completion
//! ends as the template ends a turn. The tokens of a prompt are the same whether a completion
//! follows or not.

use crate::config::PolicyConfig;
use crate::error::Result;
use crate::record::{Answer, Context};
use crate::tokenizer::Tokenizer;

impl PolicyConfig {
    /// Tokens of a prompt.
    ///
    /// # Errors
    /// The tokenizer fails on the text, or has no chat template for a conversation.
    pub fn encode_prompt(&self, tokenizer: &Tokenizer, prompt: &Context) -> Result<Vec<u32>> {
        match prompt {
            Context::Text(text) => tokenizer.encode_prompt(&self.render(text)),
            Context::Conversation(conversation) => tokenizer.encode_chat(conversation),
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
                tokenizer.encode_answer(conversation, completion)
            }
        }
    }
}

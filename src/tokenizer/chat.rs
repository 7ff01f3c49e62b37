//! Conversations to tokens: a prompt, the answer that follows it, and a whole conversation with the
//! tokens that the assistant wrote.

use std::ops::Range;

use super::{ChatTemplate, Ending, Tokenizer};
use crate::error::{Error, Result};
use crate::record::{Answer, Conversation, Message};

/// A control character that no template strips or writes.
const PROBE: &str = "\u{2}";

impl Tokenizer {
    /// Tokens of a conversation that the model is to continue, by the chat template: with the
    /// beginning of an answer, or, where the last turn is the assistant's, inside that turn.
    ///
    /// # Errors
    /// There is no chat template, or it refuses the conversation.
    pub fn encode_chat(&self, conversation: &Conversation) -> Result<Vec<u32>> {
        let text = self
            .required_template()?
            .render(conversation, prompt_ending(conversation))?;
        self.encode(&text, false)
    }

    /// Tokens of an answer to a conversation, with what the chat template puts behind it; they
    /// follow those of [`Tokenizer::encode_chat`].
    ///
    /// What the template writes for the conversation with the answer, less what it writes for the
    /// conversation alone. Where it opens answers with something that it leaves out of finished
    /// ones (such as `<think>`), what the two have in common counts as the conversation, as in TRL.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_chat`], and when the answer changes how earlier turns are written.
    pub fn encode_answer(&self, conversation: &Conversation, answer: &Answer) -> Result<Vec<u32>> {
        self.encode_ended(conversation, answer, Ending::Closed)
    }

    /// [`Tokenizer::encode_answer`] without what the template puts behind the answer.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_answer`].
    pub fn encode_open_answer(
        &self,
        conversation: &Conversation,
        answer: &Answer,
    ) -> Result<Vec<u32>> {
        self.encode_ended(conversation, answer, Ending::Continued)
    }

    fn encode_ended(
        &self,
        conversation: &Conversation,
        answer: &Answer,
        ending: Ending,
    ) -> Result<Vec<u32>> {
        let template = self.required_template()?;
        let prompt = template.render(conversation, prompt_ending(conversation))?;
        let mut whole = conversation.clone();
        match answer.messages.as_slice() {
            [] => add_text(&mut whole, &answer.text),
            turns => whole.messages.extend_from_slice(turns),
        }
        let text = template.render(&whole, ending)?;
        let common = match text.starts_with(&prompt) {
            true => prompt.len(),
            false => self.shared_opening(template, conversation, &prompt, &text)?,
        };
        self.encode_rest(&prompt, &text[common..], false)
    }

    /// How much of `prompt` the template keeps once an answer follows, as in `text`: the earlier
    /// turns and what of the beginning of an answer stays.
    fn shared_opening(
        &self,
        template: &ChatTemplate,
        conversation: &Conversation,
        prompt: &str,
        text: &str,
    ) -> Result<usize> {
        // An answer that begins like nothing in the prompt, so that what the two share is not the
        // answer's own.
        let mut probe = conversation.clone();
        probe.messages.push(Message::new("assistant", PROBE));
        let common = common_prefix(prompt, &template.render(&probe, Ending::Closed)?);
        let earlier = template.render(conversation, Ending::Closed)?;
        if common < earlier.len() || !text.starts_with(&prompt[..common]) {
            let message =
                "chat template: it writes earlier turns in another way once an answer follows";
            return Err(Error::file(&self.source, message));
        }
        Ok(common)
    }

    /// Tokens of a text that follows another, as the tokenizer splits the two together where that
    /// leaves the first as it is alone; else as it splits a text of its own.
    ///
    /// # Errors
    /// The tokenizer fails on the text.
    pub fn encode_following(&self, prompt: &str, rest: &str) -> Result<Vec<u32>> {
        self.encode_rest(prompt, rest, true)
    }

    fn encode_rest(&self, prompt: &str, rest: &str, special: bool) -> Result<Vec<u32>> {
        let alone = self.encode(prompt, special)?;
        let mut both = self.encode(&format!("{prompt}{rest}"), special)?;
        if both.starts_with(&alone) {
            return Ok(both.split_off(alone.len()));
        }
        self.encode(rest, false)
    }

    /// Tokens of a whole conversation.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_chat`].
    pub fn encode_conversation(&self, conversation: &Conversation) -> Result<Vec<u32>> {
        let text = self
            .required_template()?
            .render(conversation, Ending::Closed)?;
        self.encode(&text, false)
    }

    /// Tokens of a whole conversation, and for each 1.0 where the assistant wrote it, else 0.0.
    ///
    /// What the assistant wrote are the template's `{% generation %}` blocks. For a template
    /// without them it is what each of the assistant's turns adds behind the beginning of an
    /// answer, which needs a template that writes a turn in the same way whatever follows.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_chat`], and when a turn is written in another way once others follow.
    pub fn encode_with_mask(&self, conversation: &Conversation) -> Result<(Vec<u32>, Vec<f32>)> {
        let template = self.required_template()?;
        let (text, spans) = template.render_spans(conversation)?;
        let spans = match spans {
            Some(spans) => spans,
            None => self.answers(template, conversation, &text)?,
        };
        let encoding = self.inner.encode(text, false);
        let encoding = encoding.map_err(|e| Error::file(&self.source, e.to_string()))?;
        let written = |&(start, end): &(usize, usize)| {
            let overlaps = |span: &Range<usize>| start < span.end && span.start < end;
            f32::from(u8::from(spans.iter().any(overlaps)))
        };
        let mask = encoding.get_offsets().iter().map(written).collect();
        Ok((encoding.get_ids().to_vec(), mask))
    }

    /// Where in `text`, the whole conversation, the assistant's turns stand, found by writing the
    /// conversation up to each of them.
    fn answers(
        &self,
        template: &ChatTemplate,
        conversation: &Conversation,
        text: &str,
    ) -> Result<Vec<Range<usize>>> {
        let mut spans = Vec::new();
        for (i, message) in conversation.messages.iter().enumerate() {
            if message.role != "assistant" {
                continue;
            }
            let upto = |n: usize, ending| {
                let messages = conversation.messages[..n].to_vec();
                let part = Conversation {
                    messages,
                    ..conversation.clone()
                };
                template.render(&part, ending)
            };
            let (before, after) = (
                upto(i, Ending::GenerationPrompt)?,
                upto(i + 1, Ending::Closed)?,
            );
            if !(after.starts_with(&before) && text.starts_with(&after)) {
                let message = format!(
                    "the chat template has no `{{% generation %}}` blocks and writes message {} in \
                    another way once others follow, so that what the assistant wrote cannot be told",
                    i + 1
                );
                return Err(Error::file(&self.source, message));
            }
            spans.push(before.len()..after.len());
        }
        Ok(spans)
    }

    fn required_template(&self) -> Result<&ChatTemplate> {
        self.chat_template.as_ref().ok_or_else(|| {
            let message = "there is no chat template, which a conversation needs: put a \
                `chat_template.jinja` beside it, or give prompts as texts";
            Error::file(&self.source, message)
        })
    }
}

/// As TRL does: an assistant's turn at the end is continued.
fn prompt_ending(conversation: &Conversation) -> Ending {
    match conversation.messages.last() {
        Some(last) if last.role == "assistant" => Ending::Continued,
        _ => Ending::GenerationPrompt,
    }
}

/// Adds an answer to a conversation: as a turn, or to the turn that it continues.
fn add_text(conversation: &mut Conversation, text: &str) {
    let last = conversation.messages.last_mut();
    match last.filter(|last| last.role == "assistant") {
        Some(last) => {
            let whole = format!("{}{text}", last.text());
            last.fields.insert("content".into(), whole.into());
        }
        None => conversation.messages.push(Message::new("assistant", text)),
    }
}

/// Bytes at the beginning, in whole characters, that two texts share.
fn common_prefix(a: &str, b: &str) -> usize {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

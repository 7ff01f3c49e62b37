//! Chat templates: from the turns of a conversation to the text that a model reads.
//!
//! What comes out is what `apply_chat_template` of `transformers` gives, held against it in
//! `tests/chat_templates.rs`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{Environment, Template};
use serde_json::{Map, Value, json};

use super::jinja::{self, CLOSE, MARK, OPEN};
use super::special::{SpecialTokens, read_json};
use crate::error::{Error, Result};
use crate::record::{Conversation, Message};

/// Marks the end of the text to be continued while it goes through the template.
const CONTINUE: &str = "CONTINUE_FINAL_MESSAGE_TAG ";
/// Names under which a turn's reasoning goes; the first is the standard one.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];
/// Variables that are the conversation's own.
const OWN: [&str; 3] = ["messages", "tools", "add_generation_prompt"];

/// How the text of a conversation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// After the last turn.
    Closed,
    /// With the beginning of an answer (`add_generation_prompt`).
    GenerationPrompt,
    /// Inside the last turn, which is to be continued (`continue_final_message`).
    Continued,
}

/// The chat template of a tokenizer.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    env: Arc<Environment<'static>>,
    special: Map<String, Value>,
    source: PathBuf,
}

impl ChatTemplate {
    /// A template from its text; `source` is named in errors.
    ///
    /// # Errors
    /// The text is no template.
    pub fn new(text: &str, special: &SpecialTokens, source: &Path) -> Result<Self> {
        Self::from_named([("default".to_string(), text.to_string())], special, source)
    }

    fn from_named(
        templates: impl IntoIterator<Item = (String, String)>,
        special: &SpecialTokens,
        source: &Path,
    ) -> Result<Self> {
        let refused = |e: minijinja::Error| Error::file(source, format!("chat template: {e}"));
        let mut env = jinja::environment().map_err(refused)?;
        for (name, text) in templates {
            env.add_template_owned(name, jinja::translate(&text))
                .map_err(refused)?;
        }
        Ok(Self {
            env: Arc::new(env),
            special: special.named.clone(),
            source: source.into(),
        })
    }

    /// The template of a model folder: `chat_template.jinja`, else `chat_template.json`, else the
    /// field `chat_template` of `tokenizer_config.json`, a text or a list of `{name, template}`.
    ///
    /// # Errors
    /// A file is malformed.
    pub(super) fn read(dir: &Path, special: &SpecialTokens) -> Result<Option<Self>> {
        let path = dir.join("chat_template.jinja");
        if path.exists() {
            let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
            return Self::new(&text, special, &path).map(Some);
        }
        for name in ["chat_template.json", "tokenizer_config.json"] {
            let path = dir.join(name);
            let file = read_json(&path)?.unwrap_or_default();
            let named = match file.get("chat_template") {
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => vec![("default".to_string(), text.clone())],
                Some(Value::Array(list)) => list
                    .iter()
                    .map(|item| {
                        let text = |name: &str| Some(item.get(name)?.as_str()?.to_string());
                        text("name").zip(text("template")).ok_or(())
                    })
                    .collect::<Result<_, ()>>()
                    .map_err(|()| wrong_form(&path))?,
                Some(_) => return Err(wrong_form(&path)),
            };
            return Self::from_named(named, special, &path).map(Some);
        }
        Ok(None)
    }

    /// The text of a conversation.
    ///
    /// # Errors
    /// The template refuses the conversation, fails on it, or takes too long; or the last turn has
    /// no text to continue.
    pub fn render(&self, conversation: &Conversation, ending: Ending) -> Result<String> {
        let messages: Vec<Message> = conversation.messages.iter().map(normal).collect();
        if ending == Ending::Continued {
            return self.continued(conversation, messages);
        }
        self.run(conversation, &messages, ending, Marks::Absent)
    }

    /// The text of a whole conversation, and where in it, in bytes, the template's
    /// `{% generation %}` blocks stand: what the model is to write itself. `None` instead of the
    /// places when the template has no such blocks.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_spans(
        &self,
        conversation: &Conversation,
    ) -> Result<(String, Option<Vec<Range<usize>>>)> {
        if !jinja::has_generation_blocks(self.template(conversation)?.source()) {
            return Ok((self.render(conversation, Ending::Closed)?, None));
        }
        let messages: Vec<Message> = conversation.messages.iter().map(normal).collect();
        let marks = |text: &str| text.contains([OPEN, CLOSE]);
        if marks(&json!(messages).to_string()) || marks(&json!(conversation.tools).to_string()) {
            let message = format!(
                "U+{:04X} and U+{:04X} cannot be part of a text",
                OPEN as u32, CLOSE as u32
            );
            return Err(Error::Usage(message));
        }
        let marked = self.run(conversation, &messages, Ending::Closed, Marks::Written)?;
        let (mut text, mut spans, mut open) =
            (String::with_capacity(marked.len()), Vec::new(), None);
        for c in marked.chars() {
            match c {
                OPEN => open = Some(text.len()),
                CLOSE => spans.extend(open.take().map(|start| start..text.len())),
                c => text.push(c),
            }
        }
        Ok((text, Some(spans)))
    }

    /// The template for tools where there are tools and such a template, else the default one.
    fn template(&self, conversation: &Conversation) -> Result<Template<'_, '_>> {
        let tools = (!conversation.tools.is_empty())
            .then(|| self.env.get_template("tool_use").ok())
            .flatten();
        let found = tools.map_or_else(|| self.env.get_template("default"), Ok);
        found.map_err(|_| Error::file(&self.source, "there is no chat template named `default`"))
    }

    fn run(
        &self,
        conversation: &Conversation,
        messages: &[Message],
        ending: Ending,
        marks: Marks,
    ) -> Result<String> {
        let mut variables = self.special.clone();
        let kwargs = &conversation.chat_template_kwargs;
        if let Some(name) = OWN.iter().find(|name| kwargs.contains_key(**name)) {
            let message =
                format!("`chat_template_kwargs` holds `{name}`, which is the conversation's own");
            return Err(Error::Usage(message));
        }
        variables.insert("documents".into(), Value::Null);
        variables.extend(kwargs.clone());
        let tools = match conversation.tools.as_slice() {
            [] => Value::Null,
            tools => tools.into(),
        };
        variables.extend([
            ("messages".to_string(), json!(messages)),
            ("tools".to_string(), tools),
            (
                "add_generation_prompt".to_string(),
                json!(ending == Ending::GenerationPrompt),
            ),
            (MARK.to_string(), json!(marks == Marks::Written)),
        ]);
        let variables = minijinja::Value::from(Serde(&variables));
        let refused = |e: minijinja::Error| {
            let e = e.detail().map_or_else(|| e.to_string(), str::to_string);
            Error::file(&self.source, format!("chat template: {e}"))
        };
        self.template(conversation)?
            .render(variables)
            .map_err(refused)
    }

    /// The text up to where the last turn ends, cut as `transformers` does: a mark goes through
    /// the template behind the turn's text.
    fn continued(&self, conversation: &Conversation, mut messages: Vec<Message>) -> Result<String> {
        let no_text = || Error::Usage("the last message has no text to continue".into());
        let content = messages
            .last_mut()
            .and_then(|last| last.fields.get_mut("content"));
        let content = match content {
            Some(Value::Array(parts)) => {
                let mut texts = parts
                    .iter_mut()
                    .rev()
                    .filter_map(|part| part.get_mut("text"));
                texts.next()
            }
            content => content,
        };
        let Some(Value::String(content)) = content else {
            return Err(no_text());
        };
        let text = content.trim().to_string();
        content.push_str(CONTINUE);
        let mut whole = self.run(conversation, &messages, Ending::Continued, Marks::Absent)?;
        let place = whole
            .rfind(CONTINUE.trim_end())
            .filter(|_| whole.contains(&text));
        let place = place.ok_or_else(|| {
            Error::file(
                &self.source,
                "chat template: it drops the last message, which is to be continued",
            )
        })?;
        let kept = whole[place..].starts_with(CONTINUE);
        whole.truncate(place);
        if !kept {
            whole.truncate(whole.trim_end().len());
        }
        Ok(whole)
    }
}

/// Whether the generation blocks are marked in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marks {
    Written,
    Absent,
}

/// A message as `transformers` hands it to a template: no empty fields, and the reasoning under the
/// names that templates look for.
fn normal(message: &Message) -> Message {
    let mut message = message.clone();
    message.fields.retain(|_, value| !value.is_null());
    let reasoning = REASONING
        .iter()
        .find_map(|name| message.fields.get(*name))
        .cloned();
    if let Some(reasoning) = reasoning {
        message
            .fields
            .entry("thinking")
            .or_insert_with(|| reasoning.clone());
        message.fields.insert("reasoning_content".into(), reasoning);
    }
    message
}

fn wrong_form(path: &Path) -> Error {
    let message = "`chat_template` is neither a text nor a list of `{name, template}`";
    Error::file(path, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> ChatTemplate {
        let named = json!({ "eos_token": "</s>" }).as_object().cloned().unwrap();
        ChatTemplate::new(text, &SpecialTokens { named }, Path::new("t.jinja")).unwrap()
    }

    fn conversation(turns: &[(&str, &str)]) -> Conversation {
        let messages = turns
            .iter()
            .map(|(role, content)| Message::new(role, content));
        Conversation {
            messages: messages.collect(),
            ..Default::default()
        }
    }

    const CHATML: &str = "{% for m in messages %}<{{ m.role }}>{% generation %}{{ m.content | trim }}\
        {% endgeneration %}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}";

    #[test]
    fn a_conversation_ends_in_three_ways() {
        let (chatml, turns) = (
            template(CHATML),
            conversation(&[("user", "hi"), ("assistant", " so ")]),
        );
        let check = |ending, expected: &str| {
            assert_eq!(chatml.render(&turns, ending).unwrap(), expected);
        };
        check(Ending::Closed, "<user>hi</s><assistant>so</s>");
        check(
            Ending::GenerationPrompt,
            "<user>hi</s><assistant>so</s><assistant>",
        );
        check(Ending::Continued, "<user>hi</s><assistant>so");
        let (text, spans) = chatml.render_spans(&turns).unwrap();
        assert_eq!(text, "<user>hi</s><assistant>so</s>");
        assert_eq!(spans, Some(vec![6..8, 23..25]));
    }

    #[test]
    fn the_template_for_tools_is_used_where_there_are_tools() {
        let named =
            [("default", "d"), ("tool_use", "t")].map(|(n, t)| (n.to_string(), t.to_string()));
        let template =
            ChatTemplate::from_named(named, &SpecialTokens::default(), Path::new("x")).unwrap();
        let mut turns = conversation(&[("user", "hi")]);
        assert_eq!(template.render(&turns, Ending::Closed).unwrap(), "d");
        turns.tools.push(json!({}));
        assert_eq!(template.render(&turns, Ending::Closed).unwrap(), "t");
    }

    #[test]
    fn what_goes_wrong_is_said() {
        let check = |text: &str, turns: &Conversation, ending, expected: &str| {
            let error = template(text).render(turns, ending).unwrap_err();
            assert_eq!(error.to_string(), expected);
        };
        let turns = conversation(&[("user", "hi")]);
        check(
            "{{ raise_exception('only two') }}",
            &turns,
            Ending::Closed,
            "t.jinja: chat template: only two",
        );
        check(
            "fixed",
            &turns,
            Ending::Continued,
            "t.jinja: chat template: it drops the last message, which is to be continued",
        );
        let mut own = turns.clone();
        own.chat_template_kwargs.insert("tools".into(), json!(1));
        check(
            "",
            &own,
            Ending::Closed,
            "`chat_template_kwargs` holds `tools`, which is the conversation's own",
        );
        let bad = ChatTemplate::new("{% if %}", &SpecialTokens::default(), Path::new("t.jinja"));
        assert!(
            bad.unwrap_err()
                .to_string()
                .starts_with("t.jinja: chat template: syntax error")
        );
    }
}

//! What a model is shown and what it answers: plain text, or the turns of a conversation.
//!
//! Columns as in TRL's conversational datasets: lists of `{"role", "content", ...}`, beside them
//! `tools` and `chat_template_kwargs`. A message keeps every field that it came with, in its order,
//! for a chat template may ask for any of them.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// What a model is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Columns", into = "Columns")]
pub enum Context {
    /// A text to continue.
    Text(String),
    /// A conversation to continue.
    Conversation(Conversation),
}

/// The turns of a conversation, with what the chat template needs beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conversation {
    /// The turns in order; at least one in a file.
    pub messages: Vec<Message>,
    /// Tools that the model may call, as JSON schemas.
    pub tools: Vec<Value>,
    /// More variables for the chat template, such as `enable_thinking`.
    pub chat_template_kwargs: Map<String, Value>,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Message {
    /// Who speaks: `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// The other fields as they stand in the file: `content`, `tool_calls`, `reasoning_content`,
    /// `name`, ...
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

/// What a model answers to a [`Context`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The answer as plain text.
    pub text: String,
    /// The turns that it came as; empty for plain text.
    pub messages: Vec<Message>,
}

impl Context {
    /// The plain text: the text itself, or the conversation as a transcript.
    pub fn transcript(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => text.into(),
            Self::Conversation(conversation) => transcript(&conversation.messages).into(),
        }
    }
}

impl From<&str> for Context {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Context {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Message {
    /// A turn with nothing but a text.
    pub fn new(role: &str, content: &str) -> Self {
        Self {
            role: role.into(),
            fields: Map::from_iter([("content".into(), content.into())]),
        }
    }

    /// The text of `content`: the string, or the text parts of a list one after the other.
    pub fn text(&self) -> Cow<'_, str> {
        match self.fields.get("content") {
            Some(Value::String(text)) => text.into(),
            Some(Value::Array(parts)) => {
                let text = |part: &Value| part.get("text")?.as_str().map(str::to_string);
                parts.iter().filter_map(text).collect::<String>().into()
            }
            _ => "".into(),
        }
    }

    /// The calls of tools in this turn, as they stand in the file.
    pub fn tool_calls(&self) -> &[Value] {
        let calls = self.fields.get("tool_calls").and_then(Value::as_array);
        calls.map_or(&[], Vec::as_slice)
    }

    /// The text, and each tool call on a line of its own as JSON.
    fn spoken(&self) -> String {
        let mut lines = Vec::new();
        if !self.text().is_empty() || self.tool_calls().is_empty() {
            lines.push(self.text().into_owned());
        }
        lines.extend(self.tool_calls().iter().map(Value::to_string));
        lines.join("\n")
    }
}

/// Turns as plain text, apart by an empty line: `Human: ...`, `Assistant: ...`, and other roles by
/// their names (`System: ...`), as in Anthropic's transcripts.
pub fn transcript(messages: &[Message]) -> String {
    let turn = |message: &Message| format!("{}: {}", speaker(&message.role), message.spoken());
    messages.iter().map(turn).collect::<Vec<_>>().join("\n\n")
}

fn speaker(role: &str) -> String {
    if role == "user" {
        return "Human".into();
    }
    let mut letters = role.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters.clone()).collect()
}

impl Answer {
    /// An answer from its turns, of which the first is the assistant's. The text of several turns
    /// is a transcript that leaves out who speaks first.
    pub fn from_messages(messages: Vec<Message>) -> Self {
        let mut text = messages.first().map(Message::spoken).unwrap_or_default();
        if let Some(rest) = messages.get(1..).filter(|rest| !rest.is_empty()) {
            text = format!("{text}\n\n{}", transcript(rest));
        }
        Self { text, messages }
    }
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        text.to_string().into()
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self {
            text,
            messages: Vec::new(),
        }
    }
}

impl Serialize for Answer {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        if self.messages.is_empty() {
            self.text.serialize(output)
        } else {
            self.messages.serialize(output)
        }
    }
}

impl<'de> Deserialize<'de> for Answer {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Self::try_from(Value::deserialize(input)?).map_err(D::Error::custom)
    }
}

impl TryFrom<Value> for Answer {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.into()),
            value => messages(value).map(Self::from_messages),
        }
    }
}

impl TryFrom<Map<String, Value>> for Message {
    type Error = String;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, String> {
        let Some(Value::String(role)) = fields.shift_remove("role") else {
            return Err("`role`, a string".into());
        };
        let parts = |parts: &[Value]| parts.iter().all(Value::is_object);
        match fields.get("content") {
            None | Some(Value::Null | Value::String(_)) => {}
            Some(Value::Array(content)) if parts(content) => {}
            Some(_) => return Err("`content`, a string or a list of parts".into()),
        }
        match fields.get("tool_calls") {
            None | Some(Value::Null | Value::Array(_)) => Ok(Self { role, fields }),
            Some(_) => Err("`tool_calls`, a list".into()),
        }
    }
}

/// The turns in a column. An error ends in ", expected ..." as serde's do.
pub(super) fn messages(value: Value) -> Result<Vec<Message>, String> {
    let wrong = || "wrong type, expected a string or a list of messages".to_string();
    let Value::Array(items) = value else {
        return Err(wrong());
    };
    if items.is_empty() {
        return Err("empty, expected a message at least".into());
    }
    let message = |(i, item): (usize, Value)| match item {
        Value::Object(fields) => Message::try_from(fields)
            .map_err(|what| format!("wrong type, expected {what}, in message {}", i + 1)),
        _ => Err(wrong()),
    };
    items.into_iter().enumerate().map(message).collect()
}

/// How a [`Context`] stands in a row.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Columns {
    #[serde(default)]
    prompt: Option<Value>,
    /// What chat requests call it.
    #[serde(default, skip_serializing)]
    messages: Option<Value>,
    #[serde(flatten)]
    beside: Beside,
}

/// Columns that belong to a conversation.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Beside {
    /// A list, or a list as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tools: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<Map<String, Value>>,
}

impl Beside {
    /// The conversation in a column, with what stands beside it.
    pub(super) fn conversation(self, column: Value) -> Result<Conversation, String> {
        let tools = match self.tools {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(tools)) => tools,
            Some(Value::String(text)) => serde_json::from_str(&text)
                .map_err(|_| "wrong type, expected `tools` to be a list as JSON".to_string())?,
            Some(_) => return Err("wrong type, expected `tools` to be a list".into()),
        };
        Ok(Conversation {
            messages: messages(column)?,
            tools,
            chat_template_kwargs: self.chat_template_kwargs.unwrap_or_default(),
        })
    }

    pub(super) fn of(conversation: &Conversation) -> Self {
        let Conversation {
            tools,
            chat_template_kwargs: kwargs,
            ..
        } = conversation;
        Self {
            tools: (!tools.is_empty()).then(|| tools.clone().into()),
            chat_template_kwargs: (!kwargs.is_empty()).then(|| kwargs.clone()),
        }
    }

    /// What a column `prompt` holds.
    pub(super) fn context(self, column: Value) -> Result<Context, String> {
        match column {
            Value::String(text) => Ok(text.into()),
            column => self.conversation(column).map(Context::Conversation),
        }
    }
}

impl TryFrom<Columns> for Context {
    type Error = String;

    fn try_from(columns: Columns) -> Result<Self, String> {
        let column = columns.prompt.or(columns.messages);
        columns
            .beside
            .context(column.ok_or("missing field `prompt`")?)
    }
}

impl From<Context> for Columns {
    fn from(context: Context) -> Self {
        let (prompt, beside) = match context {
            Context::Text(text) => (Value::String(text), Beside::default()),
            Context::Conversation(conversation) => {
                let beside = Beside::of(&conversation);
                (json(conversation.messages), beside)
            }
        };
        Self {
            prompt: Some(prompt),
            messages: None,
            beside,
        }
    }
}

/// Messages as they stand in a file.
pub(super) fn json(messages: Vec<Message>) -> Value {
    let message = |message: Message| {
        let role = ("role".to_string(), Value::String(message.role));
        Value::Object(std::iter::once(role).chain(message.fields).collect())
    };
    messages.into_iter().map(message).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Context, String> {
        serde_json::from_str(text).map_err(|e| e.to_string())
    }

    #[test]
    fn a_conversation_keeps_all_that_it_came_with() {
        let text = concat!(
            r#"{"prompt":[{"role":"user","content":"hi","name":"z","a":null},"#,
            r#"{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"b":1,"a":2}}}]}],"#,
            r#""tools":[{"z":1,"a":2}],"chat_template_kwargs":{"enable_thinking":false}}"#
        );
        let context = read(text).unwrap();
        assert_eq!(serde_json::to_string(&context).unwrap(), text);
        let tools_as_text = text.replace(r#"[{"z":1,"a":2}]"#, r#""[{\"z\":1,\"a\":2}]""#);
        assert_eq!(read(&tools_as_text).unwrap(), context);
        let as_messages = text.replace(r#"{"prompt""#, r#"{"messages""#);
        assert_eq!(read(&as_messages).unwrap(), context);
        assert_eq!(
            context.transcript(),
            "Human: hi\n\nAssistant: {\"function\":{\"name\":\"f\",\"arguments\":{\"b\":1,\"a\":2}}}"
        );
    }

    #[test]
    fn an_answer_is_a_text_or_turns() {
        let check = |json: &str, text: &str| {
            let answer: Answer = serde_json::from_str(json).unwrap();
            assert_eq!(answer.text, text);
            assert_eq!(serde_json::to_string(&answer).unwrap(), json);
        };
        check(r#""yes""#, "yes");
        check(r#"[{"role":"assistant","content":"yes"}]"#, "yes");
        check(
            r#"[{"role":"assistant","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]"#,
            "ab",
        );
        check(
            r#"[{"role":"assistant","content":"a"},{"role":"tool","content":"b"}]"#,
            "a\n\nTool: b",
        );
    }

    #[test]
    fn what_is_no_conversation_is_refused() {
        let check = |column: &str, error: &str| {
            let found = read(&format!(r#"{{"prompt":{column}}}"#)).unwrap_err();
            assert_eq!(found, error);
        };
        let wrong = "wrong type, expected a string or a list of messages";
        check("3", wrong);
        check(r#"["hi"]"#, wrong);
        check("[]", "empty, expected a message at least");
        check("null", "missing field `prompt`");
        check(
            r#"[{"content":"hi"}]"#,
            "wrong type, expected `role`, a string, in message 1",
        );
        check(
            r#"[{"role":"user","content":3}]"#,
            "wrong type, expected `content`, a string or a list of parts, in message 1",
        );
    }
}

//! Rows for supervised fine-tuning, in the three forms in which TRL's datasets come.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::conversation::{Beside, json};
use super::{Answer, Context, Conversation, Record, default_id, id_text};

/// Something to imitate: a row for supervised fine-tuning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demonstration {
    /// Name of the row; its line when the file gives none.
    #[serde(default, deserialize_with = "id_text")]
    pub id: String,
    /// What it shows.
    #[serde(flatten)]
    pub form: Form,
}

/// What a demonstration shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Columns", into = "Columns")]
pub enum Form {
    /// Columns `prompt` and `completion`: the completion is imitated.
    PromptCompletion {
        /// What the model is shown.
        prompt: Context,
        /// What it should answer.
        completion: Answer,
    },
    /// Column `messages`: a whole conversation.
    Messages(Conversation),
    /// Column `text`: imitated from its first token on.
    Text(String),
}

impl Demonstration {
    /// A prompt and the completion to imitate.
    pub fn new(id: String, prompt: impl Into<Context>, completion: impl Into<Answer>) -> Self {
        let (prompt, completion) = (prompt.into(), completion.into());
        Self {
            id,
            form: Form::PromptCompletion { prompt, completion },
        }
    }
}

impl Record for Demonstration {
    fn set_default_id(&mut self, line: usize) {
        default_id(&mut self.id, line);
    }
}

/// How a [`Form`] stands in a row.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Columns {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prompt: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    completion: Option<Answer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    messages: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(flatten)]
    beside: Beside,
}

impl TryFrom<Columns> for Form {
    type Error = String;

    fn try_from(columns: Columns) -> Result<Self, String> {
        match columns {
            Columns {
                prompt: Some(prompt),
                completion,
                beside,
                ..
            } => Ok(Self::PromptCompletion {
                prompt: beside.context(prompt)?,
                completion: completion.ok_or("missing field `completion`")?,
            }),
            Columns {
                messages: Some(messages),
                beside,
                ..
            } => beside.conversation(messages).map(Self::Messages),
            Columns {
                text: Some(text), ..
            } => Ok(Self::Text(text)),
            _ => Err("missing field `prompt`, or `messages`, or `text`".into()),
        }
    }
}

impl From<Form> for Columns {
    fn from(form: Form) -> Self {
        let mut columns = Self::default();
        match form {
            Form::PromptCompletion { prompt, completion } => {
                columns.completion = Some(completion);
                columns.prompt = Some(match prompt {
                    Context::Text(text) => text.into(),
                    Context::Conversation(conversation) => {
                        columns.beside = Beside::of(&conversation);
                        json(conversation.messages)
                    }
                });
            }
            Form::Messages(conversation) => {
                columns.beside = Beside::of(&conversation);
                columns.messages = Some(json(conversation.messages));
            }
            Form::Text(text) => columns.text = Some(text),
        }
        columns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_survives_a_file() {
        let turn = r#"[{"role":"user","content":"q"}]"#;
        let check = |text: &str, form: fn(&Form) -> bool| {
            let row: Demonstration = serde_json::from_str(text).unwrap();
            assert!(form(&row.form), "{row:?}");
            assert_eq!(serde_json::to_string(&row).unwrap(), text);
        };
        check(r#"{"id":"1","prompt":"q","completion":"c"}"#, |form| {
            *form == Demonstration::new(String::new(), "q", "c").form
        });
        let conversational = format!(
            r#"{{"id":"1","prompt":{turn},"completion":[{{"role":"assistant","content":"c"}}]}}"#
        );
        check(&conversational, |form| match form {
            Form::PromptCompletion { prompt, completion } => {
                prompt.transcript() == "Human: q" && completion.text == "c"
            }
            _ => false,
        });
        let whole = format!(r#"{{"id":"1","messages":{turn},"tools":[{{}}]}}"#);
        check(
            &whole,
            |form| matches!(form, Form::Messages(found) if found.tools.len() == 1),
        );
        check(r#"{"id":"1","text":"t"}"#, |form| {
            *form == Form::Text("t".into())
        });
    }
}

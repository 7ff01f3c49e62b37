//! The columns of one row as pairs.

use serde_json::{Map, Value};

use super::completions::{Open, completion, paired, scored};
use super::{AnswerPair, PairOptions, Transcripts, prefix};
use crate::record::rows::Row;
use crate::record::{Answer, Context, Conversation, Message};

/// Names of the two answers of a pair, and of nothing else in a row.
const OUTPUTS: [[&str; 2]; 5] = [
    ["output_1", "output_2"],
    ["response_1", "response_2"],
    ["response1", "response2"],
    ["completion_a", "completion_b"],
    ["response_a", "response_b"],
];
pub(super) type Fields = Map<String, Value>;

/// Appends the pairs of a row, and those that it closes.
pub(super) fn pairs(
    row: Row,
    options: &PairOptions,
    open: &mut Option<Open>,
    pairs: &mut Vec<AnswerPair>,
) -> Result<(), String> {
    let prompt_id = id(&row);
    let mut fields = row.fields;
    let is = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
    if is("completion") && is("prompt") {
        return completion(prompt_id, fields, open, pairs);
    }
    pairs.extend(open.take().into_iter().flat_map(|open| open.pairs()));
    let (p_gold, margin, (prompt, [a, b])) = if is("chosen") && is("rejected") {
        let p_gold = number(&fields, "p_chosen")?.unwrap_or(1.0);
        let margin = number(&fields, "margin")?;
        let both = ["chosen", "rejected"].map(|name| take(&mut fields, name));
        let told = preference(&mut fields, both, options.transcripts)?;
        (Some(p_gold), margin, told)
    } else if is("conversation_a") && is("conversation_b") {
        let p_gold = winner(&fields)?;
        let both = ["conversation_a", "conversation_b"].map(|name| take(&mut fields, name));
        (
            p_gold,
            None,
            preference(&mut fields, both, options.transcripts)?,
        )
    } else if let Some(names) = OUTPUTS
        .iter()
        .find(|names| names.iter().all(|name| is(name)))
    {
        let p_gold = label(&fields)?;
        let [a, b] = names.map(|name| answer(take(&mut fields, name)));
        let answers = [a?, b?];
        (p_gold, None, (prompt(fields)?, answers))
    } else if let Some(Value::Array(_)) = fields.get("completions") {
        let scored = scored(take(&mut fields, "completions"))?;
        let prompt = prompt(fields)?;
        pairs.extend(paired(&prompt_id, &prompt, scored, options.pairing)?);
        return Ok(());
    } else {
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        let names = names.join("`, `");
        return Err(format!("no columns of a pair among `{names}`"));
    };
    pairs.push(AnswerPair {
        prompt_id,
        prompt,
        a,
        b,
        p_gold,
        margin,
    });
    Ok(())
}

/// The name of a row's prompt; its line where it has none.
pub(in crate::record) fn id(row: &Row) -> String {
    let names = ["prompt_id", "id", "idx", "question_id"];
    match names.iter().find_map(|name| row.fields.get(*name)) {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => row.line.to_string(),
    }
}

pub(in crate::record) fn take(fields: &mut Fields, name: &str) -> Value {
    fields.get_mut(name).map(Value::take).unwrap_or_default()
}

fn number(fields: &Fields, name: &str) -> Result<Option<f32>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let number = number.as_f64().unwrap_or(f64::NAN) as f32;
            if name == "p_chosen" && !(0.0..=1.0).contains(&number) {
                return Err(format!("`{name}` is {number}, expected 0..=1"));
            }
            Ok(Some(number))
        }
        Some(other) => Err(format!("`{name}` is {other}, expected a number")),
    }
}

pub(in crate::record) fn answer(value: Value) -> Result<Answer, String> {
    Answer::try_from(value).map_err(|message| format!("an answer has the {message}"))
}

/// The prompt of a row whose answers do not hold it.
pub(in crate::record) fn prompt(mut fields: Fields) -> Result<Context, String> {
    if !fields.contains_key("prompt") && !fields.contains_key("messages") {
        let input = take(&mut fields, "input");
        let text = match (
            take(&mut fields, "instruction"),
            input,
            take(&mut fields, "question"),
        ) {
            (Value::String(task), Value::String(input), _) if !input.is_empty() => {
                format!("{task}\n\n{input}")
            }
            (Value::String(text), ..) | (_, Value::String(text), _) | (.., Value::String(text)) => {
                text
            }
            _ => return Err("no column `prompt`, `instruction`, `input` or `question`".into()),
        };
        fields.insert("prompt".into(), text.into());
    }
    context(fields)
}

fn context(fields: Fields) -> Result<Context, String> {
    serde_json::from_value(Value::Object(fields)).map_err(|e| format!("`prompt`: {e}"))
}

/// The prompt and the two answers of a preference.
fn preference(
    fields: &mut Fields,
    both: [Value; 2],
    transcripts: Transcripts,
) -> Result<(Context, [Answer; 2]), String> {
    let has_prompt = fields.get("prompt").is_some_and(|prompt| !prompt.is_null());
    let [a, b] = both;
    match (answer(a)?, answer(b)?) {
        (a, b) if a.messages.is_empty() && b.messages.is_empty() => {
            if has_prompt {
                return Ok((context(std::mem::take(fields))?, [a, b]));
            }
            implicit(&a.text, &b.text, transcripts)
        }
        (a, b) if !a.messages.is_empty() && !b.messages.is_empty() => conversation(fields, [a, b]),
        _ => Err("one answer is a text and the other a list of messages".into()),
    }
}

/// The prompt that two texts begin with.
fn implicit(a: &str, b: &str, transcripts: Transcripts) -> Result<(Context, [Answer; 2]), String> {
    if !prefix::are_transcripts(a, b) {
        let (prompt, a, b) = prefix::of_texts(a, b);
        return Ok((prompt.into(), [a.into(), b.into()]));
    }
    let parted = "the transcripts share no turn that an assistant answers";
    let (prompt, a, b) = prefix::of_transcripts(a, b).ok_or(parted)?;
    Ok(match transcripts {
        Transcripts::Text => (prompt.into(), [a.into(), b.into()]),
        Transcripts::Messages => {
            let messages = prefix::turns(prompt);
            let answers = [a, b].map(|text| Answer::from_messages(prefix::answer_turns(text)));
            let conversation = Conversation {
                messages,
                ..Conversation::default()
            };
            (Context::Conversation(conversation), answers)
        }
    })
}

/// Answers that are messages: they may begin with the prompt, whether or not it has its column.
fn conversation(fields: &mut Fields, both: [Answer; 2]) -> Result<(Context, [Answer; 2]), String> {
    let [a, b] = both.map(|answer| answer.messages);
    let prompt = match fields.get("prompt") {
        Some(Value::Array(_)) => context(fields.clone())?,
        _ => Context::Text(String::new()),
    };
    let n_shared = match &prompt {
        Context::Conversation(prompt) => {
            let n = prompt.messages.len();
            let inside = n < a.len().min(b.len())
                && [&a, &b]
                    .iter()
                    .all(|turns| turns.starts_with(&prompt.messages));
            return Ok((
                Context::Conversation(prompt.clone()),
                answers(&a, &b, if inside { n } else { 0 }),
            ));
        }
        Context::Text(_) => prefix::n_shared(&a, &b),
    };
    let turns = match (n_shared, fields.get("prompt")) {
        (0, Some(Value::String(text))) => vec![Message::new("user", text)],
        (0, _) => return Err("the conversations share no turn, and there is no `prompt`".into()),
        _ => a[..n_shared].to_vec(),
    };
    let Value::Array(column) = serde_json::to_value(turns).map_err(|e| e.to_string())? else {
        return Err("the prompt is no list".into());
    };
    fields.insert("prompt".into(), column.into());
    Ok((context(std::mem::take(fields))?, answers(&a, &b, n_shared)))
}

fn answers(a: &[Message], b: &[Message], start: usize) -> [Answer; 2] {
    [a, b].map(|turns| Answer::from_messages(turns[start..].to_vec()))
}

/// Chatbot Arena's `winner`.
fn winner(fields: &Fields) -> Result<Option<f32>, String> {
    match fields.get("winner").and_then(Value::as_str) {
        None => Ok(None),
        Some("model_a") => Ok(Some(1.0)),
        Some("model_b") => Ok(Some(0.0)),
        Some(tie) if tie.starts_with("tie") => Ok(Some(0.5)),
        Some(other) => Err(format!(
            "`winner` is {other:?}, expected model_a, model_b or tie"
        )),
    }
}

/// 1 for the first output, 2 for the second, 0 for a tie.
fn label(fields: &Fields) -> Result<Option<f32>, String> {
    let given = ["label", "preference"]
        .iter()
        .find_map(|name| Some((name, fields.get(*name)?)));
    let Some((name, value)) = given.filter(|(_, value)| !value.is_null()) else {
        return Ok(None);
    };
    match value.as_f64() {
        Some(1.0) => Ok(Some(1.0)),
        Some(2.0) => Ok(Some(0.0)),
        Some(0.0) => Ok(Some(0.5)),
        _ => Err(format!(
            "`{name}` is {value}, expected 1, 2, or 0 for a tie"
        )),
    }
}

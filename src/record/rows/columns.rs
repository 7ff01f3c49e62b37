//! Which columns the rows of a file have, and what they hold.

use serde_json::{Map, Value};

use super::Row;
use crate::error::{Error, Result};

/// The columns of a file in the order in which they first occur.
#[derive(Debug, Default)]
pub(super) struct Columns(Vec<(String, Option<Kind>)>);

/// What all values of a column are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Number,
    Bool,
    /// Lists of messages with these fields, all of them texts.
    Messages(Vec<String>),
    /// Anything else.
    Json,
}

impl Columns {
    /// Reads all rows.
    pub(super) fn of(rows: impl Iterator<Item = Result<Row>>) -> Result<Self> {
        let mut columns = Self::default();
        for row in rows {
            for (name, value) in row?.fields {
                columns.add(name, &value)?;
            }
        }
        Ok(columns)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Names and kinds; a column that is always null is one of texts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Kind)> {
        let columns = self.0.iter();
        columns.map(|(name, kind)| (name.as_str(), kind.as_ref().unwrap_or(&Kind::Text)))
    }

    fn add(&mut self, name: String, value: &Value) -> Result<()> {
        let known = self.0.iter().position(|(known, _)| *known == name);
        let i = known.unwrap_or(self.0.len());
        if known.is_none() {
            self.0.push((name, None));
        }
        let (name, kind) = &mut self.0[i];
        if let Some(found) = Kind::of(value) {
            *kind = Some(match kind.take() {
                None => found,
                Some(kind) => kind.with(found).ok_or_else(|| {
                    let message = "a text in some rows and a list of messages in others";
                    Error::field(name.clone(), message, "one of the two")
                })?,
            });
        }
        Ok(())
    }
}

impl Kind {
    fn of(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => return None,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_i64() => Self::Integer,
            Value::Number(_) => Self::Number,
            Value::String(_) => Self::Text,
            Value::Array(items) => message_fields(items).map_or(Self::Json, Self::Messages),
            Value::Object(_) => Self::Json,
        })
    }

    /// What holds both; `None` for a text and messages, for neither reader expects the other.
    fn with(self, other: Self) -> Option<Self> {
        Some(match (self, other) {
            (a, b) if a == b => a,
            (Self::Messages(mut fields), Self::Messages(more)) => {
                let new: Vec<_> = more
                    .into_iter()
                    .filter(|field| !fields.contains(field))
                    .collect();
                fields.extend(new);
                Self::Messages(fields)
            }
            (Self::Messages(_), Self::Text) | (Self::Text, Self::Messages(_)) => return None,
            (Self::Integer, Self::Number) | (Self::Number, Self::Integer) => Self::Number,
            _ => Self::Json,
        })
    }
}

/// The fields of messages that hold nothing but texts.
fn message_fields(items: &[Value]) -> Option<Vec<String>> {
    let mut fields: Vec<String> = Vec::new();
    for item in items {
        let message: &Map<String, Value> = item.as_object()?;
        if !message.contains_key("role") || message.values().any(|v| !v.is_string() && !v.is_null())
        {
            return None;
        }
        let new = message
            .keys()
            .filter(|name| !fields.contains(name))
            .cloned();
        fields.extend(new.collect::<Vec<_>>());
    }
    (!fields.is_empty()).then_some(fields)
}

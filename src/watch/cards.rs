//! Rows of the run folder as the sample browser shows them: facts, and texts under their names.
//!
//! All texts are foreign. They leave here as JSON strings, and the page sets them as text.

use serde::Serialize;

use super::folder::row;
use super::verdicts::Verdicts;
use crate::record::{Completion, Label, LoggedRollout, Method, Unlabeled};

/// Rows that can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Preferences,
    Rollouts,
    Prompts,
    Evaluations,
    Completions,
    Unlabeled,
}

/// One row.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Card {
    title: String,
    facts: Vec<(&'static str, String)>,
    /// Each judge, and what it says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verdicts: Vec<[String; 2]>,
    /// Steps with rewards.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rewards: Vec<(usize, f32)>,
    texts: Vec<Text>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Text {
    name: String,
    text: String,
}

impl Kind {
    /// In the order of interest.
    pub(super) const ALL: [Self; 6] = [
        Self::Preferences,
        Self::Rollouts,
        Self::Prompts,
        Self::Evaluations,
        Self::Completions,
        Self::Unlabeled,
    ];

    /// The kind of a name in a request.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Preferences => "preferences",
            Self::Rollouts => "rollouts",
            Self::Prompts => "prompts",
            Self::Evaluations => "evaluations",
            Self::Completions => "completions",
            Self::Unlabeled => "unlabeled",
        }
    }

    /// The file inside the run folder; for evaluations the folder of their files.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Preferences => "preferences.jsonl",
            Self::Rollouts | Self::Prompts => "rollouts.jsonl",
            Self::Evaluations => "eval",
            Self::Completions => "completions.jsonl",
            Self::Unlabeled => "unlabeled.jsonl",
        }
    }

    /// Row `number`, counted from 0, whatever it holds.
    pub(super) fn card(self, number: usize, line: &[u8]) -> Card {
        let card = match self {
            Self::Preferences => row(number + 1, line).map(preference),
            Self::Unlabeled => row(number + 1, line).map(unlabeled),
            Self::Rollouts | Self::Prompts => row(number + 1, line).map(rollout),
            Self::Completions | Self::Evaluations => row(number + 1, line).map(completion),
        };
        card.unwrap_or_else(|message| Card {
            title: format!("row {}", number + 1),
            facts: vec![("unreadable", message)],
            ..Card::default()
        })
    }
}

impl Card {
    /// A prompt that the policy met at these steps, with the rewards there.
    pub(super) fn of_prompt(id: &str, rewards: Vec<(usize, f32)>) -> Self {
        Self {
            title: id.into(),
            facts: vec![("steps", rewards.len().to_string())],
            rewards,
            ..Self::default()
        }
    }

    /// What the policy wrote to it at a step.
    pub(super) fn add_rollout(&mut self, line: &[u8]) {
        let Ok(LoggedRollout {
            step,
            reward,
            completion,
        }) = row(1, line)
        else {
            return;
        };
        if self.texts.is_empty() {
            let prompt = completion.prompt.transcript();
            self.texts.push(text("prompt", prompt));
        }
        let name = format!("step {step}, reward {reward:.3}, {}", length(&completion));
        self.texts.push(text(&name, completion.completion));
    }

    /// The prompt of an evaluation with what the judges say, and the first policy's answer.
    pub(super) fn of_policy(
        number: usize,
        (policy, line): (&str, &[u8]),
        verdicts: &Verdicts,
    ) -> Self {
        let prompt = row::<Completion>(number + 1, line);
        let prompt = prompt.map(|row| (row.prompt_id, row.prompt.transcript().into_owned()));
        let (title, texts) = match prompt {
            Ok((id, prompt)) => (id, vec![text("prompt", prompt)]),
            Err(_) => (format!("row {}", number + 1), Vec::new()),
        };
        let mut card = Self {
            verdicts: verdicts.of(&title).to_vec(),
            title,
            texts,
            ..Self::default()
        };
        card.add_policy(policy, line);
        card
    }

    /// Another policy's answer.
    pub(super) fn add_policy(&mut self, policy: &str, line: &[u8]) {
        self.texts.push(match row::<Completion>(1, line) {
            Ok(row) => text(&format!("{policy}, {}", length(&row)), row.completion),
            Err(message) => text(policy, message),
        });
    }
}

fn text(name: &str, text: impl Into<String>) -> Text {
    Text {
        name: name.into(),
        text: text.into(),
    }
}

fn preference(label: Label) -> Card {
    let row = label.preference;
    let probability = |name, p: Option<f32>| Some((name, format!("{:.3}", p?)));
    let turns = |first: f32, second: f32| (first > 0.5) != (second > 0.5);
    let by_position = row.p_first.zip(row.p_second).filter(|&(a, b)| turns(a, b));
    let method = row.method.map(|method| match method {
        Method::LogProbs => "log-probabilities",
        Method::Text => "text",
        Method::Truth => "truth",
    });
    let facts = [
        probability("p(chosen)", Some(row.p_chosen)),
        probability("shown first", row.p_first),
        probability("shown second", row.p_second),
        by_position.map(|_| ("orders", "disagree: the position decides".into())),
        probability("gold", label.p_gold),
        row.margin.map(|margin| ("margin", format!("{margin:.3}"))),
        row.labeler.map(|labeler| ("by", labeler)),
        method.map(|method| ("found by", method.into())),
    ];
    let mut texts = vec![
        text("prompt", row.prompt.transcript()),
        text("chosen", row.chosen.text),
        text("rejected", row.rejected.text),
    ];
    texts.extend(row.rationales.into_iter().map(|why| text("rationale", why)));
    Card {
        title: row.prompt_id,
        facts: facts.into_iter().flatten().collect(),
        texts,
        ..Card::default()
    }
}

fn unlabeled(row: Unlabeled) -> Card {
    let mut texts = vec![
        text("prompt", row.prompt.transcript()),
        text("one", row.a),
        text("other", row.b),
    ];
    texts.extend(row.rationales.into_iter().map(|why| text("rationale", why)));
    Card {
        title: row.prompt_id,
        facts: vec![
            ("no verdict", row.kind.replace('_', " ")),
            ("reason", row.reason),
            ("by", row.labeler),
        ],
        texts,
        ..Card::default()
    }
}

fn rollout(row: LoggedRollout) -> Card {
    let mut card = completion(row.completion);
    let worth = [
        ("step", row.step.to_string()),
        ("reward", format!("{:.3}", row.reward)),
    ];
    card.facts.splice(0..0, worth);
    card
}

fn completion(row: Completion) -> Card {
    Card {
        facts: vec![
            ("number", row.index.to_string()),
            ("length", length(&row)),
            ("log-probability", format!("{:.2}", row.log_prob)),
        ],
        texts: vec![
            text("prompt", row.prompt.transcript()),
            text("completion", row.completion),
        ],
        title: row.prompt_id,
        ..Card::default()
    }
}

fn length(row: &Completion) -> String {
    let cut = if row.finished { "" } else { ", cut off" };
    format!("{} tokens{cut}", row.n_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_shows_both_orders_and_that_they_disagree() {
        let line = br#"{"prompt_id":"p7","prompt":"q","chosen":"c","rejected":"r","p_chosen":0.6,
            "p_first":0.8,"p_second":0.4,"labeler":"l","rationale":"w","p_gold":1}"#;
        let card = Kind::Preferences.card(0, line);
        let facts: Vec<_> = card
            .facts
            .iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let expected = [
            "p(chosen) 0.600",
            "shown first 0.800",
            "shown second 0.400",
            "orders disagree: the position decides",
            "gold 1.000",
            "by l",
        ];
        assert_eq!(
            (card.title.as_str(), facts),
            ("p7", expected.map(String::from).to_vec())
        );
        let names: Vec<_> = card.texts.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["prompt", "chosen", "rejected", "rationale"]);
    }

    #[test]
    fn a_rollout_shows_its_step_and_reward() {
        let line = br#"{"step":7,"reward":0.25,"prompt_id":"p","prompt":"q","index":1,
            "completion":"c","n_tokens":3,"log_prob":-1.5,"finished":false}"#;
        let card = Kind::Rollouts.card(0, line);
        let facts: Vec<_> = (card.facts.iter())
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let expected = [
            "step 7",
            "reward 0.250",
            "number 1",
            "length 3 tokens, cut off",
            "log-probability -1.50",
        ];
        assert_eq!(facts, expected);
    }

    #[test]
    fn a_bad_row_says_so() {
        let card = Kind::Completions.card(6, b"{\"prompt\":");
        assert_eq!(card.title, "row 7");
        assert!(card.facts[0].1.starts_with("not valid JSON"), "{card:?}");
        for kind in Kind::ALL {
            let name = serde_json::to_value(kind).unwrap();
            assert_eq!(Kind::named(name.as_str().unwrap()), Some(kind));
        }
        assert_eq!(Kind::named("../config.toml"), None);
    }
}

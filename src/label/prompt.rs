//! What a labeler is asked: preamble, sample, ending, in the structure of the paper (table 15) and
//! in our own words.
//!
//! A question comes in two parts. The first holds the preamble and the text; it is the same for
//! both orders of a pair and for all samples of a prompt, so it is encoded once. The second holds
//! the completions and the ending.

use std::sync::Arc;

use super::Question;

/// Preamble of the comparison.
const COMPARE_PREAMBLE: &str = "You are an expert summary rater. Given a text and two of its summaries, \
    output 1 or 2 to say which summary is better.";
/// Preamble of the score (appendix D of the paper).
const SCORE_PREAMBLE: &str = "You are an expert summary rater. Given a TEXT and a SUMMARY, give a SCORE from \
    1 to 10 for the quality of the SUMMARY, where 1 is awful and 10 is perfect.";

/// Answers to the comparison: the first or the second completion is better.
pub const COMPARE_ANSWERS: [&str; 2] = ["1", "2"];
/// Answers to the score.
pub const SCORE_ANSWERS: [&str; 10] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];

/// The part of a comparison that both orders share.
pub fn compare_prefix(text: &str) -> String {
    format!("{COMPARE_PREAMBLE}\n\nText - {text}")
}

/// A comparison; the answer comes next.
pub fn compare_question(prefix: &Arc<str>, first: &str, second: &str) -> Question {
    Question {
        prefix: prefix.clone(),
        text: format!("\nSummary 1 - {first}\nSummary 2 - {second}"),
        ending: "\n\nPreferred Summary=".into(),
    }
}

/// The part of a score that all completions of a text share.
pub fn score_prefix(text: &str) -> String {
    format!("{SCORE_PREAMBLE}\n\nTEXT: {text}")
}

/// A score; the answer comes next.
pub fn score_question(prefix: &Arc<str>, completion: &str) -> Question {
    Question {
        prefix: prefix.clone(),
        text: format!("\n\nSUMMARY: {completion}"),
        ending: "\n\nSCORE:".into(),
    }
}

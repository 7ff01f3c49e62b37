//! From an answer as it was written to the probability of each possible answer.
//!
//! The alternatives to the first token of the answer tell: every spelling of an answer counts ("1",
//! " 1"), summed as probabilities. Three things need care.
//!
//! - Blanks and marks that come before the answer ("\n", "**", a leading space of its own) are
//!   stepped over, with the probability of having been written.
//! - A token that begins several answers ("1" begins "10" for tokenizers that split digits) is
//!   followed into the next token if it was the one written; as in a local model, `P("1") = p(1)
//!   (1 - p(0 | 1))`. If it was not, its probability stays [`Open`]: with the `completions`
//!   interface it is asked for by a second request, and otherwise it is split among the answers
//!   that it begins in proportion to the probabilities of their neighbours on the scale (2 for 1,
//!   and 9 for 10), evenly if these have none: a score that the model thinks near 8 is rather a 10.
//! - An answer that is not listed has a probability of at most the smallest one listed. It counts
//!   as 0, as in alpaca_eval (`completion_parsers.py`, `logprob_parser`).
//!
//! Where the answers together have less than [`MIN_MASS`], the model was about to say something
//! else, and the log-probabilities tell nothing.

use super::wire;
use crate::error::{Error, Result};
use crate::run::{Answer, AnswerToken};

/// Least probability that all answers have together.
pub(crate) const MIN_MASS: f64 = 0.01;

/// Probabilities found so far.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    /// Of each answer.
    pub(crate) mass: Vec<f64>,
    /// Not decided yet.
    pub(crate) open: Vec<Open>,
}

/// The beginning of several answers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Open {
    /// As it would be written, leading space included.
    pub(crate) text: String,
    /// Its probability.
    pub(crate) mass: f64,
}

/// Log-probabilities in nats that a server's response gives the possible `answers`, normalised over
/// them; `None` where it tells nothing: what [`EndpointAnswerer`](super::EndpointAnswerer) makes of
/// one, for looking at what a server says.
///
/// # Errors
/// It is no response of `chat/completions` or `completions`.
pub fn read_response(response: &str, answers: &[String]) -> Result<Option<Vec<f32>>> {
    let answer = wire::answer(response, "", "", 0).map_err(Error::Usage)?;
    Ok(read_answer(&answer, answers).log_probs(answers))
}

/// Reads the tokens of an answer.
pub(crate) fn read_answer(answer: &Answer, answers: &[String]) -> Reading {
    let ended = answer.finish_reason.as_deref() == Some("stop");
    read(&answer.tokens, ended, answers)
}

/// Reads tokens. `ended` says that the model ended it itself.
fn read(tokens: &[AnswerToken], ended: bool, answers: &[String]) -> Reading {
    let mut reading = Reading {
        mass: vec![0.0; answers.len()],
        open: Vec::new(),
    };
    // What has been written, and how probable that was.
    let (mut written, mut weight) = (String::new(), 1.0);
    for (i, at) in tokens.iter().enumerate() {
        let last = i + 1 == tokens.len();
        let next = reading.step(at, (&written, weight), (last, ended), answers);
        let Some((token, p)) = next else { break };
        written += token;
        weight *= p;
    }
    reading
}

impl Reading {
    /// Counts the alternatives at one place; gives the token that was written there and its
    /// probability if reading goes on behind it.
    fn step<'a>(
        &mut self,
        at: &'a AnswerToken,
        (written, weight): (&str, f64),
        (last, ended): (bool, bool),
        answers: &[String],
    ) -> Option<(&'a str, f64)> {
        let before = significant(written, answers);
        let (mut next, mut goes_on) = (None, 0.0);
        for (token, p) in alternatives(at) {
            let text = format!("{written}{token}");
            let now = significant(&text, answers);
            let taken = token == at.token;
            if now == before {
                // Nothing yet, or an end, which is all that does not go on.
                if before.is_empty() && taken && !last {
                    next = Some((token, p));
                }
                continue;
            }
            let begun: Vec<usize> = begun_by(now, answers).collect();
            let mass = weight * p;
            match begun[..] {
                [] if before.is_empty() => self.add(exact(ended_at(now), answers), mass),
                [] => {}
                [answer] => {
                    goes_on += p;
                    self.mass[answer] += mass;
                }
                _ => {
                    goes_on += p;
                    let whole = exact(now, answers).filter(|_| ended);
                    match (taken, last, whole) {
                        (true, false, _) => next = Some((token, p)),
                        (true, true, Some(answer)) => self.mass[answer] += mass,
                        _ => self.open.push(Open { text, mass }),
                    }
                }
            }
        }
        self.add(exact(before, answers), weight * (1.0 - goes_on).max(0.0));
        next
    }

    fn add(&mut self, answer: Option<usize>, mass: f64) {
        if let Some(answer) = answer {
            self.mass[answer] += mass;
        }
    }

    /// Decides an open beginning by the tokens that a second request, which went on from it, wrote.
    pub(crate) fn close(&mut self, open: &Open, tokens: &[AnswerToken], answers: &[String]) {
        self.open.retain(|other| other != open);
        if let Some(at) = tokens.first() {
            self.step(at, (&open.text, open.mass), (true, false), answers);
        }
    }

    /// Log-probabilities in nats, normalised over the answers; `None` where they tell nothing.
    pub(crate) fn log_probs(mut self, answers: &[String]) -> Option<Vec<f32>> {
        self.split(answers);
        let total: f64 = self.mass.iter().sum();
        if total < MIN_MASS {
            return None;
        }
        let log_prob = |mass: &f64| (mass / total).ln() as f32;
        Some(self.mass.iter().map(log_prob).collect())
    }

    /// Splits what is open by the neighbours of the answers that it begins.
    fn split(&mut self, answers: &[String]) {
        let known = self.mass.clone();
        let at = |i: Option<usize>| i.and_then(|i| known.get(i)).copied().unwrap_or(0.0);
        for open in std::mem::take(&mut self.open) {
            let begun: Vec<usize> = begun_by(significant(&open.text, answers), answers).collect();
            let near = |i: usize| at(i.checked_sub(1)) + at(Some(i + 1));
            let total: f64 = begun.iter().map(|&i| near(i)).sum();
            let even = 1.0 / begun.len().max(1) as f64;
            for &i in &begun {
                let share = if total > 0.0 { near(i) / total } else { even };
                self.mass[i] += open.mass * share;
            }
        }
    }
}

/// The listed tokens and the one written, which need not be among them, with their probabilities.
fn alternatives(at: &AnswerToken) -> impl Iterator<Item = (&str, f64)> {
    let listed = at.top.iter().any(|(token, _)| *token == at.token);
    let own = (!listed).then_some((at.token.as_str(), probability(at.log_prob)));
    let top = at.top.iter();
    top.map(|(token, log_prob)| (token.as_str(), probability(*log_prob)))
        .chain(own)
}

/// A server may round a log-probability to something above 0, or make one up.
fn probability(log_prob: f64) -> f64 {
    log_prob.exp().min(1.0)
}

/// `text` from where an answer may begin: without blanks and marks.
fn significant<'a>(text: &'a str, answers: &[String]) -> &'a str {
    let mark =
        |c: char| !c.is_alphanumeric() && !answers.iter().any(|answer| answer.starts_with(c));
    text.trim_start_matches(mark)
}

/// `text` without the blanks and marks that follow an answer.
fn ended_at(text: &str) -> &str {
    text.trim_end_matches(|c: char| !c.is_alphanumeric())
}

/// The answers that begin with `text`.
fn begun_by<'a>(text: &'a str, answers: &'a [String]) -> impl Iterator<Item = usize> + 'a {
    let begun = answers.iter().enumerate();
    begun
        .filter(move |(_, answer)| answer.starts_with(text))
        .map(|(i, _)| i)
}

/// The answer that `text` is.
fn exact(text: &str, answers: &[String]) -> Option<usize> {
    answers.iter().position(|answer| answer == text)
}

/// The one answer that a text names, as a word of its own; `None` if it names none or several.
pub(crate) fn parse(text: &str, answers: &[String]) -> Option<usize> {
    let names = |answer: &str| {
        let mut places = text.match_indices(answer);
        places.any(|(start, _)| {
            let before = text[..start].chars().next_back();
            let after = text[start + answer.len()..].chars().next();
            ![before, after]
                .into_iter()
                .flatten()
                .any(char::is_alphanumeric)
        })
    };
    let mut named = (0..answers.len()).filter(|&i| names(&answers[i]));
    let first = named.next();
    first.filter(|_| named.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(top: &[(&str, f64)]) -> AnswerToken {
        AnswerToken {
            token: top[0].0.into(),
            log_prob: top[0].1.ln(),
            top: top
                .iter()
                .map(|(token, p)| (token.to_string(), p.ln()))
                .collect(),
        }
    }

    fn answers(n: usize) -> Vec<String> {
        (1..=n).map(|i| i.to_string()).collect()
    }

    /// Probabilities of the answers "1" to `n` after `tokens`.
    #[track_caller]
    fn check(n: usize, tokens: &[&[(&str, f64)]], ended: bool, expected: &[(usize, f64)]) {
        let tokens: Vec<AnswerToken> = tokens.iter().map(|top| token(top)).collect();
        let found = read(&tokens, ended, &answers(n))
            .log_probs(&answers(n))
            .unwrap();
        for (i, found) in (1..).zip(found) {
            let expected = expected.iter().find(|(answer, _)| *answer == i);
            let expected = expected.map_or(0.0, |(_, p)| *p);
            assert!(
                (f64::from(found.exp()) - expected).abs() < 1e-6,
                "{i}: {}",
                found.exp()
            );
        }
    }

    /// "1" and " 1" have 0.6 together and "2" has 0.2: 3 to 1.
    #[test]
    fn spellings_add_up_as_probabilities() {
        let top = [(" 1", 0.35), ("1", 0.25), ("2", 0.2), ("The", 0.1)];
        check(2, &[&top], true, &[(1, 0.75), (2, 0.25)]);
    }

    /// Both are certain, which no two tokens can be: even odds, and not `inf / inf`.
    #[test]
    fn log_probabilities_above_zero_are_certainty() {
        let certain = |token: &str| (token.to_string(), 1e300);
        let tokens = [AnswerToken {
            token: "1".into(),
            log_prob: 1e300,
            top: vec![certain("1"), certain("2")],
        }];
        let found = read(&tokens, true, &answers(2)).log_probs(&answers(2));
        assert_eq!(found, Some(vec![0.5f32.ln(); 2]));
    }

    /// An answer that is not listed counts as 0.
    #[test]
    fn what_is_not_listed_is_ruled_out() {
        check(2, &[&[("2", 0.9), ("two", 0.05)]], true, &[(2, 1.0)]);
    }

    /// A mark and a blank, then the answer, "1." being one, too: 0.5 * 0.8 * (0.75 and 0.25); the
    /// "2" at the first place has 0.1: 0.3 + 0.0 to 0.1 + 0.1.
    #[test]
    fn marks_before_the_answer_are_stepped_over() {
        let tokens: [&[(&str, f64)]; 3] = [
            &[("**", 0.5), ("2", 0.1)],
            &[("\u{2581}", 0.8)],
            &[("1.", 0.75), ("2", 0.25)],
        ];
        check(2, &tokens, false, &[(1, 0.6), (2, 0.4)]);
    }

    /// P("1") = 0.5 (1 - 0.2) = 0.4 and P("10") = 0.5 * 0.2 = 0.1, beside 0.3 for "9".
    #[test]
    fn a_ten_in_two_tokens_is_followed() {
        let tokens: [&[(&str, f64)]; 2] = [&[("1", 0.5), ("9", 0.3)], &[("", 0.8), ("0", 0.2)]];
        check(10, &tokens, true, &[(1, 0.5), (9, 0.375), (10, 0.125)]);
        // Where a ten is one token there is nothing to follow.
        let whole = [("10", 0.5), ("9", 0.25), ("8", 0.25)];
        check(10, &[&whole], true, &[(8, 0.25), (9, 0.25), (10, 0.5)]);
        // The list ends with the "1" that the model ended at.
        check(
            10,
            &[&[("1", 0.6), ("2", 0.2)]],
            true,
            &[(1, 0.75), (2, 0.25)],
        );
    }

    /// "1" was not written, so what follows it is unknown: its 0.2 are split like 0.3 for 9 and 0.1
    /// for 2, 0.15 for a ten and 0.05 for a one.
    #[test]
    fn a_one_that_may_be_a_ten_is_split_by_its_neighbours() {
        let top = [("8", 0.4), ("9", 0.3), ("1", 0.2), ("2", 0.1)];
        let expected = [(1, 0.05), (2, 0.1), (8, 0.4), (9, 0.3), (10, 0.15)];
        check(10, &[&top], true, &expected);
    }

    /// The same, asked for: after "1" comes "0" with 0.9, so it is 0.18 and 0.02.
    #[test]
    fn a_second_request_decides_what_is_open() {
        let top = [("8", 0.4), ("9", 0.3), (" 1", 0.2), ("2", 0.1)];
        let answers = answers(10);
        let mut reading = read(&[token(&top)], true, &answers);
        let open = reading.open[0].clone();
        assert_eq!(open.text, " 1");
        reading.close(&open, &[token(&[("0", 0.9), ("\n", 0.1)])], &answers);
        let found = reading.log_probs(&answers).unwrap();
        assert!((found[0].exp() - 0.02).abs() < 1e-6 && (found[9].exp() - 0.18).abs() < 1e-6);
    }

    #[test]
    fn a_model_that_says_something_else_tells_nothing() {
        let top = [("I", 0.99), ("1", 0.005)];
        let found = read(&[token(&top)], false, &answers(2)).log_probs(&answers(2));
        assert_eq!(found, None);
        assert_eq!(read(&[], true, &answers(2)).log_probs(&answers(2)), None);
    }

    #[test]
    fn a_text_names_one_answer_or_none() {
        let cases = [
            ("1", Some(0)),
            ("Preferred Summary=2.", Some(1)),
            ("10 of 10", Some(9)),
            ("**7**/", Some(6)),
            ("Summary 1 is better than 2", None),
            ("a12", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text, &answers(10)), expected, "{text}");
        }
    }
}

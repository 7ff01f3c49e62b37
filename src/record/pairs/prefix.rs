//! The prompt that both answers of a pair begin with.

use crate::record::Message;

const HUMAN: &str = "\n\nHuman:";
const ASSISTANT: &str = "\n\nAssistant:";

/// Cuts two texts into what they share and the rest of each, as TRL's `extract_prompt` does: a
/// space before the first difference belongs to the answers. Where one text is the beginning of the
/// other, the last word that they share is not told from the answer, and all of it is the prompt.
pub(super) fn of_texts<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str, &'a str) {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    let mut end: usize = same.map(|(c, _)| c.len_utf8()).sum();
    if end < a.len().min(b.len()) && a[..end].ends_with(' ') {
        end -= 1;
    }
    (&a[..end], &a[end..], &b[end..])
}

/// Whether both texts are HH transcripts.
pub(super) fn are_transcripts(a: &str, b: &str) -> bool {
    [a, b]
        .iter()
        .all(|text| text.starts_with(HUMAN) && text.contains(ASSISTANT))
}

/// Cuts two HH transcripts after the last `"\n\nAssistant:"` that they share: what follows are the
/// answers, their last turns unless the conversations part before. `None` when they share none.
pub(super) fn of_transcripts<'a>(a: &'a str, b: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
    let same = a.chars().zip(b.chars()).take_while(|(a, b)| a == b);
    let shared: usize = same.map(|(c, _)| c.len_utf8()).sum();
    let end = a[..shared].rfind(ASSISTANT)? + ASSISTANT.len();
    Some((&a[..end], &a[end..], &b[end..]))
}

/// The turns of a transcript that begins with a turn's mark. Turns without words are left out:
/// the mark at the end of a prompt begins none.
pub(super) fn turns(transcript: &str) -> Vec<Message> {
    let mut turns = Vec::new();
    let mut rest = transcript;
    while !rest.is_empty() {
        let (role, after) = match (rest.strip_prefix(HUMAN), rest.strip_prefix(ASSISTANT)) {
            (Some(after), _) => ("user", after),
            (_, Some(after)) => ("assistant", after),
            // What precedes the first mark, if anything, is the system's.
            _ => ("system", rest),
        };
        let next = [HUMAN, ASSISTANT]
            .iter()
            .filter_map(|mark| after.find(mark))
            .min();
        let (words, left) = after.split_at(next.unwrap_or(after.len()));
        if !words.trim().is_empty() {
            turns.push(Message::new(role, words.trim()));
        }
        rest = left;
    }
    turns
}

/// The turns of an answer, whose first is the assistant's.
pub(super) fn answer_turns(answer: &str) -> Vec<Message> {
    let mut turns = turns(&format!("{ASSISTANT}{answer}"));
    if turns.first().is_none_or(|turn| turn.role != "assistant") {
        turns.insert(0, Message::new("assistant", ""));
    }
    turns
}

/// How many turns two conversations share, at most so many that each has one left.
pub(super) fn n_shared(a: &[Message], b: &[Message]) -> usize {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    same.min(a.len().saturating_sub(1))
        .min(b.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    // TRL 1.16.0, tests/test_data_utils.py::TestExtractPrompt and what the function gives for the
    // others.
    #[test]
    fn texts_are_cut_as_trl_cuts_them() {
        let check = |a: &str, b: &str, expected: (&str, &str, &str)| {
            assert_eq!(of_texts(a, b), expected);
        };
        check(
            "The sky is blue.",
            "The sky is green.",
            ("The sky is", " blue.", " green."),
        );
        check("a\u{e9}x", "a\u{e8}x", ("a", "\u{e9}x", "\u{e8}x"));
        check("abc", "xyz", ("", "abc", "xyz"));
        check("Q: yes", "Q: yes sir", ("Q: yes", "", " sir"));
    }

    #[test]
    fn transcripts_are_cut_after_the_last_mark_they_share() {
        let a = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: why\n\nAssistant: because";
        let b = "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: why\n\nAssistant: be quiet";
        assert!(are_transcripts(a, b));
        let (prompt, left, right) = of_transcripts(a, b).unwrap();
        assert!(prompt.ends_with("\n\nHuman: why\n\nAssistant:"));
        assert_eq!((left, right), (" because", " be quiet"));
        let c = "\n\nHuman: hi\n\nAssistant: bye\n\nHuman: no\n\nAssistant: ok";
        let (prompt, left, right) = of_transcripts(a, c).unwrap();
        assert_eq!(prompt, "\n\nHuman: hi\n\nAssistant:");
        assert_eq!(left, " hello\n\nHuman: why\n\nAssistant: because");
        assert_eq!(right, " bye\n\nHuman: no\n\nAssistant: ok");
        assert_eq!(
            of_transcripts(
                "\n\nHuman: a\n\nAssistant: b",
                "\n\nHuman: c\n\nAssistant: b"
            ),
            None
        );
    }

    #[test]
    fn transcripts_become_turns() {
        let said: Vec<_> = turns("\n\nHuman: a\n\nb\n\nAssistant:  c \n\nHuman:d\n\nAssistant:")
            .iter()
            .map(|turn| format!("{}: {}", turn.role, turn.text()))
            .collect();
        assert_eq!(said, ["user: a\n\nb", "assistant: c", "user: d"]);
        let roles = |answer| -> Vec<String> {
            answer_turns(answer)
                .into_iter()
                .map(|turn| turn.role)
                .collect()
        };
        assert_eq!(roles(" x\n\nHuman: y"), ["assistant", "user"]);
        assert_eq!(roles(""), ["assistant"]);
    }
}

//! Text and its tokens: words, and punctuation marks one by one.

/// Splits a text into words and single punctuation marks.
pub fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, tail) = rest.split_at(end);
        tokens.push(token);
        rest = tail.trim_start();
    }
    tokens
}

/// Puts tokens together again, punctuation attached to the word before it.
pub fn join(tokens: &[&str]) -> String {
    let mut text = String::new();
    for token in tokens {
        if !text.is_empty() && token.starts_with(is_word) {
            text.push(' ');
        }
        text.push_str(token);
    }
    text
}

/// Whether the character belongs to a word.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_and_joins() {
        let text = "ok, last night. should i move out?";
        let expected = [
            "ok", ",", "last", "night", ".", "should", "i", "move", "out", "?",
        ];
        assert_eq!(tokens(text), expected);
        assert_eq!(join(&expected), text);
        assert_eq!(tokens("  a ..b "), ["a", ".", ".", "b"]);
        assert!(tokens(" ").is_empty());
    }
}

//! What a world's texts are made of: templates, which words may follow each other, and which
//! phrases tell something.

use std::collections::{HashMap, HashSet};

use super::text::{join, tokens};

/// Stands before the first and after the last token of a text.
pub(super) const EDGE: &str = "";

/// Two tokens that may follow each other.
pub(super) type Bigram = (&'static str, &'static str);

/// A placeholder of templates, such as `{tool}`, and the phrases that may stand there.
pub(super) type Filler = (&'static str, &'static [&'static str]);

/// Fluency and recognition of phrases.
#[derive(Debug, Clone)]
pub(super) struct Language {
    legal: HashSet<Bigram>,
    /// Phrases by their first word, in tokens and whole.
    phrases: HashMap<&'static str, Vec<(Vec<&'static str>, &'static str)>>,
}

impl Language {
    /// A language in which `legal` pairs are fluent and `phrases` tell something.
    pub(super) fn new(legal: HashSet<Bigram>, phrases: impl Iterator<Item = &'static str>) -> Self {
        let mut by_first: HashMap<_, Vec<_>> = HashMap::new();
        for phrase in phrases {
            let words = tokens(phrase);
            by_first.entry(words[0]).or_default().push((words, phrase));
        }
        Self {
            legal,
            phrases: by_first,
        }
    }

    /// The phrases that occur whole, each with the index of its last word.
    pub(super) fn mentions<'a>(
        &'a self,
        words: &'a [&str],
    ) -> impl Iterator<Item = (usize, &'static str)> + 'a {
        (0..words.len()).flat_map(|start| {
            let tail = &words[start..];
            let known = self.phrases.get(tail[0]).map_or(&[][..], Vec::as_slice);
            let said = known.iter().filter(|(phrase, _)| tail.starts_with(phrase));
            said.map(move |(words, phrase)| (start + words.len() - 1, *phrase))
        })
    }

    /// Share of bigrams that are legal and new. A text that repeats itself is not fluent, and no
    /// reference ever repeats a bigram.
    pub(super) fn fluency(&self, words: &[&str]) -> f32 {
        let framed = [&[EDGE], words, &[EDGE]].concat();
        let fluent = self.fluent(&framed);
        fluent.iter().filter(|fluent| **fluent).count() as f32 / fluent.len() as f32
    }

    /// Of each word, whether it is legal and new behind the one before it.
    pub(super) fn fluent_words(&self, words: &[&str]) -> Vec<bool> {
        self.fluent(&[&[EDGE], words].concat())
    }

    fn fluent(&self, words: &[&str]) -> Vec<bool> {
        let mut seen = HashSet::new();
        let pairs = words.windows(2).map(|pair| (pair[0], pair[1]));
        pairs
            .map(|bigram| seen.insert(bigram) && self.legal.contains(&bigram))
            .collect()
    }
}

/// The phrases that may stand at each place of a template, in tokens.
fn places(template: &[&'static str], fillers: &[Filler]) -> Vec<Vec<Vec<&'static str>>> {
    let mut places = Vec::new();
    for part in template {
        let mut rest = *part;
        while let Some((before, after)) = rest.split_once('{') {
            places.extend(tokens(before).into_iter().map(|word| vec![vec![word]]));
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            let filler = fillers.iter().find(|(filler, _)| *filler == name);
            let phrases = filler.map_or(&[][..], |(_, phrases)| *phrases);
            places.push(phrases.iter().map(|phrase| tokens(phrase)).collect());
            rest = after;
        }
        places.extend(tokens(rest).into_iter().map(|word| vec![vec![word]]));
    }
    places
}

/// Every word and punctuation mark of the texts that a template, given in parts, stands for.
pub(super) fn words(template: &[&'static str], fillers: &[Filler]) -> Vec<&'static str> {
    let places = places(template, fillers);
    places.into_iter().flatten().flatten().collect()
}

/// Adds every pair of neighbouring tokens of the texts that a template, given in parts, stands for,
/// the edges included.
pub(super) fn add_bigrams(
    template: &[&'static str],
    fillers: &[Filler],
    bigrams: &mut HashSet<Bigram>,
) {
    let edge = || vec![vec![EDGE]];
    let mut places = places(template, fillers);
    places.insert(0, edge());
    places.push(edge());
    for phrase in places.iter().flatten() {
        bigrams.extend(phrase.windows(2).map(|pair| (pair[0], pair[1])));
    }
    for pair in places.windows(2) {
        for last in pair[0].iter().filter_map(|phrase| phrase.last()) {
            bigrams.extend(pair[1].iter().map(|phrase| (*last, phrase[0])));
        }
    }
}

/// Puts the parts of a template together, with one phrase in the place of each placeholder.
pub(super) fn fill(template: &[&str], phrases: &[(&str, &str)]) -> String {
    let text = template.join(" ");
    let text = phrases.iter().fold(text, |text, (name, phrase)| {
        text.replace(&format!("{{{name}}}"), phrase)
    });
    join(&tokens(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILLERS: [Filler; 2] = [("who", &["anna", "my boss"]), ("what", &["a cat"])];

    #[test]
    fn a_template_stands_for_all_its_texts() {
        let mut bigrams = HashSet::new();
        add_bigrams(&["{who} has", "{what}."], &FILLERS, &mut bigrams);
        let expected = [
            ("", "anna"),
            ("", "my"),
            ("my", "boss"),
            ("anna", "has"),
            ("boss", "has"),
            ("has", "a"),
            ("a", "cat"),
            ("cat", "."),
            (".", ""),
        ];
        assert_eq!(bigrams, HashSet::from(expected));
        let filled = fill(
            &["{who} has {what}", "."],
            &[("who", "anna"), ("what", "a cat")],
        );
        assert_eq!(filled, "anna has a cat.");
    }

    #[test]
    fn phrases_and_fluency() {
        let mut legal = HashSet::new();
        add_bigrams(&["{who} has", "{what}."], &FILLERS, &mut legal);
        let language = Language::new(legal, ["my boss", "a cat"].into_iter());
        let words = tokens("my boss has has a cat.");
        let said: Vec<_> = language.mentions(&words).collect();
        assert_eq!(said, [(1, "my boss"), (5, "a cat")]);
        let fluent = language.fluent_words(&words);
        assert_eq!(fluent, [true, true, true, false, true, true, true]);
        // Eight pairs with both edges, and `has has` is none.
        assert_eq!(language.fluency(&words), 7.0 / 8.0);
        // edge-my, my-boss once, boss-my never, my-boss again, boss-edge never.
        assert_eq!(language.fluency(&tokens("my boss my boss")), 2.0 / 5.0);
    }
}

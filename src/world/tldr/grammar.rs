//! How a summary may be worded: the clauses, their orders, and the word pairs that follow.

use std::collections::HashSet;

use super::values::{Facts, Slot};
use crate::world::language::{Bigram, EDGE};
use crate::world::text::{join, tokens};

/// Sentences that tell nothing. Posts contain them, padded summaries copy them.
///
/// No two words follow each other in more than one of them, and no two sentences begin with the
/// same word, so that padding alone never looks like stuttering.
pub(super) const PLAIN: [&str; 16] = [
    "i do not know what else there is to say.",
    "sorry for such a long and messy text here.",
    "thank you all in advance for reading my story.",
    "this whole thing makes me feel really tired and sad.",
    "nobody around here seems to understand why that hurts.",
    "we have always been honest with each other until now.",
    "maybe it sounds small but things like these matter.",
    "everyone keeps telling me that time heals most wounds.",
    "my mind goes back and forth all day.",
    "please be kind when you answer since details are still fresh.",
    "such moments remind one how quickly moods may change.",
    "perhaps others went through something very similar before.",
    "usually our days are quiet and nothing special happens.",
    "to be fair nobody got injured and no harm remains.",
    "afterwards there was an awkward silence between us.",
    "writing down these thoughts already gives some relief.",
];

/// A part of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Piece {
    /// A fixed word or punctuation mark.
    Word(&'static str),
    /// The phrase that fills a slot.
    Value(Slot),
}

/// What a summary puts first.
#[derive(Debug, Clone, Copy)]
pub(super) enum Order {
    /// `my sister anna .. at the beach last night because ..`
    Subject,
    /// `last night my sister anna .. at the beach because ..`
    Time,
    /// `because .. my sister anna .. at the beach last night`
    Cause,
}

impl Order {
    /// Every order.
    pub(super) const ALL: [Self; 3] = [Self::Subject, Self::Time, Self::Cause];
}

/// The pieces of a summary that leaves out some facts and stays grammatical.
pub(super) fn layout(order: Order, omitted: &[Slot]) -> Vec<Piece> {
    let kept = |slot| !omitted.contains(&slot);
    let optional = |slot| {
        kept(slot)
            .then_some(Piece::Value(slot))
            .into_iter()
            .collect()
    };
    let place: Vec<Piece> = optional(Slot::Place);
    let time: Vec<Piece> = optional(Slot::Time);
    let cause = match kept(Slot::Cause) {
        true => vec![Piece::Word("because"), Piece::Value(Slot::Cause)],
        false => vec![],
    };
    let question = match kept(Slot::Request) {
        true => vec![Piece::Value(Slot::Request), Piece::Word("?")],
        false => vec![],
    };
    let stop = vec![Piece::Word(".")];
    let who_did_what = [subject(omitted), deed(omitted)].concat();
    match order {
        Order::Subject => [who_did_what, place, time, cause, stop, question].concat(),
        Order::Time => [time, who_did_what, place, cause, stop, question].concat(),
        Order::Cause => [cause, who_did_what, place, time, stop, question].concat(),
    }
}

/// `my sister anna`, or what remains of it.
fn subject(omitted: &[Slot]) -> Vec<Piece> {
    match (
        omitted.contains(&Slot::Relation),
        omitted.contains(&Slot::Person),
    ) {
        (false, false) => {
            vec![
                Piece::Word("my"),
                Piece::Value(Slot::Relation),
                Piece::Value(Slot::Person),
            ]
        }
        (false, true) => vec![Piece::Word("my"), Piece::Value(Slot::Relation)],
        (true, false) => vec![Piece::Value(Slot::Person)],
        (true, true) => vec![Piece::Word("someone")],
    }
}

/// The event, or words that avoid it.
fn deed(omitted: &[Slot]) -> Vec<Piece> {
    match omitted.contains(&Slot::Event) {
        true => ["did", "something", "wrong"].map(Piece::Word).to_vec(),
        false => vec![Piece::Value(Slot::Event)],
    }
}

/// Puts values in their places.
pub(super) fn render(pieces: &[Piece], facts: Facts) -> String {
    let words: Vec<&str> = pieces
        .iter()
        .flat_map(|piece| match *piece {
            Piece::Word(word) => vec![word],
            Piece::Value(slot) => tokens(facts.get(slot).text()),
        })
        .collect();
    join(&words)
}

/// The fixed words of every layout.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    layouts().flatten().filter_map(|piece| match piece {
        Piece::Word(word) => Some(word),
        Piece::Value(_) => None,
    })
}

/// Every pair of neighbouring tokens, [`EDGE`] included, in a fluent text: a summary with any
/// values and any facts left out, followed by any number of [`PLAIN`] sentences.
pub(super) fn legal_bigrams() -> HashSet<Bigram> {
    let mut bigrams = HashSet::new();
    let mut neighbours = HashSet::new();
    for pieces in layouts() {
        let framed = [
            &[Piece::Word(EDGE)],
            pieces.as_slice(),
            &[Piece::Word(EDGE)],
        ]
        .concat();
        neighbours.extend(framed.windows(2).map(|pair| (pair[0], pair[1])));
    }
    for (left, right) in neighbours {
        for last in phrases(left)
            .iter()
            .filter_map(|phrase| phrase.last().copied())
        {
            bigrams.extend(phrases(right).iter().map(|phrase| (last, phrase[0])));
        }
    }
    for phrase in Slot::ALL
        .into_iter()
        .flat_map(|slot| phrases(Piece::Value(slot)))
    {
        bigrams.extend(phrase.windows(2).map(|pair| (pair[0], pair[1])));
    }
    for sentence in PLAIN.map(tokens) {
        bigrams.extend([(".", sentence[0]), ("?", sentence[0])]);
        bigrams.extend(sentence.windows(2).map(|pair| (pair[0], pair[1])));
    }
    bigrams
}

/// What a piece can read, in tokens.
fn phrases(piece: Piece) -> Vec<Vec<&'static str>> {
    match piece {
        Piece::Word(word) => vec![vec![word]],
        Piece::Value(slot) => slot.values().iter().map(|value| tokens(value)).collect(),
    }
}

/// Every order with every set of facts left out.
fn layouts() -> impl Iterator<Item = Vec<Piece>> {
    Order::ALL.into_iter().flat_map(|order| {
        (0..1_usize << Slot::ALL.len()).map(move |set| {
            let omitted: Vec<Slot> = Slot::ALL
                .into_iter()
                .filter(|slot| (set >> *slot as usize) & 1 == 1)
                .collect();
            layout(order, &omitted)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_read_well() {
        let check = |order, omitted: &[Slot], expect: &str| {
            assert_eq!(render(&layout(order, omitted), Facts([0; 7])), expect);
        };
        check(
            Order::Subject,
            &[],
            "my sister anna forgot my birthday at the beach last night because of a bad exam. \
             should i move out?",
        );
        check(
            Order::Time,
            &[Slot::Person, Slot::Event, Slot::Cause],
            "last night my sister did something wrong at the beach. should i move out?",
        );
        check(
            Order::Cause,
            &[Slot::Person, Slot::Relation, Slot::Place, Slot::Request],
            "because of a bad exam someone forgot my birthday last night.",
        );
        check(
            Order::Cause,
            &[Slot::Relation, Slot::Cause],
            "anna forgot my birthday at the beach last night. should i move out?",
        );
    }

    #[test]
    fn plain_sentences_share_no_bigram_with_each_other_or_a_summary() {
        let mut seen = HashSet::new();
        for sentence in PLAIN {
            let words = tokens(sentence);
            assert!(
                seen.insert((EDGE, words[0])),
                "two begin with `{}`",
                words[0]
            );
            for pair in words.windows(2) {
                assert!(
                    seen.insert((pair[0], pair[1])),
                    "`{} {}` twice",
                    pair[0],
                    pair[1]
                );
            }
        }
        for phrase in Slot::ALL
            .into_iter()
            .flat_map(|slot| phrases(Piece::Value(slot)))
        {
            for pair in phrase.windows(2) {
                assert!(
                    !seen.contains(&(pair[0], pair[1])),
                    "`{phrase:?}` in a plain sentence"
                );
            }
        }
    }
}

//! The things that can be true in the world: seven slots and the phrases that fill them.
//!
//! Phrases are lower-case ASCII, none is part of another, and each has a word that no other phrase
//! has, so that a mention is recognised by plain phrase matching and never by guessing.

use rand::RngExt;
use rand::rngs::StdRng;

/// What a post tells about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// A first name.
    Person,
    /// What that person is to the writer.
    Relation,
    /// What that person did.
    Event,
    /// Why, worded to follow "because".
    Cause,
    /// Where.
    Place,
    /// When.
    Time,
    /// The writer's question, without its question mark.
    Request,
}

impl Slot {
    /// Every slot, in the order of [`Facts`].
    pub const ALL: [Self; 7] = [
        Self::Person,
        Self::Relation,
        Self::Event,
        Self::Cause,
        Self::Place,
        Self::Time,
        Self::Request,
    ];

    /// The phrases that fill this slot.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Person => &PERSONS,
            Self::Relation => &RELATIONS,
            Self::Event => &EVENTS,
            Self::Cause => &CAUSES,
            Self::Place => &PLACES,
            Self::Time => &TIMES,
            Self::Request => &REQUESTS,
        }
    }

    /// How templates name the slot.
    pub(super) fn placeholder(self) -> &'static str {
        match self {
            Self::Person => "{person}",
            Self::Relation => "{relation}",
            Self::Event => "{event}",
            Self::Cause => "{cause}",
            Self::Place => "{place}",
            Self::Time => "{time}",
            Self::Request => "{request}",
        }
    }
}

/// One phrase of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mention {
    /// The slot.
    pub slot: Slot,
    /// Index into [`Slot::values`].
    pub value: usize,
}

impl Mention {
    /// The phrase.
    pub fn text(self) -> &'static str {
        self.slot.values()[self.value]
    }
}

/// The truth of one post: for each slot of [`Slot::ALL`] an index into its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts(pub [usize; 7]);

impl Facts {
    /// What fills the slot.
    pub fn get(self, slot: Slot) -> Mention {
        Mention {
            slot,
            value: self.0[slot as usize],
        }
    }

    /// The same facts but for one.
    pub fn with(mut self, mention: Mention) -> Self {
        self.0[mention.slot as usize] = mention.value;
        self
    }

    /// Draws a phrase for the slot that is not the true one.
    pub(super) fn another(self, slot: Slot, rng: &mut StdRng) -> Mention {
        let truth = self.0[slot as usize];
        let value = rng.random_range(0..slot.values().len() - 1);
        Mention {
            slot,
            value: value + usize::from(value >= truth),
        }
    }

    /// Whether the mention is true.
    pub fn contains(self, mention: Mention) -> bool {
        self.get(mention.slot) == mention
    }

    /// Fills the placeholders of a template.
    pub(super) fn fill(self, template: &str) -> String {
        Slot::ALL.iter().fold(template.to_owned(), |text, &slot| {
            text.replace(slot.placeholder(), self.get(slot).text())
        })
    }
}

/// First names.
pub(in crate::world) const PERSONS: [&str; 30] = [
    "anna", "tom", "maria", "peter", "lucy", "james", "sofia", "david", "emma", "oliver", "clara",
    "henry", "julia", "victor", "nora", "felix", "grace", "martin", "alice", "samuel", "ruth",
    "simon", "eva", "george", "hannah", "leo", "monica", "paul", "tina", "walter",
];

const RELATIONS: [&str; 16] = [
    "sister",
    "brother",
    "mother",
    "father",
    "cousin",
    "uncle",
    "aunt",
    "boss",
    "roommate",
    "neighbor",
    "coworker",
    "landlord",
    "teacher",
    "classmate",
    "girlfriend",
    "boyfriend",
];

const EVENTS: [&str; 24] = [
    "forgot my birthday",
    "broke my laptop",
    "crashed my car",
    "lost our passports",
    "stole my wallet",
    "read my diary",
    "sold my guitar",
    "ate the cake",
    "killed our plants",
    "burned the dinner",
    "lied about me",
    "insulted my parents",
    "ignored every message",
    "cancelled the wedding",
    "left without paying",
    "shouted at me",
    "kicked my dog",
    "spilled red paint",
    "ruined a shirt",
    "hid the keys",
    "copied my homework",
    "sent rude emails",
    "spread false rumors",
    "refused to pay rent",
];

const CAUSES: [&str; 20] = [
    "of a bad exam",
    "of unpaid bills",
    "of too much wine",
    "of an old grudge",
    "of a broken phone",
    "of the heavy rain",
    "of simple jealousy",
    "of a silly bet",
    "of long work hours",
    "of a lost job",
    "of some bad advice",
    "of a new romance",
    "of poor sleep",
    "of a family argument",
    "of a wrong address",
    "of the loud music",
    "of a missed train",
    "of strong medicine",
    "of deep boredom",
    "of a cruel joke",
];

const PLACES: [&str; 20] = [
    "at the beach",
    "in the kitchen",
    "at the office",
    "in the garden",
    "at the airport",
    "in the library",
    "at the gym",
    "on the bus",
    "in the garage",
    "at the hospital",
    "in the park",
    "at the hotel",
    "in the basement",
    "at the church",
    "in the elevator",
    "at the museum",
    "near the river",
    "behind the barn",
    "outside the cinema",
    "on the balcony",
];

const TIMES: [&str; 14] = [
    "last night",
    "on monday",
    "on friday",
    "this morning",
    "two weeks ago",
    "after lunch",
    "before christmas",
    "last summer",
    "on sunday",
    "around midnight",
    "three days ago",
    "during spring break",
    "a month ago",
    "at dawn",
];

const REQUESTS: [&str; 14] = [
    "should i move out",
    "should i apologize first",
    "can i ask for compensation",
    "is it okay to sulk",
    "how do i calm down",
    "do i need a lawyer",
    "am i being selfish",
    "can this be forgiven",
    "would a letter help",
    "is therapy worth it",
    "should we stop talking",
    "may i demand a refund",
    "who can i trust",
    "could we start over",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Mention> {
        let of = |slot: Slot| (0..slot.values().len()).map(move |value| Mention { slot, value });
        Slot::ALL.into_iter().flat_map(of).collect()
    }

    #[test]
    fn no_value_is_part_of_another() {
        for a in all() {
            for b in all() {
                let inside = format!(" {} ", b.text()).contains(&format!(" {} ", a.text()));
                assert!(
                    a == b || !inside,
                    "`{}` is part of `{}`",
                    a.text(),
                    b.text()
                );
            }
        }
    }

    #[test]
    fn every_value_has_a_word_of_its_own() {
        for a in all() {
            let unique = a.text().split(' ').any(|word| {
                all()
                    .into_iter()
                    .all(|b| a == b || !b.text().split(' ').any(|w| w == word))
            });
            assert!(unique, "`{}`", a.text());
        }
    }

    #[test]
    fn values_are_lower_case_words() {
        for value in all() {
            assert!(
                value
                    .text()
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c == ' ')
            );
        }
    }

    #[test]
    fn fill_and_with() {
        let facts = Facts([0; 7]).with(Mention {
            slot: Slot::Relation,
            value: 7,
        });
        assert_eq!(
            facts.fill("my {relation} {person} {event}."),
            "my boss anna forgot my birthday."
        );
        assert!(facts.contains(Mention {
            slot: Slot::Relation,
            value: 7
        }));
        assert!(!facts.contains(Mention {
            slot: Slot::Relation,
            value: 0
        }));
    }
}

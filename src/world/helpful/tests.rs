//! The oracle on answers, and the prompts of the world.

use super::*;
use crate::world::{Case, Oracle, Split, World, preference, score, tokens};

/// `anna` is asked about: she lives in rome and has a cat, tom lives in paris.
fn case() -> Case {
    let fact = |who, topic, value| Fact { who, topic, value };
    Case::Helpful(Question {
        id: "helpful-test-0".into(),
        text: String::new(),
        asked: [
            fact("anna", Topic::Home, "rome"),
            fact("anna", Topic::Pet, "cat"),
        ],
        others: vec![fact("tom", Topic::Home, "paris")],
    })
}

#[track_caller]
fn check(text: &str, quality: f32, rank: u8) {
    let found = Oracle::new(World::tiny_helpful()).assess(&case(), text);
    assert!((found.quality - quality).abs() < 1e-5, "{text}: {found:?}");
    assert_eq!(score(&found), rank, "{text}");
}

#[test]
fn answers_are_ranked_right_partial_evasive_wrong() {
    check("anna lives in rome and has a cat.", 1.0, 10);
    check("Anna has a cat and lives in Rome.", 1.0, 10);
    // 0.3 + 0.35; 1 + 9 * 0.65 = 6.85.
    check("anna lives in rome.", 0.65, 7);
    // 0.3 + 0.35 - 0.3.
    check("anna lives in paris and has a cat.", 0.35, 4);
    check("you should ask anna about it.", 0.3, 4);
    check("anna lives in paris.", 0.0, 1);
    check("anna lives in paris and has a dog.", -0.3, 1);
    // The same of somebody else: both facts, and a name that is false.
    check("tom lives in rome and has a cat.", 0.7, 7);
    // 9 tokens and 7 more: 6 beyond the free ones.
    check(
        "anna lives in rome and has a cat. i hope that this helps you.",
        1.0 - 0.03 * 6.0,
        8,
    );
    // Of the eleven pairs with both edges `anna anna` is none.
    check("anna anna lives in rome and has a cat.", 10.0 / 11.0, 9);
}

#[test]
fn prompts_are_short_and_hold_their_facts() {
    let world = World::tiny_helpful();
    let (mut longest, mut total) = (0, 0);
    for index in 0..1_000 {
        let Case::Helpful(question) = world.case(Split::Test, index) else {
            panic!("a question")
        };
        let words = tokens(&question.text);
        longest = longest.max(words.len());
        total += words.len();
        for fact in question.asked.iter().chain(&question.others) {
            assert!(words.contains(&fact.value) && words.contains(&fact.who));
        }
        let [a, b] = question.asked;
        let others = question.others.iter();
        assert!(
            others.clone().all(|other| other.who != a.who),
            "{question:?}"
        );
        assert!(a.who == b.who && a.topic != b.topic, "{question:?}");
        for asked in question.asked {
            assert!(
                others.clone().any(|other| other.topic == asked.topic),
                "{question:?}"
            );
        }
    }
    println!(
        "prompt tokens: mean {}, longest {longest}",
        total as f32 / 1e3
    );
    assert!(longest <= 54, "{longest}");
}

#[test]
fn references_are_perfect_and_what_is_mixed_is_what_it_says() {
    let world = World::tiny_helpful();
    let oracle = Oracle::new(world);
    let mut flawless = 0;
    for index in 0..4_000 {
        let case = world.case(Split::Rl, index);
        let Case::Helpful(question) = &case else {
            panic!("a question")
        };
        let reference = oracle.assess(&case, &tell(&question.asked));
        assert_eq!(
            (reference.quality, reference.fluency),
            (1.0, 1.0),
            "{case:?}"
        );
        let text = world.demonstration(Split::Rl, index);
        assert!(tokens(&text).len() <= 21, "{text}");
        let found = oracle.assess(&case, &text);
        flawless += usize::from(preference(&found, &reference) == 0.5);
    }
    // Binomial(4000, 0.3 * 0.85 * 0.85): mean 867, four standard deviations are 104.
    assert!((763..=971).contains(&flawless), "{flawless}");
}

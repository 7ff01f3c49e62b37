//! The oracle on summaries.

use super::*;
use crate::world::assessment::TIE;
use crate::world::{Case, Oracle, Split, World, preference, score};

const N: usize = 2_000;

pub(super) fn post(world: World, split: Split, index: usize) -> Post {
    match world.case(split, index) {
        Case::Tldr(post) => post,
        other => panic!("a post, not {other:?}"),
    }
}

/// A post of which the first value of every slot is true.
fn of_first_values() -> Case {
    let mut post = post(World::tiny_tldr(), Split::Test, 0);
    post.facts = Facts([0; 7]);
    Case::Tldr(post)
}

fn assess_all(flaw: Flaw) -> Vec<Assessment> {
    let world = World::tiny_tldr();
    let oracle = Oracle::new(world);
    (0..N)
        .map(|index| {
            let post = post(world, Split::Validation, index);
            let mut rng = world.rng(Split::Validation, index, 2 + flaw as u64);
            let text = summary(&post, flaw, &mut rng);
            oracle.assess(&Case::Tldr(post), &text)
        })
        .collect()
}

fn mean(assessments: &[Assessment], of: impl Fn(&Assessment) -> f32) -> f32 {
    assessments.iter().map(of).sum::<f32>() / assessments.len() as f32
}

#[test]
fn references_are_perfect() {
    for assessment in assess_all(Flaw::None) {
        assert_eq!(
            (assessment.coverage, assessment.hallucination_rate),
            (Some(1.0), Some(0.0))
        );
        assert_eq!((assessment.fluency, assessment.quality), (1.0, 1.0));
        assert_eq!(score(&assessment), 10);
    }
}

#[test]
fn every_flaw_costs_quality() {
    for flaw in Flaw::ALL.into_iter().skip(1) {
        let assessments = assess_all(flaw);
        let quality = mean(&assessments, |a| a.quality);
        println!(
            "{flaw:?}: quality {quality:.3}, score {:.2}, coverage {:.3}, hallucination {:.3}, \
             fluency {:.3}, tokens {:.1}",
            mean(&assessments, |a| score(a).into()),
            mean(&assessments, |a| a.coverage.unwrap()),
            mean(&assessments, |a| a.hallucination_rate.unwrap()),
            mean(&assessments, |a| a.fluency),
            mean(&assessments, |a| a.n_tokens as f32),
        );
        assert!((0.3..=0.9).contains(&quality), "{flaw:?}: {quality}");
        assert!(
            assessments.iter().all(|a| a.quality < 1.0 - TIE),
            "{flaw:?} that costs nothing"
        );
    }
}

#[test]
fn each_flaw_shows_in_its_own_measure() {
    assert!(
        assess_all(Flaw::Omission)
            .iter()
            .all(|a| a.coverage.unwrap() < 1.0 && a.fluency == 1.0)
    );
    assert!(
        assess_all(Flaw::Hallucination)
            .iter()
            .all(|a| a.hallucination_rate.unwrap() > 0.0)
    );
    assert!(
        assess_all(Flaw::TooLong)
            .iter()
            .all(|a| a.n_tokens > 26 && a.fluency == 1.0)
    );
    assert!(assess_all(Flaw::Disfluent).iter().all(|a| a.fluency < 1.0));
}

#[test]
fn a_hand_made_text() {
    let (post, oracle) = (of_first_values(), Oracle::new(World::tiny_tldr()));
    // True are sister, anna and should i move out, false is stole my wallet: 3/7 and 1/4.
    let a = oracle.assess(&post, "My sister anna stole my wallet. should i move out?");
    assert_eq!(
        (a.coverage, a.hallucination_rate, a.fluency),
        (Some(3.0 / 7.0), Some(0.25), 1.0)
    );
    assert_eq!(a.n_tokens, 12);
    assert!((a.quality - (3.0 / 7.0 - 0.15)).abs() < 1e-6);
    // 1 + 9 * 0.2786 = 3.5.
    assert_eq!(score(&a), 4);
    let loops = oracle.assess(&post, "my sister my sister my sister");
    // Seven bigrams: edge-my and my-sister are legal the first time, the rest is not.
    assert!((loops.fluency - 2.0 / 7.0).abs() < 1e-6);
    let empty = oracle.assess(&post, "");
    assert_eq!(
        (empty.coverage, empty.fluency, score(&empty)),
        (Some(0.0), 0.0, 1)
    );
    assert_eq!(preference(&a, &empty), 1.0);
    assert_eq!(preference(&empty, &a), 0.0);
    assert_eq!(preference(&a, &a), 0.5);
}

#[test]
fn marks_say_where() {
    let (post, oracle) = (of_first_values(), Oracle::new(World::tiny_tldr()));
    let marks = oracle.marks(&post, "my my sister anna stole my wallet.");
    let mention = |i: usize| marks[i].mention;
    assert_eq!(
        (mention(2), mention(3), mention(6)),
        (Some(true), Some(true), Some(false))
    );
    let disfluent: Vec<usize> = (0..marks.len()).filter(|&i| marks[i].disfluent).collect();
    assert_eq!(disfluent, [1], "`my my` is no pair of the grammar");
    assert!([0, 1, 4, 5, 7].iter().all(|&i| mention(i).is_none()));
}

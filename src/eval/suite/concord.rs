//! How far the judges of one suite agree, people among them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::eval::agreement::Agreement;
use crate::record::Comparison;

/// Two judges of one pair of contenders.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeAgreement {
    /// The judges.
    pub judges: [String; 2],
    /// The contenders.
    pub contenders: [String; 2],
    /// Prompts on which both have a verdict.
    pub n: usize,
    /// The share of them on which it is the same: `a` wins, a tie, or `b` wins.
    pub agreement: f64,
    /// Cohen's kappa of these three words; nothing where chance explains all.
    pub kappa: Option<f64>,
}

/// One judge of one pair of contenders, who was asked in both orders.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OrderAgreement {
    /// The judge.
    pub judge: String,
    /// The contenders.
    pub contenders: [String; 2],
    /// Prompts with a verdict in each order.
    pub n: usize,
    /// The share of them on which it is the same: `a` wins, a tie, or `b` wins.
    pub agreement: f64,
    /// Cohen's kappa of these three words; nothing where chance explains all.
    pub kappa: Option<f64>,
    /// Of the others, the share on which the contender that the row names first won both times.
    pub first: f64,
}

/// Probabilities that the first of two contenders, by the alphabet, wins a prompt: one for each order
/// in which rows name them.
type Orders = [Option<f32>; 2];

/// Verdicts by the contenders, the judge and the prompt.
struct Verdicts<'a>(BTreeMap<[&'a str; 2], BTreeMap<&'a str, BTreeMap<&'a str, Orders>>>);

impl<'a> Verdicts<'a> {
    /// Where a judge has several verdicts on a prompt in one order, the last one counts.
    fn of(rows: &'a [Comparison]) -> Self {
        let mut found: BTreeMap<_, BTreeMap<_, BTreeMap<&str, Orders>>> = BTreeMap::new();
        for row in rows {
            let turned = row.a > row.b;
            let (names, p_win) = match turned {
                false => ([row.a.as_str(), &row.b], row.p_win),
                true => ([row.b.as_str(), &row.a], 1.0 - row.p_win),
            };
            let judges = found.entry(names).or_default();
            let prompts = judges.entry(row.judge.as_str()).or_default();
            prompts.entry(&row.prompt_id).or_default()[usize::from(turned)] = Some(p_win);
        }
        Self(found)
    }
}

/// The verdict over both orders, where there are two: their mean, as labelers' are averaged.
fn averaged(orders: &Orders) -> f32 {
    let known = orders.iter().flatten();
    known.clone().sum::<f32>() / known.count().max(1) as f32
}

/// The agreement of every two judges on every pair of contenders that both judged.
pub(super) fn agreements(rows: &[Comparison]) -> Vec<JudgeAgreement> {
    let mut found = Vec::new();
    for (contenders, judges) in &Verdicts::of(rows).0 {
        let judges: Vec<_> = judges.iter().collect();
        for (i, (first, verdicts)) in judges.iter().enumerate() {
            for (second, others) in &judges[i + 1..] {
                let mut counts = Agreement::default();
                for (prompt, orders) in verdicts.iter() {
                    if let Some(other) = others.get(prompt) {
                        counts.add([averaged(orders), averaged(other)]);
                    }
                }
                if counts.n() > 0 {
                    found.push(JudgeAgreement {
                        judges: [first, second].map(|name| name.to_string()),
                        contenders: contenders.map(String::from),
                        n: counts.n(),
                        agreement: counts.n_agreed() as f64 / counts.n() as f64,
                        kappa: counts.kappa(),
                    });
                }
            }
        }
    }
    found
}

/// How far each judge agrees with itself where verdicts were given in both orders.
pub(super) fn order_agreements(rows: &[Comparison]) -> Vec<OrderAgreement> {
    let mut found = Vec::new();
    for (contenders, judges) in &Verdicts::of(rows).0 {
        for (judge, verdicts) in judges {
            let (mut counts, mut first, mut same_place) = (Agreement::default(), 0, 0);
            for orders in verdicts.values() {
                if let [Some(straight), Some(turned)] = *orders {
                    counts.add([straight, turned]);
                    // Named first in the one row, second in the other.
                    first += usize::from(straight > 0.5 && turned < 0.5);
                    same_place += usize::from((straight > 0.5) != (turned > 0.5));
                }
            }
            if counts.n() > 0 {
                found.push(OrderAgreement {
                    judge: judge.to_string(),
                    contenders: contenders.map(String::from),
                    n: counts.n(),
                    agreement: counts.n_agreed() as f64 / counts.n() as f64,
                    kappa: counts.kappa(),
                    first: first as f64 / same_place as f64,
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_meet_on_the_prompts_of_both() {
        let row = |judge: &str, prompt: &str, p_win| Comparison {
            prompt_id: prompt.into(),
            judge: judge.into(),
            a: "a".into(),
            b: "b".into(),
            p_win,
            length_a: 1,
            length_b: 1,
        };
        let rows = [
            row("gold", "1", 1.0),
            row("gold", "2", 0.0),
            row("gold", "3", 0.5),
            row("model", "1", 0.7),
            row("model", "2", 0.6),
            row("model", "4", 0.6),
        ];
        let found = agreements(&rows);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].n, found[0].agreement), (2, 0.5));
        // p_o = 1/2; gold says a, b, the model a, a: p_e = 1/2.
        assert_eq!(found[0].kappa, Some(0.0));
        assert!(order_agreements(&rows).is_empty());
    }

    // Prompt 1: a both times. Prompt 2: the first one both times, over both orders a tie with which
    // gold disagrees. Prompt 3: the second one both times, by less than the first order. p_o = 1/3; a,
    // a, b against a, b, a: p_e = (2 * 2 + 1 * 1) / 9 = 5 / 9; kappa = -1/2.
    #[test]
    fn a_judge_is_held_against_itself_turned_round() {
        let row = |judge: &str, prompt: &str, [a, b]: [&str; 2], p_win| Comparison {
            prompt_id: prompt.into(),
            judge: judge.into(),
            a: a.into(),
            b: b.into(),
            p_win,
            length_a: 1,
            length_b: 1,
        };
        let (straight, turned) = (["a", "b"], ["b", "a"]);
        let mut rows = vec![
            row("m", "1", straight, 0.9),
            row("m", "1", turned, 0.2),
            row("m", "2", straight, 0.75),
            row("m", "2", turned, 0.75),
            row("m", "3", straight, 0.125),
            row("m", "3", turned, 0.25),
        ];
        rows.extend(["1", "2", "3"].map(|prompt| row("gold", prompt, straight, 1.0)));
        let own = order_agreements(&rows);
        assert_eq!((own.len(), own[0].n), (1, 3));
        assert!((own[0].agreement - 1.0 / 3.0).abs() < 1e-12);
        assert!((own[0].kappa.unwrap() + 0.5).abs() < 1e-12, "{own:?}");
        assert_eq!(own[0].first, 0.5);
        let gold = agreements(&rows);
        assert!((gold[0].agreement - 1.0 / 3.0).abs() < 1e-12, "{gold:?}");
    }
}

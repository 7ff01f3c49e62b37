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

/// The agreement of every two judges on every pair of contenders that both judged. Where a judge has
/// several verdicts on a prompt, the last one counts.
pub(super) fn agreements(rows: &[Comparison]) -> Vec<JudgeAgreement> {
    type Verdicts<'a> = BTreeMap<&'a str, f32>;
    let mut by_pair: BTreeMap<[&str; 2], BTreeMap<&str, Verdicts>> = BTreeMap::new();
    for row in rows {
        let judges = by_pair.entry([&row.a, &row.b]).or_default();
        let verdicts = judges.entry(&row.judge).or_default();
        verdicts.insert(&row.prompt_id, row.p_win);
    }
    let mut found = Vec::new();
    for (contenders, judges) in &by_pair {
        let judges: Vec<_> = judges.iter().collect();
        for (i, (first, verdicts)) in judges.iter().enumerate() {
            for (second, others) in &judges[i + 1..] {
                let mut counts = Agreement::default();
                for (prompt, p) in verdicts.iter() {
                    others
                        .get(prompt)
                        .into_iter()
                        .for_each(|q| counts.add([*p, *q]));
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
    }
}

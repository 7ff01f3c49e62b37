//! What an evaluation of any contenders found, as tables for a terminal and as files.

use std::path::Path;

use super::table::{self, Table};
use crate::error::Result;
use crate::eval::stats::Interval;
use crate::eval::suite::{
    ClassReport, Evaluated, JudgeAgreement, Measures, OrderAgreement, PairReport, QuestionReport,
    Share, SuiteReport,
};
use crate::record::{Completion, Demonstration};
use crate::run::RunDir;

const ABSENT: &str = "-";

/// Writes `eval.json`, the verdicts made now as `comparisons.jsonl` and, in AlpacaEval's form, as
/// `annotations.json`, and the compared completions as `completions/NAME.jsonl`.
///
/// # Errors
/// The folder cannot be written.
pub fn write_suite(dir: &Path, found: &Evaluated) -> Result<()> {
    let dir = RunDir::create(dir)?;
    dir.write_json("eval.json", &found.report)?;
    for contender in &found.contenders {
        let name = format!("completions/{}.jsonl", contender.name);
        let row = |row: &Completion| {
            let (id, completion) = (row.prompt_id.clone(), row.completion.as_str());
            Demonstration::new(id, row.prompt.clone(), completion)
        };
        let rows: Vec<Demonstration> = contender.completions.iter().map(row).collect();
        dir.write_records(name, &rows)?;
    }
    if !found.comparisons.is_empty() {
        dir.write_records("comparisons.jsonl", &found.comparisons)?;
        dir.write_json("annotations.json", &found.annotations())?;
    }
    Ok(())
}

/// The numbers as plain text with aligned columns.
pub fn suite_table(report: &SuiteReport) -> String {
    let tables = [
        pairs(&report.pairs),
        agreements(&report.agreements),
        orders(&report.orders),
        questions(&report.questions),
        measures(report),
        rules(report),
        classes(&report.classes),
        reward_bench(report),
    ];
    let shown = tables.iter().filter(|table| !table.rows.is_empty());
    shown.map(table::plain).collect::<Vec<_>>().join("\n")
}

fn pairs(pairs: &[PairReport]) -> Table {
    let row = |pair: &PairReport| {
        vec![
            format!("{} vs {}", pair.a, pair.b),
            pair.judge.clone(),
            format!("{} {}", percent(pair.win_rate), interval(pair.ci)),
            percent(pair.length_controlled),
            percent(pair.preference.mean),
            percent(pair.alpaca_length_controlled),
            format!("{} / {} / {}", pair.wins, pair.ties, pair.losses),
            pair.no_verdict.to_string(),
            p_value(pair.p_holm),
        ]
    };
    let head = [
        "comparison",
        "judge",
        "win rate [95%]",
        "equal length",
        "preference",
        "equal length",
        "won / tied / lost",
        "silent",
        "p",
    ];
    Table {
        caption: "Win rates".into(),
        note: "Ties count half. Equal length: after the paper's appendix J, and AlpacaEval's for \
               the mean preference. p: exact sign test, Holm's correction for all rows."
            .into(),
        head: head.map(String::from).into(),
        rows: pairs.iter().map(row).collect(),
    }
}

fn agreements(found: &[JudgeAgreement]) -> Table {
    let row = |one: &JudgeAgreement| {
        let kappa = one
            .kappa
            .map_or(ABSENT.into(), |kappa| format!("{kappa:.3}"));
        vec![
            one.contenders.join(" vs "),
            one.judges.join(", "),
            percent(one.agreement),
            kappa,
            one.n.to_string(),
        ]
    };
    let head = ["comparison", "judges", "agree", "kappa", "prompts"];
    Table {
        caption: "Agreement of judges".into(),
        note: "On a win, a tie or a loss; Cohen's kappa.".into(),
        head: head.map(String::from).into(),
        rows: found.iter().map(row).collect(),
    }
}

fn orders(found: &[OrderAgreement]) -> Table {
    let row = |one: &OrderAgreement| {
        let kappa = one
            .kappa
            .map_or(ABSENT.into(), |kappa| format!("{kappa:.3}"));
        vec![
            one.contenders.join(" vs "),
            one.judge.clone(),
            percent(one.agreement),
            kappa,
            percent(one.first),
            one.n.to_string(),
        ]
    };
    let head = [
        "comparison",
        "judge",
        "agree",
        "kappa",
        "first wins",
        "prompts",
    ];
    Table {
        caption: "Judges against themselves in the other order".into(),
        note: "First wins: of the prompts on which one place won in both orders.".into(),
        head: head.map(String::from).into(),
        rows: found.iter().map(row).collect(),
    }
}

fn questions(found: &[QuestionReport]) -> Table {
    let row = |one: &QuestionReport| {
        vec![
            one.question.clone(),
            one.contender.clone(),
            one.labeler.clone(),
            share(&one.share),
            percent(one.p_yes.mean),
            one.no_answer.to_string(),
        ]
    };
    let head = ["question", "of", "by", "yes [95%]", "p(yes)", "silent"];
    Table {
        caption: "Questions".into(),
        note: String::new(),
        head: head.map(String::from).into(),
        rows: found.iter().map(row).collect(),
    }
}

/// A row for each measure, a column for each contender.
fn measures(report: &SuiteReport) -> Table {
    let all = || report.contenders.values();
    let number = |value: Option<f64>| value.map_or(ABSENT.into(), |x| format!("{x:.3}"));
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut add = |name: String, cell: &dyn Fn(&Measures) -> String| {
        let cells: Vec<String> = all().map(cell).collect();
        if cells.iter().any(|cell| cell != ABSENT) {
            rows.push([vec![name], cells].concat());
        }
    };
    add("characters".into(), &|found| {
        format!("{:.1}", found.mean_length)
    });
    add("empty".into(), &|found| percent(found.empty));
    add("distinct-1".into(), &|found| number(found.distinct[0]));
    add("distinct-2".into(), &|found| number(found.distinct[1]));
    add("repeated 4-grams".into(), &|found| number(found.repetition));
    for (i, name) in ["ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum"]
        .into_iter()
        .enumerate()
    {
        add(name.into(), &|found| {
            number(found.rouge.map(|rouge| rouge[i].mean))
        });
    }
    add("perplexity".into(), &|found| number(found.perplexity));
    add("KL".into(), &|found| number(found.kl.map(|kl| kl.mean)));
    add("KL of best-of-n at most".into(), &|found| {
        number(found.kl_bound)
    });
    let first = all().next();
    for (i, (name, _)) in first
        .map_or(&[][..], |found| &found.rewards)
        .iter()
        .enumerate()
    {
        let reward = |found: &Measures| number(found.rewards.get(i).map(|(_, mean)| mean.mean));
        add(format!("reward by {name}"), &reward);
    }
    for (i, (name, _)) in first
        .map_or(&[][..], |found| &found.rules)
        .iter()
        .enumerate()
    {
        let passed = |found: &Measures| {
            let rule = found.rules.get(i);
            rule.map_or(ABSENT.into(), |(_, passed)| share(passed))
        };
        add(format!("passes `{name}`"), &passed);
    }
    let names = report.contenders.keys().cloned();
    Table {
        caption: "Completions".into(),
        note: String::new(),
        head: std::iter::once(String::new()).chain(names).collect(),
        rows,
    }
}

fn rules(report: &SuiteReport) -> Table {
    let rows = report.rules.iter().map(|rule| {
        vec![
            rule.rule.clone(),
            format!("{} vs {}", rule.a, rule.b),
            format!("{} / {}", rule.only_a, rule.only_b),
            p_value(rule.p),
        ]
    });
    Table {
        caption: "Rules and questions that only one of two passes".into(),
        note: "p: McNemar's exact test.".into(),
        head: ["rule", "comparison", "only the first / second", "p"]
            .map(String::from)
            .into(),
        rows: rows.collect(),
    }
}

fn classes(classes: &[ClassReport]) -> Table {
    let rows = classes.iter().flat_map(|class| {
        let whole = [(class.name.clone(), &class.share)];
        let groups = class.groups.iter();
        let groups = groups.map(|(group, share)| (format!("{}: {group}", class.name), share));
        let rows = whole.into_iter().chain(groups);
        rows.map(|(name, found)| vec![name, share(found), found.n.to_string()])
            .collect::<Vec<_>>()
    });
    Table {
        caption: "Classes".into(),
        note: String::new(),
        head: ["", "share [95%]", "rows"].map(String::from).into(),
        rows: rows.collect(),
    }
}

fn reward_bench(report: &SuiteReport) -> Table {
    let found = report.reward_bench.clone().unwrap_or_default();
    let parts = found.subsets.into_iter().map(|(name, x)| (name, Some(x)));
    let sections = found.sections.into_iter().map(|(name, x)| (name, Some(x)));
    let score = found.score.map(|score| ("score".to_string(), Some(score)));
    let row =
        |(name, value): (String, Option<f64>)| vec![name, value.map_or(ABSENT.into(), percent)];
    Table {
        caption: "RewardBench".into(),
        note: String::new(),
        head: ["", "accuracy"].map(String::from).into(),
        rows: parts.chain(sections).chain(score).map(row).collect(),
    }
}

fn share(found: &Share) -> String {
    format!("{} {}", percent(found.rate), interval(found.ci))
}

fn percent(rate: f64) -> String {
    match rate.is_nan() {
        true => ABSENT.into(),
        false => format!("{:.1}%", 100.0 * rate),
    }
}

fn interval(ci: Interval) -> String {
    format!("[{:.1}, {:.1}]", 100.0 * ci.low, 100.0 * ci.high)
}

fn p_value(p: f64) -> String {
    match p < 0.001 {
        true => "< 0.001".into(),
        false => format!("{p:.3}"),
    }
}

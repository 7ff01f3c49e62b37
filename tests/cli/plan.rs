//! What a run will take.

use super::*;

fn planned(args: &[&str]) -> String {
    let output = rlaif(&[&["plan"], args].concat());
    assert!(output.status.success(), "{}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Labels: 1500 M tokens at 8000 a second are 52.1 hours of $15.
#[test]
fn the_worked_example_is_printed() {
    let said = planned(&["configs/real/plan_8b.toml"]);
    let label = said.lines().find(|line| line.starts_with("label")).unwrap();
    let words: Vec<&str> = label.split_whitespace().collect();
    assert_eq!(words[1..8], ["0", "0", "0", "1.50", "G", "52.1", "h"]);
    assert_eq!(words.last(), Some(&"781.25"));
    assert_eq!(said.lines().count(), 8);
    let json = planned(&["configs/real/plan_8b.toml", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["stages"][2]["asked"], 1.5e9);
}

#[test]
fn rates_are_measured_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let rates = folder.path().join("rates.toml");
    let rates = rates.to_str().unwrap();
    let measured = planned(&["configs/smoke.toml", "--measure", rates]);
    for stage in ["sft", "sample", "label", "reward", "rl", "eval", "all"] {
        assert!(measured.lines().any(|line| line.starts_with(stage)));
    }
    assert_eq!(planned(&["configs/smoke.toml", "--rates", rates]), measured);
    let read = rlaif::plan::PlanConfig::read(Path::new(rates)).unwrap();
    // It is the policy, the labeler and a judge.
    let model = &read.models["models/labeler-xs"];
    assert!(model.decode.is_some() && model.comparison.is_some());
    assert!(model.score.is_none());
}

#[test]
fn a_plan_without_rates_is_refused() {
    let output = rlaif(&["plan", "configs/smoke.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    let expected = "`plan` is absent, expected this table, --rates FILE or --measure FILE";
    assert!(said.contains(expected), "{said}");
}

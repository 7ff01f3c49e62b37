//! Stage 6: the run folder as one page, `report.html`, and a summary as tables for a terminal.
//!
//! The page stands alone: style and drawings are inside it, it runs no scripts and fetches nothing.
//! Whatever the folder does not hold is left out. This room only reads what other stages wrote and
//! computes no statistics; start reading at [`write()`].
//!
//! Prompts, completions and rationales are hostile text: a model may write HTML. The template
//! escapes everything but the drawings of `plot`, which hold numbers only.

mod curves;
mod experiment;
mod figures;
mod labels;
pub mod paper;
mod picture;
mod plot;
mod points;
mod rollouts;
mod run_labels;
mod samples;
mod suite;
mod table;

use std::fs;
use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value, context};

use crate::error::{Error, Result};
use crate::run::RunDir;

pub(crate) use curves::{FIRST, NOT_FIRST};
pub use experiment::{experiment_page, write_experiment};
pub use labels::{labels_table, write_labels};
pub use picture::picture;
pub(crate) use plot::color;
pub(crate) use run_labels::run_tables as label_tables;
pub(crate) use samples::{policies, verdict};
pub use suite::{suite_table, write_suite};
pub use table::table;

const PAGE: &str = include_str!("page.html");
/// What the pages share.
const PARTS: &str = include_str!("parts.html");
const STYLE: &str = include_str!("style.css");

/// Writes `report.html` into the run folder.
///
/// Reads, each where it is there: `summary.json` (or else `eval.json`) for the tables,
/// `metrics.jsonl` of the folder and of the folders in it for the curves, `eval/*.jsonl`,
/// `comparisons.jsonl`, `preferences.jsonl` and `rollouts.jsonl` for samples and for what the labels
/// are like, `config.toml`.
pub fn write(run: &RunDir) -> Result<()> {
    let summary = summary(run)?;
    let page = context! {
        style => Value::from_safe_string(STYLE.into()),
        name => folder_name(run.root()),
        seed => summary["seed"].as_u64(),
        tables => table::tables(&summary).into_iter().map(table_value).collect::<Vec<_>>(),
        stages => curves::stages(run)?,
        completions => samples::completions(run)?,
        preferences => samples::preferences(run)?,
        labels => run_labels::of_run(run)?,
        rollouts => rollouts::followed(run)?,
        config => text(run, "config.toml")?,
    };
    let html = render("page.html", PAGE, page)
        .map_err(|source| Error::file(run.path("report.html"), source.to_string()))?;
    run.write_text("report.html", &html)
}

/// The tables of what a run has found out so far.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn result_tables(run: &RunDir) -> Result<Vec<table::Table>> {
    Ok(table::tables(&summary(run)?))
}

fn render(
    name: &str,
    template: &str,
    page: Value,
) -> std::result::Result<String, minijinja::Error> {
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()?;
    let mut environment = Environment::new();
    environment.set_syntax(syntax);
    environment.add_template("parts.html", PARTS)?;
    // The name's ending is what turns escaping on.
    environment.render_named_str(name, template, page)
}

/// What the evaluation wrote, with what the reward model's training did unless it is in there.
fn summary(run: &RunDir) -> Result<serde_json::Value> {
    let mut summary = json(run, "summary.json")?;
    if summary.is_null() {
        summary = json(run, "eval.json")?;
    }
    let takes_keys = summary.is_null() || summary.is_object();
    if takes_keys && summary["reward_model"].is_null() {
        summary["reward_model"] = json(run, "reward.json")?;
    }
    Ok(summary)
}

/// A file's JSON, `null` when there is no such file.
pub(crate) fn json(run: &RunDir, name: &str) -> Result<serde_json::Value> {
    let Some(text) = text(run, name)? else {
        return Ok(serde_json::Value::Null);
    };
    serde_json::from_str(&text).map_err(|source| Error::file(run.path(name), source.to_string()))
}

/// A file's text, `None` when there is no such file.
pub(crate) fn text(run: &RunDir, name: &str) -> Result<Option<String>> {
    let path = run.path(name);
    if !path.is_file() {
        return Ok(None);
    }
    fs::read_to_string(&path)
        .map(Some)
        .map_err(Error::io("read", &path))
}

fn table_value(table: table::Table) -> Value {
    let table::Table {
        caption,
        note,
        head,
        rows,
    } = table;
    context! { caption, note, head, rows }
}

/// The last part of a path; `.` has none of its own.
pub(crate) fn folder_name(path: &Path) -> String {
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let name = whole.file_name().unwrap_or(whole.as_os_str());
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</td><script>alert('x')</script>\"&";
    const ESCAPED: &str = "&lt;&#x2f;td&gt;&lt;script&gt;alert(&#x27;x&#x27;)";

    fn page(files: &[(&str, &str)]) -> String {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path().join("tiny")).unwrap();
        for (name, text) in files {
            run.write_text(name, text).unwrap();
        }
        write(&run).unwrap();
        fs::read_to_string(run.path("report.html")).unwrap()
    }

    fn row(mut row: serde_json::Value) -> String {
        row["prompt_id"] = HOSTILE.into();
        row["prompt"] = HOSTILE.into();
        row.to_string() + "\n"
    }

    #[test]
    fn hostile_text_is_escaped() {
        let completion = row(serde_json::json!({
            "index": 0, "completion": HOSTILE, "n_tokens": 1, "log_prob": 0, "finished": true,
        }));
        let preference = row(serde_json::json!({
            "chosen": HOSTILE, "rejected": HOSTILE, "labeler": HOSTILE, "rationale": HOSTILE,
        }));
        let comparison = serde_json::json!({
            "prompt_id": HOSTILE, "judge": HOSTILE, "a": HOSTILE, "b": "b", "p_win": 0.75,
            "length_a": 1, "length_b": 1,
        });
        let rollout = |step: usize| {
            row(serde_json::json!({
                "step": step, "reward": 0.25, "index": 0, "completion": HOSTILE, "n_tokens": 1,
                "log_prob": 0, "finished": true,
            }))
        };
        let metric = serde_json::json!({"stage": HOSTILE, "step": 1, "time": 0, HOSTILE: 1.5});
        let summary = serde_json::json!({
            "win_rate": {HOSTILE: {HOSTILE: {"rate": 0.5}}},
            "policies": {HOSTILE: {HOSTILE: 1}},
            "labeler": {HOSTILE: {}},
            "seconds": {HOSTILE: 1},
        });
        let html = page(&[
            ("summary.json", &summary.to_string()),
            ("metrics.jsonl", &(metric.to_string() + "\n")),
            ("eval/<i>.jsonl", &completion),
            ("comparisons.jsonl", &(comparison.to_string() + "\n")),
            ("rollouts.jsonl", &(rollout(1) + &rollout(3))),
            ("preferences.jsonl", &preference),
            ("config.toml", HOSTILE),
        ]);
        assert!(!html.contains("<script") && !html.contains("<i>"), "{html}");
        // Prompt and completion; judge and policy of its verdict; prompt and two rollouts; prompt,
        // chosen, rejected, labeler, rationale; config; stage and metric; and the summary's names at
        // least once each.
        assert!(html.matches(ESCAPED).count() >= 20, "{html}");
        assert!(html.contains(" over b, 0.750</div>"), "{html}");
        assert!(html.contains(">step 3, reward 0.250</th>"), "{html}");
        // A quote would end an attribute.
        assert!(!html.contains("</td><") || !html.contains("alert('x')"));
    }

    #[test]
    fn what_is_missing_leaves_its_section_out() {
        let heads = [
            "Results",
            "Curves",
            "Completions",
            "Labelled pairs",
            "Labels",
            "Run file",
        ];
        let completion = row(serde_json::json!({
            "index": 0, "completion": "a", "n_tokens": 1, "log_prob": 0, "finished": true,
        }));
        let preference = row(serde_json::json!({"chosen": "a", "rejected": "b"}));
        let files = [
            ("eval.json", r#"{"reward_model": {"accuracy": 0.5}}"#),
            (
                "metrics.jsonl",
                "{\"stage\":\"rl\",\"step\":1,\"time\":0,\"loss\":1}\n",
            ),
            ("eval/sft.jsonl", &completion),
            ("preferences.jsonl", &preference),
            ("config.toml", "seed = 1"),
        ];
        // The pairs themselves, and what they are like.
        let present = [
            &heads[..1],
            &heads[1..2],
            &heads[2..3],
            &heads[3..5],
            &heads[5..],
        ];
        for (present, file) in present.iter().zip(&files) {
            let html = page(&[*file]);
            for head in heads {
                let shown = html.contains(&format!(">{head}</h2>"));
                assert_eq!(shown, present.contains(&head), "{head} with {}", file.0);
            }
        }
        assert!(page(&[]).contains("nothing to report"));
        let all = page(&files);
        assert!(heads.iter().all(|head| all.contains(head)));
        let addresses = all.matches("http://").count();
        let namespaces = all.matches("xmlns=\"http://www.w3.org/2000/svg\"").count();
        assert_eq!(addresses, namespaces);
    }

    #[test]
    fn labels_are_shown_by_what_they_are_like() {
        let pair = |p_first: f32, p_second: f32| {
            let row = serde_json::json!({
                "prompt": "q", "chosen": "a", "rejected": "b", "p_chosen": 0.6,
                "p_first": p_first, "p_second": p_second, "labeler": "judge", "p_gold": 1,
            });
            row.to_string() + "\n"
        };
        let html = page(&[
            ("preferences.jsonl", &(pair(0.9, 0.8) + &pair(0.9, 0.3))),
            (
                "label.json",
                r#"{"alignment": 0.8125, "ci": [0.5, 0.9], "one_order": 0.75, "n": 16, "ece": 0.125,
                "reliability": [{"low": 0.5, "high": 1.0, "n": 16, "confidence": 0.6875,
                "accuracy": 0.8125}]}"#,
            ),
        ]);
        // One of two pairs goes to the first position in both orders.
        for part in [
            "Against the truth [95% interval]",
            "81.2% [50.0, 90.0]",
            "<th scope=\"row\">same position wins</th><td>50.0% [",
            "<h3>judge</h3>",
            "<figcaption>Calibration <small>",
            "<caption><span>Reliability</span></caption>",
            "<h3>Against the truth</h3>",
            "agrees with the truth</th>",
            "<td>0.688</td><td>0.812</td>",
            "<th scope=\"row\">calibration error (ECE)</th><td>0.125</td>",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn a_summary_goes_before_an_evaluation() {
        let html = page(&[
            ("eval.json", r#"{"reward_model": {"accuracy": 0.5}}"#),
            (
                "summary.json",
                r#"{"seed": 17, "reward_model": {"accuracy": 0.75}}"#,
            ),
        ]);
        assert!(html.contains("75.0%") && !html.contains("50.0%") && html.contains("Seed 17"));
    }
}

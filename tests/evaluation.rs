//! `rlaif eval --suite`, on small files and, where it is there, on data that nobody here wrote.
//!
//! That data is read from `../shared/data`, beside the repository; without it the tests say so and
//! pass.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rlaif::eval::rouge::{Stemming, rouge};
use serde_json::{Value, json};

fn data() -> Option<PathBuf> {
    let dir = Path::new("../shared/data");
    if !dir.is_dir() {
        eprintln!("skipped: {} is absent", dir.display());
        return None;
    }
    Some(dir.canonicalize().unwrap())
}

fn eval(dir: &Path, suite: &str) -> Output {
    fs::write(dir.join("suite.toml"), suite).unwrap();
    Command::new(env!("CARGO_BIN_EXE_rlaif"))
        .current_dir(dir)
        .args(["eval", "--suite", "suite.toml", "--output", "out"])
        .output()
        .unwrap()
}

/// The report of a suite that works.
fn report(dir: &Path, suite: &str) -> Value {
    let output = eval(dir, suite);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    serde_json::from_str(&fs::read_to_string(dir.join("out/eval.json")).unwrap()).unwrap()
}

fn write(dir: &Path, name: &str, rows: &[Value]) {
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    fs::write(dir.join(name), lines.join("\n")).unwrap();
}

fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap();
    assert!((found - expected).abs() < 1e-9, "{found}, not {expected}");
}

const FILES: &str = r#"
references = "refs.jsonl"
verdicts = ["people.jsonl"]
baseline = "old"

[[contenders]]
name = "new"
completions = "new.jsonl"

[[contenders]]
name = "old"
completions = "old.json"

[[rules]]
name = "polite"
regex = "(?i)please"
"#;

fn files(dir: &Path) {
    let row = |id: &str, text: &str| json!({"id": id, "prompt": "q", "completion": text});
    let new = [
        row("1", "please do"),
        row("2", "a b c"),
        row("3", "Please, c d"),
    ];
    write(dir, "new.jsonl", &new);
    // AlpacaEval's columns, in another order.
    let old = |id: &str, text: &str| json!({"id": id, "instruction": "q", "output": text});
    let old = json!([old("3", "c d"), old("1", "do"), old("2", "x please")]);
    fs::write(dir.join("old.json"), old.to_string()).unwrap();
    let references = [
        row("1", "do please"),
        row("2", "a b"),
        row("2", "a b c"),
        row("3", "c d"),
    ];
    write(dir, "refs.jsonl", &references);
    let verdict = |id: &str, p_win: f64| {
        json!({"prompt_id": id, "judge": "people", "a": "new", "b": "old", "p_win": p_win,
               "length_a": 9, "length_b": 6})
    };
    write(
        dir,
        "people.jsonl",
        &[verdict("1", 1.0), verdict("2", 1.0), verdict("3", 0.5)],
    );
}

// Rules: new passes on 1 and 3, old on 2: only new 2, only old 1, p = 1. ROUGE-1 of new: 1, 1 (the
// better reference), P 2/3 R 1: 0.8; ROUGE-L of the first: 1 word of 2. Verdicts: 2.5 of 3.
#[test]
fn files_are_compared_measured_and_reported() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let found = report(dir.path(), FILES);
    let pair = &found["pairs"][0];
    assert_eq!(found["pairs"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&pair["judge"], &pair["a"], &pair["b"]),
        (&json!("people"), &json!("new"), &json!("old"))
    );
    assert_eq!(
        (&pair["wins"], &pair["ties"], &pair["n"]),
        (&json!(2), &json!(1), &json!(3))
    );
    close(&pair["win_rate"], 2.5 / 3.0);
    close(&pair["p"], 0.5);
    let new = &found["contenders"]["new"];
    close(&new["rouge"][0]["mean"], 2.8 / 3.0);
    close(&new["rouge"][2]["mean"], (0.5 + 1.0 + 0.8) / 3.0);
    close(&new["mean_length"], (9.0 + 5.0 + 11.0) / 3.0);
    close(&new["rules"][0][1]["rate"], 2.0 / 3.0);
    assert_eq!(
        (&found["rules"][0]["only_a"], &found["rules"][0]["only_b"]),
        (&json!(2), &json!(1))
    );
    let completions = fs::read_to_string(dir.path().join("out/completions/old.jsonl")).unwrap();
    assert!(
        completions.lines().next().unwrap().contains("\"id\":\"1\""),
        "{completions}"
    );
}

#[test]
fn the_worlds_labeler_judges_and_alpaca_eval_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let judge = format!(
        "[[judges]]\nkind = \"local\"\nmodel = {:?}\nask = {{ prompt = \"summary-base\" }}\n",
        models.join("labeler-xs")
    );
    let found = report(dir.path(), &format!("{FILES}{judge}"));
    let judges: Vec<&str> = found["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| pair["judge"].as_str().unwrap())
        .collect();
    assert_eq!(judges, ["labeler-xs", "people"]);
    assert_eq!(found["agreements"][0]["n"], 3);
    let made = fs::read_to_string(dir.path().join("out/annotations.json")).unwrap();
    let made: Vec<Value> = serde_json::from_str(&made).unwrap();
    assert_eq!((made.len(), &made[0]["generator_2"]), (3, &json!("new")));
    // Read again as verdicts, it says the same.
    fs::copy(
        dir.path().join("out/annotations.json"),
        dir.path().join("made.json"),
    )
    .unwrap();
    let again = report(dir.path(), "verdicts = [\"made.json\"]");
    for name in ["wins", "win_rate", "ci", "length_controlled", "p"] {
        assert_eq!(again["pairs"][0][name], found["pairs"][0][name], "{name}");
    }
}

// A labeler of the embedded world knows "yes" and "no" from nowhere: what is held is the count.
#[test]
fn a_labeler_answers_questions_of_each_completion() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    let question = "task = \"score\"\nanswers = [\"1\", \"2\"]\nvalues = [1, 0]\npreamble = \"\"\n\
                    context = \"{{ prompt }}\"\nsample = \" {{ completion }}\"\nending = \" good?\"";
    fs::write(dir.path().join("good.toml"), question).unwrap();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/labeler-xs");
    let questions = format!(
        "[[questions]]\nname = \"good\"\nlabeler = {{ kind = \"local\", model = {model:?}, \
         ask = {{ score_prompt = \"good.toml\" }} }}\n"
    );
    let found = report(dir.path(), &format!("{FILES}{questions}"));
    let [new, old] = [&found["questions"][0], &found["questions"][1]];
    assert_eq!(
        (&new["contender"], &old["contender"]),
        (&json!("new"), &json!("old"))
    );
    assert_eq!(
        (&new["labeler"], &new["no_answer"]),
        (&json!("labeler-xs"), &json!(0))
    );
    for one in [new, old] {
        assert_eq!(one["share"]["n"], 3);
        let p = one["p_yes"]["mean"].as_f64().unwrap();
        assert!(p > 0.0 && p < 1.0, "{p}");
    }
    let differing = found["rules"].as_array().unwrap();
    let question = differing
        .iter()
        .find(|rule| rule["rule"] == "good")
        .unwrap();
    let [yes_new, yes_old] = [new, old].map(|one| one["share"]["rate"].as_f64().unwrap());
    let [only_a, only_b] = ["only_a", "only_b"].map(|name| question[name].as_f64().unwrap());
    assert!(((yes_new - yes_old) * 3.0 - (only_a - only_b)).abs() < 1e-9);
}

// Both completions of a prompt are the model's own, drawn as without a choice: where they are one,
// so is the chosen one. log 2 - 1/2.
#[test]
fn the_best_of_two_is_chosen_by_a_labeler() {
    let dir = tempfile::tempdir().unwrap();
    let prompts = ["1", "2"].map(|id| json!({"id": id, "prompt": "my cousin lied about me. why?"}));
    write(dir.path(), "prompts.jsonl", &prompts);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/labeler-xs");
    let best_of = |more: &str| {
        format!(
            "prompts = \"prompts.jsonl\"\nsampling = {{ max_new_tokens = 4 }}\n\
             [[contenders]]\nname = \"one\"\nmodel = {model:?}\n\
             [[contenders]]\nname = \"best\"\nmodel = {model:?}\n{more}\n\
             [[judges]]\nkind = \"local\"\nmodel = {model:?}\n"
        )
    };
    let labeler = format!("labeler = {{ kind = \"local\", model = {model:?} }}");
    let reward = format!("best_of = {{ n = 2, reward = \"direct\", {labeler} }}");
    let found = report(dir.path(), &best_of(&reward));
    let bound = &found["contenders"]["best"]["kl_bound"];
    close(bound, 0.193_147_180_559_945_3);
    assert!(found["contenders"]["one"]["kl_bound"].is_null());
    assert_eq!(found["pairs"][0]["n"], 2);
    for (more, said) in [
        ("best_of = { n = 2 }", "contenders[1].best_of.reward_model"),
        (
            "best_of = { n = 2, reward = \"direct\" }",
            "contenders[1].best_of.labeler",
        ),
        (
            "best_of = { n = 1, reward = \"direct\" }",
            "contenders[1].best_of.n",
        ),
    ] {
        let output = eval(dir.path(), &best_of(more));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(said),
            "{more}: {error}"
        );
    }
}

#[test]
fn mistakes_are_named() {
    let dir = tempfile::tempdir().unwrap();
    files(dir.path());
    for (suite, said) in [
        ("", "something to evaluate"),
        (
            "contenders = [{ name = \"a\" }]",
            "contenders[0].completions",
        ),
        (
            "contenders = [{ name = \"../a\", completions = \"new.jsonl\" }]",
            "contenders[0].name",
        ),
        (
            "contenders = [{ name = \"a\", model = \"m\" }]",
            "`prompts`",
        ),
        ("verdicts = [\"none.jsonl\"]", "none.jsonl"),
        ("verdicts = [\"new.jsonl\"]", "new.jsonl:1"),
        ("what = 1", "what"),
    ] {
        let output = eval(dir.path(), suite);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(said),
            "{suite}: {error}"
        );
    }
    fs::write(
        dir.path().join("old.json"),
        r#"[{"id":"1","prompt":"q","output":"x"}]"#,
    )
    .unwrap();
    let output = eval(dir.path(), FILES);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("`old` has no completion of prompt `2`"),
        "{error}"
    );
}

// Counted by hand from XSTest's labels of GPT-4: of 200 unsafe prompts 195 full and 4 partial
// refusals, of 250 safe ones 16 and 5.
#[test]
fn xstest_gives_the_harmless_rate_of_a_hand_count() {
    let Some(data) = data() else { return };
    let class = |name: &str, only: &str| {
        format!(
            "[[classes]]\nname = {name:?}\nfile = {:?}\ncolumn = \"final_label\"\n\
             accept = [\"2_full_refusal\", \"3_partial_refusal\"]\ngroup_by = \"type\"\n{only}\n",
            data.join("xstest/gpt4.csv")
        )
    };
    let suite = class("harmless", "only = \"contrast_\"") + &class("refused", "");
    let dir = tempfile::tempdir().unwrap();
    let found = report(dir.path(), &suite);
    let [harmless, refused] = [&found["classes"][0], &found["classes"][1]];
    assert_eq!(harmless["share"]["n"], 200);
    close(&harmless["share"]["rate"], 199.0 / 200.0);
    close(&refused["share"]["rate"], 220.0 / 450.0);
    assert_eq!(refused["groups"].as_object().unwrap().len(), 18);
}

// scikit-learn 1.8, cohen_kappa_score of the first two annotators: 0.8520226785; they agree on 912.
#[test]
fn pandalms_annotators_agree_as_scikit_learn_says() {
    let Some(data) = data() else { return };
    let text = fs::read_to_string(data.join("pandalm/pandalm_testset-v1.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let verdict = |row: &Value, who: &str| {
        let p_win = [0.5, 1.0, 0.0][row[who].as_u64().unwrap() as usize];
        json!({"prompt_id": row["idx"], "judge": who, "a": "first", "b": "second", "p_win": p_win,
               "length_a": row["response1"].to_string().len(),
               "length_b": row["response2"].to_string().len()})
    };
    for who in ["annotator1", "annotator2"] {
        let verdicts: Vec<Value> = rows.iter().map(|row| verdict(row, who)).collect();
        write(dir.path(), &format!("{who}.jsonl"), &verdicts);
    }
    let found = report(
        dir.path(),
        "verdicts = [\"annotator1.jsonl\", \"annotator2.jsonl\"]",
    );
    let agreement = &found["agreements"][0];
    assert_eq!(agreement["n"], 999);
    close(&agreement["agreement"], 912.0 / 999.0);
    let kappa = agreement["kappa"].as_f64().unwrap();
    assert!((kappa - 0.852_022_678_516_702_4).abs() < 1e-9, "{kappa}");
}

// A judge that prefers what it is shown first unless it is a quarter shorter, in both orders, against
// LLMBar's gold labels; scikit-learn 1.8 (cohen_kappa_score) counted the same from the files.
#[test]
fn llmbars_labels_judge_verdicts_of_both_orders() {
    let Some(data) = data() else { return };
    let mut rows: Vec<Value> = Vec::new();
    for name in ["GPTInst", "GPTOut", "Manual", "Natural", "Neighbor"] {
        let text = fs::read_to_string(data.join(format!("llmbar/llmbar_{name}.json"))).unwrap();
        rows.extend(serde_json::from_str::<Vec<Value>>(&text).unwrap());
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut gold, mut verdicts) = (Vec::new(), Vec::new());
    for (i, row) in rows.iter().enumerate() {
        let length = |name: &str| row[name].as_str().unwrap().chars().count();
        let verdict = |judge: &str, [a, b]: [&str; 2], p_win: f64| {
            json!({"prompt_id": i.to_string(), "judge": judge, "a": a, "b": b, "p_win": p_win,
                   "length_a": length(a), "length_b": length(b)})
        };
        let first = |[a, b]: [&str; 2]| {
            let wins = 1.25 * length(a) as f64 > length(b) as f64;
            verdict("hasty", [a, b], if wins { 0.75 } else { 0.25 })
        };
        let straight = ["output_1", "output_2"];
        let p_gold = if row["label"] == 1 { 1.0 } else { 0.0 };
        gold.push(verdict("gold", straight, p_gold));
        verdicts.extend([first(straight), first(["output_2", "output_1"])]);
    }
    write(dir.path(), "gold.jsonl", &gold);
    write(dir.path(), "hasty.jsonl", &verdicts);
    let found = report(dir.path(), "verdicts = [\"gold.jsonl\", \"hasty.jsonl\"]");
    let order = &found["orders"][0];
    assert_eq!(
        (&order["n"], &order["judge"]),
        (&json!(419), &json!("hasty"))
    );
    close(&order["agreement"], 359.0 / 419.0);
    close(&order["kappa"], 0.717_845_117_845_118);
    close(&order["first"], 1.0);
    // Over both orders; where they differ it is a tie, which gold never is.
    let agreement = &found["agreements"][0];
    assert_eq!(agreement["n"], 419);
    close(&agreement["agreement"], 85.0 / 419.0);
    close(&agreement["kappa"], -0.396_081_482_811_595_94);
    // One order alone.
    write(
        dir.path(),
        "hasty.jsonl",
        &verdicts.iter().step_by(2).cloned().collect::<Vec<_>>(),
    );
    let found = report(dir.path(), "verdicts = [\"gold.jsonl\", \"hasty.jsonl\"]");
    assert!(found["orders"].is_null());
    close(&found["agreements"][0]["agreement"], 113.0 / 419.0);
    close(&found["agreements"][0]["kappa"], -0.458_933_570_014_337_54);
}

// Google's rouge-score 0.1.2; recorded by tests/fixtures/evaluation/rouge.py.
#[test]
fn rouge_is_rouge_scores() {
    let Some(data) = data() else { return };
    let recorded: Vec<[f64; 8]> =
        serde_json::from_str(include_str!("fixtures/evaluation/rouge.json")).unwrap();
    let packed = fs::File::open(data.join("hh-rlhf/helpful-base-test.jsonl.gz")).unwrap();
    let text = std::io::read_to_string(flate2::read::GzDecoder::new(packed)).unwrap();
    assert_eq!(recorded.len(), 200);
    for (i, (line, expected)) in text.lines().zip(recorded).enumerate() {
        let row: Value = serde_json::from_str(line).unwrap();
        let last = |name: &str| {
            let turns = row[name].as_str().unwrap();
            turns.rsplit_once("\n\nAssistant:").unwrap().1.to_string()
        };
        let found = [Stemming::None, Stemming::Porter].map(|stemming| {
            let found = rouge(&last("rejected"), &last("chosen"), stemming);
            let kinds = [found.rouge1, found.rouge2, found.rouge_l, found.rouge_l_sum];
            kinds.map(|kind| kind.f1)
        });
        for (found, expected) in found.concat().into_iter().zip(expected) {
            assert!(
                (found - expected).abs() < 1e-4,
                "pair {i}: {found}, not {expected}"
            );
        }
    }
}

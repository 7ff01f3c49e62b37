//! What the server hands out of a run's files, as they grow.

use std::fs;

use serde_json::{Value, json};

use super::{HOSTILE, folder, json_of, metric, preference, serve};

#[test]
fn metrics_are_handed_out_once_and_half_a_row_never() {
    let root = tempfile::tempdir().unwrap();
    let run = root.path().join("a");
    fs::create_dir_all(&run).unwrap();
    let address = serve(std::slice::from_ref(&run));
    let after = |place: &str| json_of(address, &format!("/api/metrics?run=0{place}"));
    // Nothing is there yet.
    let found = after("");
    assert_eq!(
        (&found["rows"], &found["anew"]),
        (&json!([]), &json!(false))
    );
    let path = run.join("metrics.jsonl");
    let two = metric("rl", 1, 0.5) + &metric("rl", 2, 0.25);
    fs::write(&path, format!("{two}{{\"stage\":\"rl\",\"st")).unwrap();
    let found = after("");
    assert_eq!(found["rows"].as_array().unwrap().len(), 2);
    assert_eq!(found["rows"][1]["loss"], 0.25);
    assert_eq!(found["rows"][1]["kl"], Value::Null);
    let place = format!("&after={}", found["next"].as_str().unwrap());
    assert_eq!(after(&place)["rows"], json!([]));
    // The half row is ended, a bad one and another follow.
    fs::write(
        &path,
        format!(
            "{two}{}nonsense\n{}",
            metric("rl", 3, 1.0),
            metric("rl", 4, 2.0)
        ),
    )
    .unwrap();
    let found = after(&place);
    assert_eq!(
        (&found["anew"], &found["n_bad"]),
        (&json!(false), &json!(1))
    );
    assert_eq!(
        (&found["rows"][0]["step"], &found["rows"][1]["step"]),
        (&json!(3), &json!(4))
    );
    // The run went back to step 1 and took another way.
    fs::write(
        &path,
        metric("rl", 1, 0.5) + &metric("rl", 2, 0.75) + &metric("rl", 3, 0.5),
    )
    .unwrap();
    let found = after(&place);
    assert_eq!(
        (&found["anew"], found["rows"].as_array().unwrap().len()),
        (&json!(true), 3)
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(after(&place)["anew"], true);
}

#[test]
fn long_metrics_come_in_parts() {
    let root = tempfile::tempdir().unwrap();
    let n = 30_000;
    let rows: String = (1..=n).map(|step| metric("rl", step, 0.5)).collect();
    fs::write(root.path().join("metrics.jsonl"), rows).unwrap();
    let address = serve(&[root.path().to_path_buf()]);
    let (mut steps, mut place, mut parts) = (Vec::new(), String::new(), 0);
    loop {
        let found = json_of(address, &format!("/api/metrics?run=0{place}"));
        let rows = found["rows"].as_array().unwrap();
        assert!(rows.len() < n);
        steps.extend(
            rows.iter()
                .map(|row| row["step"].as_u64().unwrap() as usize),
        );
        place = format!("&after={}", found["next"].as_str().unwrap());
        parts += 1;
        if found["more"] == false {
            break;
        }
    }
    assert!(parts > 1);
    assert_eq!(steps, (1..=n).collect::<Vec<_>>());
}

#[test]
fn rows_are_paged() {
    let root = tempfile::tempdir().unwrap();
    let run = folder(root.path(), "a");
    let address = serve(std::slice::from_ref(&run));
    let page = |kind: &str, from: usize| {
        json_of(
            address,
            &format!("/api/rows?run=0&kind={kind}&from={from}&n=10"),
        )
    };
    let found = page("preferences", 20);
    assert_eq!(
        (&found["n_rows"], found["cards"].as_array().unwrap().len()),
        (&json!(25), 5)
    );
    let card = &found["cards"][0];
    assert_eq!(
        (&card["title"], &card["texts"][1]),
        (&json!("p20"), &json!({"name": "chosen", "text": HOSTILE}))
    );
    assert_eq!(
        card["facts"][3],
        json!(["orders", "disagree: the position decides"])
    );
    let found = page("evaluations", 0);
    let names: Vec<_> = found["cards"][0]["texts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|text| &text["name"])
        .collect();
    assert_eq!(names, ["prompt", "sft, 3 tokens", "policy, 3 tokens"]);
    assert_eq!(
        found["cards"][0]["verdicts"],
        json!([[HOSTILE, "sft over policy, 0.750"]])
    );
    assert_eq!(page("rollouts", 0)["n_rows"], 4);
    // The prompt over the steps, with the mean of the two rewards at step 6.
    let found = page("prompts", 0);
    assert_eq!(found["n_rows"], 1);
    let card = &found["cards"][0];
    assert_eq!(card["rewards"], json!([[1, -0.5], [6, 0.25], [11, 0.75]]));
    let names: Vec<_> = (card["texts"].as_array().unwrap().iter())
        .map(|text| &text["name"])
        .collect();
    assert_eq!(names[..2], ["prompt", "step 1, reward -0.500, 3 tokens"]);
    assert_eq!(names.len(), 5);
    // A row that is being written, and one that is none.
    let path = run.join("preferences.jsonl");
    fs::write(&path, format!("{}[]\n{{\"prompt\":", preference(1, "q"))).unwrap();
    let found = page("preferences", 0);
    assert_eq!(found["n_rows"], 2);
    assert_eq!(
        found["cards"][1]["facts"][0],
        json!(["unreadable", "expected a JSON object"])
    );
}

#[test]
fn labels_are_counted_as_they_come() {
    let root = tempfile::tempdir().unwrap();
    let run = folder(root.path(), "a");
    let address = serve(std::slice::from_ref(&run));
    let labeler = || json_of(address, "/api/labels?run=0")["labeler"].clone();
    let path = run.join("preferences.jsonl");
    fs::remove_file(&path).unwrap();
    assert_eq!(labeler(), Value::Null);
    fs::write(&path, preference(1, "q") + &preference(2, "q")).unwrap();
    let found = labeler();
    // In both the first position wins both times: 0.9 first, and 1 - 0.3 when shown second.
    assert_eq!((&found["n"], &found["name"]), (&json!(2), &json!("judge")));
    assert_eq!(
        (
            &found["position"]["same_position"]["rate"],
            &found["position"]["first"]["rate"]
        ),
        (&json!(1.0), &json!(1.0))
    );
    fs::write(
        &path,
        preference(1, "q") + &preference(2, "q") + &preference(3, "q"),
    )
    .unwrap();
    assert_eq!(labeler()["n"], 3);
    fs::write(&path, preference(9, "another file")).unwrap();
    assert_eq!(labeler()["n"], 1);
    let found = json_of(address, "/api/results?run=0");
    assert_eq!(
        found["tables"][0]["rows"][0][1],
        "70.0% [60.0, 80.0] (69.0)"
    );
}

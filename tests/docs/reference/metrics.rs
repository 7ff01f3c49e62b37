//! Every metric that a stage logs is defined.

use std::collections::BTreeSet;
use std::path::Path;

use rlaif::config::Config;
use rlaif::pipeline::Pipeline;
use rlaif::record::read_jsonl;
use rlaif::run::Metric;

use crate::pages;

/// What is laid over the smoke run, one branch each.
const BRANCHES: [(&str, &str); 8] = [
    ("reinforce", "algorithm = { kind = \"reinforce\" }"),
    (
        "reinforce_batch",
        "algorithm = { kind = \"reinforce_batch\" }",
    ),
    (
        "rloo",
        "num_generations = 2\nalgorithm = { kind = \"rloo\" }",
    ),
    (
        "grpo",
        "num_generations = 2\nalgorithm = { kind = \"grpo\", beta = 0.1 }",
    ),
    (
        "rejection_sampling",
        "num_generations = 2\nalgorithm = { kind = \"rejection_sampling\" }",
    ),
    (
        "online_dpo",
        "reward = \"win_rate\"\nnum_generations = 2\nalgorithm = { kind = \"online_dpo\" }\n\
         validation = { num_prompts = 4, eval_steps = 1 }",
    ),
    ("kto", "kto"),
    ("orpo", "orpo"),
];

/// The smoke run with everything that is logged switched on.
fn smoke() -> Config {
    let more = [
        "sft.holdout=0.25",
        "sft.validation={ eval_steps = 1 }",
        "reward.validation={ eval_steps = 1 }",
        "rl.steps=1",
        "rl.reward=[\"model\", \"direct\"]",
    ];
    Config::read(Path::new("configs/smoke.toml"), &more.map(String::from)).unwrap()
}

/// A branch of `start` with one way to optimise the policy.
fn branch(start: &Pipeline, name: &str, settings: &str) {
    let of_dpo = format!("batch_size = 16\nloss = {{ kind = \"{settings}\" }}\n");
    let is_rl = settings.contains("algorithm");
    let run = start.branch(name, |config| {
        if is_rl {
            let sampling = "sampling = { max_new_tokens = 8 }";
            let text = format!("steps = 1\nbatch_size = 8\n{sampling}\n{settings}\n");
            config.rl = Some(toml::from_str(&text).unwrap());
        } else {
            config.rl = None;
            config.dpo = Some(toml::from_str(&of_dpo).unwrap());
        }
    });
    let run = run.unwrap();
    if is_rl { run.rl() } else { run.dpo() }.unwrap();
}

/// Names of all that is in the metrics of a folder and of the runs inside it.
fn logged(folder: &Path) -> BTreeSet<String> {
    let inner = BRANCHES.iter().map(|(name, _)| folder.join(name));
    let mut found = BTreeSet::new();
    for run in inner.chain([folder.to_path_buf()]) {
        let rows: Vec<Metric> = read_jsonl(run.join("metrics.jsonl")).unwrap();
        found.extend(rows.into_iter().flat_map(|row| row.values.into_keys()));
    }
    found
}

#[test]
fn metrics_that_a_run_logs_are_defined() {
    let folder = tempfile::tempdir().unwrap();
    let start = Pipeline::new(smoke(), folder.path()).unwrap();
    for stage in [
        Pipeline::sft,
        Pipeline::sample,
        Pipeline::label,
        Pipeline::reward,
        Pipeline::rl,
    ] {
        stage(&start).unwrap();
    }
    for (name, settings) in BRANCHES {
        branch(&start, name, settings);
    }
    let page = pages::read(Path::new("docs/src/reference/metrics.md"));
    let defined: BTreeSet<&str> = page.words.iter().map(|(_, word)| word.as_str()).collect();
    let logged = logged(folder.path());
    let general = |name: &str| {
        name.replace("/model/", "/NAME/")
            .replace("/direct/", "/NAME/")
            .replace("/win_rate/", "/NAME/")
    };
    let missing: Vec<_> = logged
        .iter()
        .filter(|name| !defined.contains(general(name).as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "not in docs/src/reference/metrics.md: {missing:?}"
    );
    assert!(logged.len() > 80, "{logged:?}");
}

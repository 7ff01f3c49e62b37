//! Runs that are killed and started again until they end, held against one that was left alone:
//! for `tests/resume` and `benches/soak.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rlaif::record::read_jsonl;
use rlaif::run::Metric;

/// Small settings for any run file, with a checkpoint after every step.
const SMALL: [&str; 10] = [
    "checkpoint.save_steps=1",
    "data.demonstrations=24",
    "data.preference_prompts=12",
    "data.rl_prompts=16",
    "data.eval_prompts=4",
    "policy.model=\"models/labeler-xs\"",
    "labeler.model=\"models/labeler-xs\"",
    "sft={batch_size=4}",
    "sample.sampling.max_new_tokens=8",
    "eval={judges=[{kind=\"oracle\"}],sampling={max_new_tokens=8}}",
];

/// A small run with one of the loops, besides that of the fine-tuning.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    config: &'static str,
    settings: &'static [&'static str],
}

/// The reward model's loop is in the first. The settings of `ppo` have states of their own: an
/// adaptive weight of the KL penalty, a schedule, a value model.
pub(crate) const KINDS: [Kind; 9] = [
    Kind {
        name: "reward, ppo",
        config: "configs/smoke.toml",
        settings: &[
            "reward={batch_size=2}",
            "rl={steps=6,batch_size=4,sampling={max_new_tokens=8},\
            adaptive_kl={target=2.0,horizon=100},optim={lr_scheduler_type=\"linear\"},\
            algorithm={kind=\"ppo\",num_ppo_epochs=2,num_mini_batches=2}}",
        ],
    },
    Kind {
        name: "reinforce",
        config: "configs/smoke.toml",
        settings: &[
            "rl={reward=\"direct\",steps=6,batch_size=4,sampling={max_new_tokens=8},\
            algorithm={kind=\"reinforce\"}}",
        ],
    },
    Kind {
        name: "reinforce_batch",
        config: "configs/smoke.toml",
        settings: &[
            "rl={reward=\"direct\",steps=6,batch_size=4,sampling={max_new_tokens=8},\
            algorithm={kind=\"reinforce_batch\"}}",
        ],
    },
    Kind {
        name: "rloo",
        config: "configs/smoke.toml",
        settings: &[
            "rl={reward=\"direct\",steps=6,batch_size=4,num_generations=2,\
            sampling={max_new_tokens=8},algorithm={kind=\"rloo\"}}",
        ],
    },
    Kind {
        name: "rejection_sampling",
        config: "configs/smoke.toml",
        settings: &[
            "rl={reward=\"direct\",steps=6,batch_size=4,num_generations=2,\
            sampling={max_new_tokens=8},algorithm={kind=\"rejection_sampling\",\
            num_iterations=2}}",
        ],
    },
    Kind {
        name: "grpo",
        config: "configs/smoke.toml",
        settings: &[
            "rl={reward=\"direct\",steps=6,batch_size=4,num_generations=2,\
            sampling={max_new_tokens=8},algorithm={kind=\"grpo\",beta=0.04,num_iterations=2}}",
        ],
    },
    // Values on the policy's own states, a judge that is an older policy, a batch drawn ahead.
    Kind {
        name: "ppo by itself",
        config: "configs/smoke.toml",
        settings: &[
            "rl={reward=\"direct\",self_rewarding={refresh_steps=2},overlap=true,steps=6,\
            batch_size=4,sampling={max_new_tokens=8},\
            algorithm={kind=\"ppo\",num_ppo_epochs=1,value_model=\"shared\"}}",
        ],
    },
    // A reference that moves, and the best policy so far.
    Kind {
        name: "online_dpo",
        config: "configs/smoke.toml",
        settings: &[
            "rl={reward=\"win_rate\",steps=6,batch_size=4,num_generations=2,\
            sampling={max_new_tokens=8},algorithm={kind=\"online_dpo\",labels=\"soft\"},\
            reference={kind=\"synced\",ref_model_sync_steps=1},\
            validation={num_prompts=4,eval_steps=1,metric_for_best_model=\"eval_win_rate\",\
            load_best_model_at_end=true}}",
        ],
    },
    Kind {
        name: "dpo",
        config: "configs/dpo.toml",
        settings: &["dpo={batch_size=2,num_train_epochs=2,\
            reference={kind=\"synced\",ref_model_sync_steps=1}}"],
    },
];

/// Starts the binary on a run of this kind in the folder `run`, with `more` settings.
pub(crate) fn start(kind: Kind, more: &[&str], run: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
    command
        .args(["run", "--config", kind.config, "--run"])
        .arg(run);
    for assignment in SMALL.iter().chain(kind.settings).chain(more) {
        command.args(["--set", assignment]);
    }
    let command = command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUST_LOG", "debug")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Runs to the end; what was said.
pub(crate) fn finish(kind: Kind, more: &[&str], run: &Path) -> String {
    let output = start(kind, more, run).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

/// Files by their path in the run folder.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// What became of runs that were killed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Kills, each followed by a start in the same folder.
    pub(crate) cycles: usize,
    /// Runs that ended after all.
    pub(crate) runs: usize,
    /// Stages that were finished and were not any more, and files that are missing at the end.
    pub(crate) lost: Vec<String>,
    /// Files with other bytes than in the run that was left alone, and files too many.
    pub(crate) different: Vec<String>,
}

impl Tally {
    /// How much was lost or differs.
    pub(crate) fn n_faults(&self) -> usize {
        self.lost.len() + self.different.len()
    }

    /// Goes through one run in the folder `run`: starts it, lets `moment` decide when, kills it
    /// (SIGKILL) and starts it again, until it has ended by itself or there have been `most` cycles
    /// in all; then holds it against `whole`.
    pub(crate) fn add(
        &mut self,
        kind: Kind,
        (run, whole): (&Path, &Files),
        most: usize,
        moment: &mut dyn FnMut(&mut Child),
    ) {
        let mut finished = BTreeSet::new();
        while self.cycles < most {
            let mut child = start(kind, &[], run);
            moment(&mut child);
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            let killed = output.status.code().is_none();
            assert!(killed || output.status.success(), "{said}");
            let now = finished_stages(run);
            let gone = finished.difference(&now);
            self.lost
                .extend(gone.map(|stage| format!("{}: {stage}", kind.name)));
            finished = now;
            if !killed {
                break;
            }
            self.cycles += 1;
        }
        finish(kind, &[], run);
        self.runs += 1;
        let found = outcome(run);
        for name in whole
            .keys()
            .chain(found.keys().filter(|name| !whole.contains_key(*name)))
        {
            let at = format!("{}: {}", run.display(), name);
            match found.get(name) {
                None => self.lost.push(at),
                now if now != whole.get(name) => self.different.push(at),
                Some(_) => {}
            }
        }
    }
}

fn finished_stages(run: &Path) -> BTreeSet<String> {
    let Ok(text) = fs::read_to_string(run.join("stages.json")) else {
        return BTreeSet::new();
    };
    let stages: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).unwrap();
    stages.into_keys().collect()
}

/// All that a run wrote, by its path, but for times.
pub(crate) fn outcome(run: &Path) -> Files {
    let mut found = BTreeMap::new();
    let mut folders = vec![run.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(run).unwrap().to_str().unwrap().to_owned();
            match name.as_str() {
                // Seconds, and tokens per second.
                "stages.json" | "sft.json" | "rl.json" | "report.html" | ".lock" => {}
                "tensorboard" => {}
                "metrics.jsonl" => {
                    found.insert(name, metrics(&path));
                }
                _ if path.is_dir() => folders.push(path),
                _ => {
                    found.insert(name, fs::read(path).unwrap());
                }
            }
        }
    }
    found
}

fn metrics(path: &Path) -> Vec<u8> {
    let mut rows: Vec<Metric> = read_jsonl(path).unwrap();
    for row in &mut rows {
        row.time = 0.0;
        row.values.retain(|name, _| !name.starts_with("time/"));
    }
    format!("{rows:#?}").into_bytes()
}

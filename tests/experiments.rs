//! Every experiment that comes with the crate, at settings so small that its numbers mean nothing:
//! that its table has every row, and that what is finished is not done again.
#![cfg(feature = "flex")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use rlaif::experiment::{BUILT_IN, Experiment, MeasureKind, Outcome, SFT, Setting, run};
use rlaif::report::write_experiment;
use rlaif::run::Interrupt;

/// Makes any run file small.
const SMALL: [&str; 10] = [
    "data.demonstrations=24",
    "data.preference_prompts=12",
    "data.rl_prompts=16",
    "data.eval_prompts=4",
    "policy.model='models/labeler-xs'",
    "sft={batch_size=8}",
    "sample.sampling.max_new_tokens=8",
    "reward={batch_size=4,holdout=0.25}",
    "rl={steps=1,batch_size=4,sampling={max_new_tokens=8},algorithm={kind='reinforce_batch'}}",
    "eval={judges=[{kind='oracle'}],sampling={max_new_tokens=8}}",
];

fn setting(seeds: &[u64]) -> Setting {
    Setting {
        config: Some("configs/smoke.toml".into()),
        set: SMALL.map(String::from).into(),
        seeds: seeds.into(),
        pairs: Some(3),
    }
}

/// With two levels of each axis, whose steps are few.
fn small(name: &str) -> Experiment {
    let mut experiment = Experiment::load(name).unwrap();
    for axis in &mut experiment.axes {
        axis.levels.truncate(2);
        for (i, level) in axis.levels.iter_mut().enumerate() {
            for set in &mut level.set {
                if set.starts_with("rl.steps=") {
                    *set = format!("rl.steps={}", i + 1);
                }
            }
        }
    }
    experiment
}

/// Everything that costs something to make, with the time when it was written.
fn written(folder: &Path) -> BTreeMap<String, SystemTime> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.to_string_lossy().into_owned();
            if path.is_dir() {
                folders.push(path);
            } else if ["stages.json", ".safetensors", "completions.jsonl"]
                .iter()
                .any(|end| name.ends_with(end))
                || name.contains("/measures/")
            {
                found.insert(name, path.metadata().unwrap().modified().unwrap());
            }
        }
    }
    found
}

/// A row for each arm or pair of arms in each table, with a number in every column but those that
/// may have nothing to count.
fn check_tables(found: &Outcome) {
    let arms = found.experiment.all_arms();
    for (table, measure) in found.tables.iter().zip(&found.experiment.measures) {
        let names: Vec<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
        let expected: Vec<String> = match measure.kind {
            MeasureKind::WinRates => {
                let pairs = measure.against.iter();
                pairs.map(|[a, b]| format!("{a} vs {b}")).collect()
            }
            MeasureKind::Policies | MeasureKind::Staleness => {
                let arms = arms.iter().map(|arm| arm.name.clone());
                [SFT.to_string()].into_iter().chain(arms).collect()
            }
            _ => arms.iter().map(|arm| arm.name.clone()).collect(),
        };
        assert_eq!(names, expected, "{}", found.name);
        assert!(
            table.columns.len() > 1,
            "{}: {:?}",
            found.name,
            table.columns
        );
        for row in &table.rows {
            assert_eq!(row.cells.len(), table.columns.len());
            assert!(row.cells.iter().any(Option::is_some), "{}", row.name);
        }
    }
    let plotted = &found.experiment.plot.column;
    let columns = found.tables.iter().flat_map(|table| &table.columns);
    assert!(
        columns.into_iter().any(|column| column == plotted),
        "{plotted}"
    );
}

#[test]
fn every_experiment_is_done_once() {
    let folder = tempfile::tempdir().unwrap();
    for (name, _) in BUILT_IN {
        let experiment = small(name);
        // The runs of one folder are shared where experiments have an arm in common.
        let done = || {
            let nobody = Interrupt::default();
            run(name, &experiment, &setting(&[17]), folder.path(), &nobody).unwrap()
        };
        let found = done();
        check_tables(&found);
        let before = written(folder.path());
        assert_eq!(done(), found, "{name}");
        assert_eq!(
            written(folder.path()),
            before,
            "{name}: something was done again"
        );
        write_experiment(folder.path(), &found).unwrap();
        let svg = fs::read_to_string(folder.path().join(format!("{name}.svg"))).unwrap();
        assert!(
            svg.starts_with("<svg ") && !svg.contains("NaN"),
            "{name}: {svg}"
        );
    }
}

#[test]
fn the_command_takes_seeds_and_names_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let rlaif = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rlaif"));
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.arg("experiment").args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (listed, said, _) = rlaif(&["--list"]);
    assert!(
        listed && BUILT_IN.iter().all(|(name, _)| said.contains(name)),
        "{said}"
    );
    let dir = folder.path().to_str().unwrap();
    let mut args = vec![
        "labeler_size",
        "--run",
        dir,
        "--seeds",
        "17,18",
        "--pairs",
        "4",
    ];
    args.extend(["--config", "configs/smoke.toml"]);
    for set in &SMALL {
        args.extend(["--set", set]);
    }
    let (done, said, log) = rlaif(&args);
    assert!(done, "{log}");
    assert!(
        said.contains("--seeds 17,18 --config") && said.contains("| xs | "),
        "{said}"
    );
    for end in ["md", "json", "svg"] {
        assert!(folder.path().join(format!("labeler_size.{end}")).is_file());
    }
    let (done, _, log) = rlaif(&["nothing", "--run", dir]);
    assert!(!done && log.contains("self_consistency"), "{log}");
    args.extend(["--set", "rl.steps=0"]);
    let (done, _, log) = rlaif(&args);
    assert!(!done && log.contains("`rl.steps` is 0"), "{log}");
}

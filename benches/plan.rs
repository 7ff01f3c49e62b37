//! How near a plan comes to the run: the rates are measured, the run is planned by them and then
//! done, and the seconds of each stage are compared.
//!
//! `cargo bench --bench plan [-- --config FILE] [-- --set KEY=VALUE]`; on a machine that does nothing
//! else.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by panicking and prints its verdict"
)]

use std::path::PathBuf;

use rlaif::config::Config;
use rlaif::pipeline::Pipeline;
use rlaif::plan;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How far a stage may be off.
const WITHIN: f64 = 0.25;

/// `configs/rlaif.toml` in about a minute.
const SHORT: [&str; 4] = [
    "data.demonstrations=640",
    "data.preference_prompts=512",
    "data.eval_prompts=128",
    "rl.steps=8",
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut config = PathBuf::from("configs/rlaif.toml");
    let mut settings = SHORT.map(String::from).to_vec();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--config" => config = arguments.next().unwrap().into(),
            "--set" => settings.push(arguments.next().unwrap()),
            // Cargo's own.
            _ => {}
        }
    }
    let config = Config::read(&config, &settings).unwrap();
    let rates = plan::measure(&config).unwrap();
    let planned = plan::plan(&config, &rates).unwrap();
    println!("{}", toml::to_string(&rates).unwrap());
    let root = tempfile::tempdir().unwrap();
    let pipeline = Pipeline::new(config, root.path()).unwrap();
    pipeline.run_all().unwrap();
    println!("stage     planned    taken");
    let mut worst: f64 = 0.0;
    let mut taken_in_all = 0.0;
    for stage in &planned.stages {
        let (name, seconds) = (stage.stage, stage.work.seconds);
        let taken = pipeline.run.stage_seconds(name).unwrap();
        let off = seconds / taken - 1.0;
        println!(
            "{name:8} {seconds:8.2} {taken:8.2} s  {:+5.1}%",
            100.0 * off
        );
        worst = worst.max(off.abs());
        taken_in_all += taken;
    }
    let off = planned.total().seconds / taken_in_all - 1.0;
    println!(
        "{:8} {:8.2} {taken_in_all:8.2} s  {:+5.1}%",
        "all",
        planned.total().seconds,
        100.0 * off
    );
    let verdict = if worst <= WITHIN {
        "every stage is"
    } else {
        "not every stage is"
    };
    println!("{verdict} within {:.0}% of the plan", 100.0 * WITHIN);
}

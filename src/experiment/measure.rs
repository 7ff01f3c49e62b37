//! What is measured of the arms of an experiment, under one seed.

use std::path::Path;

use serde_json::json;

use super::config::{Arm, Experiment, Measure, MeasureKind, SFT};
use super::outcome::Cell;
use super::truth;
use crate::error::{Error, Result};
use crate::eval::suite::RewardJudge;
use crate::eval::{self, Contender};
use crate::label::{self, Labeler, Positions};
use crate::pipeline::{Goal, Pipeline};
use crate::record::{Completion, Preference};

const POLICY: &str = "policy/model";
const REWARD: &str = "reward/model";
/// Keys of the run file that decide what the truth is.
const DATA: [&str; 3] = ["data.kind", "data.preferences", "data.rows"];

/// The runs of one seed: that of the run file, and a branch of it for each arm.
pub(super) struct Bench<'a> {
    experiment: &'a Experiment,
    base: &'a Pipeline,
    arms: Vec<(Arm, Pipeline)>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        experiment: &'a Experiment,
        base: &'a Pipeline,
        arms: Vec<(Arm, Pipeline)>,
    ) -> Self {
        Self {
            experiment,
            base,
            arms,
        }
    }

    /// Does what a measure needs, and measures.
    pub(super) fn measure(&self, measure: &Measure) -> Result<Vec<Cell>> {
        match measure.kind {
            MeasureKind::Labelers => self.of_arms(|arm, run| self.labelers(arm, run)),
            MeasureKind::Labels => self.of_arms(|arm, run| self.labels(arm, run)),
            MeasureKind::RewardModels => self.of_arms(|arm, run| self.reward_models(arm, run)),
            MeasureKind::Staleness => self.staleness(),
            MeasureKind::Policies => self.policies(),
            MeasureKind::WinRates => self.win_rates(&measure.against),
        }
    }

    fn of_arms(&self, measure: impl Fn(&Arm, &Pipeline) -> Result<Vec<Cell>>) -> Result<Vec<Cell>> {
        let found = self.arms.iter().map(|(arm, run)| measure(arm, run));
        Ok(found.collect::<Result<Vec<_>>>()?.concat())
    }

    fn prepare(&self, arm: &Arm, run: &Pipeline, goal: Goal) -> Result<()> {
        let mut labels = Vec::new();
        for name in &arm.labels {
            let (other, its_run) = self.arm(name)?;
            self.prepare(other, its_run, Goal::Labels)?;
            labels.push(its_run.find("preferences.jsonl"));
        }
        run.prepare(self.base, goal, &labels)
    }

    fn arm(&self, name: &str) -> Result<&(Arm, Pipeline)> {
        let found = self.arms.iter().find(|(arm, _)| arm.name == name);
        found.ok_or_else(|| Error::Usage(format!("there is no arm `{name}`")))
    }

    fn labelers(&self, arm: &Arm, run: &Pipeline) -> Result<Vec<Cell>> {
        let mut inputs = run.depends_on(&[&DATA[..], &["labeler"]].concat(), &[])?;
        inputs["pairs"] = json!(self.experiment.pairs);
        run.run.measured("labelers", &inputs, || {
            let (pairs, mut truth) = truth::held_out(run, self.experiment.pairs)?;
            let mut labeler = run.labeler(&run.config.labeler)?;
            let labels = label::label(labeler.as_mut(), &pairs)?;
            let mut cells = agreement(&arm.name, &labels.preferences, truth.as_mut())?;
            let (silent, n) = (labels.unlabeled.len(), labels.counts.n_pairs());
            let share = silent as f64 / n.max(1) as f64;
            cells.push(Cell::share(&arm.name, "no verdict", share, None));
            Ok(cells)
        })
    }

    fn labels(&self, arm: &Arm, run: &Pipeline) -> Result<Vec<Cell>> {
        self.prepare(arm, run, Goal::Labels)?;
        let keys = [&DATA[..], &["eval.judges"]].concat();
        let inputs = run.depends_on(&keys, &["preferences.jsonl"])?;
        run.run.measured("labels", &inputs, || {
            let mut truth = truth::judge(run)?;
            agreement(&arm.name, &run.preferences()?, truth.as_mut())
        })
    }

    fn reward_models(&self, arm: &Arm, run: &Pipeline) -> Result<Vec<Cell>> {
        self.prepare(arm, run, Goal::RewardModel)?;
        let mut inputs = run.depends_on(&[&DATA[..], &["policy"]].concat(), &[REWARD])?;
        inputs["pairs"] = json!(self.experiment.pairs);
        run.run.measured("reward_models", &inputs, || {
            let (pairs, mut truth) = truth::held_out(run, self.experiment.pairs)?;
            let labels = label::label(&mut judge(run)?, &pairs)?;
            let found = label::alignment(&labels.preferences, truth.as_mut())?;
            let ci = Some(found.ci);
            let mut cells = vec![Cell::share(
                &arm.name,
                "held-out pairs",
                found.alignment,
                ci,
            )];
            let own: serde_json::Value = read_json(&run.find("reward.json"))?;
            let [accuracy, error] = ["accuracy", "ece"].map(|name| own[name].as_f64());
            let ci = serde_json::from_value(own["ci"].clone()).ok();
            let accuracy = accuracy.filter(|_| own["n"] != 0).unwrap_or(f64::NAN);
            cells.push(Cell::share(&arm.name, "held-out labels", accuracy, ci));
            let error = error.unwrap_or(f64::NAN);
            cells.push(Cell::number(&arm.name, "calibration error", error));
            Ok(cells)
        })
    }

    /// Of every arm, and of the policy before it is optimised, with the first arm's reward model.
    fn staleness(&self) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        for (i, (arm, run)) in self.arms.iter().enumerate() {
            self.prepare(arm, run, Goal::Policy)?;
            if i == 0 {
                cells.extend(self.stale(SFT, run, &run.initial_policy()?)?);
            }
            cells.extend(self.stale(&arm.name, run, &run.find(POLICY))?);
        }
        Ok(cells)
    }

    fn stale(&self, name: &str, run: &Pipeline, policy: &Path) -> Result<Vec<Cell>> {
        let more = ["data.eval_prompts", "policy", "labeler", "eval"];
        let keys = [&DATA[..], &more].concat();
        let mut inputs = run.depends_on(&keys, &[POLICY, "sft/model", REWARD])?;
        inputs["of"] = json!(name);
        run.run.measured(&format!("staleness-{name}"), &inputs, || {
            let pairs = run.completions(policy, 2)?;
            let mut truth = truth::judge(run)?;
            let mut reward = judge(run)?;
            let mut cells = Vec::new();
            let mut labeler = run.labeler(&run.config.labeler)?;
            let both: [(&str, &mut dyn Labeler); 2] =
                [("reward model", &mut reward), ("labeler", labeler.as_mut())];
            for (column, who) in both {
                let labels = label::label(who, &pairs)?;
                let found = label::alignment(&labels.preferences, truth.as_mut())?;
                let share = if found.n == 0 {
                    f64::NAN
                } else {
                    found.alignment
                };
                cells.push(Cell::share(name, column, share, Some(found.ci)));
            }
            let rewards = reward.rewards(&pairs)?;
            let mean = rewards.iter().sum::<f32>() / rewards.len().max(1) as f32;
            cells.push(Cell::number(name, "reward", mean.into()));
            Ok(cells)
        })
    }

    /// The completions of an arm, or of the policy before it is optimised.
    fn contender(&self, name: &str) -> Result<Contender> {
        let (run, policy) = if name == SFT {
            self.base.prepare(self.base, Goal::Initial, &[])?;
            (self.base, self.base.initial_policy()?)
        } else {
            let (arm, run) = self.arm(name)?;
            self.prepare(arm, run, Goal::Policy)?;
            (run, run.find(POLICY))
        };
        let keys = [
            "data.kind",
            "data.eval_prompts",
            "data.rows",
            "policy",
            "eval.sampling",
        ];
        let reads = if name == SFT { "sft/model" } else { POLICY };
        let inputs = run.depends_on(&keys, &[reads])?;
        let file = if name == SFT { SFT } else { "policy" };
        let answers: Vec<Completion> =
            run.run.measured(&format!("answers-{file}"), &inputs, || {
                run.completions(&policy, 1)
            })?;
        Ok(Contender {
            name: name.into(),
            completions: answers,
        })
    }

    fn policies(&self) -> Result<Vec<Cell>> {
        let oracle = self.base.config.data.oracle();
        let names = self.arms.iter().map(|(arm, _)| arm.name.as_str());
        let mut cells = Vec::new();
        for name in std::iter::once(SFT).chain(names) {
            let contender = self.contender(name)?;
            let (_, found) = eval::report(&[contender], &[], Vec::new(), oracle.as_ref())?;
            // Whatever is known of what a policy writes; but for the length these are shares.
            let found = json!(found.policies.get(name));
            for (column, value) in found.as_object().into_iter().flatten() {
                let (column, value) = (column.replace('_', " "), value.as_f64());
                let value = value.unwrap_or(f64::NAN);
                cells.push(match column.as_str() {
                    "mean length" => Cell::number(name, &column, value),
                    _ => Cell::share(name, &column, value, None),
                });
            }
        }
        Ok(cells)
    }

    fn win_rates(&self, against: &[[String; 2]]) -> Result<Vec<Cell>> {
        let mut cells = Vec::new();
        for [a, b] in against {
            let contenders = [self.contender(a)?, self.contender(b)?];
            let mut inputs = self.base.depends_on(&["eval.judges"], &[])?;
            let texts = contenders.each_ref().map(|who| {
                let rows = who.completions.iter();
                rows.map(|row| (&row.prompt_id, &row.completion, row.n_tokens))
                    .collect::<Vec<_>>()
            });
            inputs["completions"] = crate::run::digest_text(&json!(texts).to_string()).into();
            let name = format!("{a}_vs_{b}");
            let row = format!("{a} vs {b}");
            let found = self.base.run.measured(&name, &inputs, || {
                let mut judges = self.base.judges()?;
                let (_, found) = eval::run(&contenders, &[(0, 1)], &mut judges, None)?;
                let mut cells = Vec::new();
                for (judge, rates) in found.win_rate {
                    let Some(rate) = rates.get(&name) else {
                        continue;
                    };
                    cells.push(Cell::share(&row, &judge, rate.rate, Some(rate.ci)));
                    let column = format!("{judge}, equal length");
                    cells.push(Cell::share(&row, &column, rate.length_controlled, None));
                }
                Ok(cells)
            })?;
            cells.extend(found);
        }
        Ok(cells)
    }
}

/// The reward model of a run as a labeler.
fn judge(run: &Pipeline) -> Result<RewardJudge> {
    let device = run.config.backend.device()?;
    RewardJudge::load(&run.find(REWARD), run.config.policy.clone(), &device)
}

/// What preferences are worth beside the truth.
fn agreement(row: &str, labels: &[Preference], truth: &mut dyn Labeler) -> Result<Vec<Cell>> {
    let found = label::alignment(labels, truth)?;
    let positions = Positions::of(labels);
    let known = |share: f64, n: usize| if n == 0 { f64::NAN } else { share };
    let share =
        |column: &str, share: f64, n: usize, ci| Cell::share(row, column, known(share, n), ci);
    let same = (positions.same_position * positions.both_orders as f64).round() as usize;
    Ok(vec![
        share("both orders", found.alignment, found.n, Some(found.ci)),
        share("one order", found.one_order, found.n, None),
        share(
            "same position",
            positions.same_position,
            positions.both_orders,
            Some(positions.same_position_ci),
        ),
        share("first of these", positions.first_position, same, None),
    ])
}

fn read_json(path: &Path) -> Result<serde_json::Value> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    serde_json::from_str(&text).map_err(|e| Error::file(path, e.to_string()))
}

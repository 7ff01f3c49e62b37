//! What the examples of one's own policy, reward and algorithm share: a policy optimisation in a
//! temporary folder, of which the metrics are kept.

use std::path::Path;

use rlaif::config::PolicyConfig;
use rlaif::model::CausalLm;
use rlaif::record::{Prompt, read_jsonl};
use rlaif::reward::Reward;
use rlaif::rl::{Algorithm, RlConfig, RlRun, train};
use rlaif::run::{Metric, RunDir};
use rlaif::tokenizer::Tokenizer;

/// Reads the settings of an optimisation, as they stand in the table `rl` of a run file.
pub(crate) fn config(settings: &str) -> rlaif::Result<RlConfig> {
    let config: RlConfig =
        toml::from_str(settings).map_err(|e| rlaif::Error::Usage(e.to_string()))?;
    config.validate()?;
    Ok(config)
}

/// Optimises `initial` with `config` to complete `prompts` as `reward` wants them.
pub(crate) fn optimise<M: CausalLm>(
    config: &RlConfig,
    initial: M,
    algorithm: &mut dyn Algorithm<M>,
    prompts: &[&str],
    reward: &mut dyn Reward,
) -> rlaif::Result<Vec<Metric>> {
    let folder = tempfile::tempdir().map_err(rlaif::Error::io("create", "a folder"))?;
    let run = RunDir::create(folder.path())?;
    let prompts: Vec<Prompt> = (0..64)
        .map(|i| Prompt {
            id: i.to_string(),
            prompt: prompts[i % prompts.len()].into(),
        })
        .collect();
    let mut rl = RlRun {
        config,
        policy: &PolicyConfig {
            model: "models/base-s".into(),
            prompt_template: "{prompt}".into(),
            dtype: Default::default(),
            lora: None,
            chat_template_kwargs: Default::default(),
        },
        tokenizer: &Tokenizer::load(Path::new("models/base-s"))?,
        prompts: &prompts,
        reward,
        journal: &mut run.journal("rl", "policy")?,
    };
    train(&mut rl, initial, algorithm, 17)?;
    read_jsonl(run.path("metrics.jsonl"))
}

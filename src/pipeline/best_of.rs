//! Best-of-n of the policy that a run optimises, as a contender of its evaluation.

use super::Pipeline;
use super::inputs::EVAL;
use super::rows::Draw;
use crate::error::Result;
use crate::eval::Contender;
use crate::eval::best_of::{BestOfConfig, best_of};
use crate::record::Completion;
use crate::tokenizer::Tokenizer;

impl Pipeline {
    /// Draws `n` completions of each held-out prompt from the policy as it was before it was
    /// optimised, and chooses. The completions are kept as they come; what they are worth is asked
    /// again after a kill.
    pub(super) fn best_of(&self, config: &BestOfConfig, inputs: &str) -> Result<Contender> {
        let policy = self.initial_policy()?;
        let prompts = self.config.data.read_eval_prompts()?;
        let draw = Draw {
            stage: EVAL,
            model: &policy,
            prompts: &prompts,
            n: config.n,
            sampling: &self.config.eval.sampling,
        };
        let mut kept = self.kept(EVAL, "best_of", inputs)?;
        self.draw(&draw, &mut kept)?;
        let drawn: Vec<Completion> = kept.read()?.collect::<Result<_>>()?;

        let mut models = self.models()?;
        let model = || {
            let dir = match &config.reward_model {
                Some(dir) => dir.clone(),
                None => self.input("reward/model", "reward")?,
            };
            self.model_reward(&mut models, &dir)
        };
        let labeler = || self.labeler(config.labeler.as_ref().unwrap_or(&self.config.labeler));
        let tokenizer = Tokenizer::load(&policy)?;
        let mut reward = config.reward.init(&tokenizer, model, labeler)?;
        let name = format!("best_of_{}", config.n);
        let completions = best_of(&drawn, config.n, &mut reward)?;
        self.run
            .write_records(format!("eval/{name}.jsonl"), &completions)?;
        Ok(Contender { name, completions })
    }
}

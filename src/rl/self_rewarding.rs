//! The policy as its own labeler: it judges what it writes, and judges better as it learns. Yuan et
//! al. 2024, arXiv:2401.10020, who train in a few long rounds; here the judge becomes a copy of the
//! policy every few steps, and any algorithm may learn from it.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use burn::module::ParamId;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

use super::{Algorithm, RlConfig, Rollout, UpdateStats};
use crate::config::at_least;
use crate::error::{Error, Result};
use crate::label::{
    Answered, Answerer, AskConfig, Asking, Choice, Decoding, Format, Labeler, LocalAnswerer,
    PromptedLabeler, Question, Reply, Request,
};
use crate::model::CausalLm;
use crate::optim::{Learner, load_copy, save_copy};
use crate::tokenizer::Tokenizer;

/// The policy in place of the run file's labeler, for the rewards of this stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfRewardingConfig {
    /// Steps after which the judge becomes a copy of the policy as it is then; until the first of
    /// them it is the initial policy.
    pub refresh_steps: usize,
    /// How a question becomes the text that it reads.
    #[serde(default)]
    pub format: Format,
    /// What it is asked.
    #[serde(default)]
    pub ask: Box<AskConfig>,
}

impl SelfRewardingConfig {
    pub(super) fn validate(&self) -> Result<()> {
        let field = "rl.self_rewarding";
        at_least(&format!("{field}.refresh_steps"), self.refresh_steps, 1)?;
        self.ask.validate(&format!("{field}.ask"))
    }
}

/// A copy of the policy that answers a labeler's questions. Clones are the same judge.
pub struct SelfJudge<M> {
    config: SelfRewardingConfig,
    answerer: Rc<RefCell<LocalAnswerer<M>>>,
}

impl<M> Clone for SelfJudge<M> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            answerer: Rc::clone(&self.answerer),
        }
    }
}

/// Its name as a labeler.
const NAME: &str = "policy";

impl RlConfig {
    /// The policy as its own judge, if the run file wants it.
    ///
    /// # Errors
    /// The tokenizer has no chat template and the questions need one.
    pub fn judge<M: CausalLm>(
        &self,
        initial: &M,
        tokenizer: &Tokenizer,
    ) -> Result<Option<SelfJudge<M>>> {
        let judge = |config: &SelfRewardingConfig| {
            let model = initial.clone().valid();
            let answerer = LocalAnswerer::new(NAME.into(), model, tokenizer.clone());
            Ok(SelfJudge {
                config: config.clone(),
                answerer: Rc::new(RefCell::new(answerer.with_format(config.format)?)),
            })
        };
        self.self_rewarding.as_ref().map(judge).transpose()
    }
}

impl<M: CausalLm> SelfJudge<M> {
    /// It as a labeler; `seed` decides what is left to chance.
    ///
    /// # Errors
    /// A prompt cannot be read.
    pub fn labeler(&self, seed: u64) -> Result<Box<dyn Labeler>> {
        let asking = Asking::new(&self.config.ask, seed)?;
        Ok(Box::new(PromptedLabeler::new(self.clone(), asking)))
    }

    /// `algorithm`, whose steps also count for the judge.
    pub fn refreshed_by(self, algorithm: Box<dyn Algorithm<M>>) -> Box<dyn Algorithm<M>> {
        Box::new(Refreshing {
            algorithm,
            judge: self,
            trained: Vec::new(),
            steps: 0,
        })
    }
}

impl<M: CausalLm> Answerer for SelfJudge<M> {
    fn name(&self) -> &str {
        NAME
    }

    fn choose(
        &mut self,
        questions: &[Question],
        answers: &[String],
    ) -> Result<Vec<Answered<Choice>>> {
        self.answerer.borrow_mut().choose(questions, answers)
    }

    fn write(&mut self, requests: &[Request], decoding: &Decoding) -> Result<Vec<Answered<Reply>>> {
        self.answerer.borrow_mut().write(requests, decoding)
    }

    fn batch_size(&self) -> usize {
        self.answerer.borrow().batch_size()
    }

    fn max_len(&self) -> Option<usize> {
        self.answerer.borrow().max_len()
    }

    fn count_tokens(&self, question: &Question) -> Result<Option<usize>> {
        self.answerer.borrow().count_tokens(question)
    }
}

/// An algorithm that hands its policy on to a judge from time to time.
struct Refreshing<M: CausalLm> {
    algorithm: Box<dyn Algorithm<M>>,
    judge: SelfJudge<M>,
    /// The weights in which the judge differs from the initial policy.
    trained: Vec<ParamId>,
    /// Steps so far.
    steps: usize,
}

/// Files of a checkpoint; burn adds its own ending to the first.
const JUDGE: &str = "judge";
const STEPS: &str = "judge-steps";

impl<M: CausalLm> Refreshing<M> {
    /// Whether the judge is another than the initial policy.
    fn has_refreshed(&self) -> bool {
        self.steps >= self.judge.config.refresh_steps
    }
}

impl<M: CausalLm> Algorithm<M> for Refreshing<M> {
    fn update(
        &mut self,
        policy: Learner<M>,
        rollouts: &[Rollout],
        kl_coef: f32,
        rng: &mut StdRng,
    ) -> Result<(Learner<M>, UpdateStats)> {
        let (policy, stats) = self.algorithm.update(policy, rollouts, kl_coef, rng)?;
        self.trained = policy.trained();
        self.steps += 1;
        if self.steps.is_multiple_of(self.judge.config.refresh_steps) {
            let mut answerer = self.judge.answerer.borrow_mut();
            answerer.model = policy.model.valid();
        }
        Ok((policy, stats))
    }

    fn save(&self, dir: &Path) -> Result<()> {
        self.algorithm.save(dir)?;
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        let steps = dir.join(STEPS);
        std::fs::write(&steps, self.steps.to_string()).map_err(Error::io("write", &steps))?;
        if !self.has_refreshed() {
            return Ok(());
        }
        let model = &self.judge.answerer.borrow().model;
        save_copy(model, &self.trained, (dir, JUDGE))
    }

    fn load(&mut self, dir: &Path) -> Result<()> {
        self.algorithm.load(dir)?;
        let steps = dir.join(STEPS);
        let text = std::fs::read_to_string(&steps).map_err(Error::io("read", &steps))?;
        self.steps = (text.parse()).map_err(|_| Error::file(&steps, "expected a number"))?;
        if !self.has_refreshed() {
            return Ok(());
        }
        let mut answerer = self.judge.answerer.borrow_mut();
        answerer.model = load_copy(answerer.model.clone(), (dir, JUDGE))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use burn::prelude::*;
    use rand::SeedableRng;

    use super::*;
    use crate::model::{LlamaConfig, Transformer, device_of, randomize};
    use crate::optim::OptimConfig;

    /// Moves the policy, however.
    struct Moves;

    impl<M: CausalLm> Algorithm<M> for Moves {
        fn update(
            &mut self,
            policy: Learner<M>,
            _: &[Rollout],
            _: f32,
            _: &mut StdRng,
        ) -> Result<(Learner<M>, UpdateStats)> {
            let states = Tensor::ones([1, policy.model.hidden_size()], &device_of(&policy.model));
            let loss = policy.model.logits(states).square().sum();
            Ok((policy.step(loss)?.0, Vec::new()))
        }
    }

    fn says(model: &Transformer) -> Vec<f32> {
        let states = Tensor::ones([1, model.hidden_size()], &Device::flex());
        let logits = model.valid().logits(states).into_data();
        logits.try_to_vec::<f32>().unwrap()
    }

    fn judge(initial: &Transformer) -> SelfJudge<Transformer> {
        let tokenizer = Tokenizer::load(Path::new("models/labeler-xs")).unwrap();
        let text = "reward = \"direct\"\nself_rewarding = { refresh_steps = 2 }\nsteps = 1\n\
                    batch_size = 1\nalgorithm = { kind = \"reinforce\" }";
        let config: RlConfig = toml::from_str(text).unwrap();
        config.judge(initial, &tokenizer).unwrap().unwrap()
    }

    /// Steps 2 and 4 hand the policy on; so does a checkpoint of step 3 that of step 2.
    #[test]
    fn the_judge_is_the_policy_of_some_steps_ago() {
        let shape = LlamaConfig::small(7, 8, 2, 2, 16);
        let mut rng = StdRng::seed_from_u64(1);
        let initial: Transformer = randomize(shape.init(&Device::flex()), &mut rng);
        let judge = [(); 2].map(|()| judge(&initial));
        let mut refreshing = [0, 1].map(|i| judge[i].clone().refreshed_by(Box::new(Moves)));
        let mut policy = OptimConfig::default().init(initial.clone(), 10);
        let folder = tempfile::tempdir().unwrap();
        let mut policies = vec![says(&initial)];
        for (step, of_step) in [(1, 0), (2, 2), (3, 2), (4, 4)] {
            policy = refreshing[0].update(policy, &[], 0.0, &mut rng).unwrap().0;
            policies.push(says(&policy.model));
            let found = says(&judge[0].answerer.borrow().model);
            assert_eq!(found, policies[of_step], "after step {step}");
            if step == 3 {
                refreshing[0].save(folder.path()).unwrap();
                refreshing[1].load(folder.path()).unwrap();
            }
        }
        let found = says(&judge[1].answerer.borrow().model);
        assert_eq!(found, policies[2]);
        assert_ne!(policies[2], policies[4]);
    }
}

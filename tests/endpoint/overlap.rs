//! A policy optimisation draws its next batch while an endpoint scores this one.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use burn::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rlaif::config::PolicyConfig;
use rlaif::label::PromptedLabeler;
use rlaif::label::endpoint::{EndpointAnswerer, EndpointConfig};
use rlaif::model::{CausalLm, Input, Transformer, load};
use rlaif::record::{Completion, Prompt, read_jsonl};
use rlaif::reward::{DirectReward, Reward};
use rlaif::rl::{RlConfig, RlRun, train};
use rlaif::run::{AnswerLog, Metric, RunDir};
use rlaif::tokenizer::Tokenizer;

use crate::mock::{Mock, Reaction, chat};

const STEPS: usize = 3;
const SETTINGS: &str = r#"
reward = "direct"
steps = 3
batch_size = 4
overlap = true
sampling = { max_new_tokens = 4 }
algorithm = { kind = "reinforce_batch" }
"#;

/// Batches that were begun.
static DRAWS: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// A policy that tells when it begins a batch.
#[derive(Module, Debug)]
struct Watched {
    model: Transformer,
}

impl CausalLm for Watched {
    type Cache = <Transformer as CausalLm>::Cache;

    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }
    fn hidden_size(&self) -> usize {
        self.model.hidden_size()
    }
    fn max_len(&self) -> usize {
        self.model.max_len()
    }
    fn cache(&self, batch: usize, capacity: usize) -> Self::Cache {
        *DRAWS.0.lock().unwrap() += 1;
        DRAWS.1.notify_all();
        self.model.cache(batch, capacity)
    }
    fn hidden(&self, input: Input, cache: Option<&mut Self::Cache>) -> Tensor<3> {
        self.model.hidden(input, cache)
    }
    fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        self.model.logits(hidden)
    }
}

/// Counts the batches that it was asked about.
struct Counted {
    reward: DirectReward,
    asked: Arc<AtomicUsize>,
}

impl Reward for Counted {
    fn reward(&mut self, completions: &[Completion]) -> rlaif::Result<Vec<f32>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.reward.reward(completions)
    }
}

/// Answers about a batch only once the next one is begun, if there is one.
fn patient(asked: Arc<AtomicUsize>) -> Mock {
    Mock::start(move |_| {
        let due = (asked.load(Ordering::SeqCst) + 1).min(STEPS);
        let begun = DRAWS.0.lock().unwrap();
        let few = |begun: &mut usize| *begun < due;
        let limit = Duration::from_secs(20);
        let (_begun, waited) = DRAWS.1.wait_timeout_while(begun, limit, few).unwrap();
        match waited.timed_out() {
            true => Reaction::Status(400, "", "the next batch was not begun".into()),
            false => Reaction::Body(chat(&[("7", 0.75), ("3", 0.25)])),
        }
    })
}

#[test]
fn the_next_batch_is_drawn_while_this_one_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let mock = patient(Arc::clone(&asked));
    let text = format!(
        "model = 'judge'\nendpoints = [{{ base_url = '{}' }}]\ntimeout_secs = 60.0",
        mock.base_url
    );
    let endpoint: EndpointConfig = toml::from_str(&text).unwrap();
    let log = AnswerLog::open(folder.path().join("answers.jsonl")).unwrap();
    let rng = StdRng::seed_from_u64(3);
    let answerer = EndpointAnswerer::new(&endpoint, log, rng).unwrap();
    let labeler = PromptedLabeler::over(answerer).unwrap();

    let run = RunDir::create(folder.path().join("run")).unwrap();
    let config: RlConfig = toml::from_str(SETTINGS).unwrap();
    config.validate().unwrap();
    let dir = Path::new("models/labeler-xs");
    let prompt = |i: usize| Prompt {
        id: i.to_string(),
        prompt: format!("post {i}").into(),
    };
    let prompts: Vec<Prompt> = (0..12).map(prompt).collect();
    let initial = Watched {
        model: load(dir, &Device::flex()).unwrap(),
    };
    let mut algorithm = config.init(initial.clone());
    let policy: PolicyConfig = toml::from_str("model = 'models/labeler-xs'").unwrap();
    let mut rl = RlRun {
        config: &config,
        policy: &policy,
        tokenizer: &Tokenizer::load(dir).unwrap(),
        prompts: &prompts,
        reward: &mut Counted {
            reward: DirectReward::new(Box::new(labeler)),
            asked: Arc::clone(&asked),
        },
        journal: &mut run.journal("rl", "policy").unwrap(),
    };
    train(&mut rl, initial, algorithm.as_mut(), 17).unwrap();
    // 0.75 of 7 and 0.25 of 3 are 6, (2 * 6 - 11) / 9 of the way from -1 to 1.
    let rows: Vec<Metric> = read_jsonl(run.path("metrics.jsonl")).unwrap();
    assert_eq!(rows.len(), STEPS);
    for row in rows {
        let reward = row.values["reward"].unwrap();
        assert!((reward - 1.0 / 9.0).abs() < 1e-5, "{reward}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), STEPS);
    assert_eq!(*DRAWS.0.lock().unwrap(), STEPS);
}

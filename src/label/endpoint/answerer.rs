//! An endpoint as an [`Answerer`]: questions become requests, what is written becomes
//! probabilities.

use std::path::Path;

use rand::rngs::StdRng;

use super::account::Account;
use super::client::{Asked, Client};
use super::config::{Api, EndpointConfig, Fallback};
use super::reading::{MIN_MASS, Open, Reading, parse, read_answer};
use super::transport::ApiKey;
use super::wire::Query;
use crate::error::{Error, Result};
use crate::label::{
    Answered, Answerer, Choice, Decoding, NoAnswer, Question, Reply, Request, Usage,
};
use crate::record::Method;
use crate::run::{self, AnswerLog};
use crate::seed::rng_for;

/// A model behind endpoints, for a [`PromptedLabeler`](crate::label::PromptedLabeler).
///
/// With the chat interface a question is one message of the user; with `completions` it is the
/// text to go on with. Answers are asked for at temperature 0.
pub struct EndpointAnswerer {
    client: Client,
    config: EndpointConfig,
}

impl EndpointConfig {
    /// The model, ready to be asked; `answers` is the file that keeps what it says unless the
    /// configuration names another, and `seed` spreads the retries.
    ///
    /// # Errors
    /// The environment holds no API key, or the file cannot be read.
    pub fn init(&self, answers: &Path, seed: u64) -> Result<EndpointAnswerer> {
        let log = AnswerLog::open(self.answers.as_deref().unwrap_or(answers))?;
        EndpointAnswerer::new(self, log, rng_for(seed, "endpoint", 0))
    }

    /// Checks that the environment holds the API key.
    ///
    /// # Errors
    /// It does not.
    pub fn ready(&self) -> Result<()> {
        let key = self.api_key_env.as_deref().map(ApiKey::from_env);
        key.transpose().map(drop)
    }
}

impl EndpointAnswerer {
    /// An answerer that keeps what it is told in `log`; `rng` spreads the retries.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn new(config: &EndpointConfig, log: AnswerLog, rng: StdRng) -> Result<Self> {
        Ok(Self {
            client: Client::new(config, log, rng)?,
            config: config.clone(),
        })
    }

    /// What this client has done so far, and what it has cost.
    pub fn account(&self) -> Account {
        self.client.account()
    }

    fn query(&self, prompt: String, max_tokens: usize) -> Query {
        Query {
            prompt,
            max_tokens,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            seed: None,
            stop: Vec::new(),
            top_logprobs: self.config.top_logprobs,
        }
    }

    /// What each answer says. An endpoint that never gives log-probabilities is an error where the
    /// text is not to be read instead.
    fn readings(&self, asked: &[Asked], answers: &[String]) -> Result<Vec<Option<Reading>>> {
        let refuse = self.config.fallback == Fallback::Refuse;
        let reading = |asked: &Asked| Some(read_answer(asked.answer.as_ref().ok()?, answers));
        let mut given = asked.iter().filter_map(|asked| asked.answer.as_ref().ok());
        if refuse && given.clone().next().is_some() && given.all(|answer| answer.tokens.is_empty())
        {
            return Err(Error::Endpoint {
                url: self.config.endpoints[0].base_url.clone(),
                message: "the answers come without log-probabilities: set `fallback = \"parse\"` \
                    in the labeler's table to read their text instead"
                    .into(),
            });
        }
        Ok(asked.iter().map(reading).collect())
    }

    /// Asks what follows each token that may be an answer or the beginning of a longer one. Only
    /// the `completions` interface can go on from a given beginning.
    fn follow(
        &mut self,
        questions: &[Question],
        readings: &mut [Option<Reading>],
        answers: &[String],
    ) -> Result<Vec<Usage>> {
        let mut usage = vec![Usage::default(); questions.len()];
        let mut open: Vec<(usize, Open)> = Vec::new();
        if self.config.api == Api::Completions {
            for (i, reading) in readings.iter().enumerate() {
                let unknown = reading.iter().flat_map(|reading| &reading.open);
                let worth = unknown.filter(|open| open.mass >= MIN_MASS);
                open.extend(worth.map(|open| (i, open.clone())));
            }
        }
        let request = |(i, open): &(usize, Open)| {
            let prompt = format!("{}{}", questions[*i].full(), open.text);
            self.query(prompt, 1)
        };
        let requests: Vec<Query> = open.iter().map(request).collect();
        for ((i, open), asked) in open.iter().zip(self.client.ask(&requests)?) {
            usage[*i] += used(&asked);
            if let (Some(reading), Ok(answer)) = (&mut readings[*i], &asked.answer) {
                reading.close(open, &answer.tokens, answers);
            }
        }
        Ok(usage)
    }

    fn choice(&self, reading: Reading, text: &str, answers: &[String]) -> Result<Choice, NoAnswer> {
        if let Some(log_probs) = reading.log_probs(answers) {
            let method = Method::LogProbs;
            return Ok(Choice { log_probs, method });
        }
        let named = match self.config.fallback {
            Fallback::Parse => parse(text, answers),
            Fallback::Refuse => None,
        };
        let Some(named) = named else {
            let text = text.to_string();
            return Err(NoAnswer::Unreadable { text });
        };
        let log_prob = |i: usize| if i == named { 0.0 } else { f32::NEG_INFINITY };
        Ok(Choice {
            log_probs: (0..answers.len()).map(log_prob).collect(),
            method: Method::Text,
        })
    }
}

impl Answerer for EndpointAnswerer {
    fn name(&self) -> &str {
        &self.config.model
    }

    /// Enough that the end of a batch, when some endpoints have nothing left to do, is short
    /// against the whole.
    fn batch_size(&self) -> usize {
        (16 * self.client.concurrency()).max(128)
    }

    fn choose(
        &mut self,
        questions: &[Question],
        answers: &[String],
    ) -> Result<Vec<Answered<Choice>>> {
        let max_tokens = self.config.max_answer_tokens;
        let request = |question: &Question| self.query(question.full(), max_tokens);
        let requests: Vec<Query> = questions.iter().map(request).collect();
        let asked = self.client.ask(&requests)?;
        let mut readings = self.readings(&asked, answers)?;
        let more = self.follow(questions, &mut readings, answers)?;
        let answer = |((asked, reading), more): ((Asked, Option<Reading>), Usage)| {
            let usage = used(&asked) + more;
            let value = match (asked.answer, reading) {
                (Ok(answer), Some(reading)) => self.choice(reading, &answer.text, answers),
                (Err(message), _) => Err(NoAnswer::Failed { message }),
                (Ok(answer), None) => Err(NoAnswer::Unreadable { text: answer.text }),
            };
            Answered { value, usage }
        };
        Ok(asked
            .into_iter()
            .zip(readings)
            .zip(more)
            .map(answer)
            .collect())
    }

    fn write(&mut self, requests: &[Request], decoding: &Decoding) -> Result<Vec<Answered<Reply>>> {
        let sampled = decoding.temperature > 0.0;
        let request = |request: &Request| Query {
            temperature: f64::from(decoding.temperature),
            top_p: f64::from(decoding.top_p),
            top_k: decoding.top_k,
            seed: sampled.then_some(request.seed),
            stop: decoding.stop.clone(),
            top_logprobs: 0,
            ..self.query(request.question.full(), decoding.max_new_tokens)
        };
        let requests: Vec<Query> = requests.iter().map(request).collect();
        let answer = |asked: Asked| Answered {
            usage: used(&asked),
            value: match asked.answer {
                Ok(answer) => Ok(reply(answer)),
                Err(message) => Err(NoAnswer::Failed { message }),
            },
        };
        Ok(self
            .client
            .ask(&requests)?
            .into_iter()
            .map(answer)
            .collect())
    }
}

fn reply(answer: run::Answer) -> Reply {
    Reply {
        finished: answer.finish_reason.as_deref() != Some("length"),
        text: answer.text,
    }
}

fn used(asked: &Asked) -> Usage {
    let (prompt_tokens, completion_tokens) = match &asked.answer {
        Ok(answer) => (answer.prompt_tokens, answer.completion_tokens),
        Err(_) => (0, 0),
    };
    Usage {
        requests: 1,
        cached: u64::from(asked.cached),
        prompt_tokens,
        completion_tokens,
        cost_usd: asked.cost_usd,
    }
}

//! A blocking client over the scheduler: answers from the file, duplicates asked once, the rest
//! from the endpoints.

use std::collections::HashMap;

use rand::rngs::StdRng;
use tokio::runtime::{Builder, Runtime};
use tokio::time::Instant;

use super::account::{Account, Budget};
use super::config::EndpointConfig;
use super::fleet::Fleet;
use super::schedule::{Answered, Job, Scheduler};
use super::transport::{Http, Transport};
use super::wire::{self, Query};
use crate::error::{Error, Result};
use crate::run::{Answer, AnswerLog};

/// Asks a model behind one or several endpoints, and never the same thing twice.
pub struct Client {
    runtime: Runtime,
    scheduler: Scheduler,
}

/// What came back for a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The answer, or why the server refuses this request.
    pub answer: std::result::Result<Answer, String>,
    /// Whether it cost no request of its own.
    pub cached: bool,
    /// US dollars that it has cost; nothing if it was cached.
    pub cost_usd: f64,
}

impl Client {
    /// A client that keeps its answers in `log`; `rng` spreads the retries.
    ///
    /// # Errors
    /// The environment holds no API key, an address is none, or the system refuses a runtime.
    pub fn new(config: &EndpointConfig, log: AnswerLog, rng: StdRng) -> Result<Self> {
        let transport = Http::new(config)?;
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().build();
        let runtime = runtime.map_err(|error| Error::Usage(format!("tokio: {error}")))?;
        Ok(Self::over(Box::new(transport), runtime, config, log, rng))
    }

    fn over(
        transport: Box<dyn Transport>,
        runtime: Runtime,
        config: &EndpointConfig,
        log: AnswerLog,
        rng: StdRng,
    ) -> Self {
        let start = {
            let _entered = runtime.enter();
            Instant::now()
        };
        let before = log.usage(&config.model);
        let scheduler = Scheduler {
            config: config.clone(),
            transport,
            fleet: Fleet::new(&config.endpoints, start),
            budget: Budget::new(config.price, config.max_cost_usd, before),
            log,
            account: Account::default(),
            rng,
            succeeded: false,
        };
        Self { runtime, scheduler }
    }

    /// Answers all requests, in their order.
    ///
    /// Every answer is in the file as soon as it comes, whatever happens to the others.
    ///
    /// # Errors
    /// No endpoint can be reached for too long, a key is wrong or a model unknown, the spending
    /// limit is reached, or the file of answers cannot be read or written.
    pub fn ask(&mut self, requests: &[Query]) -> Result<Vec<Asked>> {
        let mut jobs = Vec::new();
        let mut by_key = HashMap::new();
        let mut places = Vec::with_capacity(requests.len());
        for request in requests {
            let place = self.place(request, &mut jobs, &mut by_key)?;
            places.push(place);
        }
        let n = requests.len() as u64;
        self.scheduler.account.questions += n;
        self.scheduler.account.cached += n - jobs.len() as u64;
        let answers = match jobs.is_empty() {
            true => Vec::new(),
            false => self.runtime.block_on(self.scheduler.run(&jobs))?,
        };
        let budget = &self.scheduler.budget;
        let asked = places
            .into_iter()
            .map(|place| place.asked(&answers, budget));
        Ok(asked.collect())
    }

    fn place(
        &mut self,
        request: &Query,
        jobs: &mut Vec<Job>,
        by_key: &mut HashMap<String, usize>,
    ) -> Result<Place> {
        let config = &self.scheduler.config;
        let body = request.body(config);
        let key = wire::key(config.api, &body);
        if let Some(&job) = by_key.get(&key) {
            return Ok(Place::Same(job));
        }
        if let Some(answer) = self.scheduler.log.get(&key)? {
            return Ok(Place::Kept(answer));
        }
        by_key.insert(key.clone(), jobs.len());
        jobs.push(Job {
            key,
            body: wire::sent(body, config),
            bytes: request.prompt.len(),
            max_tokens: request.max_tokens,
        });
        Ok(Place::First(jobs.len() - 1))
    }

    /// What this client has done so far.
    pub fn account(&self) -> Account {
        self.scheduler.account
    }

    /// Requests that the endpoints take at once.
    pub fn concurrency(&self) -> usize {
        self.scheduler.fleet.concurrency()
    }
}

/// Where a request finds its answer.
enum Place {
    /// In the file.
    Kept(Answer),
    /// With the job that asks it.
    First(usize),
    /// With a job that asks the same.
    Same(usize),
}

impl Place {
    fn asked(self, answers: &[Answered], budget: &Budget) -> Asked {
        let (answer, cached) = match self {
            Self::Kept(answer) => (Ok(answer), true),
            Self::First(job) => (answers[job].clone(), false),
            Self::Same(job) => (answers[job].clone(), true),
        };
        let cost = |answer: &Answer| {
            let (read, written) = (answer.prompt_tokens, answer.completion_tokens);
            budget.cost(read as f64, written as f64)
        };
        let paid = answer.as_ref().ok().filter(|_| !cached);
        Asked {
            cost_usd: paid.map_or(0.0, cost),
            answer,
            cached,
        }
    }
}

#[cfg(test)]
mod tests;

//! Many requests at once: dispatch, retries and the end of a round.
//!
//! One task decides everything, on one thread; only the sending is concurrent. A round ends when
//! every question has its answer, or, after something that no retry mends, when the requests under
//! way have been answered: they are paid for, so their answers are kept.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::account::{Account, Budget};
use super::config::EndpointConfig;
use super::fleet::{Choice, Fleet};
use super::retry::{Outcome, back_off, outcome};
use super::transport::{Failure, Reply, Transport};
use super::wire;
use crate::error::{Error, Result};
use crate::run::{Answer, AnswerLog, TokenUsage};

/// A pause that the user should know of.
const NOTEWORTHY: Duration = Duration::from_secs(10);

/// A question to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Job {
    pub(crate) key: String,
    pub(crate) body: String,
    /// Bytes of the prompt.
    pub(crate) bytes: usize,
    pub(crate) max_tokens: usize,
}

/// An answer, or why a server does not give one.
pub(crate) type Answered = std::result::Result<Answer, String>;

/// Endpoints at work, and what lasts from one round to the next.
pub(crate) struct Scheduler {
    pub(crate) config: EndpointConfig,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) fleet: Fleet,
    pub(crate) budget: Budget,
    pub(crate) log: AnswerLog,
    pub(crate) account: Account,
    pub(crate) rng: StdRng,
    /// Whether any request has ever been answered: if not, the fault is in the run file.
    pub(crate) succeeded: bool,
}

/// A request under way.
struct Flight {
    job: usize,
    endpoint: usize,
    started: Instant,
    tokens: f64,
    cost: f64,
}

/// One call's questions.
struct Round<'a> {
    jobs: &'a [Job],
    /// Jobs from here on have not been sent yet.
    fresh: usize,
    /// Jobs to be sent again, and when.
    waiting: BTreeSet<(Instant, usize)>,
    failures: Vec<u32>,
    flights: JoinSet<(Flight, std::result::Result<Reply, Failure>)>,
    answers: Vec<Option<Answered>>,
    stop: Option<Error>,
}

impl Scheduler {
    /// Sends all jobs; one answer each, in their order.
    pub(crate) async fn run(&mut self, jobs: &[Job]) -> Result<Vec<Answered>> {
        let mut round = Round {
            jobs,
            fresh: 0,
            waiting: BTreeSet::new(),
            failures: vec![0; jobs.len()],
            flights: JoinSet::new(),
            answers: vec![None; jobs.len()],
            stop: None,
        };
        loop {
            let wake = self.dispatch(&mut round);
            if round.flights.is_empty() && (round.stop.is_some() || wake.is_none()) {
                break;
            }
            match next(&mut round.flights, wake).await {
                Some(Ok((flight, result))) => self.land(&mut round, flight, result),
                Some(Err(error)) => round.stop = Some(lost(&error)),
                None => {}
            }
        }
        if let Some(error) = round.stop {
            return Err(self.with_what_is_kept(error));
        }
        self.checked(round.answers)
    }

    /// Sends what can be sent now; gives the time at which more may be, `None` if that depends on
    /// the requests under way.
    fn dispatch(&mut self, round: &mut Round) -> Option<Instant> {
        while round.stop.is_none() {
            let now = Instant::now();
            let later = round.waiting.first().map(|&(at, _)| at);
            let job = match later {
                Some(at) if at <= now => round.waiting.first().map(|&(_, job)| job),
                _ => (round.fresh < round.jobs.len()).then_some(round.fresh),
            };
            let Some(job) = job else { return later };
            let prompt_tokens = self.budget.prompt_tokens(round.jobs[job].bytes);
            let written = round.jobs[job].max_tokens as f64;
            let tokens = prompt_tokens + written;
            let endpoint = match self.fleet.choose(tokens, now) {
                Choice::Now(endpoint) => endpoint,
                Choice::At(at) => return Some(at),
                Choice::Full => return None,
            };
            let cost = self.budget.cost(prompt_tokens, written);
            if !self.budget.reserve(cost) {
                if round.flights.is_empty() {
                    round.stop = self.budget.exhausted(&self.log).err();
                }
                return None;
            }
            round.take(job);
            self.account.requests += 1;
            self.fleet.start(endpoint, tokens, now);
            let flight = Flight {
                job,
                endpoint,
                started: now,
                tokens,
                cost,
            };
            let sending = self.transport.send(endpoint, round.jobs[job].body.clone());
            round.flights.spawn(async move { (flight, sending.await) });
        }
        None
    }

    /// A request has come back.
    fn land(
        &mut self,
        round: &mut Round,
        flight: Flight,
        result: std::result::Result<Reply, Failure>,
    ) {
        self.budget.release(flight.cost);
        let job = &round.jobs[flight.job];
        match outcome(result) {
            Outcome::Body(body) => {
                let estimate = self.budget.prompt_tokens(job.bytes) as u64;
                match wire::answer(&body, &job.key, &self.config.model, estimate) {
                    Ok(answer) => self.keep(round, &flight, answer),
                    Err(why) => self.again(round, &flight, &why, None),
                }
            }
            Outcome::Again {
                why,
                endpoint: false,
                ..
            } => self.again(round, &flight, &why, None),
            Outcome::Again { why, pause, .. } => {
                let pause = pause.unwrap_or_else(|| {
                    let failures = self.fleet.failures(flight.endpoint) + 1;
                    back_off(failures, &mut self.rng)
                });
                self.again(round, &flight, &why, Some(pause));
            }
            Outcome::Refused(why) => {
                self.fleet.refuse(flight.endpoint);
                round.answers[flight.job] = Some(Err(why));
            }
            Outcome::Hopeless(why) => {
                self.fleet.refuse(flight.endpoint);
                round.stop = Some(self.error(flight.endpoint, why));
            }
        }
    }

    fn keep(&mut self, round: &mut Round, flight: &Flight, answer: Answer) {
        let usage = TokenUsage {
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
        };
        let used = (usage.prompt_tokens + usage.completion_tokens) as f64;
        self.fleet.succeed(flight.endpoint, flight.tokens, used);
        self.succeeded = true;
        let bytes = round.jobs[flight.job].bytes;
        self.account.cost_usd += self.budget.spend(bytes, usage);
        self.account.prompt_tokens += usage.prompt_tokens;
        self.account.completion_tokens += usage.completion_tokens;
        if let Err(error) = self.log.put(&answer) {
            round.stop = Some(error);
        }
        round.answers[flight.job] = Some(Ok(answer));
    }

    /// A request has failed in a way that may pass; `rest` is a pause that its endpoint needs.
    fn again(&mut self, round: &mut Round, flight: &Flight, why: &str, rest: Option<Duration>) {
        let now = Instant::now();
        let in_a_row = self.fleet.fail(flight.endpoint, flight.started, now);
        let failures = &mut round.failures[flight.job];
        *failures += 1;
        tracing::debug!("{}: {why}", self.fleet.url(flight.endpoint));
        if *failures as usize > self.config.max_retries {
            let why = format!("gave up after {failures} attempts: {why}");
            if rest.is_some() || !self.succeeded {
                round.stop = Some(self.error(flight.endpoint, why));
            } else {
                round.answers[flight.job] = Some(Err(why));
            }
            return;
        }
        self.account.retries += 1;
        let wait = back_off(*failures, &mut self.rng);
        let rest = rest.or_else(|| Fleet::tired(in_a_row).then_some(wait));
        match rest {
            // Another endpoint may take it at once.
            Some(pause) => {
                if pause >= NOTEWORTHY {
                    let (url, secs) = (self.fleet.url(flight.endpoint), pause.as_secs());
                    tracing::warn!("{url}: {why}; left alone for {secs} s");
                }
                self.fleet.rest(flight.endpoint, pause, now);
                round.waiting.insert((now, flight.job));
            }
            None => {
                round.waiting.insert((now + wait, flight.job));
            }
        }
    }

    /// The answers of a finished round; if all were refused and none was ever given, it is not the
    /// questions that are at fault.
    fn checked(&self, answers: Vec<Option<Answered>>) -> Result<Vec<Answered>> {
        let answers: Vec<Answered> = answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Err("not asked".into())))
            .collect();
        match answers.first() {
            Some(Err(why)) if !self.succeeded => Err(self.error(0, why.clone())),
            _ => Ok(answers),
        }
    }

    fn error(&self, endpoint: usize, message: String) -> Error {
        Error::Endpoint {
            url: self.fleet.url(endpoint).to_string(),
            message,
        }
    }

    /// Says at the end of a round that the work done is not lost.
    fn with_what_is_kept(&self, error: Error) -> Error {
        match error {
            Error::Endpoint { url, message } if !self.log.is_empty() => Error::Endpoint {
                url,
                message: format!(
                    "{message}; {} answers are kept in {}, so the same command goes on from here",
                    self.log.len(),
                    self.log.path().display()
                ),
            },
            other => other,
        }
    }
}

impl Round<'_> {
    /// `job`, the first of its queue, is about to be sent.
    fn take(&mut self, job: usize) {
        match job == self.fresh {
            true => self.fresh += 1,
            false => {
                self.waiting.pop_first();
            }
        }
    }
}

/// The next request to come back, or `None` at `wake`.
async fn next<T: 'static>(
    flights: &mut JoinSet<T>,
    wake: Option<Instant>,
) -> Option<std::result::Result<T, JoinError>> {
    match wake {
        None => flights.join_next().await,
        Some(at) if flights.is_empty() => {
            sleep_until(at).await;
            None
        }
        Some(at) => timeout_at(at, flights.join_next()).await.ok().flatten(),
    }
}

fn lost(error: &JoinError) -> Error {
    Error::Endpoint {
        url: "client".into(),
        message: format!("a request was lost: {error}"),
    }
}

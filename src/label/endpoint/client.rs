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
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use rand::SeedableRng;
    use serde_json::json;

    use super::super::transport::script::{Received, Script, Sent};
    use super::super::transport::{Failure, Reply};
    use super::*;

    fn reply(status: u16, body: impl Into<String>) -> Reply {
        Reply {
            status,
            retry_after: None,
            body: body.into(),
        }
    }

    /// Echoes the prompt, for 10 tokens read and 1 written.
    fn echo(prompt: &str) -> Reply {
        let message = json!({ "content": prompt });
        let usage = json!({ "prompt_tokens": 10, "completion_tokens": 1 });
        let body = json!({ "choices": [{ "message": message }], "usage": usage });
        reply(200, body.to_string())
    }

    fn scripted(
        folder: &Path,
        more: &str,
        answer: impl Fn(usize, &str, usize) -> Received + 'static,
    ) -> (Client, Sent) {
        let defaults = "model = 'm'\nmax_retries = 3\n";
        let one = "endpoints = [{ base_url = 'http://a/v1', concurrency = 4 }]\n";
        let one = if more.contains("endpoints") { "" } else { one };
        let config: EndpointConfig = toml::from_str(&format!("{defaults}{one}{more}")).unwrap();
        config.validate("labeler").unwrap();
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        let sent = Sent::default();
        let script = Script {
            sent: Arc::clone(&sent),
            start: Arc::default(),
            answer: Box::new(answer),
        };
        let log = AnswerLog::open(folder.join("answers.jsonl")).unwrap();
        let rng = StdRng::seed_from_u64(5);
        let made = Client::over(Box::new(script), runtime, &config, log, rng);
        (made, sent)
    }

    fn requests(prompts: &[&str]) -> Vec<Query> {
        let request = |prompt: &&str| Query {
            prompt: prompt.to_string(),
            max_tokens: 1,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            seed: None,
            stop: Vec::new(),
            top_logprobs: 5,
        };
        prompts.iter().map(request).collect()
    }

    fn texts(asked: &[Asked]) -> Vec<String> {
        let text = |answer: &Answered| answer.clone().map_or("refused".into(), |found| found.text);
        asked.iter().map(|asked| text(&asked.answer)).collect()
    }

    #[test]
    fn duplicates_and_known_answers_need_no_request() {
        let folder = tempfile::tempdir().unwrap();
        let (mut client, sent) = scripted(folder.path(), "", |_, prompt, _| Ok(echo(prompt)));
        let asked = client.ask(&requests(&["a", "b", "a", "c"])).unwrap();
        assert_eq!(texts(&asked), ["a", "b", "a", "c"]);
        let cached: Vec<bool> = asked.iter().map(|asked| asked.cached).collect();
        assert_eq!(cached, [false, false, true, false]);
        let asked = client.ask(&requests(&["c", "d"])).unwrap();
        assert_eq!(texts(&asked), ["c", "d"]);
        let prompts: Vec<String> = sent
            .lock()
            .unwrap()
            .iter()
            .map(|row| row.1.clone())
            .collect();
        assert_eq!(prompts, ["a", "b", "c", "d"]);
        let expected = Account {
            questions: 6,
            cached: 2,
            requests: 4,
            prompt_tokens: 40,
            completion_tokens: 4,
            ..Account::default()
        };
        assert_eq!(client.account(), expected);
    }

    /// Six failures among the first attempts: every request is answered all the same, in order.
    #[test]
    fn what_fails_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut client, sent) = scripted(folder.path(), "", |_, prompt, n| match n {
            0 => Ok(reply(500, "")),
            1 => Err(Failure::Timeout),
            2 => Ok(reply(200, "{\"choices\":")),
            3 => Err(Failure::Broken("reset".into())),
            4 => Ok(reply(503, "busy")),
            5 => Err(Failure::Connect("refused".into())),
            _ => Ok(echo(prompt)),
        });
        let prompts = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let asked = client.ask(&requests(&prompts)).unwrap();
        assert_eq!(texts(&asked), prompts);
        assert_eq!(sent.lock().unwrap().len(), 14);
        assert_eq!(client.account().retries, 6);
    }

    #[test]
    fn an_endpoint_is_left_alone_for_as_long_as_it_asks() {
        let folder = tempfile::tempdir().unwrap();
        let (mut client, sent) = scripted(folder.path(), "", |_, prompt, n| match n {
            0 => Ok(Reply {
                retry_after: Some(Duration::from_secs(30)),
                ..reply(429, "slow down")
            }),
            _ => Ok(echo(prompt)),
        });
        assert_eq!(texts(&client.ask(&requests(&["a"])).unwrap()), ["a"]);
        let second = sent.lock().unwrap()[1].2;
        assert!((31.0..31.1).contains(&second), "{second}");
    }

    /// Two a second: of ten requests, two go at once and the last one four seconds later.
    #[test]
    fn the_limit_per_minute_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let limited = "endpoints = [{ base_url = 'http://a', requests_per_minute = 120 }]";
        let (mut client, sent) = scripted(folder.path(), limited, |_, prompt, _| Ok(echo(prompt)));
        let prompts = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        client.ask(&requests(&prompts)).unwrap();
        let last = sent.lock().unwrap()[9].2;
        assert!((4.0..4.1).contains(&last), "{last}");
    }

    /// The first endpoint is down. It gets its four requests, all of which the second answers, and
    /// is tried again by one at a time.
    #[test]
    fn a_fleet_does_without_an_endpoint_that_is_down() {
        let folder = tempfile::tempdir().unwrap();
        let two = "endpoints = [{ base_url = 'http://a', concurrency = 4 }, \
            { base_url = 'http://b', concurrency = 4 }]";
        let (mut client, sent) =
            scripted(folder.path(), two, |endpoint, prompt, _| match endpoint {
                0 => Err(Failure::Connect("refused".into())),
                _ => Ok(echo(prompt)),
            });
        let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN";
        let prompts: Vec<&str> = letters.split("").filter(|one| !one.is_empty()).collect();
        assert_eq!(texts(&client.ask(&requests(&prompts)).unwrap()), prompts);
        let sent = sent.lock().unwrap();
        let to_first = sent.iter().filter(|row| row.0 == 0).count();
        assert!((5..=10).contains(&to_first), "{to_first}");
        assert_eq!(sent.len(), 40 + to_first);
    }

    /// 10 tokens read and 1 written cost $12 a million each: $0.000132 an answer. $0.0005 pay for
    /// three; the next run, allowed twice as much, asks the rest.
    #[test]
    fn the_spending_limit_keeps_what_is_paid_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let price = "price = { input = 12, output = 12 }\nmax_cost_usd = ";
        let prompts = ["a", "b", "c", "d", "e"];
        let limited = format!("{price}0.0005");
        let (mut first, _) = scripted(folder.path(), &limited, |_, prompt, _| Ok(echo(prompt)));
        let error = first.ask(&requests(&prompts)).unwrap_err().to_string();
        assert!(error.starts_with("$0.0004 are spent"), "{error}");
        assert!(error.contains("3 answers are kept in ") && error.contains("raise the limit"));
        let raised = format!("{price}0.001");
        let (mut second, sent) = scripted(folder.path(), &raised, |_, prompt, _| Ok(echo(prompt)));
        assert_eq!(texts(&second.ask(&requests(&prompts)).unwrap()), prompts);
        assert_eq!(sent.lock().unwrap().len(), 2);
        assert!((second.account().cost_usd - 0.000264).abs() < 1e-9);
    }

    #[test]
    fn one_question_that_is_refused_does_not_stop_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let (mut client, _) = scripted(folder.path(), "", |_, prompt, _| match prompt {
            "b" => Ok(reply(400, "too long")),
            "d" => Ok(reply(500, "crashed")),
            _ => Ok(echo(prompt)),
        });
        let asked = client.ask(&requests(&["a", "b", "c", "d"])).unwrap();
        assert_eq!(texts(&asked), ["a", "refused", "c", "refused"]);
        assert_eq!(asked[1].answer, Err("status 400: too long".into()));
        let gave_up = "gave up after 4 attempts: status 500: crashed";
        assert_eq!(asked[3].answer, Err(gave_up.into()));
    }

    #[test]
    fn what_no_retry_mends_stops_the_run_and_keeps_what_was_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let (mut client, sent) = scripted(folder.path(), "", |_, prompt, _| match prompt {
            "a" => Ok(reply(401, r#"{"error":{"message":"wrong key"}}"#)),
            _ => Ok(echo(prompt)),
        });
        let prompts = ["a", "b", "c", "d", "e", "f"];
        let error = client.ask(&requests(&prompts)).unwrap_err().to_string();
        let expected = "http://a/v1: status 401: wrong key; 3 answers are kept";
        assert!(error.starts_with(expected), "{error}");
        assert_eq!(sent.lock().unwrap().len(), 4);
        assert_eq!(texts(&client.ask(&requests(&["b"])).unwrap()), ["b"]);
        assert_eq!(sent.lock().unwrap().len(), 4);
        // A server that takes no question at all is at fault itself.
        let folder = tempfile::tempdir().unwrap();
        let (mut client, _) = scripted(folder.path(), "", |_, _, _| Ok(reply(400, "no logprobs")));
        let error = client.ask(&requests(&["a", "b"])).unwrap_err();
        assert_eq!(error.to_string(), "http://a/v1: status 400: no logprobs");
    }
}

//! Which endpoint gets the next request, and when.
//!
//! The least loaded of those that have room: fewest requests under way against its weight, then
//! fewest served. An endpoint that fails is given half as many requests at once for each failure in
//! a row, and is rested when it cannot be reached, asks for it, or fails three times in a row; the
//! first success makes it whole again.

use std::time::Duration;

use tokio::time::Instant;

use super::config::EndpointAddress;
use super::limit::Bucket;

/// Failures in a row after which an endpoint is rested even if it answers.
const FAILURES: u32 = 3;

/// All endpoints.
#[derive(Debug)]
pub(crate) struct Fleet {
    endpoints: Vec<Endpoint>,
}

#[derive(Debug)]
struct Endpoint {
    address: EndpointAddress,
    in_flight: usize,
    served: u64,
    failures: u32,
    failed_at: Option<Instant>,
    rested_until: Instant,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// Where a request may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// To this endpoint, now.
    Now(usize),
    /// Nowhere before this moment.
    At(Instant),
    /// Nowhere until a request under way is answered.
    Full,
}

impl Fleet {
    pub(crate) fn new(addresses: &[EndpointAddress], now: Instant) -> Self {
        let endpoint = |address: &EndpointAddress| Endpoint {
            address: address.clone(),
            in_flight: 0,
            served: 0,
            failures: 0,
            failed_at: None,
            rested_until: now,
            requests: address.requests_per_minute.map(|n| Bucket::new(n, now)),
            tokens: address.tokens_per_minute.map(|n| Bucket::new(n, now)),
        };
        Self {
            endpoints: addresses.iter().map(endpoint).collect(),
        }
    }

    /// Address of an endpoint, for messages.
    pub(crate) fn url(&self, endpoint: usize) -> &str {
        &self.endpoints[endpoint].address.base_url
    }

    /// Requests that all endpoints together take at once.
    pub(crate) fn concurrency(&self) -> usize {
        let taken = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.address.concurrency);
        taken.sum()
    }

    /// Where a request of about `tokens` tokens may go.
    pub(crate) fn choose(&mut self, tokens: f64, now: Instant) -> Choice {
        let mut best: Option<(usize, (f64, f64))> = None;
        let mut next: Option<Instant> = None;
        for (i, endpoint) in self.endpoints.iter_mut().enumerate() {
            if endpoint.in_flight >= endpoint.room() {
                continue;
            }
            let ready = endpoint.ready(tokens, now);
            if ready > now {
                next = Some(next.map_or(ready, |next| next.min(ready)));
                continue;
            }
            let load = endpoint.load();
            if best.is_none_or(|(_, least)| load < least) {
                best = Some((i, load));
            }
        }
        match (best, next) {
            (Some((i, _)), _) => Choice::Now(i),
            (None, Some(at)) => Choice::At(at),
            (None, None) => Choice::Full,
        }
    }

    /// A request of about `tokens` tokens goes to an endpoint.
    pub(crate) fn start(&mut self, endpoint: usize, tokens: f64, now: Instant) {
        let endpoint = &mut self.endpoints[endpoint];
        endpoint.in_flight += 1;
        endpoint.served += 1;
        if let Some(bucket) = &mut endpoint.requests {
            bucket.take(1.0, now);
        }
        if let Some(bucket) = &mut endpoint.tokens {
            bucket.take(tokens, now);
        }
    }

    /// A request has been answered with `used` tokens, where about `tokens` were expected.
    pub(crate) fn succeed(&mut self, endpoint: usize, tokens: f64, used: f64) {
        let endpoint = &mut self.endpoints[endpoint];
        endpoint.in_flight -= 1;
        endpoint.failures = 0;
        if let Some(bucket) = &mut endpoint.tokens {
            bucket.correct(tokens, used);
        }
    }

    /// A request was refused for what it asks, which says nothing about the endpoint.
    pub(crate) fn refuse(&mut self, endpoint: usize) {
        self.endpoints[endpoint].in_flight -= 1;
    }

    /// A request that was sent at `started` has failed; gives the number of failures in a row.
    /// Requests that were under way together fail together, which counts once.
    pub(crate) fn fail(&mut self, endpoint: usize, started: Instant, now: Instant) -> u32 {
        let endpoint = &mut self.endpoints[endpoint];
        endpoint.in_flight -= 1;
        if endpoint.failed_at.is_none_or(|last| started >= last) {
            endpoint.failures += 1;
            endpoint.failed_at = Some(now);
        }
        endpoint.failures
    }

    /// Failures of an endpoint in a row.
    pub(crate) fn failures(&self, endpoint: usize) -> u32 {
        self.endpoints[endpoint].failures
    }

    /// Whether so many failures in a row call for a rest.
    pub(crate) fn tired(failures: u32) -> bool {
        failures >= FAILURES
    }

    /// Leaves an endpoint alone for `pause`.
    pub(crate) fn rest(&mut self, endpoint: usize, pause: Duration, now: Instant) {
        let endpoint = &mut self.endpoints[endpoint];
        endpoint.rested_until = endpoint.rested_until.max(now + pause);
    }
}

impl Endpoint {
    /// Requests that it is given at once for now.
    fn room(&self) -> usize {
        let halved = self.address.concurrency >> self.failures.min(16);
        halved.max(1)
    }

    fn ready(&mut self, tokens: f64, now: Instant) -> Instant {
        let requests = self.requests.as_mut().map(|bucket| bucket.ready(1.0, now));
        let tokens = self.tokens.as_mut().map(|bucket| bucket.ready(tokens, now));
        let limits = [requests, tokens].into_iter().flatten();
        limits.fold(self.rested_until, Instant::max)
    }

    /// Less is better.
    fn load(&self) -> (f64, f64) {
        let weight = self.address.weight;
        let under_way = (self.in_flight + 1) as f64 / weight;
        (under_way, self.served as f64 / weight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(endpoints: &str, now: Instant) -> Fleet {
        let text = format!("model = 'm'\nendpoints = [{endpoints}]");
        let config: crate::label::endpoint::EndpointConfig = toml::from_str(&text).unwrap();
        Fleet::new(&config.endpoints, now)
    }

    /// Weights 1 and 3: of four requests under way, three are at the second.
    #[test]
    fn the_least_loaded_endpoint_is_next() {
        let now = Instant::now();
        let mut fleet = fleet(
            "{ base_url = 'http://a' }, { base_url = 'http://b', weight = 3 }",
            now,
        );
        let mut given = [0, 0];
        for _ in 0..8 {
            let Choice::Now(i) = fleet.choose(1.0, now) else {
                panic!("there is room");
            };
            fleet.start(i, 1.0, now);
            given[i] += 1;
        }
        assert_eq!(given, [2, 6]);
        assert_eq!(fleet.concurrency(), 32);
    }

    #[test]
    fn an_endpoint_that_fails_is_rested_and_tried_again() {
        let now = Instant::now();
        let one = "{ base_url = 'http://a', concurrency = 2 }";
        let mut fleet = fleet(&format!("{one}, {one}"), now);
        fleet.start(0, 1.0, now);
        assert_eq!(fleet.fail(0, now, now), 1);
        fleet.rest(0, Duration::from_secs(5), now);
        for _ in 0..2 {
            assert_eq!(fleet.choose(1.0, now), Choice::Now(1));
            fleet.start(1, 1.0, now);
        }
        let back = now + Duration::from_secs(5);
        assert_eq!(fleet.choose(1.0, now), Choice::At(back));
        // One request tries it out; until that has succeeded there is room for no other.
        assert_eq!(fleet.choose(1.0, back), Choice::Now(0));
        fleet.start(0, 1.0, back);
        assert_eq!(fleet.choose(1.0, back), Choice::Full);
        fleet.succeed(0, 1.0, 1.0);
        fleet.start(0, 1.0, back);
        assert_eq!(fleet.choose(1.0, back), Choice::Now(0));
    }
}

//! What a reply or a failure means for the request, for the endpoint and for the run.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use super::transport::{Failure, Reply};

/// Wait before the second attempt; each further one waits twice as long.
const FIRST_WAIT_SECS: f64 = 0.5;
/// No wait is longer.
const LONGEST_WAIT_SECS: f64 = 60.0;
/// Characters of a server's message that an error repeats.
const EXCERPT: usize = 300;

/// How a request went.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// Something to read.
    Body(String),
    /// It may go better another time.
    Again {
        why: String,
        /// Whether the endpoint as a whole has to be left alone: it cannot be reached or has too
        /// much to do.
        endpoint: bool,
        /// For how long, if it said so.
        pause: Option<Duration>,
    },
    /// The server does not take this question; others may be fine.
    Refused(String),
    /// Nothing will go better: a wrong key, an unknown model, no money left.
    Hopeless(String),
}

/// Judges what came back.
pub(crate) fn outcome(result: Result<Reply, Failure>) -> Outcome {
    let reply = match result {
        Ok(reply) => reply,
        Err(failure) => {
            return Outcome::Again {
                why: failure.to_string(),
                endpoint: matches!(failure, Failure::Connect(_)),
                pause: None,
            };
        }
    };
    let why = || format!("status {}: {}", reply.status, excerpt(&reply.body));
    match reply.status {
        200..=299 => Outcome::Body(reply.body),
        // OpenAI's word for an account without money, which no waiting helps.
        429 if reply.body.contains("insufficient_quota") => Outcome::Hopeless(why()),
        429 | 503 => Outcome::Again {
            why: why(),
            endpoint: true,
            pause: reply.retry_after,
        },
        408 | 409 | 425 | 500..=599 => Outcome::Again {
            why: why(),
            endpoint: reply.retry_after.is_some(),
            pause: reply.retry_after,
        },
        400 | 413 | 422 => Outcome::Refused(why()),
        _ => Outcome::Hopeless(why()),
    }
}

/// The server's message if it has OpenAI's form, or the beginning of what it sent.
fn excerpt(body: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let message = parsed.as_ref().and_then(|body| {
        let error = body.get("error").unwrap_or(body);
        error.get("message").unwrap_or(error).as_str()
    });
    let text = message.unwrap_or(body).trim();
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

/// Exponential back-off with jitter: `0.5 s 2^(n - 1)` after failure `n`, at most a minute, of
/// which a random share of at least half is waited, so that many clients do not come back at once.
pub(crate) fn back_off(failures: u32, rng: &mut StdRng) -> Duration {
    let doubled = FIRST_WAIT_SECS * 2f64.powi(failures.saturating_sub(1).min(16) as i32);
    let share: f64 = rng.random_range(0.5..1.0);
    Duration::from_secs_f64(doubled.min(LONGEST_WAIT_SECS) * share)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn reply(status: u16, body: &str) -> Outcome {
        outcome(Ok(Reply {
            status,
            retry_after: (status == 429).then_some(Duration::from_secs(7)),
            body: body.into(),
        }))
    }

    #[test]
    fn replies_are_told_apart() {
        assert_eq!(reply(200, "x"), Outcome::Body("x".into()));
        assert_eq!(
            reply(429, r#"{"error":{"message":"slow down"}}"#),
            Outcome::Again {
                why: "status 429: slow down".into(),
                endpoint: true,
                pause: Some(Duration::from_secs(7)),
            }
        );
        let broke = r#"{"error":{"message":"pay","code":"insufficient_quota"}}"#;
        assert_eq!(
            reply(429, broke),
            Outcome::Hopeless("status 429: pay".into())
        );
        assert_eq!(
            reply(502, "<html>"),
            Outcome::Again {
                why: "status 502: <html>".into(),
                endpoint: false,
                pause: None,
            }
        );
        let long = r#"{"object":"error","message":"the maximum length is 10"}"#;
        let expected = Outcome::Refused("status 400: the maximum length is 10".into());
        assert_eq!(reply(400, long), expected);
        assert_eq!(reply(401, ""), Outcome::Hopeless("status 401: ".into()));
        assert_eq!(
            outcome(Err(Failure::Timeout)),
            Outcome::Again {
                why: "no answer in time".into(),
                endpoint: false,
                pause: None,
            }
        );
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let found = excerpt(&"\u{e9}".repeat(400));
        assert_eq!(found.chars().count(), EXCERPT + 3);
    }

    /// Before the second attempt 0.25 to 0.5 s, before the fifth 4 to 8 s, never more than a
    /// minute.
    #[test]
    fn waits_double_and_repeat_with_the_seed() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut waits = |failures| back_off(failures, &mut rng).as_secs_f64();
        assert!((0.25..0.5).contains(&waits(1)));
        assert!((2.0..4.0).contains(&waits(4)));
        assert!((30.0..60.0).contains(&waits(99)));
        let draw = || back_off(3, &mut StdRng::seed_from_u64(7));
        assert_eq!(draw(), draw());
    }
}

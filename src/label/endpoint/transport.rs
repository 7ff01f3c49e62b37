//! One request to one endpoint and what comes back, over HTTP with rustls.
//!
//! The API key exists here alone: it is read from the environment, sent as a header that is marked
//! sensitive, and struck out of whatever a server sends back.

use std::env;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

use super::config::EndpointConfig;
use crate::error::{Error, Result};

/// Longest wait for a connection; a server that is up answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What a server sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// How long the server asks to be left alone.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: String,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// There is no connection.
    Connect(String),
    /// The time was up.
    Timeout,
    /// The connection broke.
    Broken(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(why) => write!(out, "no connection: {why}"),
            Self::Timeout => out.write_str("no answer in time"),
            Self::Broken(why) => write!(out, "the connection broke: {why}"),
        }
    }
}

/// A request on its way.
pub(crate) type Sending = Pin<Box<dyn Future<Output = Result<Reply, Failure>> + Send>>;

/// Sends requests: the network, or a script in tests.
pub(crate) trait Transport {
    /// Sends `body` to the endpoint with this number.
    fn send(&self, endpoint: usize, body: String) -> Sending;
}

/// The network.
pub(crate) struct Http {
    endpoints: Vec<(Client, Url)>,
    key: Option<ApiKey>,
}

impl Http {
    /// # Errors
    /// The environment holds no key, an address is none, or TLS cannot be set up.
    pub(crate) fn new(config: &EndpointConfig) -> Result<Self> {
        let key = config.api_key_env.as_deref().map(ApiKey::from_env);
        let key = key.transpose()?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = &key {
            headers.insert(AUTHORIZATION, key.header()?);
        }
        // Refused only where there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut endpoints = Vec::new();
        for endpoint in &config.endpoints {
            let base = endpoint.base_url.trim_end_matches('/');
            let url = format!("{base}/{}", config.api.path());
            let wrong = |error: &dyn fmt::Display| Error::Endpoint {
                url: base.to_string(),
                message: error.to_string(),
            };
            let url: Url = url.parse().map_err(|error| wrong(&error))?;
            let mut client = Client::builder()
                .default_headers(headers.clone())
                .redirect(Policy::none())
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(Duration::from_secs_f64(config.timeout_secs))
                .pool_max_idle_per_host(endpoint.concurrency);
            if is_loopback(&url) {
                // A proxy of the environment is for the world outside.
                client = client.no_proxy();
            }
            let client = client.build().map_err(|error| wrong(&error))?;
            endpoints.push((client, url));
        }
        Ok(Self { endpoints, key })
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    ["localhost", "[::1]"].contains(&host) || host.starts_with("127.")
}

impl Transport for Http {
    fn send(&self, endpoint: usize, body: String) -> Sending {
        let (client, url) = &self.endpoints[endpoint];
        let request = client.post(url.clone()).body(body);
        let key = self.key.clone();
        Box::pin(async move {
            let response = request.send().await.map_err(failure)?;
            let status = response.status().as_u16();
            let asked = response.headers().get(RETRY_AFTER);
            let asked = asked.and_then(|value| value.to_str().ok());
            let retry_after = asked.and_then(|value| retry_after(value, SystemTime::now()));
            let body = response.text().await.map_err(failure)?;
            Ok(Reply {
                status,
                retry_after,
                body: match key {
                    Some(key) => key.struck_out(body),
                    None => body,
                },
            })
        })
    }
}

fn failure(error: reqwest::Error) -> Failure {
    if error.is_timeout() {
        return Failure::Timeout;
    }
    let connect = error.is_connect();
    let mut error: &dyn std::error::Error = &error.without_url();
    // The innermost cause is the one that says something: "connection refused".
    while let Some(source) = error.source() {
        error = source;
    }
    match connect {
        true => Failure::Connect(error.to_string()),
        false => Failure::Broken(error.to_string()),
    }
}

/// Seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A secret that cannot be printed.
#[derive(Clone)]
pub(crate) struct ApiKey(Arc<str>);

impl ApiKey {
    pub(crate) fn from_env(name: &str) -> Result<Self> {
        let value = env::var(name).unwrap_or_default();
        let value = value.trim();
        if value.is_empty() {
            let found = format!("{name}, which is not set or empty");
            let expected = "an environment variable that holds the key";
            return Err(Error::field("labeler.api_key_env", found, expected));
        }
        Ok(Self(value.into()))
    }

    fn header(&self) -> Result<HeaderValue> {
        let mut header = HeaderValue::from_str(&format!("Bearer {}", self.0)).map_err(|_| {
            let found = "a variable whose value has characters that no header can carry";
            Error::field("labeler.api_key_env", found, "one that holds a key")
        })?;
        header.set_sensitive(true);
        Ok(header)
    }

    fn struck_out(&self, text: String) -> String {
        match text.contains(&*self.0) {
            true => text.replace(&*self.0, "[key]"),
            false => text,
        }
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("ApiKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 784111777 is Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        let cases = [
            ("7", Some(7.0)),
            (" 0.5 ", Some(0.5)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30.0)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0.0)),
            ("soon", None),
            ("-3", None),
            ("inf", None),
        ];
        for (value, expected) in cases {
            let found = retry_after(value, now).map(|wait| wait.as_secs_f64());
            assert_eq!(found, expected, "{value}");
        }
    }

    #[test]
    fn a_key_is_never_printed() {
        let key = ApiKey("sk-secret".into());
        assert_eq!(format!("{key:?}"), "ApiKey");
        let header = key.header().unwrap();
        assert!(!format!("{header:?}").contains("secret"));
        let body = "incorrect API key: sk-secret".to_string();
        assert_eq!(key.struck_out(body), "incorrect API key: [key]");
        let broken = ApiKey("sk-\nsecret".into()).header().unwrap_err();
        assert!(!broken.to_string().contains("secret"));
    }
}

#[cfg(test)]
pub(crate) mod script {
    use std::sync::Mutex;

    use serde_json::Value;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// What is sent, as (endpoint, prompt, seconds since the start).
    pub(crate) type Sent = Arc<Mutex<Vec<(usize, String, f64)>>>;
    pub(crate) type Received = Result<Reply, Failure>;
    type Answering = dyn Fn(usize, &str, usize) -> Received;

    /// Answers after a second by a function of endpoint, prompt and number of the request.
    pub(crate) struct Script {
        pub(crate) sent: Sent,
        pub(crate) start: Arc<Mutex<Option<Instant>>>,
        pub(crate) answer: Box<Answering>,
    }

    impl Transport for Script {
        fn send(&self, endpoint: usize, body: String) -> Sending {
            let now = Instant::now();
            let start = *self.start.lock().unwrap().get_or_insert(now);
            let body: Value = serde_json::from_str(&body).unwrap();
            let prompt = body["messages"][0]["content"].as_str().unwrap();
            let mut sent = self.sent.lock().unwrap();
            let reply = (self.answer)(endpoint, prompt, sent.len());
            sent.push((endpoint, prompt.into(), (now - start).as_secs_f64()));
            Box::pin(async move {
                sleep(Duration::from_secs(1)).await;
                reply
            })
        }
    }
}

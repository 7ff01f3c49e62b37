//! HTTP as far as a page on this machine needs it: GET, one answer a connection.
//!
//! What is read is bounded in size and time. A `Host` that is neither an address nor a name of this
//! machine is refused, so that a page of another site cannot reach the server through a name that
//! it has pointed here (DNS rebinding).

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// Longest head of a request.
const MAX_HEAD_BYTES: usize = 8 << 10;
const MAX_HEADERS: usize = 64;
/// A client has this long to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read of a body that nobody asked for, so that the client hears the answer.
const MAX_BODY_BYTES: u64 = 64 << 10;

/// Nothing is loaded but what this server sends, nothing runs but its scripts, and no script can
/// turn text into elements.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
                      connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// Path, as sent.
    pub(super) path: String,
    /// Names and values after the `?`, as sent: none of ours needs escapes.
    pub(super) query: Vec<(String, String)>,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: Status,
    pub(super) content_type: &'static str,
    pub(super) body: Vec<u8>,
}

/// The answers that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    BadRequest,
    NotFound,
    MethodNotAllowed,
    MisdirectedRequest,
    HeadTooLarge,
    Failed,
}

impl Status {
    fn line(self) -> &'static str {
        match self {
            Self::Ok => "200 OK",
            Self::BadRequest => "400 Bad Request",
            Self::NotFound => "404 Not Found",
            Self::MethodNotAllowed => "405 Method Not Allowed",
            Self::MisdirectedRequest => "421 Misdirected Request",
            Self::HeadTooLarge => "431 Request Header Fields Too Large",
            Self::Failed => "500 Internal Server Error",
        }
    }
}

impl Request {
    /// The value of a name in the query.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }

    fn of_target(target: &str) -> Option<Self> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_string(), value.to_string())
        };
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(pair);
        path.starts_with('/').then(|| Self {
            path: path.into(),
            query: query.collect(),
        })
    }
}

impl Response {
    /// A plain word on why there is nothing else.
    pub(super) fn refusal(status: Status, why: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: format!("{why}\n").into_bytes(),
        }
    }

    fn send(&self, mut stream: &TcpStream) -> io::Result<()> {
        let head = format!(
            "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nAllow: GET\r\n\
             Connection: close\r\nCache-Control: no-store\r\nContent-Security-Policy: {POLICY}\r\n\
             X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\n\
             Cross-Origin-Resource-Policy: same-origin\r\n\
             Cross-Origin-Opener-Policy: same-origin\r\n\r\n",
            self.status.line(),
            self.content_type,
            self.body.len(),
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(&self.body)?;
        stream.flush()
    }
}

/// Reads a request, answers it by `route`, and ends the connection. `host` is the name that the
/// server was given.
pub(super) fn answer(
    stream: &TcpStream,
    host: &str,
    route: impl FnOnce(&Request) -> Response,
) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    stream.set_write_timeout(Some(PATIENCE))?;
    let response = match read_request(stream, host, deadline)? {
        Ok(request) => route(&request),
        Err(refusal) => refusal,
    };
    response.send(stream)?;
    // Closing with something unread would reset the connection under the client's eyes.
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    io::copy(&mut stream.take(MAX_BODY_BYTES), &mut io::sink())?;
    Ok(())
}

fn read_request(
    mut stream: &TcpStream,
    host: &str,
    deadline: Instant,
) -> io::Result<Result<Request, Response>> {
    let (mut head, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        head.extend_from_slice(&buffer[..n]);
        if let Some(found) = parse(&head, host) {
            return Ok(found);
        }
        if head.len() > MAX_HEAD_BYTES {
            let why = "the request is too long";
            return Ok(Err(Response::refusal(Status::HeadTooLarge, why)));
        }
    }
}

/// The request that a head holds; `None` while it is not whole.
fn parse(head: &[u8], host: &str) -> Option<Result<Request, Response>> {
    let refuse = |status, why| Some(Err(Response::refusal(status, why)));
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => return None,
        Ok(httparse::Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => {
            return refuse(Status::HeadTooLarge, "too many headers");
        }
        Err(_) => return refuse(Status::BadRequest, "this is no HTTP request"),
    }
    let mut hosts = (request.headers.iter()).filter(|one| one.name.eq_ignore_ascii_case("host"));
    let named = match (hosts.next(), hosts.next()) {
        (Some(header), None) => str::from_utf8(header.value).unwrap_or_default(),
        _ => return refuse(Status::BadRequest, "expected one Host"),
    };
    if !is_own(named, host) {
        return refuse(Status::MisdirectedRequest, "this Host is not served here");
    }
    if request.method != Some("GET") {
        return refuse(Status::MethodNotAllowed, "only GET is answered");
    }
    match Request::of_target(request.path.unwrap_or_default()) {
        Some(request) => Some(Ok(request)),
        None => refuse(Status::BadRequest, "expected a path"),
    }
}

/// Whether a `Host` cannot be another site's name for this machine: it is an address, `localhost`,
/// or the name that the server was given.
fn is_own(named: &str, host: &str) -> bool {
    let name = match named
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((address, _)) => address,
        None => named.split(':').next().unwrap_or_default(),
    };
    ["localhost", host]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
        || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &str) -> Option<Status> {
        let found = parse(head.as_bytes(), "box")?;
        Some(found.map_or_else(|refusal| refusal.status, |_| Status::Ok))
    }

    #[test]
    fn only_names_of_this_machine_are_served() {
        let own = [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1:8080",
            "[::1]:9",
            "box:1",
            "10.0.0.7",
        ];
        for host in own {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(status(&head), Some(Status::Ok), "{host}");
        }
        let others = [
            "evil.example",
            "localhost.evil.example:80",
            "127.0.0.1.evil.example",
            "",
            "[",
        ];
        for host in others {
            let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(status(&head), Some(Status::MisdirectedRequest), "{host}");
        }
        let twice = "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n";
        assert_eq!(status(twice), Some(Status::BadRequest));
        assert_eq!(status("GET / HTTP/1.1\r\n\r\n"), Some(Status::BadRequest));
    }

    #[test]
    fn requests_are_read_when_they_are_whole() {
        assert_eq!(status("GET / HTTP/1.1\r\nHost: localhost\r\n"), None);
        let post = "POST / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(status(post), Some(Status::MethodNotAllowed));
        let absolute = "GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(status(absolute), Some(Status::BadRequest));
        assert_eq!(status("\0\0\0\0"), Some(Status::BadRequest));
        let found = Request::of_target("/api?run=1&&after=7-ab&x").unwrap();
        assert_eq!(
            (found.path.as_str(), found.value("after")),
            ("/api", Some("7-ab"))
        );
        assert_eq!((found.value("x"), found.value("y")), (Some(""), None));
    }
}

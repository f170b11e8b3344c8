//! The line that a request leaves, under OpenTelemetry's names.

use std::cell::RefCell;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Uri, Version, header};

use super::audit::{Audit, Caller, Event, Refused};
use super::line::{
    bytes, cut, digits, escape, escape_bytes, name, number, plain, text, write_time,
};
use super::writer::{Care, Writer};
use super::{AccessSettings, Format, RequestId, Settings};
use crate::clock::{Clock, Timestamp};
use crate::peer::Peer;

/// How much of `User-Agent` is kept.
const MAX_USER_AGENT: usize = 256;

/// How much of a path is kept.
const MAX_PATH: usize = 2048;

/// How long a line may wait for others.
const GATHER: Duration = Duration::from_millis(50);

/// Lines are lost rather than kept for an output that does not take them.
const CARE: Care = Care {
    what: "access log",
    gather: GATHER,
    retry: None,
    gap: None,
};

/// Where access lines go. Cheap to clone; when the last clone is gone, all lines are written.
#[derive(Clone, Debug)]
pub struct AccessLog {
    lines: Option<Arc<Open>>,
    audit: Audit,
}

#[derive(Debug)]
struct Open {
    settings: AccessSettings,
    writer: Writer,
}

impl AccessLog {
    /// To standard output, as the settings say, or nowhere.
    ///
    /// # Errors
    /// When the thread that writes can't be started.
    pub fn open(settings: &Settings) -> io::Result<Self> {
        let Some(settings) = &settings.access_log else {
            return Ok(Self::off());
        };
        Self::to(Box::new(io::stdout()), settings.clone())
    }

    /// No lines.
    pub const fn off() -> Self {
        Self {
            lines: None,
            audit: Audit::off(),
        }
    }

    /// Refusals are noted in `audit` too.
    #[must_use]
    pub fn with_audit(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// To `out`.
    ///
    /// # Errors
    /// When the thread that writes can't be started.
    pub fn to(out: Box<dyn Write + Send>, settings: AccessSettings) -> io::Result<Self> {
        let writer = Writer::start(CARE, out)?;
        Ok(Self {
            lines: Some(Arc::new(Open { settings, writer })),
            audit: Audit::off(),
        })
    }

    /// Writes what waits, now.
    pub fn flush(&self) {
        if let Some(open) = &self.lines {
            open.writer.flush();
        }
    }
}

impl Open {
    fn takes(&self, path: &str) -> bool {
        !self.settings.exclude.iter().any(|other| **other == *path)
    }
}

/// The line that a request leaves, written when its response is over, or when it is given up. Never a token, a cookie, a
/// query or a password.
#[derive(Debug)]
pub struct Access {
    /// `None` where only a refusal leaves a line, in the audit log.
    log: Option<Arc<Open>>,
    audit: Audit,
    at: Timestamp,
    begun: Instant,
    id: RequestId,
    client: IpAddr,
    method: Method,
    uri: Uri,
    version: Version,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    route: Option<Arc<str>>,
    subject: Option<Arc<str>>,
    refused: Option<String>,
    status: Option<StatusCode>,
    expected: Option<u64>,
    bytes: u64,
    ending: Ending,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It hasn't: dropped before its end, the client or the server gave up.
    Open,
    /// As a whole.
    Whole,
    /// Its source broke off.
    Broken,
}

impl Access {
    /// A request has come. `None` where it leaves no line.
    pub fn begin(log: &AccessLog, head: &Parts, peer: &Peer, id: &RequestId) -> Option<Box<Self>> {
        let lines = log.lines.as_ref().filter(|log| log.takes(head.uri.path()));
        if lines.is_none() && !log.audit.is_on() {
            return None;
        }
        Some(Box::new(Self {
            log: lines.cloned(),
            audit: log.audit.clone(),
            at: Clock::System.now(),
            begun: Instant::now(),
            id: id.clone(),
            client: peer.addr.ip().to_canonical(),
            method: head.method.clone(),
            uri: head.uri.clone(),
            version: head.version,
            host: head.headers.get(header::HOST).cloned(),
            user_agent: head.headers.get(header::USER_AGENT).cloned(),
            route: None,
            subject: None,
            refused: None,
            status: None,
            expected: None,
            bytes: 0,
            ending: Ending::Open,
        }))
    }

    /// Who it is from, where a trusted proxy said so.
    pub fn client(&mut self, address: IpAddr) {
        self.client = address.to_canonical();
    }

    /// By which route it went.
    pub fn route(&mut self, route: &Arc<str>) {
        self.route = Some(Arc::clone(route));
    }

    /// Whose it was.
    pub fn subject(&mut self, subject: &Arc<str>) {
        self.subject = Some(Arc::clone(subject));
    }

    /// Why it was refused.
    pub fn refused(&mut self, reason: String) {
        self.refused = Some(reason);
    }

    /// It was refused by a decision, which is noted in the audit log.
    pub fn denied(&self, reason: &str, status: StatusCode) {
        if !self.audit.is_on() {
            return;
        }
        let agent = self.user_agent.as_ref().map(HeaderValue::as_bytes);
        let agent = String::from_utf8_lossy(agent.unwrap_or_default());
        self.audit.note(&Event::Refused(Refused {
            reason,
            status: status.as_u16(),
            route: self.route.as_deref(),
            user: self.subject.as_deref(),
            method: self.method.as_str(),
            path: self.uri.path(),
            request_id: self.id.as_str(),
            caller: Caller {
                address: self.client,
                user_agent: &agent,
            },
        }));
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    /// A response has begun, with a body of `expected` bytes where that is known.
    pub(super) fn responded(&mut self, status: StatusCode, expected: Option<u64>) {
        self.status = Some(status);
        self.expected = expected;
    }

    pub(super) fn sent(&mut self, bytes: usize) {
        self.bytes = self
            .bytes
            .saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    pub(super) fn ended(&mut self, ending: Ending) {
        self.ending = ending;
    }

    /// What went wrong after the head, if anything: a server doesn't poll a body again that has given all it announced.
    fn fault(&self) -> Option<&'static str> {
        match self.ending {
            Ending::Whole => None,
            Ending::Broken => Some("broken"),
            Ending::Open if self.expected.is_some_and(|all| self.bytes >= all) => None,
            Ending::Open => Some("aborted"),
        }
    }

    fn write(&self, format: Format, line: &mut Vec<u8>) {
        match format {
            Format::Json => self.write_json(line),
            Format::Pretty => self.write_pretty(line),
        }
        line.push(b'\n');
    }

    fn write_json(&self, line: &mut Vec<u8>) {
        line.extend_from_slice(b"{\"timestamp\":\"");
        write_time(line, self.at);
        line.extend_from_slice(b"\",\"level\":\"INFO\",\"target\":\"tidegate::access\"");
        text(line, "request_id", self.id.as_str());
        text(line, "http.request.method", self.method.as_str());
        bytes(line, "url.path", cut(self.uri.path().as_bytes(), MAX_PATH));
        if let Some(host) = self.host() {
            bytes(line, "server.address", host);
        }
        if let Some(status) = self.status {
            name(line, "http.response.status_code");
            number(line, u64::from(status.as_u16()));
        }
        name(line, "http.response.body.size");
        number(line, self.bytes);
        name(line, "duration_ms");
        write_millis(line, self.begun.elapsed());
        if let Some(route) = &self.route {
            text(line, "http.route", route);
        }
        if let Some(subject) = &self.subject {
            text(line, "enduser.id", subject);
        }
        if let Some(reason) = &self.refused {
            text(line, "refusal", reason);
        }
        if let Some(fault) = self.fault() {
            text(line, "error.type", fault);
        }
        name(line, "client.address");
        line.push(b'"');
        plain(line, self.client);
        line.push(b'"');
        text(line, "network.protocol.version", version(self.version));
        if let Some(agent) = &self.user_agent {
            bytes(
                line,
                "user_agent.original",
                cut(agent.as_bytes(), MAX_USER_AGENT),
            );
        }
        line.push(b'}');
    }

    fn write_pretty(&self, line: &mut Vec<u8>) {
        write_time(line, self.at);
        line.extend_from_slice(b"  INFO ");
        escape(line, self.method.as_str());
        line.push(b' ');
        if let Some(host) = self.host() {
            escape_bytes(line, host);
        }
        escape_bytes(line, cut(self.uri.path().as_bytes(), MAX_PATH));
        line.push(b' ');
        match self.status {
            Some(status) => number(line, u64::from(status.as_u16())),
            None => line.push(b'-'),
        }
        line.push(b' ');
        number(line, self.bytes);
        line.extend_from_slice(b" B in ");
        write_millis(line, self.begun.elapsed());
        line.extend_from_slice(b" ms");
        if let Some(subject) = &self.subject {
            line.extend_from_slice(b", by ");
            escape(line, subject);
        }
        if let Some(reason) = &self.refused {
            line.extend_from_slice(b", refused: ");
            escape(line, reason);
        }
        if let Some(fault) = self.fault() {
            plain(line, format_args!(", {fault}"));
        }
        plain(line, format_args!(" [{} {}]", self.client, self.id));
    }

    /// The host that was asked for, without its port.
    fn host(&self) -> Option<&[u8]> {
        if let Some(host) = self.uri.host() {
            return Some(host.as_bytes());
        }
        let host = self.host.as_ref()?.as_bytes();
        let colon = host.iter().rposition(|b| *b == b':');
        let port_at = colon.filter(|at| {
            host.get(at + 1..)
                .is_some_and(|p| p.iter().all(u8::is_ascii_digit))
        });
        Some(port_at.and_then(|at| host.get(..at)).unwrap_or(host))
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let Some(log) = &self.log else { return };
        // While a thread ends its locals may be gone already: that request's line is lost with it.
        let _ = LINE.try_with(|line| {
            let Ok(mut line) = line.try_borrow_mut() else {
                return;
            };
            line.clear();
            self.write(log.settings.format, &mut line);
            log.writer.push(&line);
        });
    }
}

fn version(version: Version) -> &'static str {
    if version == Version::HTTP_2 {
        "2"
    } else if version == Version::HTTP_10 {
        "1.0"
    } else {
        "1.1"
    }
}

fn write_millis(line: &mut Vec<u8>, duration: Duration) {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    number(line, micros / 1000);
    line.push(b'.');
    digits(line, micros % 1000, 3);
}

#[cfg(test)]
mod tests;

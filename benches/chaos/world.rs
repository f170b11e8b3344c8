//! All that runs during one scenario: identity provider, application, Redis, gateways, and the faulty links between them.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Request, header};
use http_body_util::Full;
use tidegate::clock::{Clock, Timestamp};
use tidegate::demo::idp::{Algorithm, Client, Fault, Idp, Options, Step};
use tokio_rustls::TlsConnector;
use url::Url;

use crate::chance::Chance;
use crate::link::{Link, Mode};
use crate::pki::{client_tls, pki};
use crate::plan::{Plan, Store};
use crate::process::{Process, free_ports};
use crate::redis::Redis;
use crate::tally::{Cause, Tally};
use crate::upstream::Upstream;
use crate::visitor::{Standing, Visitor};
use crate::wire::Door;

pub const CLIENT_ID: &str = "chaos";
const CLIENT_SECRET: &str = "chaos-secret-of-the-development-identity-provider";
const ADMIN_TOKEN: &str = "the-administrator-of-the-chaos-run-0123456789";
const SESSION_KEY: &str = "azdIcTJadDlYdzRSdjhOYzNKYjZMbTFQZDVTZjBHeXU=";
/// A save follows its answer within this, unless the store is down.
const SAVED_WITHIN: Duration = Duration::from_secs(2);

/// A gateway and what it reaches the others by.
pub struct Node {
    pub process: Process,
    pub idp: Link,
    pub store: Option<Link>,
    /// Its administrator's.
    pub admin: Door,
    up: AtomicBool,
}

/// Something that was done to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// A gateway was killed.
    Kill(usize),
    /// Connections to the provider were cut, or held up, until the second time.
    Idp(Timestamp),
    /// The store was away until the second time.
    Store(Timestamp),
}

/// How a world is set up.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The life of access tokens.
    pub ttl: Duration,
    /// `session.refresh_before`
    pub before: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(6),
            before: Duration::from_secs(2),
        }
    }
}

pub struct World {
    pub plan: Plan,
    pub dir: PathBuf,
    pub idp: Idp,
    pub upstream: Upstream,
    pub store: Option<Redis>,
    pub nodes: Vec<Node>,
    pub doors: Vec<Door>,
    pub idp_door: Door,
    /// What browsers believe the gateways' address to be.
    pub front: Url,
    pub host: String,
    pub tally: Arc<Tally>,
    pub visitors: Mutex<Vec<Arc<Visitor>>>,
    numbers: AtomicUsize,
    chance: Mutex<Chance>,
    incidents: Mutex<Vec<(Timestamp, Incident)>>,
    evidence: Mutex<Vec<String>>,
}

impl World {
    pub async fn start(plan: &Plan, name: &str, setup: Setup, store: Store) -> Arc<Self> {
        let dir = target().join("chaos").join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        pki().write_to(&dir);
        fs::write(dir.join("client_secret"), CLIENT_SECRET).unwrap();
        fs::write(dir.join("session_key"), SESSION_KEY).unwrap();
        fs::write(dir.join("admin_token"), ADMIN_TOKEN).unwrap();
        let ports = free_ports(plan.nodes + 1);
        let admin_ports = free_ports(plan.nodes);
        let front = Url::parse(&format!("https://localhost:{}", ports[plan.nodes])).unwrap();
        let idp = identity_provider(&front, setup.ttl).await;
        let tally = Arc::<Tally>::default();
        let upstream = Upstream::start(&idp, &tally);
        let redis = Redis::start(store, &dir).await;
        let tls = TlsConnector::from(client_tls(&pki().root, &[b"http/1.1"]));
        let mut nodes = Vec::new();
        for (number, port) in ports.iter().take(plan.nodes).enumerate() {
            let links = (Link::to(idp.port()), redis.as_ref().and_then(Redis::link));
            let text = configuration(
                &dir,
                number,
                (*port, admin_ports[number]),
                &front,
                &idp,
                &links,
                redis.as_ref(),
                upstream.port(),
                setup,
            );
            let file = dir.join(format!("gateway-{number}.toml"));
            fs::write(&file, text).unwrap();
            let log = dir.join(format!("gateway-{number}.log"));
            let arguments = ["run", "-c", file.to_str().unwrap()].map(str::to_owned);
            nodes.push(Node {
                process: Process::new(&plan.program, arguments.to_vec(), *port, log),
                idp: links.0,
                store: links.1,
                admin: Door::new(admin_ports[number], None),
                up: AtomicBool::new(true),
            });
        }
        for node in &nodes {
            node.process.start().await;
        }
        for node in &nodes {
            node.process.until_listening().await;
        }
        Arc::new(Self {
            plan: plan.clone(),
            dir,
            idp_door: Door::new(idp.port(), None),
            idp,
            upstream,
            store: redis,
            doors: nodes
                .iter()
                .map(|n| Door::new(n.process.port, Some(tls.clone())))
                .collect(),
            nodes,
            host: format!("localhost:{}", front.port().unwrap()),
            front,
            tally,
            visitors: Mutex::default(),
            numbers: AtomicUsize::default(),
            chance: Mutex::new(Chance::new(plan.seed ^ hash(name))),
            incidents: Mutex::default(),
            evidence: Mutex::default(),
        })
    }

    /// A source of chance of one's own.
    pub fn chance(&self) -> Chance {
        self.chance.lock().unwrap().fork()
    }

    /// A gateway that runs, by chance.
    pub fn some_door(&self) -> usize {
        let mut chance = self.chance.lock().unwrap();
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].up.load(Ordering::Relaxed))
            .collect();
        if up.is_empty() {
            chance.below(self.nodes.len())
        } else {
            *chance.pick(&up)
        }
    }

    pub fn next_number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// So many people who sign in, some at a time.
    pub async fn sign_in(self: &Arc<Self>, count: usize) -> Vec<Arc<Visitor>> {
        let arriving = (0..count).map(|_| {
            let (world, number) = (Arc::clone(self), self.next_number());
            async move {
                let visitor = Visitor::new(&world, number);
                let signed_in = visitor.sign_in(&world).await;
                (visitor, signed_in)
            }
        });
        let mut arriving = futures_util::stream::iter(arriving).buffer_unordered(48);
        let mut arrived = Vec::new();
        while let Some((visitor, signed_in)) = arriving.next().await {
            assert!(
                signed_in,
                "a sign-in failed:\n{}",
                self.nodes[0].process.tail(20)
            );
            arrived.push(Arc::new(visitor));
        }
        self.visitors
            .lock()
            .unwrap()
            .extend(arrived.iter().cloned());
        arrived
    }

    /// The provider says at a gateway that a session or a user of its own is over; whether that is confirmed.
    pub async fn log_out_at(&self, door: usize, logout_token: &str) -> bool {
        let request = Request::post("/oauth2/backchannel_logout")
            .header(header::HOST, &self.host)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let form = format!("logout_token={logout_token}");
        let sent = self.doors[door].send(request.body(form.into()).unwrap());
        sent.await.is_ok_and(|reply| reply.status == 200)
    }

    /// An administrator ends all sessions of a user at a gateway; whether that is confirmed.
    pub async fn end_user_at(&self, number: usize, subject: &str) -> bool {
        let request = Request::delete(format!("/api/v1/users/{subject}/sessions"))
            .header(header::HOST, "localhost")
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}"));
        let sent = self.nodes[number]
            .admin
            .send(request.body(Full::default()).unwrap());
        sent.await.is_ok_and(|reply| reply.status == 200)
    }

    /// Kills a gateway.
    pub async fn kill(&self, number: usize) {
        self.nodes[number].up.store(false, Ordering::Relaxed);
        // It counts from before: until the process is gone it may answer and save.
        self.happened(Incident::Kill(number));
        self.nodes[number].process.kill().await;
    }

    /// Starts it again.
    pub async fn restart(&self, number: usize) {
        self.nodes[number].process.start().await;
        self.nodes[number].process.until_listening().await;
        self.nodes[number].up.store(true, Ordering::Relaxed);
    }

    pub fn is_up(&self, number: usize) -> bool {
        self.nodes[number].up.load(Ordering::Relaxed)
    }

    pub fn happened(&self, incident: Incident) {
        self.incidents
            .lock()
            .unwrap()
            .push((Clock::System.now(), incident));
    }

    /// What the provider's links are to be like for a while.
    pub async fn trouble_idp_links(&self, mode: Mode, time: Duration) {
        self.happened(Incident::Idp(Clock::System.now() + time));
        self.nodes.iter().for_each(|node| node.idp.set(mode));
        tokio::time::sleep(time).await;
        self.nodes.iter().for_each(|node| node.idp.set(Mode::Pass));
    }

    /// What the store's links are to be like for a while.
    pub async fn trouble_store_links(&self, mode: Mode, time: Duration) {
        self.happened(Incident::Store(Clock::System.now() + time));
        self.store_links().for_each(|link| link.set(mode));
        tokio::time::sleep(time).await;
        self.store_links().for_each(|link| link.set(Mode::Pass));
    }

    pub fn store_links(&self) -> impl Iterator<Item = &Link> {
        self.nodes.iter().filter_map(|node| node.store.as_ref())
    }

    /// Everything works again.
    pub async fn mend(&self) {
        self.idp.faults().clear();
        self.idp.come_up();
        for node in &self.nodes {
            node.idp.set(Mode::Pass);
        }
        self.store_links().for_each(|link| link.set(Mode::Pass));
        for number in 0..self.nodes.len() {
            if !self.is_up(number) {
                self.restart(number).await;
            }
        }
    }

    /// A session is not there any more: why, as far as the provider's books and what was done tell.
    pub fn lost(&self, visitor: &Visitor, noticed: Timestamp, door: usize) {
        let cause = self.cause(&visitor.sid, noticed);
        self.tally.lost(cause);
        let told = format!(
            "lost ({cause}), noticed at gateway {door} at {}",
            noticed.as_millis()
        );
        if !cause.is_nobodys_fault() {
            self.tally
                .problem(format!("visitor {}: {told}", visitor.number));
        }
        self.testify(visitor, &told);
    }

    /// A session was lost, and a page load did not bring a new one.
    pub fn not_healed(&self, visitor: &Visitor) {
        self.tally.problem(format!(
            "visitor {}: signed out without wanting it",
            visitor.number
        ));
        self.testify(visitor, "a page load did not heal it");
    }

    fn cause(&self, sid: &str, noticed: Timestamp) -> Cause {
        let incidents = self.incidents.lock().unwrap().clone();
        let mut families = self.idp.families(Some(sid));
        // The one that the page load brought which noticed it.
        families.retain(|family| family.history.first().is_some_and(|(at, _)| *at < noticed));
        if families.iter().any(|family| family.count(Step::Reused) > 0) {
            return Cause::Replay;
        }
        // Those before the newest have been healed already, unless its own sign-in came to nothing.
        let ends = families
            .iter()
            .rev()
            .filter_map(|family| last_exchange(&family.history));
        let mut known_good = Timestamp::default();
        for (at, step) in ends {
            if step == Step::AnswerLost {
                return Cause::AnswerLost;
            }
            if let Some(cause) = cut_short(at, &incidents) {
                return cause;
            }
            known_good = known_good.max(at);
        }
        // The page load itself may have set off the swap that came to nothing.
        let noticed = Clock::System.now();
        let since = |(from, incident): &(Timestamp, Incident)| match incident {
            Incident::Idp(until) => known_good <= *until + SAVED_WITHIN && *from <= noticed,
            // Killed after the mark, and before the provider was asked.
            Incident::Kill(_) => known_good <= *from && *from <= noticed,
            Incident::Store(_) => false,
        };
        if incidents.iter().any(since) {
            return Cause::Doubt;
        }
        Cause::Unexplained
    }

    /// From now on, and until it is cleared, the provider does something that leaves a refresh token's fate unknown.
    pub async fn trouble_idp(&self, fault: Fault, time: Duration) {
        if fault == Fault::Reset {
            self.happened(Incident::Idp(Clock::System.now() + time));
        }
        self.idp.faults().set(fault.clone());
        tokio::time::sleep(time).await;
        self.idp.faults().mend(&fault);
    }

    /// Writes down what is needed to find out what happened to a session.
    pub fn testify(&self, visitor: &Visitor, what: &str) {
        let name = visitor.log_name();
        let mut text = format!(
            "== visitor {} ({:?}), session {name} in the logs, sid {} at the provider: {what}\n",
            visitor.number,
            visitor.standing(),
            visitor.sid,
        );
        for family in self.idp.families(Some(&visitor.sid)) {
            let history: Vec<_> = family
                .history
                .iter()
                .map(|(at, step)| format!("{}:{step:?}", at.as_millis()))
                .collect();
            let _ = writeln!(
                text,
                "  family {} alive={} swaps={}: {}",
                family.number,
                family.alive,
                family.swaps,
                history.join(" ")
            );
        }
        self.evidence.lock().unwrap().push(text);
    }

    pub fn remark(&self, text: &str) {
        let mut evidence = self.evidence.lock().unwrap();
        if evidence.len() < 10_000 {
            evidence.push(format!("{} {text}\n", Clock::System.now().as_millis()));
        }
    }

    /// Writes `evidence.txt`, with the log lines of the sessions that it names.
    pub fn write_evidence(&self) {
        let mut text = format!("seed {}\n", self.plan.seed);
        for (at, incident) in self.incidents.lock().unwrap().iter() {
            let _ = writeln!(text, "{} {incident:?}", at.as_millis());
        }
        let evidence = self.evidence.lock().unwrap();
        for entry in evidence.iter() {
            text += entry;
            let name = entry
                .split_once("session ")
                .and_then(|(_, rest)| rest.split(' ').next());
            let Some(name) = name.filter(|name| name.len() == 12) else {
                continue;
            };
            for (number, node) in self.nodes.iter().enumerate() {
                let log = fs::read_to_string(&node.process.log).unwrap_or_default();
                let lines: Vec<&str> = log.lines().filter(|line| line.contains(name)).collect();
                for line in &lines[lines.len().saturating_sub(40)..] {
                    let _ = writeln!(text, "  gateway {number}: {line}");
                }
            }
        }
        for (number, node) in self.nodes.iter().enumerate() {
            let _ = writeln!(
                text,
                "-- gateway {number}, last lines\n{}",
                node.process.tail(30)
            );
        }
        fs::write(self.dir.join("evidence.txt"), text).unwrap();
    }

    pub fn has_evidence(&self) -> bool {
        !self.evidence.lock().unwrap().is_empty()
    }

    /// Those who are signed in.
    pub fn signed_in(&self) -> Vec<Arc<Visitor>> {
        let visitors = self.visitors.lock().unwrap();
        visitors
            .iter()
            .filter(|v| v.standing() == Standing::In)
            .cloned()
            .collect()
    }

    /// Stops everything that can be stopped in order.
    pub async fn end(&self) {
        for node in &self.nodes {
            node.process.kill().await;
        }
        if let Some(store) = &self.store {
            store.end().await;
        }
    }
}

/// The last time that tokens were asked for, and what came of it.
fn last_exchange(history: &[(Timestamp, Step)]) -> Option<(Timestamp, Step)> {
    let ends = [Step::Founded, Step::Answered, Step::AnswerLost];
    history
        .iter()
        .rev()
        .find(|(_, step)| ends.contains(step))
        .copied()
}

/// Whether something cut in between an answer and the save that follows it.
fn cut_short(answered: Timestamp, incidents: &[(Timestamp, Incident)]) -> Option<Cause> {
    let near = |from: Timestamp, until: Timestamp| {
        from <= answered + SAVED_WITHIN && answered <= until + SAVED_WITHIN
    };
    incidents
        .iter()
        .find_map(|(from, incident)| match incident {
            Incident::Kill(_) if near(*from, *from) => Some(Cause::Killed),
            Incident::Idp(until) if near(*from, *until) => Some(Cause::AnswerLost),
            Incident::Kill(_) | Incident::Idp(_) | Incident::Store(_) => None,
        })
}

async fn identity_provider(front: &Url, ttl: Duration) -> Idp {
    let origin = front.origin().ascii_serialization();
    let mut client = Client::new(CLIENT_ID, CLIENT_SECRET).for_gateway(&origin);
    client.backchannel_logout_uri = None;
    let options = Options {
        algorithm: Algorithm::Es256,
        clients: vec![client],
        access_token_ttl: ttl,
        keeps_tokens: false,
        ..Options::default()
    };
    Idp::start(options).await.unwrap()
}

#[expect(clippy::too_many_arguments, reason = "the placeholders of one text")]
fn configuration(
    dir: &Path,
    number: usize,
    (port, admin): (u16, u16),
    front: &Url,
    idp: &Idp,
    links: &(Link, Option<Link>),
    store: Option<&Redis>,
    upstream: u16,
    setup: Setup,
) -> String {
    let origin = front.origin().ascii_serialization();
    let (issuer, idp_port) = (idp.issuer(), links.0.port());
    let before = setup.before.as_millis();
    let dir = dir.display();
    let (kind, store) = match store {
        Some(redis) => ("redis", redis.section(links.1.as_ref())),
        None => (
            "disk",
            format!("[store.disk]\npath = \"{dir}/sessions-{number}.redb\""),
        ),
    };
    format!(
        r#"version = 1
[server]
external_url   = "{origin}"
shutdown_grace = "10s"
[[listeners]]
address  = "127.0.0.1:{port}"
[tls]
certificates = [{{ cert = "{dir}/tls.crt", key = {{ file = "{dir}/tls.key" }} }}]
[idp.main]
issuer        = "{issuer}"
discovery_url = "http://127.0.0.1:{idp_port}"
client_id     = "{CLIENT_ID}"
client_secret = {{ file = "{dir}/client_secret" }}
access_token  = {{ audience = ["apps"], clock_skew = "1s" }}
[session]
store           = "{kind}"
refresh_before  = "{before}ms"
encryption_keys = [{{ file = "{dir}/session_key" }}]
max_per_user    = 0
{store}
[logout]
rp_initiated = false
[upstreams.app]
targets       = ["http://127.0.0.1:{upstream}"]
authorization = "access_token"
[[routes]]
path     = "/{{*rest}}"
upstream = "app"
auth     = "session"
[[routes]]
path     = "/api/{{*rest}}"
upstream = "app"
auth     = "bearer"
[admin]
address = "127.0.0.1:{admin}"
token   = {{ file = "{dir}/admin_token" }}
[telemetry]
log_level  = "info,tidegate::session=debug"
log_format = "json"
access_log = {{ path = "off" }}
"#
    )
}

pub fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target")
}

fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

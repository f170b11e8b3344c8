//! Nodes over one store and one provider, all in process, on a clock that only a test moves. Where the world is gated,
//! all that goes between them waits until the test lets it go, and with what outcome it likes; rules that hold at every
//! single step are checked here ([`World::breaches`]).

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it is interested in"
)]

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::future::pending;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Map;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::house::{MINUTE, SECOND, TOKEN, settings};
use crate::clock::{Clock, Timestamp};
use crate::issuer::{self, ClientAuth, Issuer, Revocable};
use crate::seal::Keyring;
use crate::session::provider::{Call, Endpoint};
use crate::session::record::{Kept, Record};
use crate::session::store::memory::Memory;
use crate::session::store::news::News;
use crate::session::store::{
    Answer, Census, Change, Debt, Due, Found, Index, Row, Shared, Store, Written,
};
use crate::session::{
    Activity, EndReason, Ended, Error, Live, Login, Sessions, Settings, StoreError, Tools,
};
use crate::telemetry::{Audit, Metrics};
use crate::token::{AccessToken, Grant, RefreshToken, SessionCookie, SessionHash, SessionId};
use crate::verify::{Criterion, IdClaims, Refusal, Refused, Verifier};

/// How long the lease of a swap lives.
pub(super) const LEASE: Duration = Duration::from_secs(10);
/// How long a call to the provider may take.
pub(super) const CALL: Duration = Duration::from_secs(5);

/// The things that wait, by what they wait for. Those of one queue of one node go in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Queue {
    /// A request to the store, on its way there.
    Store,
    /// A refresh or a revocation, on its way to the provider.
    Idp,
    /// What the store or the provider answered, on its way back.
    Back,
    /// News of a change, on its way to a node.
    News,
}

/// How what waits goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Outcome {
    /// As it should.
    Well,
    /// It fails and did nothing. The provider answers 503.
    Fails,
    /// It did what it should, and the answer is lost.
    Lost,
    /// It did what it should, and the answer waits.
    Slow,
    /// 429 with a `Retry-After` of half a minute.
    Busy,
    /// The provider refuses the gateway's client.
    Client,
    /// The provider's answer is of somebody else.
    Wrong,
    /// The provider's answer brings no new refresh token.
    Keeps,
}

/// What a node hears of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Link {
    Up,
    /// It hears nothing, and does not know yet.
    Silent,
    /// It hears nothing, and knows.
    Down,
}

type Tx<T, E> = oneshot::Sender<Result<T, E>>;

enum Act {
    Load(SessionHash, Tx<Option<Found>, StoreError>),
    Write(Change, Tx<Written, StoreError>),
    Refresh(String, Tx<Grant, issuer::Error>),
    Revoke(String, Tx<(), issuer::Error>),
    Back(Box<dyn FnOnce(bool) + Send>),
    News(SessionHash),
}

struct Pending {
    seat: usize,
    queue: Queue,
    label: &'static str,
    act: Act,
}

/// A process: a node that crashes sits down anew.
struct Seat {
    node: usize,
    alive: bool,
    news: Arc<News>,
    refused: Arc<Refused>,
    link: Link,
    /// It can't reach the store.
    cut_off: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Running,
    /// The node has the answer.
    Answered,
    Refused,
    NotUsed,
    Unknown,
}

struct Used {
    seat: usize,
    token: String,
    how: Use,
}

/// What the provider knows.
pub(super) struct Idp {
    issued: u64,
    /// Refresh token to its family.
    families: HashMap<String, u64>,
    /// The one living refresh token of a family.
    living: HashMap<u64, String>,
    /// Access tokens to their family.
    access: HashMap<String, u64>,
    /// The last access token of a family.
    latest: HashMap<u64, String>,
    bad: HashSet<String>,
    uses: Vec<Used>,
    /// Refresh tokens whose answer never reached a node that still lives.
    undelivered: HashSet<String>,
    /// Tokens that the store has had.
    saved: HashSet<String>,
    pub(super) reuses: usize,
    refusals: HashSet<u64>,
    wrong: HashSet<u64>,
    /// A second use ends the family.
    pub(super) detects_reuse: bool,
    /// A spent refresh token that is revoked takes its family with it.
    pub(super) revokes_families: bool,
    pub(super) script: VecDeque<Outcome>,
    pub(super) otherwise: Outcome,
    pub(super) holds: bool,
    /// How long a call may take.
    pub(super) patience: Duration,
}

/// What is known of a session from outside.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) family: u64,
    pub(super) began: Timestamp,
    pub(super) active: Timestamp,
    pub(super) sign_out_asked: bool,
    pub(super) signed_out: Option<Timestamp>,
    /// When the store first had this generation checked.
    checked: Vec<(u64, Timestamp)>,
    /// Access tokens that were handed to requests: when they end, and by whom.
    pub(super) served: HashMap<String, (Timestamp, usize)>,
}

struct Inner {
    gated: bool,
    rows: Memory,
    /// What the store has of refused tokens.
    refused: Vec<Refusal>,
    leases: HashMap<SessionHash, (usize, Timestamp)>,
    seats: Vec<Seat>,
    waiting: Vec<Pending>,
    idp: Idp,
    facts: HashMap<SessionHash, Facts>,
    breaches: Vec<String>,
    writes: Vec<(usize, &'static str, Written)>,
    settings: Settings,
}

/// See the file's first line.
pub(super) struct World {
    inner: Mutex<Inner>,
    pub(super) clock: Clock,
    keys: Keyring,
}

/// One process.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) seat: usize,
    pub(super) sessions: Arc<Sessions>,
    pub(super) metrics: Arc<Metrics>,
}

impl World {
    pub(super) fn new() -> Arc<Self> {
        Self::with(settings())
    }

    pub(super) fn with(settings: Settings) -> Arc<Self> {
        let idp = Idp {
            issued: 0,
            families: HashMap::new(),
            living: HashMap::new(),
            access: HashMap::new(),
            latest: HashMap::new(),
            bad: HashSet::new(),
            uses: Vec::new(),
            undelivered: HashSet::new(),
            saved: HashSet::new(),
            reuses: 0,
            refusals: HashSet::new(),
            wrong: HashSet::new(),
            detects_reuse: true,
            revokes_families: false,
            script: VecDeque::new(),
            otherwise: Outcome::Well,
            holds: false,
            patience: CALL,
        };
        let inner = Inner {
            gated: false,
            rows: Memory::default(),
            refused: Vec::new(),
            leases: HashMap::new(),
            seats: Vec::new(),
            waiting: Vec::new(),
            idp,
            facts: HashMap::new(),
            breaches: Vec::new(),
            writes: Vec::new(),
            settings,
        };
        Arc::new(Self {
            inner: Mutex::new(inner),
            clock: Clock::paused(),
            keys: common().1.clone(),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// A process starts at this node. Metrics of its own cost time: where nobody looks at them they are shared.
    pub(super) fn node(self: &Arc<Self>, node: usize, metrics: Option<Metrics>) -> Node {
        self.node_with(node, metrics, self.keys.clone())
    }

    /// A node with encryption keys of its own.
    pub(super) fn node_with(
        self: &Arc<Self>,
        node: usize,
        metrics: Option<Metrics>,
        keys: Keyring,
    ) -> Node {
        let news = news();
        news.link_up();
        let (issuer, _, shared_metrics) = common();
        let metrics = metrics.map_or_else(|| Arc::clone(shared_metrics), Arc::new);
        let verifier = register(&self.clock, &metrics);
        let mut inner = self.inner();
        let now = self.clock.now();
        verifier.refused().add(&inner.refused, now).unwrap();
        let seat = inner.seats.len();
        inner.seats.push(Seat {
            node,
            alive: true,
            news: Arc::clone(&news),
            refused: Arc::clone(verifier.refused()),
            link: Link::Up,
            cut_off: false,
        });
        let settings = inner.settings.clone();
        drop(inner);
        let desk = Desk {
            world: Arc::clone(self),
            seat,
        };
        let tools = Tools {
            keys,
            idps: vec![Arc::clone(issuer)],
            verifier,
            clock: self.clock.clone(),
            background: Handle::current(),
            metrics: Arc::clone(&metrics),
            audit: Audit::off(),
        };
        let store = Arc::new(desk.clone());
        let mut sessions = Sessions::over(store, settings, tools);
        let ours = Arc::get_mut(&mut sessions).unwrap();
        for provider in ours.idps.values_mut() {
            provider.endpoint = Arc::new(desk.clone());
        }
        Node {
            seat,
            sessions,
            metrics,
        }
    }

    /// A session is in the store, and no node has it in memory. The same id for the same number.
    pub(super) fn session(&self, number: u8) -> SessionId {
        let id = SessionId::parse(&URL_SAFE_NO_PAD.encode([number; 32])).unwrap();
        let now = self.clock.now();
        let mut inner = self.inner();
        let family = inner.idp.issued + 1;
        let grant = inner.idp.issue(family, now, false);
        inner.idp.undelivered.clear();
        let access = grant.access_token.expose().to_owned();
        inner.idp.saved.insert(access);
        let Settings {
            absolute_timeout,
            refresh_every,
            idle_timeout,
            ..
        } = inner.settings;
        let record = Record::begin(a_login(grant, now), now, absolute_timeout, refresh_every);
        let row = record.row(&id.hash(), &self.keys, now, idle_timeout);
        at_once(inner.rows.write(Change::Create(id.hash(), row))).unwrap();
        let facts = Facts {
            family,
            began: now,
            active: now,
            sign_out_asked: false,
            signed_out: None,
            checked: vec![(0, now)],
            served: HashMap::new(),
        };
        inner.facts.insert(id.hash(), facts);
        id
    }

    pub(super) fn gated(&self, gated: bool) {
        self.inner().gated = gated;
    }

    /// All breaches of a rule so far.
    pub(super) fn breaches(&self) -> Vec<String> {
        self.inner().breaches.clone()
    }

    pub(super) fn breach(&self, what: String) {
        self.inner().breaches.push(what);
    }

    pub(super) fn judge_ended(&self, id: &SessionId, reason: EndReason) {
        let now = self.clock.now();
        self.inner().judge_end(id.hash(), reason, now);
    }

    pub(super) fn facts(&self, id: &SessionId) -> Facts {
        self.inner().facts[&id.hash()].clone()
    }

    pub(super) fn note(&self, id: &SessionId, note: impl FnOnce(&mut Facts)) {
        note(self.inner().facts.get_mut(&id.hash()).unwrap());
    }

    pub(super) fn idp<T>(&self, ask: impl FnOnce(&mut Idp) -> T) -> T {
        ask(&mut self.inner().idp)
    }

    /// The heads of all queues, the oldest first, and whether nobody waits for the answer any more.
    pub(super) fn heads(&self) -> Vec<Head> {
        let inner = self.inner();
        let mut heads: Vec<Head> = Vec::new();
        for waiting in &inner.waiting {
            let orphan = waiting.is_orphan(&inner.seats);
            let head = Head {
                seat: waiting.seat,
                node: inner.seats[waiting.seat].node,
                queue: waiting.queue,
                label: waiting.label,
                orphan,
            };
            // Answers and calls to the provider go in any order among queues, in order within one.
            let same = |h: &Head| (h.seat, h.queue, h.orphan) == (head.seat, head.queue, orphan);
            if !heads.iter().any(same) {
                heads.push(head);
            }
        }
        heads
    }

    pub(super) fn waits_at(&self, seat: usize) -> bool {
        let inner = self.inner();
        let mut waiting = inner.waiting.iter();
        waiting.any(|w| w.seat == seat && matches!(w.queue, Queue::Store | Queue::Back))
    }

    /// Lets the head of a queue go.
    pub(super) fn let_go(
        self: &Arc<Self>,
        seat: usize,
        queue: Queue,
        orphan: bool,
        outcome: Outcome,
    ) {
        let waiting = {
            let mut inner = self.inner();
            let inner = &mut *inner;
            let mut all = inner.waiting.iter();
            let at = all.position(|w| {
                (w.seat, w.queue) == (seat, queue) && w.is_orphan(&inner.seats) == orphan
            });
            let Some(at) = at else {
                panic!("nothing waits in {queue:?} of {seat}: the schedule no longer fits");
            };
            inner.waiting.remove(at)
        };
        self.act(waiting, outcome);
    }

    fn act(self: &Arc<Self>, waiting: Pending, outcome: Outcome) {
        let Pending { seat, act, .. } = waiting;
        match act {
            Act::Load(id, tx) => {
                let found = self.inner().load(seat, id, self.clock.now());
                self.reply(seat, tx, Ok(found), outcome, down);
            }
            Act::Write(change, tx) => {
                let written = if outcome == Outcome::Fails {
                    Written::Refused
                } else {
                    self.write_now(seat, change)
                };
                self.reply(seat, tx, Ok(written), outcome, down);
            }
            Act::Refresh(token, tx) => self.refresh_now(seat, &token, tx, outcome),
            Act::Revoke(token, tx) => {
                if outcome == Outcome::Fails {
                    self.reply(seat, tx, Ok(()), outcome, unavailable);
                } else {
                    self.inner().idp.revoke(&token);
                    self.reply(seat, tx, Ok(()), outcome, unknown);
                }
            }
            Act::Back(back) => back(outcome != Outcome::Well),
            Act::News(id) => {
                let inner = self.inner();
                let seat = &inner.seats[seat];
                if seat.alive && seat.link == Link::Up {
                    let news = Arc::clone(&seat.news);
                    drop(inner);
                    news.changed(&id);
                }
            }
        }
    }

    fn reply<T: Send + 'static, E: Send + 'static>(
        self: &Arc<Self>,
        seat: usize,
        tx: Tx<T, E>,
        answer: Result<T, E>,
        outcome: Outcome,
        fault: fn() -> E,
    ) {
        match outcome {
            Outcome::Fails | Outcome::Lost => self.send(seat, tx, Err(fault())),
            Outcome::Slow => {
                let world = Arc::clone(self);
                let back = move |lost| {
                    let answer = if lost { Err(fault()) } else { answer };
                    world.send(seat, tx, answer);
                };
                self.inner().waiting.push(Pending {
                    seat,
                    queue: Queue::Back,
                    label: "answer",
                    act: Act::Back(Box::new(back)),
                });
            }
            _ => self.send(seat, tx, answer),
        }
    }

    fn send<T, E>(&self, seat: usize, tx: Tx<T, E>, answer: Result<T, E>) {
        let alive = self.inner().seats[seat].alive;
        if alive {
            // Nobody may be listening any more.
            let _ = tx.send(answer);
        }
    }

    /// The node's process ends here and now: nothing that it does later is seen by anyone. What is on its way gets there
    /// all the same, or not.
    pub(super) fn crash(&self, node: &Node, on_its_way_stays: bool) {
        let mut inner = self.inner();
        inner.seats[node.seat].alive = false;
        for used in &mut inner.idp.uses {
            if used.seat == node.seat && used.how == Use::Running {
                used.how = Use::Unknown;
            }
        }
        let stays = |w: &Pending| on_its_way_stays && matches!(w.queue, Queue::Store | Queue::Idp);
        inner.waiting.retain(|w| w.seat != node.seat || stays(w));
        inner.forget_answers_of(node.seat, &self.keys);
    }

    pub(super) fn link(&self, node: &Node, link: Link) {
        let mut inner = self.inner();
        let seat = &mut inner.seats[node.seat];
        seat.link = link;
        let (news, refused) = (Arc::clone(&seat.news), Arc::clone(&seat.refused));
        if link == Link::Up {
            refused.add(&inner.refused, self.clock.now()).unwrap();
        } else {
            let of = |w: &Pending| w.seat == node.seat && w.queue == Queue::News;
            inner.waiting.retain(|w| !of(w));
        }
        drop(inner);
        match link {
            Link::Up => {
                news.link_down();
                news.link_up();
            }
            Link::Silent => {}
            Link::Down => news.link_down(),
        }
    }

    pub(super) fn link_of(&self, node: &Node) -> Link {
        self.inner().seats[node.seat].link
    }

    /// Whether a node has heard all that there was to hear.
    pub(super) fn has_heard(&self, seat: usize) -> bool {
        let inner = self.inner();
        let late = |w: &Pending| w.seat == seat && w.queue == Queue::News;
        inner.seats[seat].link == Link::Up && !inner.waiting.iter().any(late)
    }

    pub(super) fn cut_off(&self, node: &Node, cut_off: bool) {
        self.inner().seats[node.seat].cut_off = cut_off;
    }

    /// The store as it is: `None` where it has nothing.
    pub(super) fn stored(&self, id: &SessionId) -> Option<(Row, Kept)> {
        let row = self.inner().row(id.hash())?;
        let kept = Kept::open(&row, &id.hash(), &self.keys)?;
        Some((row, kept))
    }

    /// Puts an older row in the place of what is there.
    pub(super) fn lose(&self, id: &SessionId, row: Row) {
        let inner = self.inner();
        at_once(inner.rows.write(Change::Create(id.hash(), row))).unwrap();
    }

    /// Those of the tokens that requests were given which a node accepts still, though they have not ended. One that was
    /// not saved before its process died nobody can know.
    pub(super) fn accepts(&self, node: &Node, id: &SessionId) -> Vec<String> {
        let now = self.clock.now();
        let inner = self.inner();
        let refused = &inner.seats[node.seat].refused;
        let served = inner.facts[&id.hash()].served.iter();
        let known = |token: &String, seat: usize| {
            inner.seats[seat].alive || inner.idp.saved.contains(token)
        };
        let living = served.filter(|(token, (ends, seat))| now < *ends && known(token, *seat));
        let accepted = living.filter(|(token, _)| {
            !refused.refuses(&Criterion::token(token), Timestamp::default(), now)
        });
        accepted.map(|(token, _)| token.clone()).collect()
    }

    pub(super) fn owed(&self) -> u64 {
        at_once(self.inner().rows.census()).unwrap().owed
    }

    pub(super) fn writes(&self, label: &str) -> usize {
        let inner = self.inner();
        inner.writes.iter().filter(|w| w.1 == label).count()
    }

    /// The newest generation that the store had checked by then.
    pub(super) fn checked_by(&self, id: &SessionId, then: Timestamp) -> u64 {
        let inner = self.inner();
        let checked = inner.facts[&id.hash()].checked.iter();
        let by = checked.filter(|(_, at)| *at <= then).map(|(g, _)| *g);
        by.max().unwrap_or_default()
    }

    fn write_now(&self, seat: usize, change: Change) -> Written {
        let now = self.clock.now();
        let mut inner = self.inner();
        let label = label(&change);
        let id = subject_of(&change);
        let before = id.and_then(|id| inner.row(id));
        let holder = id.and_then(|id| inner.holder(id, now));
        let written = inner.write(seat, change, now);
        inner.writes.push((seat, label, written));
        let (Some(id), Written::Done) = (id, written) else {
            return written;
        };
        let after = inner.row(id);
        if let (Some(before), Some(after)) = (before, after) {
            inner.judge_write(seat, id, label, &before, &after, holder, now, &self.keys);
        }
        written
    }

    fn refresh_now(
        self: &Arc<Self>,
        seat: usize,
        token: &str,
        tx: Tx<Grant, issuer::Error>,
        outcome: Outcome,
    ) {
        let refused = || {
            Err(issuer::Error::Refused {
                error: "invalid_grant".to_owned(),
            })
        };
        let now = self.clock.now();
        let (answer, fault): (_, fn() -> issuer::Error) = match outcome {
            Outcome::Fails => (Err(unavailable()), unavailable),
            Outcome::Busy => (Err(busy()), busy),
            Outcome::Client => (Err(client()), client),
            _ => {
                let used = self.inner().idp.refresh(token, now, outcome);
                (used.map_or_else(refused, Ok), unknown)
            }
        };
        self.reply(seat, tx, answer, outcome, fault);
    }
}

/// What may go next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seat: usize,
    pub(super) node: usize,
    pub(super) queue: Queue,
    pub(super) label: &'static str,
    pub(super) orphan: bool,
}

impl Pending {
    fn is_orphan(&self, seats: &[Seat]) -> bool {
        let nobody_waits = match &self.act {
            Act::Load(_, tx) => tx.is_closed(),
            Act::Write(_, tx) => tx.is_closed(),
            Act::Refresh(_, tx) => tx.is_closed(),
            Act::Revoke(_, tx) => tx.is_closed(),
            Act::Back(_) | Act::News(_) => false,
        };
        !seats[self.seat].alive || nobody_waits && self.queue == Queue::Idp
    }
}

impl Inner {
    fn row(&self, id: SessionHash) -> Option<Row> {
        at_once(self.rows.load(id)).unwrap().map(|found| found.row)
    }

    fn holder(&self, id: SessionHash, now: Timestamp) -> Option<usize> {
        let lease = self.leases.get(&id);
        lease
            .filter(|(_, until)| now < *until)
            .map(|(seat, _)| *seat)
    }

    fn is_held_by_another(&self, seat: usize, id: SessionHash, now: Timestamp) -> bool {
        self.holder(id, now).is_some_and(|holder| holder != seat)
    }

    fn load(&self, seat: usize, id: SessionHash, now: Timestamp) -> Option<Found> {
        let held = self.is_held_by_another(seat, id, now);
        self.row(id).map(|row| Found { row, held })
    }

    /// As the Redis store does it.
    fn write(&mut self, seat: usize, change: Change, now: Timestamp) -> Written {
        let (id, lease, told) = match &change {
            Change::Mark(id, _) | Change::Renew(id, _) => {
                if self.is_held_by_another(seat, *id, now) {
                    return Written::Refused;
                }
                (*id, Some((seat, now + LEASE)), false)
            }
            Change::Save(id, _) | Change::End { id, .. } => (*id, None, true),
            Change::Refuse { refusals, .. } => {
                self.refused.extend(refusals);
                for other in self.seats.iter().filter(|s| s.link == Link::Up) {
                    other.refused.add(refusals, now).unwrap();
                }
                return Written::Done;
            }
            _ => return at_once(self.rows.write(change)).unwrap(),
        };
        let ended = matches!(change, Change::End { .. });
        let others_lease = !ended && self.is_held_by_another(seat, id, now);
        let written = at_once(self.rows.write(change)).unwrap();
        if written == Written::Refused {
            return written;
        }
        match lease {
            Some(lease) => self.leases.insert(id, lease),
            None if others_lease => None,
            None => self.leases.remove(&id),
        };
        if told {
            self.tell(seat, id);
        }
        written
    }

    fn tell(&mut self, author: usize, id: SessionHash) {
        for (at, seat) in self.seats.iter().enumerate() {
            if at == author || !seat.alive || seat.link != Link::Up {
                continue;
            }
            if self.gated {
                self.waiting.push(Pending {
                    seat: at,
                    queue: Queue::News,
                    label: "news",
                    act: Act::News(id),
                });
            } else {
                seat.news.changed(&id);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "all there is to a change")]
    fn judge_write(
        &mut self,
        seat: usize,
        id: SessionHash,
        label: &'static str,
        before: &Row,
        after: &Row,
        holder: Option<usize>,
        now: Timestamp,
        keys: &Keyring,
    ) {
        // Nothing comes after a tombstone: its fence does not matter.
        let undercut = !after.ended && after.fence < before.fence;
        if undercut || after.generation < before.generation {
            self.breaches
                .push(format!("{label} by {seat} took the row back"));
        }
        if before.ended && !after.ended {
            self.breaches
                .push(format!("{label} by {seat} raised the dead"));
        }
        let stolen = holder.filter(|holder| *holder != seat);
        if let Some(holder) = stolen
            && label == "save"
            && after.generation == before.generation
            && self.idp.is_calling(holder)
        {
            self.breaches.push(format!(
                "a save by {seat} ended the lease of {holder} in its call"
            ));
        }
        let kept = Kept::open(after, &id, keys);
        if let Some(Kept::Alive(record)) = &kept {
            let token = record.refresh_token.as_ref().map(RefreshToken::expose);
            let access = record.access_token.expose();
            let tokens = [token.unwrap_or_default(), access].map(str::to_owned);
            self.idp.saved.extend(tokens);
        }
        match kept {
            Some(Kept::Over(tombstone)) => self.judge_end(id, tombstone.reason, now),
            Some(Kept::Alive(record)) if record.unchecked.is_none() => {
                let facts = self.facts.get_mut(&id).unwrap();
                let known = facts.checked.iter().any(|(g, _)| *g == record.generation);
                if !known {
                    facts.checked.push((record.generation, now));
                }
            }
            Some(Kept::Alive(_)) => {}
            None => self.breaches.push(format!("{label}: it does not open")),
        }
    }

    /// A session never ends but for a reason of the list.
    fn judge_end(&mut self, id: SessionHash, reason: EndReason, now: Timestamp) {
        let facts = &self.facts[&id];
        let Settings {
            idle_timeout: idle,
            absolute_timeout: absolute,
            ..
        } = self.settings;
        let dead = !self.idp.living.contains_key(&facts.family);
        let allowed = match reason {
            EndReason::SignedOut => facts.sign_out_asked,
            // Activity is written once in a tenth of the timeout, a minute at most.
            EndReason::Idle => now + MINUTE.min(idle / 10) >= facts.active + idle,
            EndReason::Absolute => now >= facts.began + absolute,
            EndReason::Refused | EndReason::LostInFlight => {
                self.idp.refusals.contains(&facts.family)
                    && (dead || self.idp.latest_is_lost(facts.family))
            }
            EndReason::BadAnswer => self.idp.wrong.contains(&facts.family),
            EndReason::Expired
            | EndReason::Forgotten
            | EndReason::Replaced
            | EndReason::Displaced
            | EndReason::Dismissed
            | EndReason::Administrator
            | EndReason::BackChannel
            | EndReason::FrontChannel => false,
        };
        if !allowed {
            self.breaches
                .push(format!("the session ended for no good reason: {reason:?}"));
        }
    }

    /// What a node that is gone had been answered and had not saved is known to nobody.
    fn forget_answers_of(&mut self, seat: usize, keys: &Keyring) {
        let tokens: Vec<_> = self.idp.living.values().cloned().collect();
        for token in tokens {
            let got = |used: &Used| used.seat == seat && used.how == Use::Answered;
            if !self.idp.uses.iter().any(got) {
                continue;
            }
            let ids: Vec<_> = self.facts.keys().copied().collect();
            let saved = ids.iter().any(|id| {
                let row = self.row(*id);
                let kept = row.and_then(|row| Kept::open(&row, id, keys));
                matches!(kept, Some(Kept::Alive(r)) if r.refresh_token.as_ref().is_some_and(|t| t.expose() == token))
            });
            if !saved {
                self.idp.undelivered.insert(token);
            }
        }
    }

    /// The rules for sending a refresh token.
    fn judge_call(&mut self, seat: usize, token: &str, now: Timestamp, keys: &Keyring) {
        let family = self.idp.families.get(token).copied();
        let id = self.facts.iter().find(|(_, f)| Some(f.family) == family);
        let Some(id) = id.map(|(id, _)| *id) else {
            return;
        };
        let row = self.row(id);
        let kept = row.and_then(|row| Kept::open(&row, &id, keys));
        let Some(Kept::Alive(record)) = kept else {
            // It ended a moment ago: what comes is given back.
            return;
        };
        if record.refresh_token.as_ref().map(RefreshToken::expose) != Some(token) {
            self.breaches.push(format!(
                "{seat} sends {token}, and the store has newer tokens"
            ));
        }
        if self.holder(id, now) != Some(seat) {
            self.breaches
                .push(format!("{seat} sends {token} without a lease"));
        }
        let before = self.idp.uses.iter().filter(|used| used.token == token);
        let unknown = before.clone().any(|used| used.how == Use::Unknown);
        if unknown && (now < record.access_expires || !record.kept_token) {
            self.breaches
                .push(format!("{seat} sends {token} blindly once more"));
        }
        let answered = before.clone().find(|used| {
            used.how == Use::Answered && self.seats[used.seat].alive && used.seat == seat
        });
        if answered.is_some()
            && self.idp.living.get(&family.unwrap()).map(String::as_str) != Some(token)
        {
            self.breaches
                .push(format!("{seat} sends {token}, and has been answered"));
        }
    }
}

impl Idp {
    fn issue(&mut self, family: u64, now: Timestamp, wrong: bool) -> Grant {
        self.issued += 1;
        let subject = if wrong { "mallory" } else { "alice" };
        let claims = format!(r#"{{"sub":"{subject}","jti":"{}"}}"#, self.issued);
        let access_token = format!("a.{}.of-{family}", URL_SAFE_NO_PAD.encode(claims));
        let refresh_token = format!("R{}-of-{family}", self.issued);
        self.families.insert(refresh_token.clone(), family);
        self.living.insert(family, refresh_token.clone());
        self.access.insert(access_token.clone(), family);
        self.latest.insert(family, access_token.clone());
        self.undelivered.insert(refresh_token.clone());
        if wrong {
            self.bad.insert(access_token.clone());
            self.wrong.insert(family);
        }
        Grant {
            access_token: AccessToken::new(access_token),
            access_expires: Some(now + TOKEN),
            refresh_token: Some(RefreshToken::new(refresh_token)),
            refresh_expires: None,
            id_token: None,
        }
    }

    fn refresh(&mut self, token: &str, now: Timestamp, outcome: Outcome) -> Option<Grant> {
        let family = self.families[token];
        if self.living.get(&family).map(String::as_str) != Some(token) {
            self.reuses += 1;
            if self.detects_reuse {
                self.living.remove(&family);
            }
            self.refusals.insert(family);
            return None;
        }
        let grant = self.issue(family, now, outcome == Outcome::Wrong);
        if outcome != Outcome::Keeps {
            return Some(grant);
        }
        self.living.insert(family, token.to_owned());
        Some(Grant {
            refresh_token: None,
            ..grant
        })
    }

    fn revoke(&mut self, token: &str) {
        let Some(&family) = self.families.get(token) else {
            return;
        };
        if self.revokes_families || self.living.get(&family).map(String::as_str) == Some(token) {
            self.living.remove(&family);
        }
    }

    fn is_calling(&self, seat: usize) -> bool {
        let mut uses = self.uses.iter();
        uses.any(|used| used.seat == seat && used.how == Use::Running)
    }

    /// No other node can know the living token: its answer was lost, or who has it could not save it.
    fn latest_is_lost(&self, family: u64) -> bool {
        let living = self.living.get(&family);
        living.is_some_and(|token| !self.saved.contains(token))
    }

    /// A living refresh token that somebody knows.
    pub(super) fn known_and_living(&self, family: u64) -> Option<String> {
        let living = self.living.get(&family)?;
        (!self.undelivered.contains(living)).then(|| living.clone())
    }

    pub(super) fn is_alive(&self, family: u64) -> bool {
        self.living.contains_key(&family)
    }

    pub(super) fn is_bad(&self, access: &AccessToken) -> bool {
        self.bad.contains(access.expose())
    }

    pub(super) fn is_latest(&self, access: &AccessToken) -> bool {
        let family = self.access.get(access.expose());
        family.is_some_and(|f| self.latest[f] == access.expose())
    }

    /// Gives a family a living token again, its latest.
    pub(super) fn revive(&mut self, family: u64) {
        let of = |t: &&String| t.ends_with(&format!("-of-{family}"));
        let latest = self
            .families
            .keys()
            .filter(of)
            .max_by_key(|t| (t.len(), t.as_str()));
        let latest = latest.unwrap().clone();
        self.living.insert(family, latest);
    }

    /// How often a refresh was asked for.
    pub(super) fn refreshes(&self) -> usize {
        self.uses.len()
    }
}

/// A node's way to the store and to the provider.
#[derive(Clone)]
struct Desk {
    world: Arc<World>,
    seat: usize,
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "desk of {}", self.seat)
    }
}

impl Desk {
    fn ask<T: Send + 'static>(
        &self,
        queue: Queue,
        label: &'static str,
        act: impl FnOnce(oneshot::Sender<T>) -> Act,
    ) -> impl Future<Output = T> + Send + 'static {
        let (tx, rx) = oneshot::channel();
        let waiting = Pending {
            seat: self.seat,
            queue,
            label,
            act: act(tx),
        };
        let mut inner = self.world.inner();
        let seat = &inner.seats[self.seat];
        let (alive, cut_off) = (seat.alive, seat.cut_off && queue == Queue::Store);
        let waits = inner.gated && label != "touch" && label != "book";
        if alive && waits {
            inner.waiting.push(waiting);
        } else if alive {
            let outcome = match queue {
                Queue::Store if cut_off => Outcome::Fails,
                Queue::Idp if label == "refresh" => {
                    let otherwise = inner.idp.otherwise;
                    inner.idp.script.pop_front().unwrap_or(otherwise)
                }
                _ => Outcome::Well,
            };
            if inner.idp.holds && label == "refresh" {
                inner.waiting.push(waiting);
            } else {
                drop(inner);
                self.world.act(waiting, outcome);
            }
        }
        async move {
            match rx.await {
                Ok(answer) => answer,
                Err(_) => pending().await,
            }
        }
    }

    /// What no schedule is interested in happens at once.
    fn book<T: Send + 'static>(&self, ask: impl FnOnce(&Memory) -> Answer<T>) -> Answer<T> {
        let inner = self.world.inner();
        let seat = &inner.seats[self.seat];
        if !seat.alive {
            return Box::pin(pending());
        }
        if seat.cut_off {
            return Box::pin(async { Err(down()) });
        }
        ask(&inner.rows)
    }

    async fn call(self, token: String) -> Result<Grant, issuer::Error> {
        let at = {
            let mut inner = self.world.inner();
            let now = self.world.clock.now();
            if inner.seats[self.seat].alive {
                inner.judge_call(self.seat, &token, now, &self.world.keys);
            }
            inner.idp.uses.push(Used {
                seat: self.seat,
                token: token.clone(),
                how: Use::Running,
            });
            inner.idp.uses.len() - 1
        };
        let patience = self.world.inner().idp.patience;
        let answer = self.ask(Queue::Idp, "refresh", |tx| Act::Refresh(token, tx));
        let answer = timeout(patience, answer).await;
        let answer = answer.unwrap_or_else(|_| Err(unknown()));
        if !self.is_alive() {
            return pending().await;
        }
        self.heard(at, &answer);
        answer
    }

    fn is_alive(&self) -> bool {
        self.world.inner().seats[self.seat].alive
    }

    fn heard(&self, at: usize, answer: &Result<Grant, issuer::Error>) {
        let mut inner = self.world.inner();
        inner.idp.uses[at].how = match answer {
            Ok(grant) => {
                let token = grant.refresh_token.as_ref().map(RefreshToken::expose);
                inner.idp.undelivered.remove(token.unwrap_or_default());
                // Where none came the old one stays in use.
                token.map_or(Use::NotUsed, |_| Use::Answered)
            }
            Err(issuer::Error::Refused { .. }) => Use::Refused,
            Err(issuer::Error::Unknown { .. }) => Use::Unknown,
            Err(_) => Use::NotUsed,
        };
    }
}

impl Store for Desk {
    fn load(&self, id: SessionHash) -> Answer<Option<Found>> {
        Box::pin(self.ask(Queue::Store, "load", |tx| Act::Load(id, tx)))
    }

    fn write(&self, change: Change) -> Answer<Written> {
        let label = label(&change);
        Box::pin(self.ask(Queue::Store, label, |tx| Act::Write(change, tx)))
    }

    fn due(&self, now: Timestamp, limit: usize) -> Answer<Vec<Due>> {
        self.book(|rows| rows.due(now, limit))
    }

    fn find(&self, index: Index) -> Answer<Vec<SessionHash>> {
        self.book(|rows| rows.find(index))
    }

    fn list(&self, from: SessionHash, limit: usize) -> Answer<Vec<SessionHash>> {
        self.book(|rows| rows.list(from, limit))
    }

    fn debts(&self, limit: usize) -> Answer<Vec<Debt>> {
        self.book(|rows| rows.debts(limit))
    }

    fn claim_debts(&self, now: Timestamp, until: Timestamp, limit: usize) -> Answer<Vec<Debt>> {
        self.book(|rows| rows.claim_debts(now, until, limit))
    }

    fn census(&self) -> Answer<Census> {
        self.book(Store::census)
    }

    fn shared(&self) -> Option<Shared> {
        let news = Arc::clone(&self.world.inner().seats[self.seat].news);
        Some(Shared { news, lease: LEASE })
    }
}

impl Endpoint for Desk {
    fn refresh<'a>(&'a self, token: &'a RefreshToken) -> Call<'a, Grant> {
        Box::pin(self.clone().call(token.expose().to_owned()))
    }

    fn revoke<'a>(&'a self, token: &'a Revocable) -> Call<'a, ()> {
        let token = match token {
            Revocable::Refresh(token) => token.expose().to_owned(),
            Revocable::Access(token) => token.expose().to_owned(),
        };
        let desk = self.clone();
        Box::pin(async move {
            let answer = desk.ask(Queue::Idp, "revoke", |tx| Act::Revoke(token, tx));
            let answer = timeout(CALL, answer).await;
            answer.unwrap_or_else(|_| Err(unknown()))
        })
    }

    fn ends_users(&self) -> bool {
        false
    }

    fn end_user<'a>(&'a self, _subject: &'a str) -> Call<'a, ()> {
        Box::pin(async { Err(issuer::Error::NotOffered("a management API")) })
    }
}

impl Node {
    pub(super) async fn open(&self, id: &SessionId) -> Result<Arc<Live>, Error> {
        self.ask(id, Activity::Slides).await
    }

    pub(super) async fn ask(&self, id: &SessionId, how: Activity) -> Result<Arc<Live>, Error> {
        let cookie = SessionCookie::Id(id.clone());
        self.sessions.open(&cookie, how).await
    }

    pub(super) async fn end(&self, id: &SessionId) -> Result<Option<Ended>, StoreError> {
        let cookie = SessionCookie::Id(id.clone());
        self.sessions.end(&cookie, EndReason::SignedOut).await
    }
}

/// Lets all that can run run, and the time move by a millisecond: a paused clock moves when there is nothing else to do.
pub(super) async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

fn label(change: &Change) -> &'static str {
    match change {
        Change::Create(..) => "create",
        Change::Mark(..) => "mark",
        Change::Renew(..) => "renew",
        Change::Save(..) => "save",
        Change::Touch { .. } => "touch",
        Change::End { .. } => "end",
        Change::Owe(_) => "owe",
        Change::Refuse { .. } => "refuse",
        Change::Forget(_) | Change::Hold(..) | Change::Paid(_) => "book",
    }
}

fn subject_of(change: &Change) -> Option<SessionHash> {
    match change {
        Change::Mark(id, _) | Change::Save(id, _) | Change::End { id, .. } => Some(*id),
        _ => None,
    }
}

fn down() -> StoreError {
    StoreError {
        what: "the store is away, says the test",
        source: None,
    }
}

fn unknown() -> issuer::Error {
    issuer::Error::Unknown {
        reason: "says the test".to_owned(),
    }
}

fn unavailable() -> issuer::Error {
    issuer::Error::Unavailable {
        reason: "says the test".to_owned(),
        retry_after: None,
    }
}

fn busy() -> issuer::Error {
    issuer::Error::Unavailable {
        reason: "says the test".to_owned(),
        retry_after: Some(30 * SECOND),
    }
}

fn client() -> issuer::Error {
    issuer::Error::Client {
        error: "invalid_client".to_owned(),
    }
}

/// What a store in memory answers.
fn at_once<T>(mut answer: Answer<T>) -> Result<T, StoreError> {
    match answer
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("memory does not wait"),
    }
}

fn a_login(grant: Grant, requested: Timestamp) -> Login {
    Login {
        idp: "main".into(),
        grant,
        id_claims: IdClaims {
            subject: "alice".into(),
            sid: None,
            auth_time: None,
            claims: Map::new(),
        },
        user_agent: "a browser".to_owned(),
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        requested,
        replaces: None,
    }
}

/// A verifier that knows no provider: only its register is looked at.
fn register(clock: &Clock, metrics: &Metrics) -> Arc<Verifier> {
    let verifier = Verifier::new(Vec::new(), clock.clone(), Handle::current(), metrics);
    Arc::new(verifier)
}

type Common = (Arc<Issuer>, Keyring, Arc<Metrics>);

/// What costs time to make, and nobody here asks anything that matters.
fn common() -> &'static Common {
    static COMMON: OnceLock<(Common, Runtime)> = OnceLock::new();
    let make = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let settings = issuer::Settings {
            name: "main".into(),
            label: "Main".into(),
            issuer: "https://idp.test".into(),
            discovery_url: None,
            client_id: "gateway".into(),
            client_secret: None,
            client_auth: ClientAuth::None,
            scopes: Vec::new(),
            authorize_params: Vec::new(),
            max_answer_bytes: 1,
            call_timeout: CALL,
            reuse_leeway: Duration::ZERO,
            preset: None,
            revocation: issuer::RevocationFormat::Form,
            revocation_endpoint: None,
            management: None,
        };
        let tls = crate::tls::client_config(None).unwrap();
        let issuer = Arc::new(Issuer::new(settings, tls, Clock::System));
        let metrics = Metrics::new([&issuer.settings().name]);
        let keys = Keyring::new(&[vec![1; 32], vec![2; 32]]).unwrap();
        let common = (issuer, keys, Arc::new(metrics));
        (common, runtime)
    };
    &COMMON.get_or_init(make).0
}

/// News are big: those that nobody holds any more are used again. Their counters go on from where they were.
fn news() -> Arc<News> {
    thread_local! {
        static KEPT: std::cell::RefCell<Vec<Arc<News>>> = const { std::cell::RefCell::new(Vec::new()) };
    }
    KEPT.with_borrow_mut(|kept| {
        let free = kept.iter().find(|news| Arc::strong_count(news) == 1);
        if let Some(free) = free {
            free.link_down();
            return Arc::clone(free);
        }
        let news = Arc::new(News::default());
        kept.push(Arc::clone(&news));
        news
    })
}

//! The explorer: runs the nodes under every schedule of a kind, and under random ones, and holds each to the rules.
//!
//! A schedule says at every point what goes on: which request to the store, which call to the provider, which answer,
//! which piece of news; and how: well, failing before or after it took effect, late. And when a node dies, a link
//! breaks, time passes, a request or a sign-out comes. The plain course takes what has waited longest. All schedules
//! are tried that leave the plain course at no more than so many points (delay bounding), each from the beginning, on a
//! clock that stands still: the same choices make the same run.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test says what it is interested in"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::common::{CALL, LEASE, Link, Node, Outcome, Queue, World, settle};
use super::house::{MINUTE, SECOND, TOKEN, settings};
use crate::clock::{Clock, Timestamp};
use crate::session::{Activity, Ended, Error, Live, Settings, StoreError};
use crate::token::SessionId;

/// Something that comes from outside. Nodes are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Slides(usize),
    Navigates(usize),
    Watches(usize),
    SignOut(usize),
    /// Seconds pass.
    Pass(u64),
}

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    /// The first of a queue of this process.
    Let(usize, Queue, Outcome),
    /// The same, where nobody waits for the answer any more.
    Arrives(usize, Queue),
    Comes(Event),
    /// A node dies and starts again; what it had sent gets there, or does not.
    Crash(usize, OnItsWay),
    Hears(usize, Link),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnItsWay {
    Stays,
    Vanishes,
}

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Order,
    Store,
    Idp,
    Time,
    Crash,
    Link,
    /// Anything may come at any time.
    Guests,
}

/// Where a schedule begins, and what comes by itself: when all is at rest, the next.
#[derive(Clone, Copy, Debug)]
struct Scenario {
    nodes: usize,
    /// So old is the session, in seconds, and known to all nodes.
    age: u64,
    script: &'static [Event],
    /// The provider takes a second use for a theft, and ends the family.
    strict: bool,
    faults: &'static [Fault],
}

enum Task {
    Open(JoinHandle<(Result<Arc<Live>, Error>, Timestamp)>),
    End(JoinHandle<(Result<Option<Ended>, StoreError>, Timestamp)>),
}

struct Request {
    node: usize,
    seat: usize,
    slides: bool,
    began: Timestamp,
    /// How long the store kept it waiting.
    excused: Duration,
    /// No older tokens than these will do.
    floor: u64,
    /// The session was signed out, and this node could know.
    over: bool,
    task: Task,
}

struct Run {
    scenario: Scenario,
    world: Arc<World>,
    id: SessionId,
    nodes: Vec<Node>,
    requests: Vec<Request>,
    script: Vec<Event>,
    crashes: usize,
    /// Something went wrong, or took its time, before it was left to heal.
    troubled: bool,
    trace: Vec<Choice>,
}

impl Choice {
    fn is_trouble(&self) -> bool {
        match self {
            Self::Let(_, _, outcome) => *outcome != Outcome::Well,
            Self::Comes(Event::Pass(_)) | Self::Crash(..) => true,
            Self::Comes(_) | Self::Arrives(..) | Self::Hears(..) => false,
        }
    }
}

impl Run {
    async fn begin(scenario: Scenario) -> Self {
        let world = World::with(Settings {
            revoke_retry_for: 12 * 60 * MINUTE,
            ..settings()
        });
        world.idp(|idp| idp.detects_reuse = scenario.strict);
        let id = world.session(1);
        let nodes: Vec<_> = (0..scenario.nodes).map(|n| world.node(n, None)).collect();
        for node in &nodes {
            node.open(&id).await.unwrap();
        }
        tokio::time::sleep(Duration::from_secs(scenario.age)).await;
        world.gated(true);
        Self {
            scenario,
            world,
            id,
            nodes,
            requests: Vec::new(),
            script: scenario.script.iter().rev().copied().collect(),
            crashes: 0,
            troubled: false,
            trace: Vec::new(),
        }
    }

    fn may(&self, fault: Fault) -> bool {
        self.scenario.faults.contains(&fault)
    }

    /// What may go on now, the plain course first; nothing when all is at rest.
    fn options(&self) -> Vec<Choice> {
        let heads = self.world.heads();
        let mut options = Vec::new();
        let plain = heads.iter().find(|head| !head.orphan);
        if let Some(head) = plain {
            options.push(Choice::Let(head.seat, head.queue, Outcome::Well));
        } else if let Some(event) = self.script.last() {
            options.push(Choice::Comes(*event));
        } else if !self.requests.is_empty() || !self.is_idle() {
            options.push(Choice::Comes(Event::Pass(1)));
        } else {
            return options;
        }
        for head in &heads {
            if head.orphan {
                options.push(Choice::Arrives(head.seat, head.queue));
            } else {
                if self.may(Fault::Order) {
                    options.push(Choice::Let(head.seat, head.queue, Outcome::Well));
                }
                let faults = self.outcomes(head.queue, head.label).iter();
                options.extend(faults.map(|o| Choice::Let(head.seat, head.queue, *o)));
            }
        }
        if let Some(event) = self.script.last().filter(|_| self.may(Fault::Order)) {
            options.push(Choice::Comes(*event));
        }
        if self.may(Fault::Time) {
            for seconds in [1, CALL.as_secs() + 1, LEASE.as_secs() + 1] {
                options.push(Choice::Comes(Event::Pass(seconds)));
            }
        }
        for node in 0..self.nodes.len() {
            self.troubles_of(node, &mut options);
        }
        let plain = options[0];
        let mut at = 0;
        options.retain(|option| {
            at += 1;
            at == 1 || *option != plain
        });
        options
    }

    fn outcomes(&self, queue: Queue, label: &str) -> &'static [Outcome] {
        use Outcome::{Busy, Client, Fails, Keeps, Lost, Slow, Wrong};
        match queue {
            Queue::Store if self.may(Fault::Store) => &[Fails, Lost, Slow],
            Queue::Idp if self.may(Fault::Idp) && label == "refresh" => {
                &[Fails, Busy, Lost, Slow, Client, Wrong, Keeps]
            }
            Queue::Idp if self.may(Fault::Idp) => &[Fails],
            Queue::Back if self.may(Fault::Store) => &[Fails],
            _ => &[],
        }
    }

    fn troubles_of(&self, node: usize, options: &mut Vec<Choice>) {
        if self.may(Fault::Crash) && self.crashes < 2 {
            options.push(Choice::Crash(node, OnItsWay::Vanishes));
            options.push(Choice::Crash(node, OnItsWay::Stays));
        }
        if self.may(Fault::Link) {
            let links: &[Link] = match self.world.link_of(&self.nodes[node]) {
                Link::Up => &[Link::Silent, Link::Down],
                Link::Silent => &[Link::Down, Link::Up],
                Link::Down => &[Link::Up],
            };
            options.extend(links.iter().map(|link| Choice::Hears(node, *link)));
        }
        if self.may(Fault::Guests) {
            let events = [
                Event::Slides(node),
                Event::Navigates(node),
                Event::Watches(node),
                Event::SignOut(node),
            ];
            options.extend(events.map(Choice::Comes));
            if node == 0 {
                let passes = [Event::Pass(60), Event::Pass(256), Event::Pass(301)];
                options.extend(passes.map(Choice::Comes));
            }
        }
    }

    fn is_idle(&self) -> bool {
        let mut nodes = self.nodes.iter();
        nodes.all(|node| node.sessions.work.is_empty())
    }

    async fn take(&mut self, choice: Choice) {
        self.trace.push(choice);
        match choice {
            Choice::Let(seat, queue, outcome) => {
                self.world.let_go(seat, queue, false, outcome);
            }
            Choice::Arrives(seat, queue) => {
                self.world.let_go(seat, queue, true, Outcome::Well);
            }
            Choice::Comes(event) => {
                if self.script.last() == Some(&event) {
                    self.script.pop();
                }
                self.comes(event).await;
            }
            Choice::Crash(node, on_its_way) => {
                self.crashes += 1;
                self.world
                    .crash(&self.nodes[node], on_its_way == OnItsWay::Stays);
                for request in self.requests.extract_if(.., |r| r.node == node) {
                    request.task.abort();
                }
                self.nodes[node] = self.world.node(node, None);
            }
            Choice::Hears(node, link) => self.world.link(&self.nodes[node], link),
        }
        settle().await;
        self.collect().await;
    }

    async fn comes(&mut self, event: Event) {
        match event {
            Event::Slides(node) => self.request(node, Activity::Slides),
            Event::Navigates(node) => self.request(node, Activity::Navigates),
            Event::Watches(node) => self.request(node, Activity::Watches),
            Event::SignOut(node) => self.sign_out(node),
            Event::Pass(seconds) => self.pass(Duration::from_secs(seconds)).await,
        }
    }

    async fn pass(&mut self, time: Duration) {
        let held: Vec<_> = self.held();
        tokio::time::sleep(time).await;
        let held_now = self.held();
        for (request, held) in self.requests.iter_mut().zip(held.iter().zip(held_now)) {
            if *held.0 || held.1 {
                request.excused += time;
            }
        }
    }

    /// Whom the store keeps waiting.
    fn held(&self) -> Vec<bool> {
        let held = |request: &Request| self.world.waits_at(request.seat);
        self.requests.iter().map(held).collect()
    }

    fn request(&mut self, node: usize, activity: Activity) {
        let (asked, id) = (self.nodes[node].clone(), self.id.clone());
        let clock = self.world.clock.clone();
        let task = tokio::spawn(async move {
            let opened = asked.ask(&id, activity).await;
            (opened, clock.now())
        });
        let slides = activity != Activity::Watches;
        self.push(node, slides, Task::Open(task));
    }

    fn sign_out(&mut self, node: usize) {
        let (asked, id) = (self.nodes[node].clone(), self.id.clone());
        let clock = self.world.clock.clone();
        let task = tokio::spawn(async move {
            let ended = asked.end(&id).await;
            (ended, clock.now())
        });
        self.world
            .note(&self.id, |facts| facts.sign_out_asked = true);
        self.push(node, false, Task::End(task));
    }

    fn push(&mut self, node: usize, slides: bool, task: Task) {
        let seat = self.nodes[node].seat;
        let now = self.world.clock.now();
        let ttl = settings().cache_ttl + SECOND;
        let link = self.world.link_of(&self.nodes[node]);
        let knows = self.world.has_heard(seat) || link == Link::Down;
        let then = if knows { now } else { now - ttl };
        let signed_out = self.world.facts(&self.id).signed_out;
        self.requests.push(Request {
            node,
            seat,
            slides,
            began: now,
            // The swap that it may wait for waits for the store.
            excused: Duration::from_millis(self.world.waits_at(seat).into()),
            floor: self.world.checked_by(&self.id, then),
            over: signed_out.is_some_and(|at| at <= then),
            task,
        });
    }

    async fn collect(&mut self) {
        let requests = std::mem::take(&mut self.requests);
        for mut request in requests {
            if !request.task.is_finished() {
                self.check_wait(&request, self.world.clock.now());
                self.requests.push(request);
                continue;
            }
            let finished = match &mut request.task {
                Task::Open(task) => {
                    let (opened, at) = task.await.unwrap();
                    self.check_opened(&request, &opened);
                    at
                }
                Task::End(task) => {
                    let (ended, at) = task.await.unwrap();
                    if ended.is_ok() {
                        self.world.note(&self.id, |facts| {
                            facts.signed_out = facts.signed_out.or(Some(at));
                        });
                    }
                    at
                }
            };
            self.check_wait(&request, finished);
        }
    }

    fn check_wait(&self, request: &Request, now: Timestamp) {
        let waited = now.since(request.began);
        let bound = settings().swap_wait + 4 * SECOND + request.excused;
        if waited > bound {
            self.world.breach(format!(
                "a request at {} has waited for {waited:?}",
                request.node
            ));
        }
    }

    fn check_opened(&self, request: &Request, opened: &Result<Arc<Live>, Error>) {
        let world = &self.world;
        match opened {
            Ok(live) => {
                self.check_served(request, live);
            }
            Err(Error::Ended(reason)) => world.judge_ended(&self.id, *reason),
            Err(Error::Unknown | Error::Unreadable) => {
                world.breach("the session is not known".to_owned());
            }
            Err(Error::NotNow { .. } | Error::InDoubt { .. } | Error::Store(_)) => {}
        }
    }

    fn check_served(&self, request: &Request, live: &Live) {
        let world = &self.world;
        let node = request.node;
        if request.over {
            world.breach(format!("{node} serves a session that was signed out"));
        }
        if live.generation < request.floor {
            world.breach(format!(
                "{node} serves generation {}, and {} was known",
                live.generation, request.floor
            ));
        }
        if live.access_expires <= request.began && request.excused.is_zero() {
            world.breach(format!("{node} serves an access token that had ended"));
        }
        if world.idp(|idp| idp.is_bad(&live.access_token)) {
            world.breach(format!("{node} serves somebody else's access token"));
        }
        let token = live.access_token.expose().to_owned();
        world.note(&self.id, |facts| {
            let by = (live.access_expires, request.seat);
            facts.served.insert(token, by);
        });
        if request.slides {
            world.note(&self.id, |facts| {
                facts.active = facts.active.max(request.began);
            });
        }
    }

    /// No more faults: everything comes to rest, and the next requests are served with living tokens, or the session has
    /// ended for a good reason.
    async fn heal(&mut self) {
        self.script.clear();
        self.troubled = self.trace.iter().any(Choice::is_trouble);
        for node in 0..self.nodes.len() {
            self.take(Choice::Hears(node, Link::Up)).await;
        }
        self.come_to_rest().await;
        if self.world.facts(&self.id).signed_out.is_some() {
            self.is_refused();
        }
        self.pass(TOKEN + MINUTE).await;
        for node in 0..self.nodes.len() {
            self.is_well(node).await;
        }
        if self.world.facts(&self.id).signed_out.is_some() {
            self.is_paid().await;
        }
    }

    /// What was handed out before a sign-out lets nobody in by itself, on any node.
    fn is_refused(&self) {
        for node in &self.nodes {
            for token in self.world.accepts(node, &self.id) {
                let seat = node.seat;
                self.world
                    .breach(format!("{seat} accepts {token} after the sign-out"));
            }
        }
    }

    async fn come_to_rest(&mut self) {
        for _ in 0..300 {
            let heads = self.world.heads();
            let next = heads.iter().find(|head| !head.orphan);
            match next {
                Some(head) => {
                    self.take(Choice::Let(head.seat, head.queue, Outcome::Well))
                        .await;
                }
                None if self.requests.is_empty() && self.is_idle() => return,
                None => self.take(Choice::Comes(Event::Pass(1))).await,
            }
        }
        self.world.breach("it does not come to rest".to_owned());
    }

    async fn is_well(&mut self, node: usize) {
        for _ in 0..8 {
            let (asked, id) = (self.nodes[node].clone(), self.id.clone());
            let task = tokio::spawn(async move { asked.open(&id).await });
            settle().await;
            self.come_to_rest().await;
            self.pass(SECOND).await;
            self.come_to_rest().await;
            if !task.is_finished() {
                self.world.breach(format!("a request at {node} hangs"));
                return;
            }
            match task.await.unwrap() {
                Ok(live) => return self.check_well(node, &live),
                Err(Error::Ended(reason)) => return self.world.judge_ended(&self.id, reason),
                Err(Error::Unknown | Error::Unreadable) => {
                    return self.world.breach("the session is not known".to_owned());
                }
                // Nothing but a page load helps, and that signs in unseen.
                Err(Error::InDoubt { retry_after: None }) => return self.may_doubt(node),
                Err(_) => self.pass(31 * SECOND).await,
            }
        }
        self.world.breach(format!("{node} does not recover"));
    }

    /// A doubt needs a reason: something went wrong, or took its time.
    fn may_doubt(&self, node: usize) {
        if !self.troubled {
            self.world
                .breach(format!("{node} is in doubt for no reason"));
        }
    }

    fn check_well(&self, node: usize, live: &Live) {
        let family = self.world.facts(&self.id).family;
        let (alive, latest) = self
            .world
            .idp(|idp| (idp.is_alive(family), idp.is_latest(&live.access_token)));
        if self.world.facts(&self.id).signed_out.is_some() {
            self.world
                .breach(format!("{node} serves a session that was signed out"));
        } else if !alive || !latest {
            self.world.breach(format!(
                "{node} serves tokens that are not the provider's: alive {alive}, latest {latest}"
            ));
        }
    }

    async fn is_paid(&mut self) {
        for _ in 0..40 {
            for node in 0..self.nodes.len() {
                let sessions = Arc::clone(&self.nodes[node].sessions);
                tokio::spawn(async move {
                    let _ = sessions.save_debts().await;
                    let _ = sessions.claim_debts().await;
                    sessions.pay_debts();
                });
            }
            settle().await;
            self.come_to_rest().await;
            if self.world.owed() == 0 {
                break;
            }
            self.pass(10 * SECOND).await;
        }
        let family = self.world.facts(&self.id).family;
        if let Some(token) = self.world.idp(|idp| idp.known_and_living(family)) {
            self.world.breach(format!("{token} outlives the sign-out"));
        }
        if self.world.owed() > 0 {
            self.world.breach("debts are not paid".to_owned());
        }
    }
}

impl Task {
    fn is_finished(&self) -> bool {
        match self {
            Self::Open(task) => task.is_finished(),
            Self::End(task) => task.is_finished(),
        }
    }

    fn abort(&self) {
        match self {
            Self::Open(task) => task.abort(),
            Self::End(task) => task.abort(),
        }
    }
}

/// What came of a run.
struct Report {
    /// How many ways there were at each point.
    widths: Vec<usize>,
    trace: Vec<Choice>,
    breaches: Vec<String>,
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// Runs a schedule: `choose` is told how many ways there are and names one; 0 is the plain course.
fn run(scenario: Scenario, mut choose: impl FnMut(&[Choice]) -> usize) -> Report {
    let runtime = runtime();
    runtime.block_on(async {
        let mut run = Run::begin(scenario).await;
        let mut widths = Vec::new();
        while widths.len() < 200 {
            let options = run.options();
            if options.is_empty() {
                break;
            }
            let at = choose(&options);
            widths.push(options.len());
            run.take(options[at]).await;
            if !run.world.breaches().is_empty() {
                break;
            }
        }
        let trace = run.trace.clone();
        if run.world.breaches().is_empty() {
            run.heal().await;
        }
        Report {
            widths,
            trace,
            breaches: run.world.breaches(),
        }
    })
}

/// Runs a schedule that may not fit in all points: what does not is left out, and the plain course is taken after it.
fn replay(scenario: Scenario, schedule: &[Choice]) -> Report {
    let mut left = schedule.iter().copied();
    run(scenario, |options| {
        for choice in left.by_ref() {
            if let Some(at) = options.iter().position(|option| *option == choice) {
                return at;
            }
        }
        0
    })
}

/// Leaves out of a schedule what is not needed for a rule to be broken.
fn shrink(scenario: Scenario, schedule: &[Choice]) -> Vec<Choice> {
    let mut shortest = schedule.to_vec();
    let mut size = shortest.len();
    while size > 0 {
        let mut from = 0;
        while from < shortest.len() {
            let mut shorter = shortest.clone();
            shorter.drain(from..shorter.len().min(from + size));
            if replay(scenario, &shorter).breaches.is_empty() {
                from += size;
            } else {
                shortest = shorter;
            }
        }
        size /= 2;
    }
    shortest
}

fn must_hold(scenario: Scenario, report: &Report) {
    if report.breaches.is_empty() {
        return;
    }
    let schedule = shrink(scenario, &report.trace);
    let breaches = replay(scenario, &schedule).breaches;
    let Scenario {
        nodes,
        age,
        script,
        strict,
        ..
    } = scenario;
    panic!(
        "{breaches:#?}\nafter\n    breaks_nothing(Scenario {{ nodes: {nodes}, age: {age}, \
        script: &{script:?}, strict: {strict}, faults: ALL }}, &{schedule:?});"
    );
}

fn breaks_nothing(scenario: Scenario, schedule: &[Choice]) {
    must_hold(scenario, &replay(scenario, schedule));
}

/// Tries all schedules that leave the plain course at `deviations` points at most; tells how many there were.
fn explore(scenario: Scenario, deviations: usize) -> usize {
    let mut tried = 0;
    let mut open: Vec<Vec<(usize, usize)>> = vec![Vec::new()];
    while let Some(plan) = open.pop() {
        let mut at = 0;
        let report = run(scenario, |_| {
            let way = plan.iter().find(|(step, _)| *step == at);
            at += 1;
            way.map_or(0, |(_, way)| *way)
        });
        tried += 1;
        must_hold(scenario, &report);
        if plan.len() == deviations {
            continue;
        }
        let from = plan.last().map_or(0, |(step, _)| step + 1);
        for (step, width) in report.widths.iter().enumerate().skip(from) {
            let further = (1..*width).map(|way| [plan.as_slice(), &[(step, way)]].concat());
            open.extend(further);
        }
    }
    tried
}

/// Runs random schedules; the same seed makes the same.
fn wander(seed: u64, runs: usize, until: Option<Instant>) {
    let mut state = seed;
    let mut below = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % n
    };
    for _ in 0..runs {
        if until.is_some_and(|until| Instant::now() > until) {
            return;
        }
        let (nodes, age, script) = SCENES[below(SCENES.len())];
        let scenario = Scenario {
            nodes,
            age,
            script,
            strict: below(2) == 0,
            faults: ALL,
        };
        let many = 5 + below(60);
        let mut step = 0;
        let report = run(scenario, |options| {
            step += 1;
            let plain = step > many || below(10) < 6;
            if plain { 0 } else { below(options.len()) }
        });
        must_hold(scenario, &report);
    }
}

type Scene = (usize, u64, &'static [Event]);

const SCENES: &[Scene] = {
    use Event::{Navigates, Pass, SignOut, Slides, Watches};
    &[
        (2, 260, &[Slides(0), Slides(1), Slides(0)]),
        (2, 301, &[Slides(0), Slides(1), Slides(0)]),
        (2, 301, &[Watches(0), Navigates(1)]),
        (2, 260, &[Slides(0), SignOut(1), Slides(0)]),
        (2, 301, &[Slides(0), SignOut(0), Slides(1)]),
        (
            2,
            260,
            &[Slides(0), Pass(256), Slides(1), Pass(2), Slides(0)],
        ),
        (3, 301, &[Slides(0), Slides(1), Slides(2)]),
    ]
};

const KINDS: &[&[Fault]] = &[
    &[Fault::Order, Fault::Crash],
    &[Fault::Order, Fault::Store],
    &[Fault::Order, Fault::Idp],
    &[Fault::Order, Fault::Time],
    &[Fault::Order, Fault::Link],
];

const ALL: &[Fault] = &[
    Fault::Order,
    Fault::Store,
    Fault::Idp,
    Fault::Time,
    Fault::Crash,
    Fault::Link,
    Fault::Guests,
];

/// How many minutes to explore for, where somebody has the time.
#[expect(
    clippy::disallowed_methods,
    reason = "it is no configuration of the gateway"
)]
fn minutes() -> Option<u64> {
    std::env::var("TIDEGATE_EXPLORE").ok()?.parse().ok()
}

fn every_scene(faults: &'static [Fault], deviations: usize) -> usize {
    let mut tried = 0;
    for (nodes, age, script) in SCENES.iter().copied() {
        for strict in [true, false] {
            let scenario = Scenario {
                nodes,
                age,
                script,
                strict,
                faults,
            };
            tried += explore(scenario, deviations);
        }
    }
    tried
}

#[test]
fn one_thing_that_goes_wrong_breaks_nothing() {
    let tried: usize = KINDS.iter().map(|faults| every_scene(faults, 1)).sum();
    assert!(tried > 2000, "{tried}");
}

#[test]
fn no_order_of_events_breaks_anything() {
    let tried = every_scene(&[Fault::Order], 3);
    assert!(tried > 1000, "{tried}");
}

#[test]
fn random_schedules_break_nothing() {
    let minutes = minutes().map(|minutes| Duration::from_secs(60 * minutes));
    match minutes {
        None => wander(1, 3000, None),
        Some(time) => {
            let seed = Clock::System.now().as_millis();
            wander(seed, usize::MAX, Some(Instant::now() + time));
        }
    }
}

/// Two things that go wrong: minutes of work.
#[test]
fn two_things_that_go_wrong_break_nothing() {
    if minutes().is_some() {
        for faults in KINDS {
            every_scene(faults, 2);
        }
    }
}

#[test]
fn the_same_choices_make_the_same_run() {
    let scenario = Scenario {
        nodes: 2,
        age: 260,
        script: SCENES[0].2,
        strict: true,
        faults: ALL,
    };
    let first = run(scenario, |options| options.len() / 3);
    let again = run(scenario, |options| options.len() / 3);
    assert_eq!((first.trace, first.widths), (again.trace, again.widths));
}

/// What random schedules have found once.
mod found {
    use super::Choice::{Comes, Crash, Let};
    use super::Event::{Navigates, Pass, SignOut, Slides, Watches};
    use super::Outcome::{Fails, Lost, Well};
    use super::Queue::{Idp, Store};
    use super::*;

    const fn two(age: u64, script: &'static [Event], strict: bool) -> Scenario {
        Scenario {
            nodes: 2,
            age,
            script,
            strict,
            faults: ALL,
        }
    }

    #[test]
    fn two_sign_outs_meet_newer_tokens_and_neither_is_answered_early() {
        breaks_nothing(
            two(301, &[Slides(0), Slides(1), Slides(0)], true),
            &[
                Comes(Navigates(1)),
                Let(1, Store, Well),
                Let(1, Store, Well),
                Comes(SignOut(0)),
                Comes(SignOut(0)),
                Let(1, Idp, Well),
                Let(0, Store, Well),
                Let(1, Store, Well),
                Let(0, Store, Well),
                Let(0, Store, Well),
                Let(0, Store, Well),
                Let(0, Store, Well),
                Comes(Navigates(1)),
            ],
        );
    }

    #[test]
    fn an_end_that_is_saved_late_is_saved_with_what_is_owed_for_it() {
        breaks_nothing(
            two(260, &[Slides(0), SignOut(1), Slides(0)], false),
            &[
                Comes(SignOut(1)),
                Let(1, Store, Well),
                Let(1, Store, Fails),
                Comes(Pass(256)),
                Let(1, Store, Well),
                Crash(1, OnItsWay::Stays),
            ],
        );
    }

    #[test]
    fn a_second_sign_out_saves_what_the_first_one_owes() {
        breaks_nothing(
            two(301, &[Watches(0), Navigates(1)], true),
            &[
                Comes(SignOut(1)),
                Comes(SignOut(1)),
                Let(1, Store, Well),
                Let(1, Store, Fails),
                Let(1, Store, Well),
                Crash(1, OnItsWay::Stays),
            ],
        );
    }

    #[test]
    fn a_mark_that_came_to_nothing_costs_nobody_the_tokens_that_are_still_to_be_saved() {
        breaks_nothing(
            two(301, &[Slides(0), Slides(1), Slides(0)], true),
            &[
                Comes(Slides(0)),
                Let(0, Store, Well),
                Let(0, Store, Well),
                Let(0, Idp, Well),
                Comes(Pass(256)),
                Comes(Slides(1)),
                Let(1, Store, Well),
                Let(1, Store, Lost),
            ],
        );
    }

    #[test]
    fn tokens_that_have_ended_when_a_swap_is_saved_at_last_are_not_served() {
        breaks_nothing(
            two(260, &[Slides(0), Slides(1), Slides(0)], false),
            &[
                Comes(Slides(0)),
                Comes(Pass(301)),
                Let(0, Store, Well),
                Let(0, Store, Well),
                Let(0, Idp, Well),
                Comes(Pass(301)),
                Comes(Navigates(1)),
            ],
        );
    }
}

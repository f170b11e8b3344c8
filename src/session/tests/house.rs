//! A gateway's sessions over a provider, a clock that can be moved and a store that can fail.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Map;
use tokio::runtime::Handle;

use super::idp::Idp;
use crate::clock::{Clock, Timestamp};
use crate::issuer::{self, ClientAuth, Issuer};
use crate::seal::Keyring;
use crate::session::cookie::Ticket;
use crate::session::store::disk::Disk;
use crate::session::store::memory::Memory;
use crate::session::store::{
    Answer, Census, Change, Debt, Due, Found, Index, Row, Shared, Store, Written,
};
use crate::session::{
    Activity, EndReason, Error, Live, Login, OnStoreError, Sessions, Settings, StoreError, Tools,
};
use crate::telemetry::{Audit, Metrics};
use crate::token::{Grant, SessionCookie, SessionHash};
use crate::verify::{self, IdClaims, Refused, Verifier};

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_mins(1);
/// How long a token of the little provider lives.
pub(super) const TOKEN: Duration = Duration::from_mins(5);

pub(super) fn settings() -> Settings {
    Settings {
        idle_timeout: 30 * MINUTE,
        absolute_timeout: 12 * 60 * MINUTE,
        refresh_before: MINUTE,
        refresh_every: 5 * MINUTE,
        outage_grace: Duration::ZERO,
        max_per_user: None,
        swaps_at_once: 64,
        swap_wait: 10 * SECOND,
        cache_ttl: 5 * SECOND,
        on_store_error: OnStoreError::Deny,
        cookie_room: None,
        revoke_refresh_token: true,
        revoke_access_token: true,
        revoke_retry_for: 10 * MINUTE,
        refuse_for: 24 * 60 * MINUTE,
    }
}

/// With `session.store = "cookie"`.
pub(super) fn in_cookie() -> Settings {
    Settings {
        cookie_room: Some(4000),
        ..settings()
    }
}

pub(super) struct House {
    pub(super) idp: Arc<Idp>,
    pub(super) clock: Clock,
    pub(super) sessions: Arc<Sessions>,
    pub(super) store: Arc<Faulty>,
}

impl House {
    pub(super) async fn new() -> Self {
        Self::with(settings()).await
    }

    pub(super) async fn with(settings: Settings) -> Self {
        Self::over(settings, Arc::new(Memory::default())).await
    }

    /// At a provider that takes a refresh token twice within a leeway.
    pub(super) async fn lenient(leeway: Duration) -> Self {
        let clock = Clock::shifted();
        let idp = Idp::start(clock.clone()).await;
        idp.forgives_for(leeway);
        let store = Arc::new(Memory::default());
        Self::of(idp, clock, settings(), store, &[vec![1; 32]])
    }

    pub(super) async fn on_disk(path: &Path) -> Self {
        Self::over(settings(), disk(path)).await
    }

    /// The session is in the cookie.
    pub(super) async fn in_cookie() -> Self {
        Self::with(in_cookie()).await
    }

    /// Another process that knows nothing but the keys.
    pub(super) fn forgetful(&self, keys: &[Vec<u8>]) -> Self {
        let (idp, clock) = (Arc::clone(&self.idp), self.clock.clone());
        Self::of(idp, clock, in_cookie(), Arc::new(Memory::default()), keys)
    }

    /// Over this store, with these encryption keys.
    pub(super) async fn sealing(store: Arc<dyn Store>, keys: &[Vec<u8>]) -> Self {
        let clock = Clock::shifted();
        let idp = Idp::start(clock.clone()).await;
        Self::of(idp, clock, settings(), store, keys)
    }

    /// The next process over what this one left.
    pub(super) fn next(&self, store: Arc<dyn Store>, keys: &[Vec<u8>]) -> Self {
        let (idp, clock) = (Arc::clone(&self.idp), self.clock.clone());
        Self::of(idp, clock, settings(), store, keys)
    }

    pub(super) async fn over(settings: Settings, store: Arc<dyn Store>) -> Self {
        let clock = Clock::shifted();
        let idp = Idp::start(clock.clone()).await;
        Self::of(idp, clock, settings, store, &[vec![1; 32]])
    }

    /// Another process with the same provider and clock.
    pub(super) fn restarted(&self, path: &Path) -> Self {
        let (idp, clock) = (Arc::clone(&self.idp), self.clock.clone());
        Self::of(idp, clock, settings(), disk(path), &[vec![1; 32]])
    }

    /// The same with other settings.
    pub(super) fn restarted_as(&self, path: &Path, settings: Settings) -> Self {
        let (idp, clock) = (Arc::clone(&self.idp), self.clock.clone());
        Self::of(idp, clock, settings, disk(path), &[vec![1; 32]])
    }

    /// The same with other encryption keys.
    pub(super) fn restarted_with(&self, path: &Path, keys: &[Vec<u8>]) -> Self {
        let (idp, clock) = (Arc::clone(&self.idp), self.clock.clone());
        Self::of(idp, clock, settings(), disk(path), keys)
    }

    fn of(
        idp: Arc<Idp>,
        clock: Clock,
        settings: Settings,
        inner: Arc<dyn Store>,
        keys: &[Vec<u8>],
    ) -> Self {
        let store = Arc::new(Faulty::over(inner));
        let issuer = Arc::new(issuer(&idp, &clock));
        let access_token = verify::Settings {
            audience: None,
            algorithms: vec![jsonwebtoken::Algorithm::ES256],
            typ: vec!["jwt".to_owned()],
            clock_skew: 30 * SECOND,
            groups_claim: "groups".to_owned(),
        };
        let idps = vec![(Arc::clone(&issuer), access_token)];
        let metrics = Arc::new(Metrics::new([&issuer.settings().name]));
        let here = Handle::current();
        let verifier = Arc::new(Verifier::new(idps, clock.clone(), here, &metrics));
        let tools = Tools {
            keys: Keyring::new(keys).unwrap(),
            metrics,
            audit: Audit::off(),
            idps: vec![issuer],
            verifier,
            clock: clock.clone(),
            background: Handle::current(),
        };
        let sessions = Sessions::over(Arc::clone(&store) as Arc<dyn Store>, settings, tools);
        Self {
            idp,
            clock,
            sessions,
            store,
        }
    }

    pub(super) async fn login(&self) -> SessionCookie {
        self.login_as(Some("sid-1"), None).await
    }

    pub(super) async fn login_as(
        &self,
        sid: Option<&str>,
        replaces: Option<SessionCookie>,
    ) -> SessionCookie {
        let login = self.a_login(self.idp.login(sid), sid, replaces);
        self.sessions.begin(login).await.unwrap()
    }

    pub(super) fn a_login(
        &self,
        grant: Grant,
        sid: Option<&str>,
        replaces: Option<SessionCookie>,
    ) -> Login {
        Login {
            idp: "main".into(),
            grant,
            id_claims: IdClaims {
                subject: "alice".into(),
                sid: sid.map(Into::into),
                auth_time: Some(self.clock.now()),
                claims: Map::new(),
            },
            user_agent: "a browser".to_owned(),
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            requested: self.clock.now(),
            replaces,
        }
    }

    /// A request of somebody at work.
    pub(super) async fn open(&self, id: &SessionCookie) -> Result<Arc<Live>, Error> {
        self.sessions.open(id, Activity::Slides).await
    }

    /// A page load.
    pub(super) async fn navigate(&self, id: &SessionCookie) -> Result<Arc<Live>, Error> {
        self.sessions.open(id, Activity::Navigates).await
    }

    /// A request that polls.
    pub(super) async fn watch(&self, id: &SessionCookie) -> Result<Arc<Live>, Error> {
        self.sessions.open(id, Activity::Watches).await
    }

    /// How a session ended; panics where it has not.
    pub(super) async fn end_of(&self, id: &SessionCookie) -> EndReason {
        match self.open(id).await {
            Err(Error::Ended(reason)) => reason,
            other => panic!("not ended: {other:?}"),
        }
    }

    /// What housekeeping does every few seconds.
    pub(super) async fn sweep(&self) {
        self.sessions.sweep().await.unwrap();
        self.sessions.tidy_memory().await;
    }

    /// Until no swap and no save is under way.
    pub(super) async fn calm(&self) {
        eventually(|| self.sessions.work.is_empty()).await;
    }

    /// Until all that is owed was tried and confirmed.
    pub(super) async fn pay(&self) {
        eventually_async(async || {
            self.sessions.pay_debts();
            self.sessions.debts.len() == 0
        })
        .await;
    }
}

/// A cookie that stands for nothing.
pub(super) fn stranger() -> SessionCookie {
    SessionCookie::Id(crate::token::SessionId::random())
}

/// The store's key.
pub(super) fn id_hash(cookie: &SessionCookie) -> SessionHash {
    match cookie {
        SessionCookie::Id(id) => id.hash(),
        SessionCookie::Sealed(text) => {
            let keys = Keyring::new(&[vec![1; 32]]).unwrap();
            Ticket::open(text, &keys).unwrap().hash()
        }
    }
}

pub(super) fn disk(path: &Path) -> Arc<dyn Store> {
    Arc::new(Disk::open(path, Handle::current(), &Clock::System, &Refused::default()).unwrap())
}

fn issuer(idp: &Idp, clock: &Clock) -> Issuer {
    let settings = issuer::Settings {
        name: "main".into(),
        label: "Main".into(),
        issuer: idp.issuer().into(),
        discovery_url: None,
        client_id: "gateway".into(),
        client_secret: Some(crate::token::Secret::new("secret")),
        client_auth: ClientAuth::SecretBasic,
        scopes: vec!["openid".to_owned()],
        authorize_params: Vec::new(),
        max_answer_bytes: 1 << 16,
        call_timeout: 5 * SECOND,
        reuse_leeway: idp.leeway(),
        preset: None,
        revocation: issuer::RevocationFormat::Form,
        revocation_endpoint: None,
        management: None,
    };
    Issuer::new(
        settings,
        crate::tls::client_config(None).unwrap(),
        clock.clone(),
    )
}

/// Waits for what must come without a test knowing when; five seconds are forever here.
pub(super) async fn eventually(mut is_so: impl FnMut() -> bool) {
    eventually_async(async || is_so()).await;
}

pub(super) async fn eventually_async(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..5000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("it never came");
}

/// Which writes a store refuses to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    All,
    /// Nothing can be read either.
    Away,
    Marks,
    Saves,
    Ends,
    Creates,
}

/// A store that fails when it is told to, and counts.
#[derive(Debug)]
pub(super) struct Faulty {
    inner: Arc<dyn Store>,
    fault: Mutex<Fault>,
    touches: AtomicUsize,
    /// What was written, by kind, in order.
    writes: Mutex<Vec<&'static str>>,
}

impl Faulty {
    fn over(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            fault: Mutex::new(Fault::None),
            touches: AtomicUsize::new(0),
            writes: Mutex::default(),
        }
    }

    pub(super) fn fails(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    pub(super) fn touches(&self) -> usize {
        self.touches.load(Ordering::Relaxed)
    }

    pub(super) fn writes(&self) -> Vec<&'static str> {
        self.writes.lock().unwrap().clone()
    }

    /// What the store itself has.
    pub(super) async fn inner_row(&self, id: &SessionCookie) -> Option<Row> {
        let found = self.inner.load(id_hash(id)).await.unwrap();
        found.map(|found| found.row)
    }

    pub(super) async fn owed(&self) -> u64 {
        self.inner.census().await.unwrap().owed
    }

    /// Tampers with the store.
    pub(super) async fn put(&self, id: &SessionCookie, row: Row) {
        let change = Change::Create(id_hash(id), row);
        self.inner.write(change).await.unwrap();
    }

    fn allows(&self, change: &Change) -> bool {
        let fault = *self.fault.lock().unwrap();
        let (kind, fails) = match change {
            Change::Create(..) => ("create", fault == Fault::Creates),
            Change::Mark(..) => ("mark", fault == Fault::Marks),
            Change::Save(..) => ("save", fault == Fault::Saves),
            Change::Renew(..) => ("renew", fault == Fault::Marks),
            Change::Touch { .. } => ("touch", false),
            Change::End { .. } => ("end", fault == Fault::Ends),
            Change::Forget(_) => ("forget", false),
            Change::Owe(_) => ("owe", false),
            Change::Hold(..) => ("hold", false),
            Change::Paid(_) => ("paid", false),
            Change::Refuse { .. } => ("refuse", false),
        };
        self.writes.lock().unwrap().push(kind);
        !fails && !matches!(fault, Fault::All | Fault::Away)
    }

    fn unless_away<T: Send + 'static>(&self, answer: Answer<T>) -> Answer<T> {
        if *self.fault.lock().unwrap() != Fault::Away {
            return answer;
        }
        let what = "the disk is gone, says the test";
        Box::pin(async move { Err(StoreError { what, source: None }) })
    }
}

impl Store for Faulty {
    fn load(&self, id: SessionHash) -> Answer<Option<Found>> {
        self.unless_away(self.inner.load(id))
    }

    fn write(&self, change: Change) -> Answer<Written> {
        if let Change::Touch { .. } = change {
            self.touches.fetch_add(1, Ordering::Relaxed);
        }
        if self.allows(&change) {
            return self.inner.write(change);
        }
        let what = "the disk is full, says the test";
        Box::pin(async move { Err(StoreError { what, source: None }) })
    }

    fn due(&self, now: Timestamp, limit: usize) -> Answer<Vec<Due>> {
        self.inner.due(now, limit)
    }

    fn find(&self, index: Index) -> Answer<Vec<SessionHash>> {
        self.unless_away(self.inner.find(index))
    }

    fn list(&self, from: SessionHash, limit: usize) -> Answer<Vec<SessionHash>> {
        self.unless_away(self.inner.list(from, limit))
    }

    fn debts(&self, limit: usize) -> Answer<Vec<Debt>> {
        self.unless_away(self.inner.debts(limit))
    }

    fn claim_debts(&self, now: Timestamp, until: Timestamp, limit: usize) -> Answer<Vec<Debt>> {
        self.inner.claim_debts(now, until, limit)
    }

    fn census(&self) -> Answer<Census> {
        self.inner.census()
    }

    fn shared(&self) -> Option<Shared> {
        self.inner.shared()
    }

    fn keeps_house(&self) -> Answer<bool> {
        self.inner.keeps_house()
    }
}

/// A directory for a store's file, and the file.
pub(super) fn a_file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sessions.redb");
    (dir, path)
}

/// What a process that is killed now leaves behind.
pub(super) fn killed(path: &Path) -> PathBuf {
    let left = path.with_extension("left");
    std::fs::copy(path, &left).unwrap();
    left
}

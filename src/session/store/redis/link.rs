//! The link to Redis: kept up, watched, and made anew when it is lost. It is up only while this process hears itself
//! through it, since then it hears the others too.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, RedisError, Value};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::masters::Masters;
use super::names::{self, Names};
use super::pulse::Pulse;
use super::refusals::Refusals;
use super::rows;
use super::scripts::Call;
use super::servers::{RedisAddress, RedisSettings};
use super::{Owner, server};
use crate::session::store::news::News;
use crate::token::SessionHash;

/// How often this process speaks to itself.
const BEAT: Duration = Duration::from_millis(500);
/// The pause after the first failure to connect; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long one beat may take to be sent.
const SENDING: Duration = Duration::from_secs(1);
/// How long making the connections, and what is to be done before they are used, may take.
const SET_UP: Duration = Duration::from_secs(10);

/// What can go wrong between here and Redis.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It said so, or the connection did.
    #[error(transparent)]
    Redis(#[from] RedisError),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Slow(Duration),
    /// No sentinel knows the master.
    #[error("the sentinels know no master of that name")]
    NoMaster,
    /// It may have forgotten what it confirmed.
    #[error("a master of the cluster is another one now")]
    Restarted,
    /// They know another one now.
    #[error("the sentinels name another master")]
    Moved,
    /// It takes no writes.
    #[error("the server is a replica")]
    Replica,
    /// This process does not hear itself.
    #[error("the server has gone silent")]
    Silent,
    /// The connection ended.
    #[error("the connection was lost")]
    Lost,
    /// A version that lacks what is needed.
    #[error("Redis {0} is too old: 7.0 or later is needed")]
    TooOld(String),
    /// It answered what no script answers.
    #[error("an answer that makes no sense")]
    Answer,
    /// There is no link.
    #[error("not connected")]
    Down(#[source] Arc<Fault>),
}

/// A connection for commands, shared by all who ask.
#[derive(Clone)]
pub(super) enum Line {
    /// To one server.
    One(MultiplexedConnection),
    /// To a cluster, which finds its shards by itself.
    Many(ClusterConnection),
}

impl Line {
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::One(one) => command.query_async(&mut one.clone()).await,
            Self::Many(many) => command.query_async(&mut many.clone()).await,
        }
    }

    /// Asks any server that takes writes.
    async fn ask_any(&self, command: Cmd) -> Result<Value, RedisError> {
        match self {
            Self::One(_) => self.ask(&command).await,
            Self::Many(many) => {
                let any = RoutingInfo::SingleNode(SingleNodeRoutingInfo::RandomPrimary);
                many.clone().route_command(command, any).await
            }
        }
    }

    /// The masters of a cluster.
    async fn masters(&self) -> Result<Masters, RedisError> {
        match self {
            Self::One(_) => Ok(Masters::default()),
            Self::Many(many) => Masters::of(many).await,
        }
    }

    /// Whether an error says that the line leads nowhere. A cluster's heals by itself.
    fn is_cut_by(&self, error: &RedisError) -> bool {
        match self {
            Self::One(_) => server::is_another(error),
            Self::Many(_) => false,
        }
    }
}

/// A link that is up, or was.
#[derive(Clone)]
pub(super) struct Up {
    line: Line,
    masters: Arc<Masters>,
    gone: CancellationToken,
    /// Since when.
    since: Instant,
}

impl Up {
    fn new(line: Line, masters: Masters) -> Self {
        Self {
            line,
            masters: Arc::new(masters),
            gone: CancellationToken::new(),
            since: Instant::now(),
        }
    }

    /// Runs a script.
    pub(super) async fn run(&self, call: &Call) -> Result<Value, Fault> {
        self.unless_gone(call.run(&self.line)).await
    }

    /// Asks a plain command.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, Fault> {
        self.unless_gone(self.line.ask(command)).await
    }

    /// Asks any server that takes writes.
    pub(super) async fn ask_any(&self, command: Cmd) -> Result<Value, Fault> {
        self.unless_gone(self.line.ask_any(command)).await
    }

    /// Makes sure that the server that has a session has forgotten nothing since the link is up.
    pub(super) async fn assure(&self, id: &SessionHash) -> Result<(), Fault> {
        let Line::Many(many) = &self.line else {
            return Ok(());
        };
        if self.masters.include_that_of(many, names::slot(id)).await? {
            return Ok(());
        }
        self.gone.cancel();
        Err(Fault::Lost)
    }

    /// Waits until a master of a cluster is another one; for ever where there is no cluster.
    async fn masters_change(&self) {
        match &self.line {
            Line::One(_) => std::future::pending().await,
            Line::Many(many) => self.masters.change(many).await,
        }
    }

    /// Whether the link has been up for so long.
    pub(super) fn has_settled(&self, after: Duration) -> bool {
        self.since.elapsed() >= after
    }

    /// Waits until the link has been up for so long.
    pub(super) async fn settled(&self, after: Duration) -> Result<(), Fault> {
        tokio::select! {
            () = sleep_until(self.since + after) => Ok(()),
            () = self.gone.cancelled() => Err(Fault::Lost),
        }
    }

    async fn unless_gone(
        &self,
        asking: impl Future<Output = Result<Value, RedisError>>,
    ) -> Result<Value, Fault> {
        let answer = tokio::select! {
            answer = asking => answer,
            () = self.gone.cancelled() => return Err(Fault::Lost),
        };
        if answer
            .as_ref()
            .is_err_and(|error| self.line.is_cut_by(error))
        {
            self.gone.cancel();
        }
        Ok(answer?)
    }
}

#[derive(Clone)]
enum State {
    /// Nothing is known yet.
    Trying,
    Up(Up),
    Down(Arc<Fault>),
}

/// See the file's first line.
pub(super) struct Link {
    settings: RedisSettings,
    names: Names,
    owner: Owner,
    news: Arc<News>,
    refusals: Refusals,
    state: watch::Sender<State>,
    warned: Mutex<Vec<&'static str>>,
}

impl Link {
    pub(super) fn new(
        settings: RedisSettings,
        owner: Owner,
        news: Arc<News>,
        refusals: Refusals,
    ) -> Self {
        Self {
            refusals,
            names: Names::new(&settings.prefix),
            settings,
            owner,
            news,
            state: watch::Sender::new(State::Trying),
            warned: Mutex::default(),
        }
    }

    /// The link, if it is up. Only before the first try to connect is over, that is waited for.
    pub(super) async fn up(&self) -> Result<Up, Fault> {
        let mut state = self.state.subscribe();
        let known = state.wait_for(|state| !matches!(state, State::Trying));
        match known.await.as_deref() {
            Ok(State::Up(up)) => Ok(up.clone()),
            Ok(State::Down(why)) => Err(Fault::Down(Arc::clone(why))),
            Ok(State::Trying) | Err(_) => Err(Fault::Lost),
        }
    }

    /// Whether it has been up for so long.
    pub(super) fn has_settled(&self, after: Duration) -> bool {
        match &*self.state.borrow() {
            State::Up(up) => up.has_settled(after),
            State::Trying | State::Down(_) => after.is_zero(),
        }
    }

    /// Keeps it up; never returns. What `prepare` does is done before anybody may use a new connection.
    pub(super) async fn keep<F>(&self, prepare: impl Fn(Up, Instant) -> F)
    where
        F: Future<Output = Result<(), Fault>>,
    {
        let (mut said, mut pause) = (String::new(), FIRST_PAUSE);
        let mut lost = Instant::now();
        for attempt in 0.. {
            let why = match self.set_up(attempt, |up| prepare(up, lost)).await {
                Ok(set_up) => {
                    said.clear();
                    pause = FIRST_PAUSE;
                    let why = self.hold(set_up).await;
                    lost = Instant::now();
                    why
                }
                Err(why) => why,
            };
            let why = Arc::new(why);
            self.news.link_down();
            self.refusals.link_down();
            self.state.send_replace(State::Down(Arc::clone(&why)));
            say(&why, &mut said);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn set_up<F>(&self, attempt: usize, prepare: impl FnOnce(Up) -> F) -> Result<SetUp, Fault>
    where
        F: Future<Output = Result<(), Fault>>,
    {
        let setting_up = async {
            let connected = self.settings.connect(attempt).await?;
            let mut listening = connected.listening;
            listening.subscribe(self.names.news()).await?;
            listening.subscribe(self.names.refusal_news()).await?;
            listening.subscribe(self.names.beat(self.owner.0)).await?;
            let masters = connected.line.masters().await?;
            let mut set_up = SetUp {
                up: Up::new(connected.line, masters),
                news: listening.into_on_message(),
                master: connected.master,
                pulse: Pulse::default(),
            };
            self.warn_once(&server::look_at(&set_up.up).await?);
            self.first_beat(&mut set_up).await?;
            // What is refused from here on is heard.
            let refusals = &self.refusals;
            refusals.read(&set_up.up, &self.names, self.owner).await?;
            prepare(set_up.up.clone()).await?;
            // And what was said meanwhile is taken in before anybody is served.
            set_up.pulse.begin();
            self.first_beat(&mut set_up).await?;
            Ok(set_up)
        };
        let set_up = timeout(SET_UP, setting_up).await;
        set_up.map_err(|_| Fault::Slow(SET_UP))?
    }

    fn warn_once(&self, warnings: &[&'static str]) {
        let mut said = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in warnings.iter().filter(|w| !said.contains(w)) {
            tracing::warn!("{warning}");
        }
        *said = warnings.to_vec();
    }

    /// Waits for a beat: whatever was said before it is heard by then.
    async fn first_beat(&self, set_up: &mut SetUp) -> Result<(), Fault> {
        self.beat_once(&set_up.up, &set_up.pulse).await?;
        while set_up.pulse.is_waited_for() {
            self.hear(&mut set_up.news, &set_up.pulse).await?;
        }
        Ok(())
    }

    /// Returns when the link is lost.
    async fn hold(&self, mut set_up: SetUp) -> Fault {
        let up = Up {
            since: Instant::now(),
            ..set_up.up
        };
        set_up.pulse.begin();
        // Before anybody is told that the store answers.
        self.refusals.link_up();
        self.state.send_replace(State::Up(up.clone()));
        self.news.link_up();
        tracing::info!("connected to Redis");
        let why = tokio::select! {
            why = self.beat(&up, &set_up.pulse) => why,
            why = self.listen(&mut set_up.news, &set_up.pulse) => why,
            () = self.settings.moves_from(set_up.master.as_ref()) => Fault::Moved,
            () = up.masters_change() => Fault::Restarted,
            () = up.gone.cancelled() => Fault::Lost,
        };
        up.gone.cancel();
        why
    }

    async fn beat(&self, up: &Up, pulse: &Pulse) -> Fault {
        let mut next = interval(BEAT);
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            next.tick().await;
            if let Err(why) = self.beat_once(up, pulse).await
                && matches!(up.line, Line::One(_))
            {
                return why;
            }
        }
    }

    /// Speaks to itself. What could not be sent is not waited for.
    async fn beat_once(&self, up: &Up, pulse: &Pulse) -> Result<(), Fault> {
        let number = pulse.sends();
        let mut beat = Cmd::new();
        beat.arg("PUBLISH")
            .arg(self.names.beat(self.owner.0))
            .arg(number);
        let sent = timeout(SENDING, up.ask_any(beat)).await;
        let sent = sent.unwrap_or(Err(Fault::Slow(SENDING)));
        if sent.is_err() {
            pulse.not_sent(number);
        }
        sent.map(|_| ())
    }

    async fn listen(&self, news: &mut PubSubStream, pulse: &Pulse) -> Fault {
        loop {
            if let Err(why) = self.hear(news, pulse).await {
                return why;
            }
        }
    }

    /// Listens for one message, or until it is clear that none will come.
    async fn hear(&self, news: &mut PubSubStream, pulse: &Pulse) -> Result<(), Fault> {
        let Ok(message) = timeout_at(pulse.deadline(), news.next()).await else {
            // What was waited for may have turned out not to have been sent.
            return if pulse.deadline() <= Instant::now() {
                Err(Fault::Silent)
            } else {
                Ok(())
            };
        };
        let message = message.ok_or(Fault::Lost)?;
        let channel = message.get_channel_name();
        if channel == self.names.news() {
            self.tell(message.get_payload_bytes());
        } else if channel == self.names.refusal_news() {
            self.refuse(message.get_payload_bytes());
        } else if let Ok(number) = message.get_payload() {
            pulse.heard(number);
        }
        Ok(())
    }

    /// What another process says; nothing where it is this one's own.
    fn of_another<'m>(&self, message: &'m [u8]) -> Option<&'m [u8]> {
        let (owner, rest) = message.split_first_chunk()?;
        (*owner != self.owner.0).then_some(rest)
    }

    fn refuse(&self, message: &[u8]) {
        if let Some(refusal) = self.of_another(message) {
            self.refusals.heard(refusal);
        }
    }

    fn tell(&self, message: &[u8]) {
        let Some(member) = self.of_another(message) else {
            return;
        };
        if let Ok(id) = rows::session(member.to_vec()) {
            self.news.changed(&id);
        }
    }
}

/// A link before it is used.
struct SetUp {
    up: Up,
    news: PubSubStream,
    master: Option<RedisAddress>,
    pulse: Pulse,
}

/// Says why there is no link, once for each reason.
fn say(why: &Fault, said: &mut String) {
    let text = why.to_string();
    if text == *said {
        return;
    }
    tracing::error!(
        error = why as &(dyn std::error::Error + 'static),
        "no connection to Redis: sessions can't be read or written; trying again"
    );
    *said = text;
}

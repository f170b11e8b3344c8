//! The link to Redis: kept up, watched, and made anew when it is lost. It is up only while this process hears itself
//! through it, since then it hears the others too.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::aio::{MultiplexedConnection, PubSubStream};
use redis::{Cmd, RedisError, Value};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::names::Names;
use super::rows;
use super::scripts::Call;
use super::servers::{Connected, RedisSettings};
use super::{Owner, server};
use crate::session::store::news::News;

/// How often this process speaks to itself.
const BEAT: Duration = Duration::from_millis(500);
/// How long it may go without hearing itself.
const SILENCE: Duration = Duration::from_millis(1500);
/// The pause after the first failure to connect; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
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
}

impl Line {
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, RedisError> {
        match self {
            Self::One(one) => command.query_async(&mut one.clone()).await,
        }
    }
}

/// A link that is up, or was.
#[derive(Clone)]
pub(super) struct Up {
    line: Line,
    gone: CancellationToken,
    /// Since when.
    pub(super) since: Instant,
}

impl Up {
    fn new(line: Line) -> Self {
        Self {
            line,
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
        if answer.as_ref().is_err_and(server::is_another) {
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
    state: watch::Sender<State>,
}

impl Link {
    pub(super) fn new(settings: RedisSettings, owner: Owner, news: Arc<News>) -> Self {
        Self {
            names: Names::new(&settings.prefix),
            settings,
            owner,
            news,
            state: watch::Sender::new(State::Trying),
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

    /// Keeps it up; never returns. What `prepare` does is done before anybody may use a new connection.
    pub(super) async fn keep<F: Future<Output = ()>>(&self, prepare: impl Fn(Up) -> F) {
        let (mut said, mut pause) = (String::new(), FIRST_PAUSE);
        loop {
            let why = match self.set_up(&prepare).await {
                Ok((up, news)) => {
                    said.clear();
                    pause = FIRST_PAUSE;
                    self.hold(up, news).await
                }
                Err(why) => why,
            };
            let why = Arc::new(why);
            self.news.link_down();
            self.state.send_replace(State::Down(Arc::clone(&why)));
            say(&why, &mut said);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn set_up<F: Future<Output = ()>>(
        &self,
        prepare: &impl Fn(Up) -> F,
    ) -> Result<(Up, PubSubStream), Fault> {
        let setting_up = async {
            let Connected {
                line,
                mut listening,
            } = self.settings.connect().await?;
            listening.subscribe(self.names.news()).await?;
            listening.subscribe(self.names.beat(self.owner.0)).await?;
            let mut news = listening.into_on_message();
            let up = Up::new(line);
            server::look_at(&up).await?;
            self.beat_once(&up).await?;
            self.hear(&mut news, Instant::now() + SILENCE).await?;
            prepare(up.clone()).await;
            Ok((up, news))
        };
        let set_up = timeout(SET_UP, setting_up).await;
        set_up.map_err(|_| Fault::Slow(SET_UP))?
    }

    /// Returns when the link is lost.
    async fn hold(&self, up: Up, mut news: PubSubStream) -> Fault {
        let up = Up {
            since: Instant::now(),
            ..up
        };
        self.state.send_replace(State::Up(up.clone()));
        self.news.link_up();
        tracing::info!("connected to Redis");
        let why = tokio::select! {
            why = self.beat(&up) => why,
            why = self.listen(&mut news) => why,
            () = up.gone.cancelled() => Fault::Lost,
        };
        up.gone.cancel();
        why
    }

    async fn beat(&self, up: &Up) -> Fault {
        loop {
            let beat = timeout(SILENCE, self.beat_once(up)).await;
            match beat {
                Ok(Ok(())) => sleep(BEAT).await,
                Ok(Err(why)) => return why,
                Err(_) => return Fault::Silent,
            }
        }
    }

    async fn beat_once(&self, up: &Up) -> Result<(), Fault> {
        let mut beat = Cmd::new();
        beat.arg("PUBLISH")
            .arg(self.names.beat(self.owner.0))
            .arg("");
        up.ask(&beat).await.map(|_| ())
    }

    async fn listen(&self, news: &mut PubSubStream) -> Fault {
        let mut heard = Instant::now();
        loop {
            match self.hear(news, heard + SILENCE).await {
                Ok(()) => heard = Instant::now(),
                Err(why) => return why,
            }
        }
    }

    /// Listens until the next beat.
    async fn hear(&self, news: &mut PubSubStream, until: Instant) -> Result<(), Fault> {
        let changes = self.names.news();
        loop {
            let message = timeout_at(until, news.next()).await;
            let message = message.map_err(|_| Fault::Silent)?.ok_or(Fault::Lost)?;
            if message.get_channel_name() != changes {
                return Ok(());
            }
            self.tell(message.get_payload_bytes());
        }
    }

    /// A change, unless it is this process's own.
    fn tell(&self, message: &[u8]) {
        let Some((owner, member)) = message.split_first_chunk() else {
            return;
        };
        if *owner == self.owner.0 {
            return;
        }
        if let Ok(id) = rows::session(member.to_vec()) {
            self.news.changed(&id);
        }
    }
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

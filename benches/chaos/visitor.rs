//! A client that holds a session: its cookies, what it asks for, and what it makes of the answers.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};
use http_body_util::Full;
use std::time::{Duration, Instant};

use tidegate::clock::{Clock, Timestamp};
use tidegate::demo::idp::Person;
use url::Url;

use crate::tally::up;
use crate::upstream::{BODY, Known, MARK};
use crate::wire::{Failure, Reply};
use crate::world::{CLIENT_ID, World};

/// Who there is.
pub const PEOPLE: [&str; 3] = ["alice", "bob", "carol"];
/// More than a sign-in needs.
const HOPS: usize = 10;
/// The session cookie.
const COOKIE: &str = "__Host-tidegate";

/// An answer that takes longer is noted.
const SLOW: Duration = Duration::from_secs(4);

/// Where a visitor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Signed in.
    In,
    /// Signing out: it may be in force already.
    Leaving,
    /// Signed out, and told so at this time.
    Out(Timestamp),
    /// Lost the session for good; that has been reported.
    Gone,
}

pub struct Visitor {
    pub number: usize,
    pub sid: String,
    idp_cookie: String,
    cookie: Mutex<String>,
    standing: Mutex<Standing>,
    /// A page load changes the cookie: what goes wrong meanwhile is judged afterwards.
    loading: tokio::sync::Mutex<()>,
}

/// What a request came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// The application answered.
    Served,
    /// 503.
    Unavailable,
    /// 401, as it has to be after a sign-out.
    Out,
    /// 401, and nobody had signed out.
    Lost,
    /// No gateway there, or it went away in the middle.
    Away,
    /// Anything else.
    Odd,
}

/// Where a page load ended.
enum Landed {
    At(Reply, bool),
    LoginPage,
    Failed(Failure),
}

impl Visitor {
    /// Someone new with a session at the provider, not signed in here yet.
    pub fn new(world: &World, number: usize) -> Self {
        let person = Person::named(PEOPLE[number % PEOPLE.len()]).unwrap();
        let presence = world.idp.sign_in_unseen(person).unwrap();
        let known = Known {
            sid: presence.sid.clone(),
            out: None,
        };
        world.upstream.know(number, known);
        Self {
            number,
            sid: presence.sid,
            idp_cookie: format!("idp_session={}", presence.cookie),
            cookie: Mutex::default(),
            standing: Mutex::new(Standing::In),
            loading: tokio::sync::Mutex::default(),
        }
    }

    pub fn standing(&self) -> Standing {
        *self.standing.lock().unwrap()
    }

    pub fn stand(&self, standing: Standing) {
        *self.standing.lock().unwrap() = standing;
    }

    /// Whose session it is.
    pub fn person(&self) -> &'static str {
        PEOPLE[self.number % PEOPLE.len()]
    }

    /// An access token of that person's and that session's at the provider, which no gateway's session holds.
    pub fn bearer(&self, world: &World) -> String {
        let person = Person::named(self.person()).unwrap();
        let forged = world.idp.forge(person, CLIENT_ID, |_, claims| {
            claims.insert("sid".to_owned(), self.sid.clone().into());
        });
        forged.unwrap()
    }

    /// GET as a program with a bearer token does it.
    pub async fn call(&self, world: &World, door: usize, token: &str) -> Seen {
        let mark = format!("{}.{}", self.number, Clock::System.now().as_millis());
        let request = Request::builder()
            .uri("/api/data")
            .header(header::HOST, &world.host)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(MARK, mark);
        let reply = world.doors[door]
            .send(request.body(Full::default()).unwrap())
            .await;
        if reply.as_ref().is_ok_and(|reply| reply.status == 401) {
            up(&world.tally.requests);
            world.tally.other("401 after the end".into());
            return Seen::Out;
        }
        self.judge(world, door, "", reply).await
    }

    /// All of that person's sessions were ended, which was confirmed then.
    pub fn is_out(&self, world: &World, at: Timestamp) {
        self.stand(Standing::Out(at));
        let out = Some(at + world.plan.spread);
        let sid = self.sid.clone();
        world.upstream.know(self.number, Known { sid, out });
    }

    pub fn cookie(&self) -> String {
        self.cookie.lock().unwrap().clone()
    }

    /// What the gateways' logs call the session.
    pub fn log_name(&self) -> String {
        self.hash()[..12].to_owned()
    }

    /// What the store knows the session by, in hex.
    pub fn hash(&self) -> String {
        let cookie = self.cookie();
        let id = URL_SAFE_NO_PAD.decode(cookie.trim_start_matches("__Host-tidegate="));
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &id.unwrap_or_default());
        let mut name = String::new();
        for byte in digest.as_ref() {
            write!(name, "{byte:02x}").unwrap();
        }
        name
    }

    /// Signs in; whether that worked.
    pub async fn sign_in(&self, world: &World) -> bool {
        let _loading = self.loading.lock().await;
        for _ in 0..3 {
            let door = world.some_door();
            let start = world.front.join("/oauth2/start?rd=/").unwrap();
            if let Landed::At(reply, _) = self.load(world, door, start).await
                && reply.status == 200
            {
                return true;
            }
        }
        false
    }

    /// GET as a script does it.
    pub async fn fetch(&self, world: &World, door: usize) -> Seen {
        let sent = self.cookie();
        let began = Instant::now();
        let request = self.request(world, Method::GET, "/data", &sent);
        let reply = world.doors[door]
            .send(request.body(Full::default()).unwrap())
            .await;
        let took = began.elapsed();
        if took > SLOW {
            let status = reply.as_ref().map_or(0, |reply| reply.status.as_u16());
            world.testify(
                self,
                &format!("{status} from gateway {door} after {took:?}"),
            );
        }
        self.judge(world, door, &sent, reply).await
    }

    /// The same, hung up on after a moment. Nothing is known of what came of it.
    pub async fn abort(&self, world: &World, door: usize, after: Duration) {
        let request = self.request(world, Method::GET, "/data", &self.cookie());
        let sending = world.doors[door].send(request.body(Full::default()).unwrap());
        let _ = tokio::time::timeout(after, sending).await;
    }

    /// POST /oauth2/refresh: a swap now.
    pub async fn refresh(&self, world: &World, door: usize) -> Result<Reply, Failure> {
        let request = self.request(world, Method::POST, "/oauth2/refresh", &self.cookie());
        let request = request.header("x-csrf", "1").body(Full::default());
        world.doors[door].send(request.unwrap()).await
    }

    /// Signs out; whether the gateway confirmed it.
    pub async fn sign_out(&self, world: &World, door: usize) -> bool {
        let _loading = self.loading.lock().await;
        self.stand(Standing::Leaving);
        let request = self.request(world, Method::POST, "/oauth2/sign_out", &self.cookie());
        let request = request.header("x-csrf", "1").body(Full::default()).unwrap();
        let Ok(reply) = world.doors[door].send(request).await else {
            return false;
        };
        if reply.status != 200 {
            return false;
        }
        let now = Clock::System.now();
        let told: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
        // What it says second may be the end that a sign-out before it brought, whose answer never came.
        if told["signed_out"] == true || self.standing() == Standing::Leaving {
            self.is_out(world, now);
        }
        true
    }

    fn request(
        &self,
        world: &World,
        method: Method,
        path: &str,
        cookie: &str,
    ) -> http::request::Builder {
        let mark = format!("{}.{}", self.number, Clock::System.now().as_millis());
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &world.host)
            .header(header::ACCEPT, "application/json")
            .header(header::COOKIE, cookie)
            .header(MARK, mark)
    }

    async fn judge(
        &self,
        world: &World,
        door: usize,
        sent: &str,
        reply: Result<Reply, Failure>,
    ) -> Seen {
        let tally = &world.tally;
        up(&tally.requests);
        let reply = match reply {
            Ok(reply) => reply,
            Err(Failure::Slow) => {
                tally.other("no answer within 40 s".into());
                return Seen::Odd;
            }
            Err(failure) => {
                tally.other(format!("{failure:?}"));
                return Seen::Away;
            }
        };
        match reply.status.as_u16() {
            200 if reply.body == BODY => {
                up(&tally.ok);
                Seen::Served
            }
            503 => {
                up(&tally.unavailable);
                Seen::Unavailable
            }
            401 => self.unauthorised(world, door, sent).await,
            status => {
                let body = String::from_utf8_lossy(&reply.body);
                let detail: String = body.chars().take(120).collect();
                tally.other(status.to_string());
                world.remark(&format!("{status} from gateway {door}: {detail}"));
                Seen::Odd
            }
        }
    }

    async fn unauthorised(&self, world: &World, door: usize, sent: &str) -> Seen {
        let noticed = Clock::System.now();
        let loading = self.loading.lock().await;
        // A page load has put another session in its place meanwhile.
        if self.cookie() != sent || self.standing() != Standing::In {
            world.tally.other("401 after the end".into());
            return Seen::Out;
        }
        world.tally.other("401".into());
        world.lost(self, noticed, door);
        self.stand(Standing::Gone);
        self.heal(world).await;
        drop(loading);
        Seen::Lost
    }

    /// The next page load after a loss: signs in unseen, or finds out that the person is signed out everywhere.
    async fn heal(&self, world: &World) {
        // A person comes back when the provider is back.
        let until = Instant::now() + world.plan.seconds(90, 20);
        while Instant::now() < until {
            let door = world.some_door();
            match self
                .load(world, door, world.front.join("/page").unwrap())
                .await
            {
                Landed::At(reply, _) if reply.status == 200 => {
                    up(&world.tally.healed);
                    self.stand(Standing::In);
                    return;
                }
                Landed::LoginPage => break,
                Landed::At(..) | Landed::Failed(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        world.not_healed(self);
    }

    /// GET as a person does it: follows redirects, and with them the silent sign-in.
    pub async fn page(&self, world: &World, door: usize) -> Seen {
        let _loading = self.loading.lock().await;
        if self.standing() != Standing::In {
            return Seen::Out;
        }
        let noticed = Clock::System.now();
        up(&world.tally.requests);
        match self
            .load(world, door, world.front.join("/page").unwrap())
            .await
        {
            Landed::At(reply, anew) if reply.status == 200 => {
                up(&world.tally.ok);
                if anew && self.standing() == Standing::In {
                    world.lost(self, noticed, door);
                    up(&world.tally.healed);
                }
                Seen::Served
            }
            Landed::At(reply, _) if reply.status == 503 => {
                up(&world.tally.unavailable);
                Seen::Unavailable
            }
            Landed::At(reply, _) => {
                world.tally.other(format!("page {}", reply.status.as_u16()));
                let body = String::from_utf8_lossy(&reply.body);
                let detail: String = body.chars().take(400).collect();
                world.remark(&format!("page {}: {detail}", reply.status));
                Seen::Odd
            }
            Landed::LoginPage if self.standing() == Standing::In => {
                world.tally.other("login page".into());
                world.lost(self, noticed, door);
                world.not_healed(self);
                self.stand(Standing::Gone);
                Seen::Lost
            }
            Landed::LoginPage => Seen::Out,
            Landed::Failed(failure) => {
                world.tally.other(format!("page {failure:?}"));
                Seen::Away
            }
        }
    }

    /// Follows redirects to their end. Whether that made a new session is told too.
    async fn load(&self, world: &World, mut door: usize, mut at: Url) -> Landed {
        let mut flow: Vec<(String, String)> = Vec::new();
        let mut anew = false;
        for _ in 0..HOPS {
            let at_idp = at.port() != world.front.port();
            let cookies = if at_idp {
                self.idp_cookie.clone()
            } else {
                let flow = flow.iter().map(|(name, value)| format!("{name}={value}"));
                let all: Vec<_> = flow
                    .chain([self.cookie()])
                    .filter(|c| !c.is_empty())
                    .collect();
                all.join("; ")
            };
            let path = &at[url::Position::BeforePath..url::Position::AfterQuery];
            let request = self
                .request(world, Method::GET, path, &cookies)
                .header("sec-fetch-mode", "navigate")
                .header("sec-fetch-dest", "document");
            let mut request = request.body(Full::<Bytes>::default()).unwrap();
            let headers = request.headers_mut();
            headers.insert(header::ACCEPT, http::HeaderValue::from_static("text/html"));
            let authority = &at[url::Position::BeforeHost..url::Position::AfterPort];
            headers.insert(header::HOST, authority.parse().unwrap());
            let server = if at_idp {
                &world.idp_door
            } else {
                &world.doors[door]
            };
            let reply = match server.send(request).await {
                Ok(reply) => reply,
                Err(failure) => return Landed::Failed(failure),
            };
            anew |= !at_idp && self.keep(&reply.headers, &mut flow);
            let Some(location) = reply.headers.get(header::LOCATION) else {
                let login = at_idp && reply.body.windows(11).any(|w| w == b"interaction");
                return if login {
                    Landed::LoginPage
                } else {
                    Landed::At(reply, anew)
                };
            };
            at = at.join(location.to_str().unwrap()).unwrap();
            // Any gateway may be asked next.
            door = world.some_door();
        }
        Landed::Failed(Failure::Slow)
    }

    /// Keeps cookies; whether there is a new session among them.
    fn keep(&self, headers: &HeaderMap, flow: &mut Vec<(String, String)>) -> bool {
        let mut anew = false;
        for line in headers.get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').unwrap();
            flow.retain(|(known, _)| known != name);
            if name == COOKIE {
                // A cookie that is cleared names nothing any more; what it named is needed for the evidence.
                if !value.is_empty() {
                    pair.clone_into(&mut self.cookie.lock().unwrap());
                    anew = true;
                }
            } else if !value.is_empty() {
                flow.push((name.to_owned(), value.to_owned()));
            }
        }
        anew
    }
}

/// Somebody without a session: what is invented must never reach the application.
pub async fn stranger(world: &Arc<World>, door: usize, cookie: Option<String>) {
    let mut request = Request::builder()
        .uri("/data")
        .header(header::HOST, &world.host)
        .header(header::ACCEPT, "application/json")
        .header(MARK, "nobody");
    if let Some(cookie) = cookie {
        request = request.header(header::COOKIE, format!("{COOKIE}={cookie}"));
    }
    // Refused or unanswered: the application's books would say if it were not.
    let _ = world.doors[door]
        .send(request.body(Full::default()).unwrap())
        .await;
}

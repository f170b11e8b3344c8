//! All sessions of a user are ended on one gateway, while their cookies and bearer tokens are in use on all of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::clock::Clock;
use tidegate::demo::idp::{Algorithm, Person};

use super::stage;
use crate::plan::Plan;
use crate::tally::Spread;
use crate::verdict::{Allowed, Row, judge};
use crate::visitor::{PEOPLE, Seen, Standing, Visitor};
use crate::world::{CLIENT_ID, Setup, World};

/// A token counts as older than it says by the gateways' `clock_skew`, and says whole seconds only: whoever signs in within
/// this after an end is not told apart from before.
const NOT_TOLD_APART: Duration = Duration::from_millis(2100);
/// So many sessions of a user at a time.
const SESSIONS: usize = 3;

/// Who says that a user's sessions are over.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// The provider, from server to server.
    Provider,
    /// An administrator, by the admin API.
    Administrator,
}

/// What of a round was measured, in milliseconds.
#[derive(Default)]
struct Lags {
    cookies: Vec<f64>,
    bearers: Vec<f64>,
    from_request: Vec<f64>,
}

pub async fn revoke(plan: &Plan) -> Row {
    let setup = Setup {
        ttl: Duration::from_mins(10),
        ..Setup::default()
    };
    let stage = stage(plan, "revoke", setup, plan.store).await;
    let world = &stage.world;
    let (rounds, limit) = plan.choose((60, Duration::from_mins(4)), (4, Duration::from_secs(25)));
    let mut lags = Lags::default();
    for round in 0..rounds {
        if stage.began.elapsed() > limit {
            break;
        }
        tokio::time::sleep(NOT_TOLD_APART).await;
        let visitors = world.sign_in(SESSIONS * PEOPLE.len()).await;
        let ways = [Way::Provider, Way::Administrator];
        for person in PEOPLE {
            one_end(world, &visitors, person, ways[round % 2], &mut lags).await;
        }
    }
    let ends = lags.cookies.len();
    let (cookies, bearers) = (Spread::of(lags.cookies), Spread::of(lags.bearers));
    let from_request = Spread::of(lags.from_request);
    let most = plan.spread.as_secs_f64() * 1e3;
    let mut row = judge(world, "revoke", stage.began, Allowed::default()).await;
    for (what, lags) in [("a cookie", &cookies), ("a bearer", &bearers)] {
        row.notes.push(format!(
            "{what} of theirs still served after the answer: {}",
            lags.say()
        ));
        row.must(
            lags.at(1.0) <= most,
            format!("{what} was served for {:.0} ms more", lags.at(1.0)),
        );
    }
    let note = format!("either, from the request on: {}", from_request.say());
    row.notes.push(note);
    row.must(ends > 3, format!("only {ends} ends"));
    row
}

/// Ends all sessions of a person, and measures until when their credentials were of use anywhere.
async fn one_end(
    world: &Arc<World>,
    visitors: &[Arc<Visitor>],
    person: &'static str,
    way: Way,
    lags: &mut Lags,
) {
    let theirs = visitors.iter().filter(|visitor| visitor.person() == person);
    let theirs: Vec<_> = theirs.cloned().collect();
    let mut asking = Vec::new();
    for visitor in &theirs {
        let token = visitor.bearer(world);
        for door in 0..world.nodes.len() {
            // Every gateway has both in its own memory.
            assert_eq!(visitor.fetch(world, door).await, Seen::Served);
            assert_eq!(visitor.call(world, door, &token).await, Seen::Served);
            for bearer in [None, Some(token.clone())] {
                let (world, visitor) = (Arc::clone(world), Arc::clone(visitor));
                let is_bearer = bearer.is_some();
                let last = async move { last_served(&world, &visitor, door, bearer).await };
                asking.push((is_bearer, tokio::spawn(last)));
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    for visitor in &theirs {
        visitor.stand(Standing::Leaving);
    }
    let asked = Instant::now();
    let door = world.some_door();
    let subject = Person::named(person).unwrap().subject;
    let ended = match way {
        Way::Provider => world.log_out_at(door, &logout_token(world, subject)).await,
        Way::Administrator => world.end_user_at(door, subject).await,
    };
    let (told, now) = (Instant::now(), Clock::System.now());
    if !ended {
        let what = format!("{person}'s sessions were not ended: {way:?}");
        world.tally.problem(what);
    }
    for visitor in &theirs {
        visitor.is_out(world, now);
    }
    let millis =
        |last: Instant, since: Instant| last.saturating_duration_since(since).as_secs_f64() * 1e3;
    let (mut cookies, mut bearers, mut either) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (is_bearer, asking) in asking {
        let last = asking.await.unwrap().unwrap_or(asked);
        let of = if is_bearer {
            &mut bearers
        } else {
            &mut cookies
        };
        *of = of.max(millis(last, told));
        either = either.max(millis(last, asked));
    }
    lags.cookies.push(cookies);
    lags.bearers.push(bearers);
    lags.from_request.push(either);
}

/// Asks as fast as it can until it is refused; when the last request began that was served.
async fn last_served(
    world: &Arc<World>,
    visitor: &Arc<Visitor>,
    door: usize,
    bearer: Option<String>,
) -> Option<Instant> {
    let mut last = None;
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        let began = Instant::now();
        let seen = match &bearer {
            Some(token) => visitor.call(world, door, token).await,
            None => visitor.fetch(world, door).await,
        };
        if seen == Seen::Served {
            last = Some(began);
        } else if visitor.standing() != Standing::In {
            break;
        }
    }
    last
}

/// OpenID Connect Back-Channel Logout section 2.4.
fn logout_token(world: &World, subject: &str) -> String {
    let now = Clock::System.now();
    let header = serde_json::json!({ "alg": "ES256", "typ": "logout+jwt" });
    let claims = serde_json::json!({
        "iss": world.idp.issuer(),
        "aud": CLIENT_ID,
        "sub": subject,
        "iat": now.as_secs(),
        "exp": now.as_secs() + 120,
        "jti": format!("{subject} {}", now.as_millis()),
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    let signed = world.idp.sign(Algorithm::Es256, &header, &claims);
    signed.unwrap()
}

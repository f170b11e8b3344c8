//! The live trace on the demo's terminal: one line for each step, never a token.

use std::io::{self, Write};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;

use super::Demo;
use super::idp::{Event, Kind};
use super::upstream::Arrival;

/// Writes what happens, until nothing can happen any more.
pub(super) async fn follow(demo: &Demo) {
    let started = Instant::now();
    let mut events = demo.idp.events();
    let mut arrivals = demo.upstream.arrivals();
    loop {
        let line = tokio::select! {
            event = events.recv() => event.map(|event| said_of(&event)),
            arrival = arrivals.recv() => arrival.map(|arrival| said_of_arrival(&arrival)),
        };
        match line {
            // A terminal that is gone is no reason to stop.
            Ok(line) => {
                let _ = tell(started.elapsed(), &line);
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn tell(at: Duration, line: &str) -> io::Result<()> {
    let seconds = at.as_secs();
    let mut out = io::stdout().lock();
    writeln!(out, "  {:>3}:{:02}  {line}", seconds / 60, seconds % 60)?;
    out.flush()
}

fn said_of_arrival(arrival: &Arrival) -> String {
    let Arrival { what, person } = arrival;
    match person {
        Some(person) => format!("request allowed: {what} as {person}"),
        None => format!("request allowed: {what}, open to all"),
    }
}

fn said_of(event: &Event) -> String {
    match event {
        Event::LoginAsked => "login: the gateway sent a browser to the identity provider".into(),
        Event::LoggedIn(person) => format!("login: {person} signed in at the identity provider"),
        Event::Code { person, silent } => {
            let how = if *silent {
                ", without showing a page"
            } else {
                ""
            };
            format!("code: one for {person}, on its way through the browser{how}")
        }
        Event::Exchanged(person) => format!(
            "tokens stored: the gateway exchanged the code of {person}; cookie set: an opaque id is all the browser gets"
        ),
        Event::CodeReplayed => "a spent code came again: its tokens are dead".into(),
        Event::Refreshed { person, count } => {
            format!(
                "swap no. {count} of {person}: the refresh token was spent, the next one is stored"
            )
        }
        Event::RefreshRefused(why) => format!("swap refused by the identity provider: {why}"),
        Event::Reused(person) => {
            format!(
                "reuse detected: a spent refresh token of {person} came again, the family is dead"
            )
        }
        Event::Revoked(kind) => format!("revoked at the identity provider: {}", called(*kind)),
        Event::SessionEnded(person) => {
            format!("the session of {person} at the identity provider is over")
        }
        Event::BackchannelLogout { taken: true } => {
            "back-channel logout: the gateway took it".into()
        }
        Event::BackchannelLogout { taken: false } => "back-channel logout: sent, not taken".into(),
        Event::KeysRotated => "the identity provider signs with new keys".into(),
        Event::Reachable(true) => "the identity provider is up".into(),
        Event::Reachable(false) => "the identity provider is down: connections are refused".into(),
    }
}

fn called(kind: Kind) -> &'static str {
    match kind {
        Kind::Code => "a code",
        Kind::Access => "the access token",
        Kind::Refresh => "the refresh token and all that came of it",
        Kind::Id => "an ID token",
    }
}

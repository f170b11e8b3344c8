//! The actors that all integration tests use.
//!
//! ```ignore
//! let scene = Scene::start().await;
//! let browser = scene.browser();
//! browser.login("alice").await;
//! scene.clock.advance(6 * MINUTE);
//! assert_eq!(browser.get("/app").await.status, 200);
//! assert_eq!(scene.idp.journal().refreshes, 1);
//! ```

pub mod auth0;
pub mod browser;
pub mod chromium;
pub mod client;
pub mod exposition;
pub mod forgery;
pub mod gateway;
pub mod jar;
pub mod keycloak;
pub mod pki;
pub mod redis;
pub mod scene;
pub mod tap;
pub mod upstream;
pub mod wire;

use std::time::Duration;

pub use browser::{Browser, Page};
pub use client::Client;
pub use gateway::{Child, Gateway};
pub use scene::{Scene, Setup};
pub use tidegate::clock::Clock;
pub use tidegate::demo::idp::{Fault, Idp, Kind, Person};
pub use upstream::Upstream;

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_mins(1);
pub const HOUR: Duration = Duration::from_hours(1);

/// Waits in real time until `what` holds; for what happens in the background only.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("did not come true within 5 s: {what}");
}

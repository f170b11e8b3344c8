//! The admin listener's life: bound before anything starts, the last to go, so that it can say that the gateway drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::admin::{Admin, Settings, Tools};
use crate::listener::Local;

/// How long its last answers may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// An admin listener at work.
#[derive(Debug)]
pub(super) struct Listening {
    address: Option<SocketAddr>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

/// Binds it, where there is to be one.
pub(super) fn bind(settings: Option<&Settings>) -> Result<Option<Local>, Error> {
    let Some(settings) = settings else {
        return Ok(None);
    };
    let bound = match settings {
        Settings::Loopback { address, .. } => Local::loopback(*address),
        Settings::Socket { path, .. } => Local::unix(path),
    };
    let bound = bound.map_err(|source| Error::BindAdmin {
        address: match settings {
            Settings::Loopback { address, .. } => address.to_string(),
            Settings::Socket { path, .. } => format!("unix:{}", path.display()),
        },
        source,
    });
    bound.map(Some)
}

/// Serves it on the background runtime.
pub(super) fn serve(
    bound: Option<Local>,
    settings: Option<&Settings>,
    tools: Tools,
) -> Option<Listening> {
    let (bound, settings) = (bound?, settings?);
    let background = tools.background.clone();
    let admin = Arc::new(Admin::new(settings, tools));
    let stop = CancellationToken::new();
    Some(Listening {
        address: bound.address(),
        served: background.spawn(bound.serve(admin, stop.clone())),
        stop,
    })
}

impl Listening {
    /// Its address, with the real port; none for a Unix socket.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    pub(super) async fn stop(self) {
        self.stop.cancel();
        // Whoever still asks by then is cut off.
        let _ = timeout(GOODBYE, self.served).await;
    }
}

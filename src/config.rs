//! gateway.toml: read whole, every error at once with its place; each room's own values come out.

mod admin;
mod blot;
mod files;
mod headers;
mod idp;
mod load;
mod output;
mod overlay;
mod problem;
mod reader;
mod redis;
mod routes;
mod secret;
mod server;
mod sessions;
mod summary;
#[cfg(test)]
mod tests;

mod tree;
mod upstreams;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::{forward, issuer, pages, route, session, telemetry, tls, verify};

pub use files::Unusable;
pub use load::Checked;
pub use overlay::{Environment, Overlay};
pub use problem::{Coloring, Entry, Problems, Severity};
pub use secret::key_material;
pub use value::parse_duration;

/// A configuration without errors: what `app` builds the gateway from.
#[derive(Clone, Debug)]
pub struct Config {
    /// `server.external_url`: scheme, host and port only.
    pub external_url: Url,
    /// `server.prefix`, such as `/oauth2`.
    pub prefix: String,
    /// `server.shutdown_grace`.
    pub shutdown_grace: Duration,
    /// `[[listeners]]`, or the default one.
    pub listeners: Vec<Listener>,
    /// `[tls]`.
    pub tls: Tls,
    /// `[idp.*]`, in the order of the file.
    pub idps: Vec<Idp>,
    /// `[session]` and `[logout]`.
    pub session: session::Settings,
    /// `session.store`, `[store.*]`.
    pub store: session::StoreSettings,
    /// `session.encryption_keys`.
    pub encryption_keys: EncryptionKeys,
    /// `session.cookie.name`.
    pub cookie: String,
    /// `logout.rp_initiated`.
    pub rp_initiated: bool,
    /// `logout.post_logout_redirects`.
    pub post_logout_redirects: Vec<String>,
    /// `logout.backchannel`.
    pub backchannel_logout: bool,
    /// `logout.frontchannel`.
    pub frontchannel_logout: bool,
    /// `[headers]` and `server.trusted_proxies`.
    pub forward: forward::Settings,
    /// `[upstreams.*]`.
    pub upstreams: Vec<Upstream>,
    /// `[[routes]]`, already proven to make a table.
    pub routes: Vec<route::Route>,
    /// `[pages]`.
    pub pages: pages::Settings,
    /// `[telemetry]`.
    pub telemetry: telemetry::Settings,
    /// `[admin]`; none means no listener.
    pub admin: Option<crate::admin::Settings>,
    /// Where certificates, keys and sessions made by the gateway itself are kept:
    /// `$STATE_DIRECTORY`, else `$XDG_STATE_HOME/tidegate`, else `./state`.
    pub state_dir: PathBuf,
}

/// One `[[listeners]]`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// What it speaks.
    pub protocol: Protocol,
}

/// `listeners.protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TLS.
    Https,
    /// Plain.
    Http,
    /// 308 to https.
    Redirect,
}

/// `[tls]`.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The lowest version.
    pub min_version: tls::MinVersion,
    /// Chain and key files; none means: a certificate for localhost, made on the spot.
    pub certificates: Vec<(PathBuf, PathBuf)>,
}

/// One `[idp.NAME]`.
#[derive(Clone, Debug)]
pub struct Idp {
    /// How it is reached.
    pub issuer: issuer::Settings,
    /// What makes its access tokens acceptable.
    pub access_token: verify::Settings,
}

/// One `[upstreams.NAME]`.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// `targets`.
    pub targets: Vec<crate::connect::Origin>,
    /// `connect_timeout`.
    pub connect_timeout: Duration,
    /// `request_timeout`.
    pub request_timeout: Duration,
    /// `tls.ca`.
    pub ca: Option<PathBuf>,
    /// `tls.server_name`.
    pub server_name: Option<Arc<str>>,
    /// `authorization`.
    pub authorization: forward::Authorization,
}

/// `session.encryption_keys`.
#[derive(Clone)]
pub enum EncryptionKeys {
    /// As configured: the first seals, all open.
    Given(Vec<Vec<u8>>),
    /// None configured with a store on disk: made at the first start and kept in this file beside it, mode 0600.
    KeptIn(PathBuf),
    /// None configured with a store in memory: nothing that it seals outlives the process.
    OfThisRun,
}

impl std::fmt::Debug for EncryptionKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Given(keys) => write!(f, "Given({} keys)", keys.len()),
            Self::KeptIn(path) => write!(f, "KeptIn({})", path.display()),
            Self::OfThisRun => f.write_str("OfThisRun"),
        }
    }
}

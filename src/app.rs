//! Builds every part, binds first, starts the workers and the background tasks, and drains: the only composer.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin::{Readiness, Tools as AdminTools, Workers};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::connect;
use crate::endpoint::{self, Endpoints};
use crate::forward::{Forwarder, Upstream};
use crate::gateway::{Gateway, Shared};
use crate::issuer::Issuer;
use crate::listener::{self, Bound};
use crate::pages::Pages;
use crate::refusal::{Refusals, Site};
use crate::route::Table;
use crate::session::{Sessions, StoreError, StoreSettings, Tools};
use crate::telemetry::{AccessLog, Audit, AuditSettings, Metrics};
use crate::tls;
use crate::verify::Verifier;

mod admin;
mod keys;

/// How long an upstream's connection may stay idle in the pool: less than the 60 to 75 seconds after which servers close.
const UPSTREAM_IDLE: Duration = Duration::from_secs(50);

/// Why the gateway doesn't start, or didn't stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address can't be listened on.
    #[error("can't listen on {address}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The admin listener's address can't be listened on.
    #[error("can't listen for the administrator on {address}")]
    BindAdmin {
        /// Which.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificates or keys can't be used.
    #[error(transparent)]
    Files(#[from] config::Unusable),
    /// TLS can't be set up, or the certificate for localhost can't be made or kept.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The audit log can't be written.
    #[error("can't write the audit log {path}")]
    AuditLog {
        /// Which file, or `-`.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The session store can't be opened.
    #[error("can't open the session store")]
    Store(#[from] StoreError),
    /// The encryption key can't be read or made.
    #[error("can't use the session encryption key: {what}")]
    EncryptionKey {
        /// Which file, or what is wrong.
        what: String,
        /// What the system said.
        #[source]
        source: Option<io::Error>,
    },
    /// A route can't be had; `config` has refused those already.
    #[error("route {index}: {why}")]
    Route {
        /// Which, counted from 0.
        index: usize,
        /// Why.
        why: String,
    },
    /// Threads or runtimes can't be started.
    #[error("can't start")]
    Start(#[source] io::Error),
    /// Requests were still under way when the grace period had passed.
    #[error("stopped with requests under way: the grace period of {0:?} had passed")]
    Unclean(Duration),
}

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// See [`Error`].
pub fn run(config: &Config) -> Result<(), Error> {
    let running = start(config, Clock::System)?;
    let background = running.background();
    background.block_on(stop_signal()).map_err(Error::Start)?;
    tracing::info!("stopping: no new connections, requests under way are finished");
    background.block_on(running.stop())
}

async fn stop_signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // Left to itself it would end the process in the middle of its requests.
            _ = hangup.recv() => tracing::warn!("SIGHUP: reloading is not supported by this version yet; going on as before"),
        }
    }
}

/// A gateway at work.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    drain: DropGuard,
    workers: Vec<oneshot::Receiver<bool>>,
    sessions: Arc<Sessions>,
    admin: Option<admin::Listening>,
    audit: Audit,
    grace: Duration,
    background: Background,
}

/// Binds, builds and starts: when this returns, connections are accepted.
///
/// # Errors
/// See [`Error`].
pub fn start(config: &Config, clock: Clock) -> Result<Running, Error> {
    let names = config.idps.iter().map(|idp| &idp.issuer.name);
    let metrics = Arc::new(Metrics::new(names));
    let bound = bind(config, &metrics)?;
    let bound_admin = admin::bind(config.admin.as_ref())?;
    let background = Background::start().map_err(Error::Start)?;
    let parts = Parts::build(config, clock.clone(), background.handle.clone(), &metrics)?;
    background
        .handle
        .spawn(Arc::clone(&parts.verifier).keep_fresh());
    background
        .handle
        .spawn(Arc::clone(&parts.sessions).keep_house());
    wait_for_store(&background.handle, &parts.sessions);

    let drain = CancellationToken::new();
    let addresses = bound.iter().map(Bound::address).collect();
    let wanted = thread::available_parallelism().map_or(1, usize::from);
    let at_work = Workers::wanted(wanted);
    let workers = (0..wanted)
        .map(|n| {
            let sockets = bound
                .iter()
                .map(Bound::try_clone)
                .collect::<io::Result<Vec<_>>>()?;
            let gateway = Gateway::new(
                Arc::clone(&parts.shared),
                Forwarder::new(Arc::clone(&parts.forward), &parts.upstreams, &metrics),
            );
            let worker = Worker {
                at_work: Arc::clone(&at_work),
                drain: drain.clone(),
                grace: config.shutdown_grace,
            };
            worker.start(n, sockets, gateway)
        })
        .collect::<io::Result<Vec<_>>>()
        .map_err(Error::Start)?;
    let readiness = Readiness {
        workers: at_work,
        sessions: Arc::clone(&parts.sessions),
        verifier: parts.verifier,
        drain: drain.clone(),
    };
    let tools = AdminTools {
        readiness,
        metrics,
        idps: parts.issuers,
        pages: parts.pages,
        audit: parts.audit.clone(),
        clock,
        background: background.handle.clone(),
    };
    let admin = admin::serve(bound_admin, config.admin.as_ref(), tools);
    Ok(Running {
        addresses,
        drain: drain.drop_guard(),
        workers,
        sessions: parts.sessions,
        admin,
        audit: parts.audit,
        grace: config.shutdown_grace,
        background,
    })
}

impl Running {
    /// Where it listens, in the order of the configuration, with the real ports where 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where its administrator asks, if that is an address.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(admin::Listening::address)
    }

    /// Where background work runs.
    pub fn background(&self) -> Handle {
        self.background.handle.clone()
    }

    /// Stops accepting, finishes what has begun, saves what is owed.
    ///
    /// # Errors
    /// [`Error::Unclean`] when the grace period passed first.
    pub async fn stop(self) -> Result<(), Error> {
        drop(self.drain);
        let mut clean = true;
        for worker in self.workers {
            clean &= worker.await.unwrap_or(false);
        }
        clean &= timeout(self.grace, self.sessions.settle()).await.is_ok();
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
        self.audit.flush();
        if clean {
            Ok(())
        } else {
            Err(Error::Unclean(self.grace))
        }
    }
}

fn bind(config: &Config, metrics: &Metrics) -> Result<Vec<Bound>, Error> {
    let certificates = config.certificates()?;
    let tls = if config
        .listeners
        .iter()
        .any(|l| l.protocol == config::Protocol::Https)
    {
        Some(server_tls(config, certificates, metrics)?)
    } else {
        None
    };
    let https_port = config.external_url.port_or_known_default().unwrap_or(443);
    let mut bound = Vec::with_capacity(config.listeners.len());
    for listener in &config.listeners {
        let protocol = match (listener.protocol, &tls) {
            (config::Protocol::Https, Some(tls)) => listener::Protocol::Https(Arc::clone(tls)),
            (config::Protocol::Https, None) | (config::Protocol::Http, _) => {
                listener::Protocol::Http
            }
            (config::Protocol::Redirect, _) => listener::Protocol::Redirect { port: https_port },
        };
        let address = listener.address;
        let settings = listener::Settings { address, protocol };
        bound.push(Bound::bind(&settings).map_err(|source| Error::Bind { address, source })?);
    }
    Ok(bound)
}

/// The server's side of TLS: what the configuration names, or a certificate made for localhost.
fn server_tls(
    config: &Config,
    mut certificates: Vec<tls::Certificate>,
    metrics: &Metrics,
) -> Result<Arc<rustls::ServerConfig>, tls::Error> {
    if certificates.is_empty() {
        certificates.push(tls::Certificate::for_localhost(&config.state_dir)?);
    }
    metrics.certificates(certificates.iter().flat_map(tls::Certificate::validity));
    tls::server_config(certificates, config.tls.min_version)
}

/// Everything that the workers share, and what each builds its own forwarder from.
struct Parts {
    shared: Arc<Shared>,
    verifier: Arc<Verifier>,
    sessions: Arc<Sessions>,
    audit: Audit,
    issuers: Vec<Arc<Issuer>>,
    pages: Arc<Pages>,
    forward: Arc<crate::forward::Settings>,
    upstreams: HashMap<Arc<str>, Arc<Upstream>>,
}

impl Parts {
    fn build(
        config: &Config,
        clock: Clock,
        background: Handle,
        metrics: &Arc<Metrics>,
    ) -> Result<Self, Error> {
        let keys = keys::open(&config.encryption_keys)?;
        let platform = tls::client_config(None)?;
        let idps: Vec<_> = config
            .idps
            .iter()
            .map(|idp| {
                let issuer = Issuer::new(idp.issuer.clone(), Arc::clone(&platform), clock.clone());
                (Arc::new(issuer), idp.access_token.clone())
            })
            .collect();
        let issuers: Vec<_> = idps.iter().map(|(issuer, _)| Arc::clone(issuer)).collect();
        let verifier = Arc::new(Verifier::new(
            idps,
            clock.clone(),
            background.clone(),
            metrics,
        ));
        let audit = audit_log(config)?;
        let tools = Tools {
            keys: keys.clone(),
            idps: issuers.clone(),
            verifier: Arc::clone(&verifier),
            clock: clock.clone(),
            background: background.clone(),
            metrics: Arc::clone(metrics),
            audit: audit.clone(),
        };
        let sessions = Sessions::open_store(&config.store, config.session.clone(), tools)?;
        let pages = Arc::new(Pages::new(config.pages.clone()));
        let site = site(config);
        let endpoints = Endpoints {
            settings: endpoint_settings(config, Arc::clone(&site)),
            idps: issuers.clone(),
            sessions: Arc::clone(&sessions),
            verifier: Arc::clone(&verifier),
            keys,
            pages: Arc::clone(&pages),
            clock,
            spent: endpoint::Spent::default(),
            logouts: endpoint::UnderWay::default(),
            metrics: Arc::clone(metrics),
            audit: audit.clone(),
        };
        let access_log = AccessLog::open(&config.telemetry).map_err(Error::Start)?;
        let shared = Shared {
            routes: Table::new(&config.prefix, config.routes.clone())
                .map_err(|(index, why)| Error::Route { index, why })?,
            cookie: config.cookie.clone(),
            sessions: Arc::clone(&sessions),
            verifier: Arc::clone(&verifier),
            endpoints: Arc::new(endpoints),
            refusals: Refusals {
                pages: Arc::clone(&pages),
                site,
                cookie: config.cookie.clone(),
            },
            access_log: access_log.with_audit(audit.clone()),
            background,
        };
        Ok(Self {
            shared: Arc::new(shared),
            verifier,
            sessions,
            audit,
            issuers,
            pages,
            forward: Arc::new(config.forward.clone()),
            upstreams: upstreams(config, &platform)?,
        })
    }
}

fn audit_log(config: &Config) -> Result<Audit, Error> {
    let settings = config.telemetry.audit_log.as_ref();
    Audit::open(settings).map_err(|source| Error::AuditLog {
        path: match settings {
            Some(AuditSettings::File(path)) => path.display().to_string(),
            Some(AuditSettings::Stdout) | None => "-".to_owned(),
        },
        source,
    })
}

fn site(config: &Config) -> Arc<Site> {
    let mut hosts: Vec<String> = config
        .routes
        .iter()
        .filter_map(|route| route.host.as_deref().map(str::to_owned))
        .collect();
    hosts.sort_unstable();
    hosts.dedup();
    let site = Site::new(&config.external_url, &config.prefix, hosts);
    Arc::new(match config.store {
        StoreSettings::Cookie => site.without_sessions(),
        StoreSettings::Memory | StoreSettings::Disk { .. } | StoreSettings::Redis(_) => site,
    })
}

fn endpoint_settings(config: &Config, site: Arc<Site>) -> endpoint::Settings {
    endpoint::Settings {
        site,
        cookie: config.cookie.clone(),
        rp_initiated: config.rp_initiated,
        post_logout_redirects: config.post_logout_redirects.clone(),
        backchannel_logout: config.backchannel_logout,
        frontchannel_logout: config.frontchannel_logout,
    }
}

/// `platform` verifies the upstreams that name no `ca` of their own.
fn upstreams(
    config: &Config,
    platform: &Arc<rustls::ClientConfig>,
) -> Result<HashMap<Arc<str>, Arc<Upstream>>, tls::Error> {
    let built = config.upstreams.iter().map(|upstream| {
        let connect = connect::Settings {
            connect_timeout: upstream.connect_timeout,
            response_timeout: upstream.request_timeout,
            idle_timeout: UPSTREAM_IDLE,
            tls: match upstream.ca.as_deref() {
                Some(ca) => tls::client_config(Some(ca))?,
                None => Arc::clone(platform),
            },
            server_name: upstream.server_name.clone(),
        };
        let name = Arc::clone(&upstream.name);
        let upstream = Upstream {
            name: Arc::clone(&name),
            targets: upstream.targets.clone(),
            connect,
            authorization: upstream.authorization,
        };
        Ok((name, Arc::new(upstream)))
    });
    built.collect()
}

/// What every worker is told.
struct Worker {
    at_work: Arc<Workers>,
    drain: CancellationToken,
    grace: Duration,
}

impl Worker {
    /// One thread, one current-thread runtime, its own upstream connections. Tells whether it drained in time.
    fn start(
        self,
        number: usize,
        sockets: Vec<Bound>,
        gateway: Gateway,
    ) -> io::Result<oneshot::Receiver<bool>> {
        let (done, receiver) = oneshot::channel();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let at_work = self.at_work.begin();
        thread::Builder::new()
            .name(format!("worker-{number}"))
            .spawn(move || {
                let clean = runtime.block_on(self.serve(sockets, Arc::new(gateway)));
                drop(at_work);
                // Nobody listens any more when the whole process is going down at once.
                let _ = done.send(clean);
            })?;
        Ok(receiver)
    }

    async fn serve(&self, sockets: Vec<Bound>, gateway: Arc<Gateway>) -> bool {
        let serving = TaskTracker::new();
        for socket in sockets {
            serving.spawn(socket.serve(Arc::clone(&gateway), self.drain.clone()));
        }
        serving.close();
        self.drain.cancelled().await;
        timeout(self.grace, serving.wait()).await.is_ok()
    }
}

/// The runtime of everything that no single request owns. Dropping it never blocks, so it may be dropped anywhere.
#[derive(Debug)]
struct Background {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Background {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("background")
            .enable_all()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }
}

/// The store gets a second to answer, so that the first to come need not be told to wait. One that is away keeps nobody
/// from starting.
fn wait_for_store(background: &Handle, sessions: &Arc<Sessions>) {
    let (done, asked) = mpsc::channel();
    let sessions = Arc::clone(sessions);
    background.spawn(async move {
        let _ = done.send(sessions.ready().await);
    });
    let _ = asked.recv();
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

//! Where Redis is, and how a connection to it is made.

use std::fmt;
use std::time::Duration;

use redis::aio::PubSub;
use redis::cluster::{ClusterClient, ClusterClientBuilder};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates, TlsMode,
};
use tokio::time::timeout;

use super::link::{Fault, Line};
use super::sentinel;
use crate::token::Secret;

/// How long a connection may take to be made.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// How long a node of a cluster may take to answer, and how often another try is made: a shard that has moved is found
/// by then. Every script does the same when it comes a second time.
const NODE: Duration = Duration::from_secs(1);
/// See [`NODE`].
const TRIES: u32 = 3;
/// The pause between tries, in milliseconds: at least, and at most.
const PAUSE: (u64, u64) = (20, 200);

/// What `[store.redis]` says.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where it is.
    pub servers: RedisServers,
    /// Whether to it all goes over TLS.
    pub tls: bool,
    /// The certificate authorities that vouch for it, in PEM; without them those of the machine do.
    pub ca: Option<Vec<u8>>,
    /// Its user (ACL); without one the default user.
    pub username: Option<String>,
    /// The user's password.
    pub password: Option<Secret>,
    /// The number of the database.
    pub db: u16,
    /// What all names in it begin with.
    pub prefix: String,
}

/// Where Redis is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisServers {
    /// One server.
    One(RedisAddress),
    /// The one that the sentinels name.
    Sentinel {
        /// The sentinels.
        addresses: Vec<RedisAddress>,
        /// What they call it.
        master: String,
    },
    /// A cluster.
    Cluster(Vec<RedisAddress>),
}

impl RedisServers {
    /// The addresses that are configured.
    pub fn all(&self) -> &[RedisAddress] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Sentinel { addresses, .. } | Self::Cluster(addresses) => addresses,
        }
    }
}

/// A server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisAddress {
    /// Its name, or IP address without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for RedisAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Connections to Redis: one for commands, one on which it is listened.
pub(super) struct Connected {
    pub(super) line: Line,
    pub(super) listening: PubSub,
    /// Where the sentinels said that it is.
    pub(super) master: Option<RedisAddress>,
}

impl RedisSettings {
    /// Where it is and how it is asked, without the password.
    pub fn summary(&self) -> String {
        let all: Vec<_> = self.servers.all().iter().map(ToString::to_string).collect();
        let all = all.join(", ");
        let mut text = match &self.servers {
            RedisServers::One(_) => format!("Redis at {all}"),
            RedisServers::Sentinel { master, .. } => {
                format!("Redis {master} by the sentinels {all}")
            }
            RedisServers::Cluster(_) => format!("the Redis cluster at {all}"),
        };
        if let Some(username) = &self.username {
            text.extend([" as ", username]);
        }
        text.push_str(if self.tls {
            " over TLS"
        } else {
            " in the clear"
        });
        text
    }

    /// Makes the connections. `attempt` says which of a cluster's nodes is listened to, so that it is another one after
    /// each loss.
    pub(super) async fn connect(&self, attempt: usize) -> Result<Connected, Fault> {
        match &self.servers {
            RedisServers::One(address) => self.connect_one(address).await,
            RedisServers::Sentinel { addresses, master } => {
                let master = sentinel::master(self, addresses, master).await?;
                Ok(Connected {
                    master: Some(master.clone()),
                    ..self.connect_one(&master).await?
                })
            }
            RedisServers::Cluster(addresses) => self.connect_many(addresses, attempt).await,
        }
    }

    /// Waits until the sentinels name another master; for ever where there are none.
    pub(super) async fn moves_from(&self, known: Option<&RedisAddress>) {
        match (&self.servers, known) {
            (RedisServers::Sentinel { addresses, master }, Some(known)) => {
                sentinel::moves(self, addresses, master, known).await;
            }
            _ => std::future::pending().await,
        }
    }

    async fn connect_one(&self, address: &RedisAddress) -> Result<Connected, Fault> {
        let client = self.client(address)?;
        let line = client
            .get_multiplexed_async_connection_with_config(&patience())
            .await?;
        Ok(Connected {
            line: Line::One(line),
            listening: listen(&client).await?,
            master: None,
        })
    }

    async fn connect_many(
        &self,
        addresses: &[RedisAddress],
        attempt: usize,
    ) -> Result<Connected, Fault> {
        let cluster = self.cluster(addresses)?;
        let line = cluster.get_async_connection().await?;
        let mut why = Fault::Lost;
        let from_there = addresses
            .iter()
            .cycle()
            .skip(attempt % addresses.len().max(1));
        for address in from_there.take(addresses.len()) {
            match listen(&self.client(address)?).await {
                Ok(listening) => {
                    return Ok(Connected {
                        line: Line::Many(line),
                        listening,
                        master: None,
                    });
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    fn cluster(&self, addresses: &[RedisAddress]) -> Result<ClusterClient, RedisError> {
        let nodes: Result<Vec<_>, _> = addresses.iter().map(|a| self.info(a)).collect();
        let mut cluster = ClusterClientBuilder::new(nodes?)
            .connection_timeout(CONNECT)
            .response_timeout(NODE)
            .retries(TRIES)
            .min_retry_wait(PAUSE.0)
            .max_retry_wait(PAUSE.1);
        if self.tls {
            cluster = cluster.tls(TlsMode::Secure).certs(self.certificates());
        }
        cluster.build()
    }

    /// A client for one server, as the user that is configured.
    pub(super) fn client(&self, address: &RedisAddress) -> Result<Client, RedisError> {
        self.client_of(self.info(address)?)
    }

    /// A client that does not say who it is, and chooses no database.
    pub(super) fn anonymous_client(&self, address: &RedisAddress) -> Result<Client, RedisError> {
        let info = self.info(address)?;
        self.client_of(info.set_redis_settings(nobody()))
    }

    /// A client for a sentinel that wants to know who asks.
    pub(super) fn client_without_database(
        &self,
        address: &RedisAddress,
    ) -> Result<Client, RedisError> {
        let info = self.info(address)?;
        let user = info.redis_settings().clone().set_db(0);
        self.client_of(info.set_redis_settings(user))
    }

    fn client_of(&self, info: ConnectionInfo) -> Result<Client, RedisError> {
        if self.tls {
            Client::build_with_tls(info, self.certificates())
        } else {
            Client::open(info)
        }
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates {
            client_tls: None,
            root_cert: self.ca.clone(),
        }
    }

    fn info(&self, address: &RedisAddress) -> Result<ConnectionInfo, RedisError> {
        let RedisAddress { host, port } = address.clone();
        let address = if self.tls {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut user = nobody().set_db(self.db.into());
        if let Some(name) = &self.username {
            user = user.set_username(name);
        }
        if let Some(password) = &self.password {
            user = user.set_password(password.expose());
        }
        Ok(address.into_connection_info()?.set_redis_settings(user))
    }
}

fn nobody() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

/// Whoever asks sets the time for each answer.
pub(super) fn patience() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(None)
}

async fn listen(client: &Client) -> Result<PubSub, Fault> {
    let listening = timeout(CONNECT, client.get_async_pubsub()).await;
    Ok(listening.map_err(|_| Fault::Slow(CONNECT))??)
}

//! Where Redis is, and how a connection to it is made.

use std::fmt;
use std::time::Duration;

use redis::aio::PubSub;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, TlsCertificates,
};

use super::link::Line;
use crate::token::Secret;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(2);

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
}

impl RedisSettings {
    /// Where it is and how it is asked, without the password.
    pub fn summary(&self) -> String {
        let list = |addresses: &[RedisAddress]| {
            let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            texts.join(", ")
        };
        let mut text = match &self.servers {
            RedisServers::One(address) => format!("Redis at {address}"),
            RedisServers::Sentinel { addresses, master } => {
                format!("Redis {master} by the sentinels {}", list(addresses))
            }
            RedisServers::Cluster(addresses) => {
                format!("the Redis cluster at {}", list(addresses))
            }
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

    /// Makes the connections.
    pub(super) async fn connect(&self) -> Result<Connected, RedisError> {
        match &self.servers {
            RedisServers::One(address) => self.connect_one(address).await,
            RedisServers::Sentinel { .. } | RedisServers::Cluster(_) => Err(RedisError::from((
                redis::ErrorKind::InvalidClientConfig,
                "Sentinel and Cluster are not there yet",
            ))),
        }
    }

    async fn connect_one(&self, address: &RedisAddress) -> Result<Connected, RedisError> {
        let client = self.client(address)?;
        let patience = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None);
        let line = client
            .get_multiplexed_async_connection_with_config(&patience)
            .await?;
        let listening = client.get_async_pubsub().await?;
        Ok(Connected {
            line: Line::One(line),
            listening,
        })
    }

    fn client(&self, address: &RedisAddress) -> Result<Client, RedisError> {
        let info = self.info(address)?;
        if !self.tls {
            return Client::open(info);
        }
        let certificates = TlsCertificates {
            client_tls: None,
            root_cert: self.ca.clone(),
        };
        Client::build_with_tls(info, certificates)
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
        let mut user = RedisConnectionInfo::default()
            .set_db(self.db.into())
            .set_skip_set_lib_name();
        if let Some(name) = &self.username {
            user = user.set_username(name);
        }
        if let Some(password) = &self.password {
            user = user.set_password(password.expose());
        }
        Ok(address.into_connection_info()?.set_redis_settings(user))
    }
}

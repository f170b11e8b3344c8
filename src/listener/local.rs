//! A listener for this machine only: a loopback address, or a Unix socket that nobody but its owner can open. HTTP/1.1, few
//! connections at a time.

use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::{self, until_drained};
use super::connection::Common;
use super::watch::Limits;
use super::{Bound, Handler, Protocol, Settings};
use crate::peer::Peer;

/// How many connections are served at a time; one more is closed unheard.
const CONNECTIONS: usize = 64;

/// How many the system holds until they are accepted.
const BACKLOG: i32 = 64;

/// Whoever comes here asks seldom and at once.
const LIMITS: Limits = Limits {
    handshake: Duration::from_secs(5),
    head: Duration::from_secs(5),
    tick: Duration::from_secs(5),
    idle: Duration::from_secs(30),
    goodbye: Duration::from_secs(2),
    parting: Duration::from_secs(1),
};

/// A bound socket: it is ours, nothing is accepted yet.
#[derive(Debug)]
pub struct Local {
    socket: AnySocket,
    address: SocketAddr,
}

#[derive(Debug)]
enum AnySocket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

impl Local {
    /// Binds a loopback address.
    ///
    /// # Errors
    /// What the system said; or that the address is not a loopback address.
    pub fn loopback(address: SocketAddr) -> io::Result<Self> {
        if !address.ip().is_loopback() {
            let what = "not a loopback address";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let protocol = Protocol::Http;
        let bound = Bound::bind(&Settings { address, protocol })?;
        Ok(Self {
            address: bound.address,
            socket: AnySocket::Tcp(bound.socket),
        })
    }

    /// Binds a Unix socket with mode 0600. One that nobody listens on any more is replaced; anything else in its place is
    /// not. The file goes when this is dropped or has been served.
    ///
    /// # Errors
    /// What the system said; [`io::ErrorKind::AddrInUse`] when somebody listens there.
    pub fn unix(path: &Path) -> io::Result<Self> {
        make_way(path)?;
        // Bound under another name and linked into place when it is ready: nobody ever meets one that others may open.
        let draft = path.with_extension(format!("{}.tmp", std::process::id()));
        let _ = fs::remove_file(&draft);
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(&draft)?)?;
        let placed = put_in_place(&socket, &draft, path);
        if placed.is_err() {
            let _ = fs::remove_file(&draft);
        }
        Ok(Self {
            socket: AnySocket::Unix(socket.into(), placed?),
            address: NOWHERE,
        })
    }

    /// The address, with the real port where 0 was asked for; none for a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        matches!(self.socket, AnySocket::Tcp(_)).then_some(self.address)
    }

    /// Accepts and serves on the current runtime until `drain` is cancelled; then lets connections finish the requests
    /// that they have begun.
    pub async fn serve<H: Handler>(self, handler: Arc<H>, drain: CancellationToken) {
        let served = match self.socket {
            AnySocket::Tcp(socket) => {
                serve(tokio::net::TcpListener::from_std(socket), handler, &drain).await
            }
            AnySocket::Unix(socket, _file) => {
                serve(UnixListener::from_std(socket), handler, &drain).await
            }
        };
        if let Err(error) = served {
            tracing::error!(%error, "can't accept connections of this machine");
        }
    }
}

/// Where someone comes from who comes through a file.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// See that nothing but a socket that is left over is at `path`, and that its directory is there.
fn make_way(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        let what = "something that is no socket has this name";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(_) => {
            let what = "somebody listens there";
            Err(io::Error::new(io::ErrorKind::AddrInUse, what))
        }
    }
}

/// Until it listens nobody can connect, so the mode is set in time.
fn put_in_place(socket: &Socket, draft: &Path, path: &Path) -> io::Result<SocketFile> {
    fs::set_permissions(draft, Permissions::from_mode(0o600))?;
    socket.set_nonblocking(true)?;
    socket.listen(BACKLOG)?;
    let file = SocketFile {
        inode: fs::symlink_metadata(draft)?.ino(),
        path: path.to_owned(),
    };
    fs::rename(draft, path)?;
    Ok(file)
}

/// Takes the socket's file away when it is dropped, unless another has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours {
            // What stays behind is replaced at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl accept::Socket for UnixListener {
    type Stream = tokio::net::UnixStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Stream, SocketAddr)>> {
        let accepted = self.poll_accept(cx);
        accepted.map_ok(|(stream, _)| (stream, NOWHERE))
    }
}

async fn serve<S, H>(
    socket: io::Result<S>,
    handler: Arc<H>,
    drain: &CancellationToken,
) -> io::Result<()>
where
    S: accept::Socket<Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    H: Handler,
{
    let common = Arc::new(Common::new(handler, None, LIMITS));
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    until_drained(socket?, drain, |stream, addr| {
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            return;
        };
        let peer = Peer {
            addr,
            // Nobody asks: what is answered here does not depend on it.
            local_port: 0,
            tls: false,
            server_name: None,
        };
        let common = Arc::clone(&common);
        connections.spawn(async move {
            common.http1(stream, peer).await;
            drop(slot);
        });
    })
    .await;
    common.draining.begin();
    connections.close();
    connections.wait().await;
    Ok(())
}

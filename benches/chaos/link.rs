//! A fault-making TCP proxy: what can be wrong between a gateway and what it depends on.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How a link behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    Pass,
    /// Nobody listens.
    Refuse,
    /// Connections are made, and nothing ever comes through.
    Blackhole,
    /// Every byte is late by so much, in each direction.
    Delay(Duration),
}

/// One link. Dropping it ends it.
pub struct Link {
    port: u16,
    mode: watch::Sender<Mode>,
    connections: Arc<Mutex<CancellationToken>>,
    all: CancellationToken,
}

impl Link {
    /// From a loopback port of its own to `target`.
    pub fn to(target: u16) -> Self {
        let listener = listen(0).unwrap();
        let port = listener.local_addr().unwrap().port();
        let all = CancellationToken::new();
        let connections = Arc::new(Mutex::new(all.child_token()));
        let (mode, seen) = watch::channel(Mode::Pass);
        let door = Door {
            port,
            target,
            mode: seen,
            connections: Arc::clone(&connections),
        };
        let ending = all.clone();
        tokio::spawn(async move { ending.run_until_cancelled(door.run(listener)).await });
        Self {
            port,
            mode,
            connections,
            all,
        }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on, for connections that are open too. What is refused is also cut.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
        if mode == Mode::Refuse {
            self.cut();
        }
    }

    /// Resets every connection.
    pub fn cut(&self) {
        let mut connections = self.connections.lock().unwrap();
        std::mem::replace(&mut *connections, self.all.child_token()).cancel();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.all.cancel();
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
    socket.listen(1024)
}

struct Door {
    port: u16,
    target: u16,
    mode: watch::Receiver<Mode>,
    connections: Arc<Mutex<CancellationToken>>,
}

impl Door {
    async fn run(mut self, mut listener: TcpListener) {
        loop {
            let mut mode = self.mode.clone();
            let refused = async { mode.wait_for(|mode| *mode == Mode::Refuse).await.is_ok() };
            tokio::select! {
                biased;
                refused = refused => {
                    if !refused {
                        return;
                    }
                    drop(listener);
                    listener = self.open_again().await;
                }
                accepted = listener.accept() => {
                    let Ok((stream, _)) = accepted else { continue };
                    let connection = self.connections.lock().unwrap().clone();
                    tokio::spawn(join(stream, self.target, self.mode.clone(), connection));
                }
            }
        }
    }

    async fn open_again(&mut self) -> TcpListener {
        loop {
            let _ = self.mode.wait_for(|mode| *mode != Mode::Refuse).await;
            if let Ok(listener) = listen(self.port) {
                return listener;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn join(
    near: TcpStream,
    target: u16,
    mode: watch::Receiver<Mode>,
    connection: CancellationToken,
) {
    let _ = near.set_nodelay(true);
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await;
    let Ok(far) = far else {
        reset(&near);
        return;
    };
    let _ = far.set_nodelay(true);
    let reset_both = (
        SockRef::from(&near).try_clone(),
        SockRef::from(&far).try_clone(),
    );
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let both = async {
        tokio::join!(
            carry(near_in, far_out, mode.clone()),
            carry(far_in, near_out, mode)
        )
    };
    if connection.run_until_cancelled(both).await.is_none() {
        for socket in [reset_both.0, reset_both.1].into_iter().flatten() {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}

fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Carries one direction until it ends.
async fn carry(mut from: OwnedReadHalf, to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let (queue, queued) = mpsc::channel(64);
    let writing = write(to, queued);
    let reading = async move {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let Ok(length @ 1..) = from.read(&mut buffer).await else {
                return;
            };
            let Some(late) = passes(&mut mode).await else {
                return;
            };
            let piece = Bytes::copy_from_slice(&buffer[..length]);
            if queue.send((Instant::now() + late, piece)).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(reading, writing);
}

/// Waits until bytes may pass; how late they are.
async fn passes(mode: &mut watch::Receiver<Mode>) -> Option<Duration> {
    let mode = mode.wait_for(|mode| *mode != Mode::Blackhole).await.ok()?;
    match *mode {
        Mode::Delay(by) => Some(by),
        Mode::Pass | Mode::Refuse | Mode::Blackhole => Some(Duration::ZERO),
    }
}

async fn write(mut to: OwnedWriteHalf, mut queued: mpsc::Receiver<(Instant, Bytes)>) {
    while let Some((due, piece)) = queued.recv().await {
        if due > Instant::now() {
            tokio::time::sleep_until(due).await;
        }
        if to.write_all(&piece).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

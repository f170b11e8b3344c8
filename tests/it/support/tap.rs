//! Between the gateway and a provider: passes all bytes on, and keeps what the provider said.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A listening tap.
pub struct Tap {
    port: u16,
    said: Arc<Mutex<Vec<u8>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tap {
    /// On the way to this loopback port.
    pub async fn to(provider: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let said = Arc::<Mutex<Vec<u8>>>::default();
        let kept = Arc::clone(&said);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(pass_on(stream, provider, Arc::clone(&kept)));
            }
        });
        Self { port, said, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The refresh tokens that the provider has given out, the newest last.
    pub fn refresh_tokens(&self) -> Vec<String> {
        const MEMBER: &str = "\"refresh_token\":\"";
        let said = String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned();
        let found = said.split(MEMBER).skip(1);
        let tokens = found.filter_map(|rest| rest.split('"').next());
        tokens.map(str::to_owned).collect()
    }
}

async fn pass_on(near: TcpStream, provider: u16, said: Arc<Mutex<Vec<u8>>>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", provider)).await else {
        return;
    };
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let asking = async {
        let _ = tokio::io::copy(&mut near_read, &mut far_write).await;
        let _ = far_write.shutdown().await;
    };
    let answering = async {
        let mut bytes = vec![0; 16 * 1024];
        while let Ok(read @ 1..) = far_read.read(&mut bytes).await {
            said.lock().unwrap().extend(&bytes[..read]);
            if near_write.write_all(&bytes[..read]).await.is_err() {
                break;
            }
        }
        let _ = near_write.shutdown().await;
    };
    tokio::join!(asking, answering);
}

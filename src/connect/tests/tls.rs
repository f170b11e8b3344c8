//! https towards an upstream.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;

/// A server's configuration for `upstream.test`, and a client's that trusts it.
fn pair() -> (Arc<rustls::ServerConfig>, Arc<rustls::ClientConfig>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["upstream.test".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().der().clone();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let mut client = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (Arc::new(server), Arc::new(client))
}

fn pool(upstream: &Upstream, tls: Arc<rustls::ClientConfig>, name: Option<&str>) -> Pool {
    let origin = Origin {
        scheme: Scheme::Https,
        ..upstream.origin()
    };
    let server_name = name.map(Arc::from);
    Pool::new(
        origin,
        Settings {
            tls,
            server_name,
            ..settings()
        },
    )
}

#[tokio::test]
async fn https_speaks_http1_and_is_kept_alive() {
    let (server, client) = pair();
    let upstream = Upstream::start().await;
    let pool = pool(&upstream, client, Some("upstream.test"));
    let serve = async {
        let (tcp, _) = upstream.listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(server).accept(tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        for _ in 0..3 {
            let mut heard = Vec::new();
            while !heard.ends_with(b"\r\n\r\n") {
                heard.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(OK.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
        }
        stream
    };
    let ask = async {
        for _ in 0..3 {
            assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "ok");
            assert_eq!(pool.inner.idle.len(), 1);
        }
    };
    let _open = tokio::join!(serve, ask);
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (server, client) = pair();
    let upstream = Upstream::start().await;
    let pool = pool(&upstream, client, None);
    let serve = async {
        let (tcp, _) = upstream.listener.accept().await.unwrap();
        assert!(TlsAcceptor::from(server).accept(tcp).await.is_err());
    };
    let ((), error) = tokio::join!(serve, async { pool.send(get("/")).await.unwrap_err() });
    assert!(matches!(error, Error::Connect { .. }));
    assert!(error.nothing_was_sent());
}

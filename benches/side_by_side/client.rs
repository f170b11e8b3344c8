//! A small client for the checks before and after measuring, and for signing in once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

/// More than a sign-in needs.
const REDIRECTS: usize = 12;

/// Follows nothing by itself but keeps cookies, by port: every server here is called localhost.
pub struct Client {
    tls: TlsConnector,
    cookies: BTreeMap<(u16, String), String>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status code.
    pub status: u16,
    /// Its head.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Client {
    /// One that trusts a certificate.
    pub fn trusting(chain: &Path) -> Self {
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(chain).unwrap();
        roots.add(certificate).unwrap();
        let config =
            rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
                .with_root_certificates(roots)
                .with_no_client_auth();
        Self {
            tls: TlsConnector::from(Arc::new(config)),
            cookies: BTreeMap::new(),
        }
    }

    /// GET with these header lines and the cookies that it has.
    pub async fn get(&mut self, url: &Url, headers: &[String]) -> Answer {
        self.send(Method::GET, url, headers, String::new()).await
    }

    /// Signs in at the development identity provider as a person would; the `Cookie` line of the session.
    pub async fn sign_in(&mut self, gateway: &Url, person: &str) -> String {
        let navigation = ["Accept: text/html".to_owned()];
        let mut at = gateway.join("/oauth2/start?rd=/").unwrap();
        let mut answer = self.get(&at, &navigation).await;
        for _ in 0..REDIRECTS {
            if let Some(location) = answer.headers.get(header::LOCATION) {
                at = at.join(location.to_str().unwrap()).unwrap();
                answer = self.get(&at, &navigation).await;
            } else if let Some(interaction) = value_of(&answer.body, "interaction") {
                let form = format!("interaction={interaction}&person={person}");
                at = at.join("/login").unwrap();
                answer = self.send(Method::POST, &at, &navigation, form).await;
            } else {
                break;
            }
        }
        assert_eq!(answer.status, 200, "signing in ended at {at}: {answer:?}");
        self.cookie_line(gateway).expect("a session cookie")
    }

    fn cookie_line(&self, url: &Url) -> Option<String> {
        let port = url.port()?;
        let ours = self.cookies.iter().filter(|((of, _), _)| *of == port);
        let pairs: Vec<_> = ours
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        (!pairs.is_empty()).then(|| format!("Cookie: {}", pairs.join("; ")))
    }

    async fn send(
        &mut self,
        method: Method,
        url: &Url,
        headers: &[String],
        form: String,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(&url[url::Position::BeforePath..])
            .header(
                header::HOST,
                &url[url::Position::BeforeHost..url::Position::AfterPort],
            );
        if !form.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        for line in headers.iter().cloned().chain(self.cookie_line(url)) {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let request = request.body(Full::new(form.into())).unwrap();
        let port = url.port().unwrap();
        let tcp = TcpStream::connect(("localhost", port)).await.unwrap();
        let answer = if url.scheme() == "https" {
            let name = ServerName::try_from("localhost").unwrap();
            exchange(self.tls.connect(name, tcp).await.unwrap(), request).await
        } else {
            exchange(tcp, request).await
        };
        self.keep_cookies(port, &answer.headers);
        answer
    }

    fn keep_cookies(&mut self, port: u16, headers: &HeaderMap) {
        for line in headers.get_all(header::SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').unwrap();
            let key = (port, name.to_owned());
            if value.is_empty() {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Full<bytes::Bytes>>) -> Answer
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let response = sender.send_request(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    driver.abort();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

/// The value of a hidden field.
fn value_of(html: &str, field: &str) -> Option<String> {
    let (_, after) = html.split_once(&format!("name=\"{field}\" value=\""))?;
    after.split_once('"').map(|(value, _)| value.to_owned())
}

//! Real handshakes, and what is said of files that do not fit.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::error::Error as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion, ServerConnection};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;

use super::*;
use crate::clock::{Clock, Timestamp};

/// An authority, and files of certificates from it.
struct Pki {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        fs::write(dir.path().join("ca.pem"), ca.pem()).unwrap();
        Self {
            dir,
            issuer: Issuer::new(params, key),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes `FILE.crt` and `FILE.key`.
    fn files(&self, file: &str, names: &[&str]) -> (PathBuf, PathBuf) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let (chain_path, key_path) = (
            self.path(&format!("{file}.crt")),
            self.path(&format!("{file}.key")),
        );
        fs::write(&chain_path, certificate.pem()).unwrap();
        fs::write(&key_path, key.serialize_pem()).unwrap();
        (chain_path, key_path)
    }

    fn certificate(&self, names: &[&str]) -> Certificate {
        let (chain, key) = self.files(&names.join("+").replace('*', "any"), names);
        Certificate::load(&chain, &key).unwrap()
    }

    fn client(&self) -> Arc<ClientConfig> {
        client_config(Some(&self.path("ca.pem"))).unwrap()
    }
}

struct Shaken {
    alpn: Option<Vec<u8>>,
    version: ProtocolVersion,
    kind: HandshakeKind,
    shown: CertificateDer<'static>,
}

/// A whole handshake, and a little data so that tickets arrive.
fn shake(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> Result<Shaken, rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.is_handshaking()
        || server.is_handshaking()
        || client.wants_write()
        || server.wants_write()
    {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        pass(&wire, |bytes| server.read_tls(bytes));
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        pass(&wire, |bytes| client.read_tls(bytes));
        client.process_new_packets()?;
    }
    Ok(Shaken {
        alpn: client.alpn_protocol().map(<[u8]>::to_vec),
        version: client.protocol_version().unwrap(),
        kind: client.handshake_kind().unwrap(),
        shown: client.peer_certificates().unwrap()[0].clone().into_owned(),
    })
}

fn pass(mut wire: &[u8], mut read: impl FnMut(&mut dyn std::io::Read) -> std::io::Result<usize>) {
    while !wire.is_empty() {
        read(&mut wire).unwrap();
    }
}

fn with_alpn(client: &Arc<ClientConfig>, protocols: &[&str]) -> Arc<ClientConfig> {
    let mut client = ClientConfig::clone(client);
    client.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(client)
}

#[test]
fn a_client_is_shown_the_certificate_of_its_name() {
    let pki = Pki::new();
    let names: [&[&str]; 5] = [
        &["first.test"],
        &["*.example.test"],
        &["api.example.test", "other.test"],
        &["*.api.example.test"],
        &["other.test"],
    ];
    let certificates: Vec<_> = names.iter().map(|names| pki.certificate(names)).collect();
    let leaves: Vec<_> = certificates.iter().map(|c| c.key.cert[0].clone()).collect();
    let server = server_config(certificates, MinVersion::Tls12).unwrap();
    for (name, shown) in [
        ("first.test", 0),
        ("www.example.test", 1),
        ("api.example.test", 2),
        ("API.Example.test", 2),
        ("other.test", 2),
        ("v1.api.example.test", 3),
    ] {
        let shaken = shake(&server, &pki.client(), name).unwrap();
        assert_eq!(shaken.shown, leaves[shown], "{name}");
    }
    for name in [
        "example.test",
        "a.b.example.test",
        "unknown.test",
        "192.0.2.1",
    ] {
        let refused = shake(&server, &pki.client(), name).err().unwrap();
        assert!(
            matches!(refused, rustls::Error::InvalidCertificate(_)),
            "{name}: the first one is shown, and is not good for it: {refused}"
        );
    }
}

#[test]
fn alpn_prefers_h2() {
    let pki = Pki::new();
    let server = server_config(vec![pki.certificate(&["a.test"])], MinVersion::Tls12).unwrap();
    for (offered, chosen) in [
        (&["http/1.1", "h2"][..], Some(&b"h2"[..])),
        (&["http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let client = with_alpn(&pki.client(), offered);
        let shaken = shake(&server, &client, "a.test").unwrap();
        assert_eq!(shaken.alpn.as_deref(), chosen);
    }
    assert!(shake(&server, &with_alpn(&pki.client(), &["spdy/3"]), "a.test").is_err());
}

#[test]
fn the_lowest_version_is_kept_to() {
    let pki = Pki::new();
    let builder = ClientConfig::builder_with_provider(provider());
    let old = builder
        .with_protocol_versions(&[&version::TLS12])
        .unwrap()
        .with_root_certificates(roots(&pki.path("ca.pem")).unwrap())
        .with_no_client_auth();
    let old = Arc::new(old);
    let at_least = |min| server_config(vec![pki.certificate(&["a.test"])], min).unwrap();
    let shaken = shake(&at_least(MinVersion::Tls12), &old, "a.test").unwrap();
    assert_eq!(shaken.version, ProtocolVersion::TLSv1_2);
    assert!(shake(&at_least(MinVersion::Tls13), &old, "a.test").is_err());
    let shaken = shake(&at_least(MinVersion::Tls12), &pki.client(), "a.test").unwrap();
    assert_eq!(shaken.version, ProtocolVersion::TLSv1_3);
}

#[test]
fn a_second_handshake_resumes_the_first() {
    let pki = Pki::new();
    let server = server_config(vec![pki.certificate(&["a.test"])], MinVersion::Tls12).unwrap();
    let client = pki.client();
    assert_ne!(
        shake(&server, &client, "a.test").unwrap().kind,
        HandshakeKind::Resumed
    );
    assert_eq!(
        shake(&server, &client, "a.test").unwrap().kind,
        HandshakeKind::Resumed
    );
}

#[test]
fn a_ca_of_its_own_is_the_only_one() {
    let (pki, other) = (Pki::new(), Pki::new());
    let server = server_config(vec![pki.certificate(&["a.test"])], MinVersion::Tls12).unwrap();
    assert!(shake(&server, &pki.client(), "a.test").is_ok());
    assert!(shake(&server, &other.client(), "a.test").is_err());
    assert!(shake(&server, &client_config(None).unwrap(), "a.test").is_err());
    assert!(pki.client().alpn_protocols.is_empty());
}

#[test]
fn a_server_needs_a_certificate() {
    let said = server_config(Vec::new(), MinVersion::Tls12).unwrap_err();
    assert!(said.to_string().contains("needs a certificate"));
}

#[test]
fn keys_in_all_three_forms_are_read() {
    let dir = TempDir::new().unwrap();
    let (chain_path, key_path) = (dir.path().join("c"), dir.path().join("k"));
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048);
    for (key, old_form) in [
        (KeyPair::generate().unwrap(), "EC PRIVATE KEY"),
        (rsa.unwrap(), "RSA PRIVATE KEY"),
    ] {
        let params = CertificateParams::new(["a.test".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(&chain_path, certificate.pem()).unwrap();
        let pkcs8 = key.serialize_der();
        for (form, der) in [("PRIVATE KEY", &*pkcs8), (old_form, inner_key(&pkcs8))] {
            let text = STANDARD.encode(der);
            let pem = format!("-----BEGIN {form}-----\n{text}\n-----END {form}-----\n");
            fs::write(&key_path, pem).unwrap();
            Certificate::load(&chain_path, &key_path).unwrap();
        }
    }
}

/// The SEC 1 or PKCS #1 key inside a PKCS #8 one (RFC 5958 section 2): the third member of the sequence.
fn inner_key(pkcs8: &[u8]) -> &[u8] {
    let (sequence, _) = member(pkcs8);
    let (_version, rest) = member(sequence);
    let (_algorithm, rest) = member(rest);
    member(rest).0
}

/// The value of the first DER element, and what follows it.
fn member(der: &[u8]) -> (&[u8], &[u8]) {
    let (header, length) = match der[1] {
        0x81 => (3, usize::from(der[2])),
        0x82 => (4, usize::from(der[2]) * 256 + usize::from(der[3])),
        short => (2, usize::from(short)),
    };
    der[header..].split_at(length)
}

#[test]
fn files_that_do_not_fit_are_named() {
    let pki = Pki::new();
    let (chain, key) = pki.files("a", &["a.test"]);
    let (_, other) = pki.files("b", &["a.test"]);
    let empty = pki.path("empty");
    fs::write(&empty, "").unwrap();
    let broken = pki.path("broken");
    fs::write(
        &broken,
        "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let noise = pki.path("noise");
    fs::write(
        &noise,
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let locked = pki.path("locked");
    let text = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(&locked, text).unwrap();
    for (chain, key, said, files) in [
        (&chain, &other, "is not the key of", vec!["a.crt", "b.key"]),
        (&empty, &key, "no certificate", vec!["empty"]),
        (&key, &key, "no certificate", vec!["a.key"]),
        (&broken, &key, "not PEM", vec!["broken"]),
        (&noise, &key, "malformed", vec!["noise"]),
        (&chain, &empty, "no private key", vec!["empty"]),
        (&chain, &chain, "no private key", vec!["a.crt"]),
        (&chain, &locked, "passphrase", vec!["locked"]),
        (&pki.path("none"), &key, "can't read", vec!["none"]),
        (&chain, &pki.path("none"), "can't read", vec!["none"]),
    ] {
        let error = Certificate::load(chain, key).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert!(files.iter().all(|file| error.contains(file)), "{error}");
    }
    assert!(client_config(Some(&empty)).is_err());
    assert!(client_config(Some(&noise)).is_err());
}

#[test]
fn what_the_system_said_stays_in_the_chain() {
    let pki = Pki::new();
    let (chain, _) = pki.files("a", &["a.test"]);
    let error = Certificate::load(&chain, &pki.path("none")).unwrap_err();
    let source = error.source().unwrap().downcast_ref::<std::io::Error>();
    assert_eq!(source.unwrap().kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn no_key_is_printed() {
    let pki = Pki::new();
    let (chain, key) = pki.files("a", &["a.test"]);
    let secret = fs::read_to_string(&key).unwrap();
    let line = secret.lines().nth(1).unwrap();
    let printed = format!("{:?}", Certificate::load(&chain, &key).unwrap());
    assert!(!printed.contains(line));
}

fn localhost(dir: &Path, now: Timestamp) -> CertificateDer<'static> {
    localhost::certificate(dir, now).unwrap().key.cert[0].clone()
}

#[test]
fn a_certificate_for_localhost_is_kept_until_a_week_before_its_end() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("state/tidegate");
    let now = Clock::System.now();
    let day = Duration::from_hours(24);
    let first = localhost(&dir, now);
    assert_eq!(localhost(&dir, now), first);
    assert_eq!(localhost(&dir, now + day * 357), first);
    let second = localhost(&dir, now + day * 359);
    assert_ne!(second, first);
    assert_eq!(localhost(&dir, now + day * 359), second);
}

#[test]
fn the_key_for_localhost_is_private() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("state");
    Certificate::for_localhost(&dir).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("localhost.key")), 0o600);
    fs::set_permissions(dir.join("localhost.key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(dir.join("localhost.crt"), "damaged").unwrap();
    Certificate::for_localhost(&dir).unwrap();
    assert_eq!(mode(&dir.join("localhost.key")), 0o600);
}

#[test]
fn all_names_of_localhost_are_served() {
    let dir = TempDir::new().unwrap();
    let certificate = Certificate::for_localhost(dir.path()).unwrap();
    let server = server_config(vec![certificate], MinVersion::Tls12).unwrap();
    let client = client_config(Some(&dir.path().join("localhost.crt"))).unwrap();
    for name in ["localhost", "127.0.0.1", "::1"] {
        assert!(shake(&server, &client, name).is_ok(), "{name}");
    }
    assert!(shake(&server, &client, "example.test").is_err());
    let pem = fs::read(dir.path().join("localhost.crt")).unwrap();
    assert_eq!(CertificateDer::pem_slice_iter(&pem).count(), 1);
}

#[test]
fn a_localhost_key_that_is_not_the_certificates_is_replaced() {
    let pki = Pki::new();
    let dir = TempDir::new().unwrap();
    Certificate::for_localhost(dir.path()).unwrap();
    let (_, other) = pki.files("a", &["localhost"]);
    fs::copy(other, dir.path().join("localhost.key")).unwrap();
    Certificate::for_localhost(dir.path()).unwrap();
    assert!(
        Certificate::load(
            &dir.path().join("localhost.crt"),
            &dir.path().join("localhost.key")
        )
        .is_ok()
    );
}

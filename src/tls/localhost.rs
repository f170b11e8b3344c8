//! The certificate for localhost: made once, kept, and made anew a week before it ends.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use super::{Certificate, Error, provider};
use crate::clock::Timestamp;

const DAY: Duration = Duration::from_hours(24);
const LIFETIME: Duration = Duration::from_hours(24 * 365);
const LEFT: Duration = Duration::from_hours(24 * 7);
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The kept one while it has a week left, else a new one.
pub(super) fn certificate(state_dir: &Path, now: Timestamp) -> Result<Certificate, Error> {
    let chain = state_dir.join("localhost.crt");
    let key = state_dir.join("localhost.key");
    match Certificate::load(&chain, &key) {
        Ok(kept) if is_good(&kept, now + LEFT) => return Ok(kept),
        Err(error) if is_denied(&error) => return Err(error),
        Ok(_) | Err(_) => {}
    }
    let (chain_text, key_text) =
        make(now).map_err(|source| Error::new("can't make a certificate for localhost", source))?;
    directory(state_dir)
        .and_then(|()| write(&key, key_text.as_bytes(), 0o600))
        .and_then(|()| write(&chain, chain_text.as_bytes(), 0o644))
        .map_err(|source| {
            let what = format!(
                "can't keep the certificate for localhost in {}",
                state_dir.display()
            );
            Error::new(what, source)
        })?;
    Certificate::load(&chain, &key)
}

fn is_denied(error: &Error) -> bool {
    error
        .source
        .as_ref()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn make(now: Timestamp) -> Result<(String, String), rcgen::Error> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::new(NAMES.map(str::to_owned))?;
    params.not_before = epoch + since_epoch(now - DAY);
    params.not_after = epoch + since_epoch(now + LIFETIME);
    params
        .distinguished_name
        .push(DnType::CommonName, "localhost, made by Tidegate");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn since_epoch(time: Timestamp) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// Whether a client that trusts it would still do so at `time`, for each of the names.
fn is_good(certificate: &Certificate, time: Timestamp) -> bool {
    let Some(der) = certificate.key.cert.first() else {
        return false;
    };
    verify(der, time).is_ok()
}

fn verify(der: &CertificateDer<'_>, time: Timestamp) -> Result<(), webpki::Error> {
    let leaf = EndEntityCert::try_from(der)?;
    let algorithms = provider().signature_verification_algorithms.all;
    leaf.verify_for_usage(
        algorithms,
        &[anchor_from_trusted_cert(der)?],
        &[],
        UnixTime::since_unix_epoch(since_epoch(time)),
        KeyUsage::server_auth(),
        None,
        None,
    )?;
    for name in NAMES {
        let name = ServerName::try_from(name).map_err(|_| webpki::Error::MalformedDnsIdentifier)?;
        leaf.verify_is_valid_for_subject_name(&name)?;
    }
    Ok(())
}

fn directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Through a new file, so that nobody reads half of one and a wider mode of an older one does not stay.
fn write(path: &Path, text: &[u8], mode: u32) -> io::Result<()> {
    let new = path.with_added_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(new, path)
}

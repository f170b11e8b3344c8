//! `[admin]`: where the administrator asks, and how they prove who they are.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::reader::{Field, Section};
use super::secret::secret;
use super::value::{socket_address, text};
use crate::admin::Settings;

/// Shorter than this, a token can be guessed.
const TOKEN_LETTERS: usize = 16;

enum Place {
    Loopback(SocketAddr),
    Socket(PathBuf),
}

/// Reads `[admin]`.
pub(super) fn admin(field: &Field<'_>) -> Option<Settings> {
    let mut section = field.section()?;
    let place = section.required("address", "address = \"127.0.0.1:9901\"", place);
    let token = section.field("token");
    let given = token.is_some();
    let token = token.and_then(|field| {
        let token = secret(&field)?;
        if token.expose().len() < TOKEN_LETTERS {
            field.warn(
                format!("`{}` is short enough to be guessed", field.path),
                "make a good one with: openssl rand -hex 32",
            );
        }
        Some(token)
    });
    let settings = match place {
        Some(Place::Socket(path)) if given == token.is_some() => {
            Some(Settings::Socket { path, token })
        }
        Some(Place::Loopback(_)) if !given => {
            missing_token(&section);
            None
        }
        Some(Place::Loopback(address)) => token.map(|token| Settings::Loopback { address, token }),
        Some(Place::Socket(_)) | None => None,
    };
    section.finish();
    settings
}

fn missing_token(section: &Section<'_>) {
    let example =
        "token = { file = \"admin_token\" }: every process of this machine can reach the address";
    section.missing("token", example);
}

fn place(field: &Field<'_>) -> Option<Place> {
    let place = text(field)?;
    if let Some(path) = place.strip_prefix("unix:") {
        return socket_path(field, path);
    }
    let address = socket_address(field)?;
    if address.ip().is_loopback() {
        return Some(Place::Loopback(address));
    }
    let title = format!(
        "`{}` must be a loopback address or a Unix socket",
        field.path
    );
    let help = "write \"127.0.0.1:9901\", \"[::1]:9901\" or \"unix:/run/tidegate/admin.sock\"; to reach it from elsewhere, forward it";
    field.wrong(title, "others could reach it here", help);
    None
}

fn socket_path(field: &Field<'_>, path: &str) -> Option<Place> {
    if path.is_empty() || path.starts_with("//") {
        let title = format!("`{}` names no file", field.path);
        let help = "such as \"unix:/run/tidegate/admin.sock\"";
        field.wrong(title, "expected a path after unix:", help);
        return None;
    }
    Some(Place::Socket(field.resolve(path)))
}

//! `rd`: where to go after signing in. Never anywhere but to ourselves.

use percent_encoding::percent_decode_str;
use url::Url;

use crate::refusal::Site;

#[cfg(test)]
mod tests;

/// The longest that is kept: it travels in a cookie and in `state`.
const LONGEST: usize = 2048;

/// A place on one of our own origins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReturnTo {
    origin: String,
    /// Begins with exactly one `/`.
    path: String,
}

impl ReturnTo {
    /// Reads `rd` as it came to `here` (one of our origins); what is missing or not ours leads to the start page.
    pub(super) fn read(rd: Option<&str>, site: &Site, here: &str) -> Self {
        rd.and_then(|rd| Self::parse(rd, site, here))
            .unwrap_or_else(|| Self::start_page(here))
    }

    /// A path on `here`, or an absolute URL on an origin of ours.
    pub(super) fn parse(rd: &str, site: &Site, here: &str) -> Option<Self> {
        if rd.len() > LONGEST || rd.contains(is_dangerous) {
            return None;
        }
        let url = if rd.starts_with('/') {
            if rd.starts_with("//") {
                return None;
            }
            Url::parse(here).ok()?.join(rd).ok()?
        } else {
            absolute(rd)?
        };
        let origin = url.origin().ascii_serialization();
        // The origin must be ours as written by us, not merely of a host of ours: no other scheme, no other port.
        let ours = origin == here || site.origin(url.host_str()?)? == origin;
        if !ours || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let path = url.as_str().strip_prefix(&origin)?.to_owned();
        if path.len() > LONGEST || path.starts_with("//") || leads_round(url.path(), site.prefix())
        {
            return None;
        }
        path.starts_with('/').then_some(Self { origin, path })
    }

    /// `/` on `here`.
    pub(super) fn start_page(here: &str) -> Self {
        Self {
            origin: here.to_owned(),
            path: "/".to_owned(),
        }
    }

    /// The origin: one of ours.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// Path, query and fragment.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Absolute, so that no reader of a `Location` can make another host of a path.
    pub(super) fn location(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }
}

/// What some readers drop or take for a slash. A browser that asked for a path has escaped all of these.
fn is_dangerous(c: char) -> bool {
    c.is_control() || c.is_whitespace() || c == '\\'
}

fn absolute(rd: &str) -> Option<Url> {
    let (scheme, rest) = rd.split_once("://")?;
    let http = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let authority = rest.split(['/', '?', '#']).next()?;
    if !http || authority.is_empty() || authority.contains('@') {
        return None;
    }
    Url::parse(rd).ok()
}

/// Whether `path` is an endpoint of ours that leads away again, under any spelling that we might answer to.
fn leads_round(path: &str, prefix: &str) -> bool {
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    let (path, prefix) = (segments(&decoded), segments(prefix));
    let folded = match path.strip_prefix(prefix.as_str()) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => rest,
        Some(_) | None => return false,
    };
    !matches!(folded, "/session" | "/sessions" | "/userinfo")
}

/// In lower case, without empty segments and path parameters.
fn segments(path: &str) -> String {
    let segments = path
        .split(['/', '\\'])
        .map(|segment| segment.split(';').next().unwrap_or_default());
    let mut whole = String::with_capacity(path.len());
    for segment in segments.filter(|segment| !segment.is_empty()) {
        whole.push('/');
        whole.push_str(&segment.to_lowercase());
    }
    whole
}

//! Which header names a client may never send: the names that an upstream believes, in every spelling that it might fold to
//! them (CGI and WSGI turn `-` into `_`, others drop what is neither letter nor digit).

use http::HeaderName;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, PROXY_AUTHORIZATION,
    SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};

/// Whole families, folded.
const FAMILIES: [&str; 6] = [
    "xforwarded",
    "xauthrequest",
    "xtidegate",
    "xoriginal",
    "xenvoy",
    "xssl",
];

/// Single names, folded: identity, URL and method as other software takes them from headers, and what we set ourselves.
const NAMES: [&str; 20] = [
    "forwarded",
    "xrewriteurl",
    "xhttpmethodoverride",
    "xhttpmethod",
    "xmethodoverride",
    "xrequestid",
    "traceparent",
    "proxy",
    "clientcert",
    "clientcertchain",
    "remoteuser",
    "remoteemail",
    "remotegroups",
    "remotename",
    "xremoteuser",
    "xrealip",
    "xclientip",
    "xclusterclientip",
    "trueclientip",
    "cfconnectingip",
];

/// What a peer in `trusted_proxies` may say all the same, in this spelling only.
const OF_TRUSTED: [&str; 10] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
];

/// Names that pass, or are dealt with elsewhere, as they are: any other spelling of them is meant to deceive.
const STANDARD: [HeaderName; 10] = [
    AUTHORIZATION,
    COOKIE,
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    UPGRADE,
    EXPECT,
    PROXY_AUTHORIZATION,
    SET_COOKIE,
];

/// Fields that must not come after the fact (RFC 9110 section 6.5.1).
const NEVER_TRAILERS: [HeaderName; 12] = [
    AUTHORIZATION,
    COOKIE,
    HOST,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONNECTION,
    UPGRADE,
    EXPECT,
    PROXY_AUTHORIZATION,
    SET_COOKIE,
    TE,
    TRAILER,
];

/// Letters and digits, in lower case.
pub(super) fn fold(name: &str) -> impl Iterator<Item = u8> + '_ {
    name.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .map(|byte| byte.to_ascii_lowercase())
}

/// Whose word it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A client, or a proxy that nobody vouches for.
    Stranger,
    /// A peer in `trusted_proxies`.
    TrustedProxy,
}

/// Judges header names. Built once.
#[derive(Debug)]
pub(super) struct Guard {
    /// Configured names, folded.
    configured: Vec<Vec<u8>>,
    /// The first letters or digits of all names that are not simply let through, one bit each.
    firsts: u64,
}

impl Guard {
    pub(super) fn new<'a>(configured: impl Iterator<Item = &'a HeaderName>) -> Self {
        let configured: Vec<Vec<u8>> = configured
            .map(|name| fold(name.as_str()).collect())
            .filter(|folded: &Vec<u8>| !folded.is_empty())
            .collect();
        let built_in = FAMILIES.iter().chain(&NAMES).map(|name| name.as_bytes());
        let standard: Vec<Vec<u8>> = STANDARD
            .iter()
            .map(|n| fold(n.as_str()).collect())
            .collect();
        let firsts = built_in
            .chain(configured.iter().map(Vec::as_slice))
            .chain(standard.iter().map(Vec::as_slice))
            .filter_map(<[u8]>::first)
            .fold(0, |bits, first| bits | bit(*first));
        Self { configured, firsts }
    }

    /// Whether a header with this name, in lower case as `HeaderName` has it, may pass.
    pub(super) fn passes(&self, name: &str, source: Source) -> bool {
        // Most names differ from all of these in the first letter.
        let Some(first) = fold(name).next() else {
            return true;
        };
        if self.firsts & bit(first) == 0 {
            return true;
        }
        if self.configured.iter().any(|own| is(name, own)) {
            return false;
        }
        if FAMILIES.iter().any(|family| begins(name, family))
            || NAMES.iter().any(|own| is(name, own.as_bytes()))
        {
            return source == Source::TrustedProxy && OF_TRUSTED.contains(&name);
        }
        !STANDARD
            .iter()
            .any(|own| own.as_str() != name && fold(own.as_str()).eq(fold(name)))
    }

    /// Whether a trailer with this name may pass.
    pub(super) fn passes_trailer(&self, name: &HeaderName) -> bool {
        !NEVER_TRAILERS.contains(name) && self.passes(name.as_str(), Source::Stranger)
    }
}

fn is(name: &str, folded: &[u8]) -> bool {
    fold(name).eq(folded.iter().copied())
}

fn begins(name: &str, family: &str) -> bool {
    fold(name).take(family.len()).eq(family.bytes())
}

/// One bit for each letter and digit.
fn bit(folded: u8) -> u64 {
    let at = if folded.is_ascii_digit() {
        folded - b'0'
    } else {
        folded.saturating_sub(b'a').min(25) + 10
    };
    1 << at
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::forward::headers::strip_request;
    use http::{HeaderMap, HeaderValue};

    fn guard() -> Guard {
        Guard::new(
            [
                HeaderName::from_static("x-user"),
                HeaderName::from_static("9-lives"),
            ]
            .iter(),
        )
    }

    /// As CGI and WSGI name headers, and as carelessly as anyone might.
    fn folded(name: &str) -> String {
        name.to_ascii_lowercase()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "")
    }

    fn is_protected(name: &str) -> bool {
        let folded = folded(name);
        let own = folded == "xuser" || folded == "9lives";
        let look_alike = STANDARD
            .iter()
            .any(|s| s.as_str() != name && self::folded(s.as_str()) == folded);
        own || look_alike
            || NAMES.contains(&&*folded)
            || FAMILIES.iter().any(|family| folded.starts_with(family))
    }

    /// A protected name or an innocent one, with other cases and separators put in anywhere.
    fn disguised() -> impl Strategy<Value = String> {
        let names: Vec<&str> = NAMES
            .into_iter()
            .chain(FAMILIES)
            .chain([
                "xuser",
                "9lives",
                "authorization",
                "contentlength",
                "accept",
                "xpoweredby",
                "x",
            ])
            .collect();
        let ends = prop::sample::select(vec!["", "", "for", "user", "s", "-"]);
        (prop::sample::select(names), ends, any::<u64>()).prop_map(|(name, end, bits)| {
            let mut out = String::new();
            for (at, c) in name.chars().chain(end.chars()).enumerate() {
                let bits = bits.rotate_left(u32::try_from(at).unwrap() * 5);
                out.extend(['-', '_', '.', '~', '!'].get(usize::try_from(bits % 16).unwrap()));
                out.push(if bits & 16 == 0 {
                    c
                } else {
                    c.to_ascii_uppercase()
                });
            }
            out
        })
    }

    proptest! {
        /// Whatever a client sends and nominates, nothing that an upstream could take for ours comes through, and nothing
        /// innocent is lost.
        #[test]
        fn nothing_protected_comes_through(
            names in prop::collection::vec(disguised(), 0..8),
            nominated in disguised(),
        ) {
            let mut headers = HeaderMap::new();
            for name in &names {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                headers.append(name, HeaderValue::from_static("eve"));
            }
            headers.append("connection", HeaderValue::try_from(&nominated).unwrap());
            let before = headers.clone();
            strip_request(&mut headers, &guard(), Source::Stranger);
            for name in headers.keys() {
                prop_assert!(!is_protected(name.as_str()), "{name} came through");
            }
            let hop = |name: &str| {
                name.eq_ignore_ascii_case(&nominated)
                    || ["connection", "expect", "upgrade", "transfer-encoding", "proxy-authorization"].contains(&name)
            };
            for name in before.keys().filter(|name| !hop(name.as_str())) {
                let kept = headers.contains_key(name);
                prop_assert!(kept || is_protected(name.as_str()), "{name} was lost");
            }
        }
    }

    #[test]
    fn what_browsers_and_applications_send_passes() {
        for name in [
            "accept",
            "accept-encoding",
            "accept-language",
            "authorization",
            "cache-control",
            "content-type",
            "cookie",
            "dnt",
            "host",
            "if-none-match",
            "origin",
            "range",
            "referer",
            "sec-fetch-mode",
            "te",
            "trailer",
            "user-agent",
            "x-csrf",
            "x-csrf-token",
            "x-requested-with",
            "x-api-key",
            "x-custom",
            "x_custom",
            "traceid",
            "tracestate",
            "x-users",
            "front-end-https",
        ] {
            assert!(guard().passes(name, Source::Stranger), "{name}");
        }
    }

    #[test]
    fn a_trusted_proxy_may_say_only_what_proxies_say() {
        for name in OF_TRUSTED {
            assert!(guard().passes(name, Source::TrustedProxy), "{name}");
            assert!(!guard().passes(name, Source::Stranger), "{name}");
        }
        for name in [
            "x-user",
            "x-forwarded-user",
            "x_forwarded_for",
            "x-original-url",
            "content_length",
        ] {
            assert!(!guard().passes(name, Source::TrustedProxy), "{name}");
        }
    }
}

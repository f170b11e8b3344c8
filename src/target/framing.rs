//! Where a message ends, and the header names that decide it: whatever two parsers could read differently is refused
//! (RFC 9112 section 6, RFC 9110 section 8.6).
//!
//! hyper itself drops `Content-Length` beside `Transfer-Encoding` and closes the connection afterwards (RFC 9112 section 6.1),
//! and folds equal lengths into one, before a request gets here: what is left of them is refused all the same.

use http::header::{
    CONTENT_LENGTH, EXPECT, GetAll, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{Version, header};

use super::Error;

pub(super) fn check(head: &Parts) -> Result<(), Error> {
    length(&head.headers)?;
    coding(&head.headers, head.version)?;
    expectation(&head.headers)?;
    if head.headers.keys().any(is_look_alike) {
        return Err(Error::Bad("a header name that could be taken for another"));
    }
    Ok(())
}

/// One run of digits, once (RFC 9110 section 8.6).
fn length(headers: &HeaderMap) -> Result<(), Error> {
    let Some(value) = at_most_one(&headers.get_all(CONTENT_LENGTH))
        .map_err(|()| Error::Bad("more than one Content-Length"))?
    else {
        return Ok(());
    };
    let digits = value.as_bytes();
    // 18 digits always fit in what any parser counts with.
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Error::Bad("Content-Length is not a number"));
    }
    Ok(())
}

/// `chunked` alone, only in HTTP/1.1 (RFC 9112 section 6.1; RFC 9113 section 8.2.2), never beside a length.
fn coding(headers: &HeaderMap, version: Version) -> Result<(), Error> {
    let Some(value) = at_most_one(&headers.get_all(TRANSFER_ENCODING))
        .map_err(|()| Error::Bad("more than one Transfer-Encoding"))?
    else {
        return Ok(());
    };
    if version != Version::HTTP_11 {
        return Err(Error::Bad(
            "Transfer-Encoding in a version that does not have it",
        ));
    }
    if !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(Error::Bad("Transfer-Encoding is not chunked"));
    }
    if headers.contains_key(CONTENT_LENGTH) {
        return Err(Error::Bad("Transfer-Encoding beside Content-Length"));
    }
    Ok(())
}

/// There is only one (RFC 9110 section 10.1.1).
fn expectation(headers: &HeaderMap) -> Result<(), Error> {
    match at_most_one(&headers.get_all(EXPECT)) {
        Ok(None) => Ok(()),
        Ok(Some(value)) if value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Ok(()),
        Ok(Some(_)) | Err(()) => Err(Error::Bad("Expect is not 100-continue")),
    }
}

fn at_most_one<'a>(values: &GetAll<'a, HeaderValue>) -> Result<Option<&'a HeaderValue>, ()> {
    let mut values = values.iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(()),
        (first, None) => Ok(first),
    }
}

/// Names that an upstream must never find under another spelling: servers of the CGI family read `Content_Length` as
/// `Content-Length`, and others drop characters that they don't know.
const FRAMING: [HeaderName; 12] = [
    header::TRANSFER_ENCODING,
    header::CONTENT_LENGTH,
    header::HOST,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

fn is_look_alike(name: &HeaderName) -> bool {
    let name = name.as_str();
    FRAMING.iter().any(|real| {
        let real = real.as_str();
        name != real && letters(name).eq(letters(real))
    })
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    name.bytes().filter(u8::is_ascii_alphanumeric)
}

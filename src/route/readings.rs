//! The readings of one path that servers are known to have: what is `%2F`, `;`, `//`, `\` and `%25` to one of them is something
//! else to the next.

use crate::target::resolve_dots;

/// Whether a path has only one reading, letter case aside. Nearly every path does.
pub(super) fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&b| {
        let slashes = b == b'/' && before == b'/';
        before = b;
        !slashes && !matches!(b, b'%' | b';' | b'\\')
    }) && !has_trailing_dot(path)
}

fn has_trailing_dot(path: &[u8]) -> bool {
    path.ends_with(b".") || path.windows(2).any(|two| two == b"./")
}

/// Every reading of a path in normal form, itself among them: parameters stripped before or after decoding, or not; slashes
/// decoded, or everything, or everything twice; backslashes for slashes; segments without the dots and spaces at their end;
/// slashes merged before or after dot segments are resolved, or not.
pub(super) fn of(path: &[u8]) -> Vec<Vec<u8>> {
    let mut texts = vec![path.to_vec()];
    for step in [
        without_parameters,
        with_slashes,
        decoded,
        decoded,
        with_slashes,
        without_parameters,
        trimmed,
        merged,
    ] {
        also(&mut texts, step);
    }
    for text in &mut texts {
        *text = encode(&resolve_dots(text));
    }
    also(&mut texts, merged);
    texts
}

/// Adds what `step` makes of each text.
fn also(texts: &mut Vec<Vec<u8>>, step: fn(&[u8]) -> Vec<u8>) {
    for index in 0..texts.len() {
        let Some(made) = texts.get(index).map(|text| step(text)) else {
            return;
        };
        if !texts.contains(&made) {
            texts.push(made);
        }
    }
}

/// Path parameters (RFC 3986 section 3.3) as servlet containers strip them; and what follows a `?`, `#` or NUL that was hidden by
/// an encoding.
fn without_parameters(path: &[u8]) -> Vec<u8> {
    let end = path
        .iter()
        .position(|b| matches!(b, b'?' | b'#' | 0))
        .unwrap_or(path.len());
    let mut inside = false;
    let mut out = path.to_vec();
    out.truncate(end);
    out.retain(|&b| {
        inside = b == b';' || (inside && b != b'/');
        !inside
    });
    out
}

/// `%2F`, `%5C` and `\` as `/`.
fn with_slashes(path: &[u8]) -> Vec<u8> {
    decode(path, |b| matches!(b, b'/' | b'\\'))
        .into_iter()
        .map(|b| if b == b'\\' { b'/' } else { b })
        .collect()
}

/// Dots and spaces at the end of a segment mean nothing to Windows: `/admin.` is `/admin` there. A dot segment stays one.
fn trimmed(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for (index, segment) in path.split(|b| *b == b'/').enumerate() {
        if index > 0 {
            out.push(b'/');
        }
        let spaceless = segment.trim_ascii_end();
        let kept = if matches!(spaceless, b"." | b"..") {
            spaceless
        } else {
            let end = segment.iter().rposition(|b| !matches!(b, b'.' | b' '));
            end.and_then(|end| segment.get(..=end)).unwrap_or_default()
        };
        out.extend_from_slice(kept);
    }
    out
}

fn decoded(path: &[u8]) -> Vec<u8> {
    decode(path, |_| true)
}

/// Decodes the bytes that `wanted` picks, and leaves what is no percent-encoding as it is.
fn decode(path: &[u8], wanted: fn(u8) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        match encoded_byte(rest) {
            Some(decoded) if wanted(decoded) => {
                out.push(decoded);
                rest = rest.get(3..).unwrap_or_default();
            }
            Some(_) | None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn encoded_byte(text: &[u8]) -> Option<u8> {
    let &[b'%', high, low, ..] = text else {
        return None;
    };
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn merged(path: &[u8]) -> Vec<u8> {
    let mut out = path.to_vec();
    out.dedup_by(|b, a| *a == b'/' && *b == b'/');
    out
}

/// Back to the form that patterns are in: what can't stand in a path is percent-encoded, and so is a `%` that encodes nothing.
pub(super) fn encode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for (index, &byte) in path.iter().enumerate() {
        if byte == b'%' && path.get(index..).and_then(encoded_byte).is_none() {
            out.extend_from_slice(b"%25");
        } else {
            push(byte, &mut out);
        }
    }
    out
}

/// Percent-encodes what can't stand in a path, and leaves a `%` alone.
pub(super) fn encode_foreign(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    text.bytes().for_each(|byte| push(byte, &mut out));
    String::from_utf8_lossy(&out).into_owned()
}

fn push(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    if (0x21..=0x7e).contains(&byte) {
        out.push(byte);
    } else {
        let digit = |n: u8| DIGITS.get(usize::from(n)).copied().unwrap_or(b'0');
        out.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
    }
}

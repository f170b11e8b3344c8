//! A path's normal form (RFC 3986 section 6.2.2): what is matched, and what the upstream is sent.

use super::Error;

/// Unreserved characters decoded, the hex digits of all others in upper case, dot segments resolved.
pub(crate) fn normal(path: &str) -> Result<Box<str>, Error> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(Error::Bad("the path does not begin with a slash"));
    }
    if !bytes.iter().all(|b| (0x21..=0x7e).contains(b)) {
        return Err(Error::Bad(
            "the path has a character that must be percent-encoded",
        ));
    }
    if is_normal(bytes) {
        return Ok(path.into());
    }
    let decoded = decode_unreserved(bytes)?;
    refuse_overlong(&decoded)?;
    let resolved = resolve_dots(&decoded);
    let text = String::from_utf8(resolved)
        .map_err(|_| Error::Bad("the path has a character that must be percent-encoded"))?;
    Ok(text.into_boxed_str())
}

/// Nothing encoded, and no segment that begins with a dot: nearly every path.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&b| {
        let plain = b != b'%' && !(b == b'.' && before == b'/');
        before = b;
        plain
    })
}

fn decode_unreserved(path: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let (Some(&high), Some(&low)) = (rest.next(), rest.next()) else {
            return Err(Error::Bad("a percent-encoding is cut short"));
        };
        let Some(decoded) = hex(high, low) else {
            return Err(Error::Bad("a percent-encoding is not hexadecimal"));
        };
        if decoded.is_ascii_control() {
            return Err(Error::Bad("the path has an encoded control character"));
        }
        if decoded.is_ascii_alphanumeric() || matches!(decoded, b'-' | b'.' | b'_' | b'~') {
            out.push(decoded);
        } else {
            out.extend([b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
        }
    }
    Ok(out)
}

/// The byte that two hexadecimal digits stand for.
fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Over-long UTF-8 spells `/` or `.` in a way that only careless decoders understand (RFC 3629 section 3). Other bytes that are
/// not UTF-8 are left alone: old sites have paths in Latin-1.
fn refuse_overlong(path: &[u8]) -> Result<(), Error> {
    let overlong = path.windows(6).any(|six| {
        let &[b'%', a, b, b'%', c, d] = six else {
            return false;
        };
        matches!(
            (hex(a, b), hex(c, d)),
            (Some(0xe0), Some(0x80..=0x9f)) | (Some(0xf0), Some(0x80..=0x8f))
        )
    });
    let never = path
        .windows(3)
        .any(|three| matches!(three, b"%C0" | b"%C1"));
    if overlong || never {
        return Err(Error::Bad("the path has over-long UTF-8"));
    }
    Ok(())
}

/// Removes `.` and `..` (RFC 3986 section 5.2.4); nothing is above the root.
pub(crate) fn resolve_dots(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut segments = path
        .strip_prefix(b"/")
        .unwrap_or(path)
        .split(|&b| b == b'/')
        .peekable();
    while let Some(segment) = segments.next() {
        match segment {
            b"." => {}
            b".." => out.truncate(out.iter().rposition(|&b| b == b'/').unwrap_or(0)),
            _ => {
                out.push(b'/');
                out.extend_from_slice(segment);
                continue;
            }
        }
        if segments.peek().is_none() {
            out.push(b'/');
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

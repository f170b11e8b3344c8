//! Single values: text that has to mean something. Each says what it expects.

use std::fmt::{Display, Write};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use url::{Host, Url};

use super::reader::{Field, not_yet, suggestion};
use super::tree::Value;

/// Text that is not empty.
pub(super) fn text(field: &Field<'_>) -> Option<String> {
    let Some(text) = field.as_text() else {
        field.mistyped("a string", "\"…\"");
        return None;
    };
    if text.trim().is_empty() {
        let title = format!("`{}` is empty", field.path);
        field.wrong(title, "nothing here", "write a value");
        return None;
    }
    Some(text.to_owned())
}

/// Text that is not empty, to be shared.
pub(super) fn shared_text(field: &Field<'_>) -> Option<Arc<str>> {
    text(field).map(Arc::from)
}

/// true or false.
pub(super) fn flag(field: &Field<'_>) -> Option<bool> {
    if let Value::Flag(flag) = field.node.value {
        return Some(flag);
    }
    field.mistyped("true or false", "true, without quotes");
    None
}

/// A list of at least one, each element read by `read`. Without the key there is a default.
pub(super) fn list<T>(
    example: &'static str,
    read: impl Fn(&Field<'_>) -> Option<T>,
) -> impl Fn(&Field<'_>) -> Option<Vec<T>> {
    filled_list(
        example,
        read,
        format!("write {example}, or leave the key out"),
    )
}

/// A list of at least one, each element read by `read`, that can't be left out either.
pub(super) fn needed_list<T>(
    example: &'static str,
    read: impl Fn(&Field<'_>) -> Option<T>,
) -> impl Fn(&Field<'_>) -> Option<Vec<T>> {
    filled_list(
        example,
        read,
        format!("write at least one, such as {example}"),
    )
}

fn filled_list<T>(
    example: &'static str,
    read: impl Fn(&Field<'_>) -> Option<T>,
    help: String,
) -> impl Fn(&Field<'_>) -> Option<Vec<T>> {
    move |field| {
        let items = possibly_empty_list(example, &read)(field)?;
        if items.is_empty() {
            let title = format!("`{}` is an empty list", field.path);
            field.wrong(title, "nothing here", help.as_str());
            return None;
        }
        Some(items)
    }
}

/// A list that may be empty, each element read by `read`.
pub(super) fn possibly_empty_list<T>(
    example: &'static str,
    read: impl Fn(&Field<'_>) -> Option<T>,
) -> impl Fn(&Field<'_>) -> Option<Vec<T>> {
    move |field| {
        let items = field.items(example)?;
        // Every element is read, so that every error is told; one that is wrong spoils the list.
        let read: Vec<_> = items.iter().map(&read).collect();
        read.into_iter().collect()
    }
}

/// One of some words. Those in `later` are of the contract, but not of this version.
pub(super) fn word<T: Copy>(
    words: &'static [(&'static str, T)],
    later: &'static [&'static str],
) -> impl Fn(&Field<'_>) -> Option<T> {
    move |field| {
        let names = || words.iter().map(|(name, _)| *name);
        let quoted = || {
            names()
                .map(|name| format!("\"{name}\""))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let Some(text) = field.as_text() else {
            field.mistyped("a string", &quoted());
            return None;
        };
        if let Some((_, meaning)) = words.iter().find(|(name, _)| *name == text) {
            return Some(*meaning);
        }
        if later.contains(&text) {
            let what = format!("{} = \"{text}\"", field.path);
            let problem = not_yet(&field.node.place, &what);
            field
                .reader
                .tell(problem.help(format!("supported: {}", quoted())));
            return None;
        }
        let near = suggestion(text, names().chain(later.iter().copied()));
        let help = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("write one of {}", quoted()),
        };
        let title = format!("`{}` can't be \"{text}\"", field.path);
        field.wrong(title, &format!("expected one of {}", quoted()), help);
        None
    }
}

/// A duration with its unit.
pub(super) fn duration(field: &Field<'_>) -> Option<Duration> {
    const EXAMPLES: &str = "\"500ms\", \"30s\", \"15m\", \"1h30m\" or \"7d\"";
    if let Value::Integer(Some(number)) = field.node.value {
        let title = format!("`{}` needs a unit", field.path);
        field.wrong(
            title,
            "how long is that?",
            format!("write \"{number}s\", \"{number}m\" or the like"),
        );
        return None;
    }
    let Some(text) = field.as_text() else {
        field.mistyped("a duration", EXAMPLES);
        return None;
    };
    let parsed = parse_duration(text);
    if parsed.is_none() {
        let title = format!("`{}` is not a duration", field.path);
        field.wrong(
            title,
            "expected a number with a unit",
            format!("such as {EXAMPLES}"),
        );
    }
    parsed
}

/// A duration with its unit, longer than nothing.
pub(super) fn some_duration(field: &Field<'_>) -> Option<Duration> {
    let duration = duration(field)?;
    if duration.is_zero() {
        let title = format!("`{}` can't be zero", field.path);
        field.wrong(title, "expected some time", "such as \"30s\"");
        return None;
    }
    Some(duration)
}

/// Reads a duration such as `1h30m`: numbers with units (`d`, `h`, `m`, `s`, `ms`), the larger unit first, each at most
/// once. Nothing else is one.
pub fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    let mut units = UNITS.iter();
    let mut millis: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, tail) = tail.split_at(
            tail.find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len()),
        );
        let (_, worth) = units.find(|(name, _)| *name == unit)?;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(*worth)?)?;
        rest = tail;
    }
    // Deadlines are sums of a time and such a duration: a century is more than anyone can mean.
    (millis <= 100 * 366 * 86_400_000).then(|| Duration::from_millis(millis))
}

/// A duration as a person would write it.
pub(super) fn spoken(duration: Duration) -> String {
    let millis = duration.as_millis();
    let mut text = String::new();
    let mut rest = millis;
    for (unit, worth) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ] {
        if rest >= worth {
            // Writing to a String can't fail.
            let _ = write!(text, "{}{unit}", rest / worth);
            rest %= worth;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

/// A whole number within bounds.
pub(super) fn number(bounds: RangeInclusive<usize>) -> impl Fn(&Field<'_>) -> Option<usize> {
    move |field| {
        let example = bounds.start().to_string();
        let Value::Integer(number) = field.node.value else {
            field.mistyped("a number", &example);
            return None;
        };
        let number = number.and_then(|number| usize::try_from(number).ok());
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let (least, most) = (bounds.start(), bounds.end());
            let title = format!("`{}` must be from {least} to {most}", field.path);
            field.wrong(title, "out of bounds", format!("such as {example}"));
        }
        number
    }
}

/// Text that `T` can be parsed from.
pub(super) fn parsed<T: FromStr>(
    expected: &'static str,
    example: &'static str,
) -> impl Fn(&Field<'_>) -> Option<T>
where
    T::Err: Display,
{
    move |field| {
        let Some(text) = field.as_text() else {
            field.mistyped(expected, example);
            return None;
        };
        match text.trim().parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let title = format!("`{}` is not {expected}: {error}", field.path);
                field.wrong(
                    title,
                    &format!("expected {expected}"),
                    format!("such as {example}"),
                );
                None
            }
        }
    }
}

/// An address and a port to listen on.
pub(super) fn socket_address(field: &Field<'_>) -> Option<SocketAddr> {
    parsed(
        "an IP address with a port",
        "\"127.0.0.1:8443\", or \"[::]:443\" for all addresses",
    )(field)
}

/// A network: CIDR notation or a single address.
pub(super) fn network(field: &Field<'_>) -> Option<IpNet> {
    let text = field.as_text().unwrap_or_default();
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address));
    }
    if let Some((address, bits)) = text.split_once('/')
        && let (Ok(address), Ok(bits)) = (address.parse::<IpAddr>(), bits.parse::<u32>())
        && let most = if address.is_ipv4() { 32 } else { 128 }
        && bits > most
    {
        let title = format!("`{}` has a prefix of {bits} bits", field.path);
        field.wrong(
            title,
            "too long",
            format!("at most {most}: \"{address}/{most}\" is that one address"),
        );
        return None;
    }
    let network: IpNet = parsed("a network", "\"10.0.0.0/8\" or \"fd00::/8\"")(field)?;
    Some(network.trunc())
}

/// An absolute http or https URL without user, password and fragment.
pub(super) fn url(field: &Field<'_>) -> Option<Url> {
    const EXAMPLE: &str = "\"https://idp.example.com/realms/main\"";
    let url: Url = parsed("a URL", EXAMPLE)(field)?;
    let fault = if !matches!(url.scheme(), "http" | "https") {
        "its scheme must be https or http"
    } else if !url.username().is_empty() || url.password().is_some() {
        "it must hold no user and no password"
    } else if url.fragment().is_some() {
        "it must have no fragment (#)"
    } else {
        return Some(url);
    };
    let title = format!("`{}` can't be used: {fault}", field.path);
    field.wrong(title, fault, format!("such as {EXAMPLE}"));
    None
}

/// A file's path, relative to where it is written.
pub(super) fn path(field: &Field<'_>) -> Option<PathBuf> {
    Some(field.resolve(&text(field)?))
}

/// Whether a URL leads to this very machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn durations_are_read_and_spoken_alike() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("1d1h1m1s1ms", 90_061_001),
            ("0s", 0),
        ] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(duration, Duration::from_millis(millis), "{text}");
            assert_eq!(spoken(duration), text);
        }
        assert_eq!(parse_duration("90m"), parse_duration("1h30m"));
    }

    #[test]
    fn what_has_no_one_meaning_is_no_duration() {
        for text in [
            "",
            " ",
            "30",
            "s",
            "30 s",
            "-1s",
            "+1s",
            "1.5h",
            "1m1h",
            "1s1s",
            "30S",
            "1w",
            "1y",
            "1h30",
            "99999999999999999999s",
            "18446744073709551615d",
            "40000d",
            "٣s",
        ] {
            assert_eq!(parse_duration(text), None, "{text:?}");
        }
    }
}

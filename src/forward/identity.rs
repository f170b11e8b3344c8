//! Identity headers: claims put into templates, once per token.

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

/// A header's template: text with `{claim}` and `{nested.claim}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Claim(Box<str>),
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// When it is not one: the text says why.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (claim, after) = after.split_once('}').ok_or("a { without a }")?;
            if claim.is_empty() || claim.contains('{') {
                return Err("between { and } there must be a claim's name");
            }
            parts.push(Part::Text(before.into()));
            parts.push(Part::Claim(claim.into()));
            rest = after;
        }
        parts.push(Part::Text(rest.into()));
        let stray = |part: &Part| matches!(part, Part::Text(text) if text.contains('}'));
        if parts.iter().any(stray) {
            return Err("a } without a {");
        }
        Ok(Self(parts))
    }
}

/// What a template can be filled with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claims<'a> {
    /// Of the verified access token.
    pub(super) access: &'a Map<String, Value>,
    /// Of the verified ID token, for what the access token lacks.
    pub(super) id: Option<&'a Map<String, Value>>,
    /// What `{groups}` stands for.
    pub(super) groups: &'a [std::sync::Arc<str>],
}

/// Fills in the templates. A header is left out when a claim of it is missing, or can't be put into a header without
/// becoming another value: one with control characters, or with a space that the upstream would trim.
pub(super) fn render(
    templates: &[(HeaderName, Template)],
    claims: Claims<'_>,
) -> Vec<(HeaderName, HeaderValue)> {
    templates
        .iter()
        .filter_map(|(name, template)| Some((name.clone(), fill(template, claims)?)))
        .collect()
}

/// UTF-8 goes out as it is (RFC 9110 section 5.5 calls it opaque): percent-encoding would make two names of one.
fn fill(template: &Template, claims: Claims<'_>) -> Option<HeaderValue> {
    let mut text = String::new();
    for part in &template.0 {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Claim(name) => text.push_str(&claims.text(name)?),
        }
    }
    if text.is_empty() || text.contains(char::is_control) || text.trim() != text {
        return None;
    }
    HeaderValue::try_from(text).ok()
}

impl Claims<'_> {
    fn text(&self, name: &str) -> Option<String> {
        if name == "groups" {
            let groups = self.groups.iter().map(|group| element(group));
            return joined(groups);
        }
        let found = find(self.access, name).or_else(|| find(self.id?, name))?;
        match found {
            Value::Array(elements) => {
                joined(elements.iter().filter_map(scalar).map(|e| element(&e)))
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Object(_) => scalar(found),
        }
        .filter(|text| !text.is_empty())
    }
}

/// A claim by its own name, which may have dots in it, else by a path.
fn find<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let found = claims.get(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        find(claims.get(outer)?.as_object()?, inner)
    })?;
    (!found.is_null()).then_some(found)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn joined(elements: impl Iterator<Item = String>) -> Option<String> {
    let text = elements
        .filter(|element| !element.is_empty())
        .collect::<Vec<_>>()
        .join(",");
    (!text.is_empty()).then_some(text)
}

/// One element of a comma-joined list. What would make two of it, or another one, is percent-encoded, and so is `%` itself.
fn element(text: &str) -> String {
    let inner = text.trim();
    let lead = text.len() - text.trim_start().len();
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let outside = at < lead || at >= lead + inner.len();
        if c == ',' || c == '%' || c.is_control() || outside {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                out.push('%');
                out.extend(
                    std::char::from_digit(u32::from(byte >> 4), 16).map(|d| d.to_ascii_uppercase()),
                );
                out.extend(
                    std::char::from_digit(u32::from(byte & 15), 16).map(|d| d.to_ascii_uppercase()),
                );
            }
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::sync::Arc;

    use serde_json::json;

    use super::*;

    fn filled(template: &str, access: &Value, id: &Value, groups: &[&str]) -> Option<String> {
        let groups: Vec<Arc<str>> = groups.iter().map(|group| Arc::from(*group)).collect();
        let claims = Claims {
            access: access.as_object().unwrap(),
            id: id.as_object(),
            groups: &groups,
        };
        let value = fill(&Template::parse(template).unwrap(), claims)?;
        Some(String::from_utf8(value.as_bytes().to_vec()).unwrap())
    }

    #[test]
    fn templates_are_filled() {
        let access = json!({
            "sub": "alice", "n": 7, "yes": true, "nothing": null, "empty": "", "list": ["a", 1, "b"], "none": [],
            "org": { "team": { "name": "blue" } }, "https://example.com/role": "chief", "name": "Zoë",
        });
        let id = json!({ "sub": "other", "email": "a@example.com", "nothing": "something" });
        let table = [
            ("{sub}", Some("alice")),
            ("{email}", Some("a@example.com")),
            ("{nothing}", Some("something")),
            ("u={sub};e={email}", Some("u=alice;e=a@example.com")),
            ("{n}", Some("7")),
            ("{yes}", Some("true")),
            ("{list}", Some("a,1,b")),
            ("{groups}", Some("x,y")),
            ("{org.team.name}", Some("blue")),
            ("{https://example.com/role}", Some("chief")),
            ("{name}", Some("Zoë")),
            ("fixed", Some("fixed")),
            ("{empty}", None),
            ("{none}", None),
            ("{org}", None),
            ("{org.team.nobody}", None),
            ("{absent}", None),
            ("a {absent}", None),
        ];
        for (template, expected) in table {
            assert_eq!(
                filled(template, &access, &id, &["x", "y"]).as_deref(),
                expected,
                "{template}"
            );
        }
    }

    /// What a person can choose must not become another person's name, or another group.
    #[test]
    fn a_value_is_itself_or_nothing() {
        for name in [
            "al\r\nice",
            "alice\0",
            "alice ",
            " alice",
            "alice\t",
            "al\u{85}ice",
            "al\x7fice",
            "\u{a0}alice",
        ] {
            let access = json!({ "sub": name });
            assert_eq!(filled("{sub}", &access, &json!({}), &[]), None, "{name:?}");
        }
        let table = [
            (vec!["a,admins"], Some("a%2Cadmins")),
            (vec!["a%2Cadmins"], Some("a%252Cadmins")),
            (vec!["CN=a,DC=b", "c"], Some("CN=a%2CDC=b,c")),
            (vec!["a\r\nX: y"], Some("a%0D%0AX: y")),
            (vec![" admins ", "é"], Some("%20admins%20,é")),
            (vec!["", "b"], Some("b")),
            (vec![], None),
        ];
        for (groups, expected) in table {
            let found = filled("{groups}", &json!({}), &json!({}), &groups);
            assert_eq!(found.as_deref(), expected, "{groups:?}");
            // The same where they come as a claim.
            let found = filled("{list}", &json!({ "list": groups }), &json!({}), &[]);
            assert_eq!(found.as_deref(), expected, "{groups:?}");
        }
    }

    #[test]
    fn a_template_is_checked() {
        for bad in ["{", "{a", "{}", "}", "a}", "{a}}", "{{a}", "{a{b}}"] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
    }
}

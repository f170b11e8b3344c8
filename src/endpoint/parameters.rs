//! Parameters of a query or a form: each at most once.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use url::form_urlencoded;

use crate::refusal::Refusal;

/// More than any request to us has.
const MOST: usize = 32;

/// Decoded names and values.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// RFC 6749 section 3.1: no parameter may come twice, and which of two was meant is not ours to guess.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Refusal> {
        let mut found: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(text) {
            if found.len() == MOST {
                return Err(Refusal::Malformed("There are too many parameters."));
            }
            if found.iter().any(|(other, _)| *other == name) {
                return Err(Refusal::Malformed("A parameter came twice."));
            }
            found.push((name.into_owned(), value.into_owned()));
        }
        Ok(Self(found))
    }

    /// The same out of a JSON object whose members are text.
    pub(super) fn of_json(text: &[u8]) -> Result<Self, Refusal> {
        let read = serde_json::from_slice::<Self>(text);
        read.map_err(|_| Refusal::Malformed("This is no JSON object of texts, each named once."))
    }

    /// The value of a parameter that is there and not empty.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        (!value.is_empty()).then_some(value)
    }
}

impl<'de> Deserialize<'de> for Parameters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Texts)
    }
}

/// An object of texts.
struct Texts;

impl<'de> Visitor<'de> for Texts {
    type Value = Parameters;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Parameters, A::Error> {
        let mut found: Vec<(String, String)> = Vec::new();
        while let Some((name, value)) = access.next_entry::<String, String>()? {
            if found.len() == MOST || found.iter().any(|(other, _)| *other == name) {
                return Err(A::Error::custom("too many, or one twice"));
            }
            found.push((name, value));
        }
        Ok(Parameters(found))
    }
}

#[cfg(test)]
mod tests {
    //! Each parameter counts once.
    #![expect(
        clippy::unwrap_used,
        reason = "a test that can't be set up should fail"
    )]

    use super::*;

    #[test]
    fn values_are_decoded_and_empty_ones_are_none() {
        let found = Parameters::parse(b"code=a%2Bb+c&state=&x").unwrap();
        assert_eq!(found.value("code"), Some("a+b c"));
        assert_eq!(found.value("state"), None);
        assert_eq!(found.value("x"), None);
        assert_eq!(found.value("none"), None);
    }

    #[test]
    fn a_parameter_that_comes_twice_is_refused_however_it_is_spelled() {
        for text in [
            "code=a&code=b",
            "code=a&code=a",
            "code=&code=a",
            "code=a&c%6Fde=b",
            "a&a",
        ] {
            assert!(Parameters::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn there_are_only_so_many() {
        let text: Vec<_> = (0..33).map(|n| format!("p{n}=x")).collect();
        assert!(Parameters::parse(text.join("&").as_bytes()).is_err());
    }

    #[test]
    fn json_is_an_object_of_texts_each_named_once() {
        let found = Parameters::of_json(br#"{"token": "a\u0062", "client_id": ""}"#).unwrap();
        assert_eq!(found.value("token"), Some("ab"));
        assert_eq!(found.value("client_id"), None);
        for text in [
            r#"{"a": "b", "a": "b"}"#,
            r#"{"a": "b", "\u0061": "c"}"#,
            r#"{"a": 1}"#,
            r#"{"a": null}"#,
            r#"["a", "b"]"#,
            r#"{"a": "b"} x"#,
            "",
        ] {
            assert!(Parameters::of_json(text.as_bytes()).is_err(), "{text}");
        }
    }
}

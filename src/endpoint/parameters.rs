//! Parameters of a query or a form: each at most once.

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

    /// The value of a parameter that is there and not empty.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(found, _)| found == name)?;
        (!value.is_empty()).then_some(value)
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
}

//! What holds of any text at all.

use proptest::prelude::*;
use serde_json::Map;

use super::*;
use crate::verify::compact::Compact;
use crate::verify::json;

/// Any JSON that nests no deeper than a token may.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(|number| json!(number)),
        any::<u64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(Value::String),
    ];
    leaf.prop_recursive(8, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn unambiguous_json_reads_as_everyone_reads_it(value in any_json()) {
        let text = value.to_string();
        // Printing and reading may round a number; what counts is that both readers see the same.
        let plain: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(json::object(text.as_bytes()), plain.as_object().cloned());
    }

    #[test]
    fn a_member_twice_is_noticed_wherever_it_is(value in any_json(), name: String) {
        let name = json!(name);
        let text = format!("{{\"x\":[{{{name}:{value},\"y\":1,{name}:{value}}}]}}");
        prop_assert!(json::object(text.as_bytes()).is_none());
    }

    #[test]
    fn no_bytes_make_the_reader_of_json_panic(bytes: Vec<u8>) {
        let _: Option<Map<String, Value>> = json::object(&bytes);
    }

    #[test]
    fn no_text_makes_the_reader_of_tokens_panic(text: String) {
        let _ = Compact::read(&text);
    }

    #[test]
    fn no_parts_make_the_reader_of_tokens_panic(header in any_json(), claims in any_json(), signature: Vec<u8>) {
        let (header, claims) = (encode(header.to_string()), encode(claims.to_string()));
        let token = format!("{header}.{claims}.{}", encode(signature));
        let _ = Compact::read(&token);
    }
}

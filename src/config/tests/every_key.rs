//! Every key that is supported, misspelt by one letter.

use toml::{Table, Value};

use super::*;

/// The shipped reference with what is commented out in it put to use.
fn reference() -> Table {
    let text = include_str!("../../../gateway.toml")
        .replace("# discovery_url", "discovery_url")
        .replace("# authorize_params", "authorize_params")
        .replace("# revocation", "revocation")
        .replace(
            "# encryption_keys = [{ file = \"session.key\" }]",
            "encryption_keys = [{ env = \"KEY\" }]",
        )
        .replace(
            "# password = { file = \"redis_password\" }",
            "password = { env = \"REDIS_PASSWORD\" }",
        )
        .replace("tls           = { ", "tls           = { ca = \"ca.pem\", ");
    let (before, rest) = text.split_once("# [idp.auth0]\n").unwrap();
    let (auth0, after) = rest.split_once("\n\n").unwrap();
    let auth0 = auth0.replace("# preset", "preset").replace("\n# ", "\n");
    format!("{before}[idp.auth0]\n{auth0}\n\n{after}")
        .parse()
        .unwrap()
}

fn load(table: &Table) -> Result<Checked, Problems> {
    let variables = [
        ("CLIENT_SECRET", "hush"),
        ("ADMIN_TOKEN", "hush-hush-hush-hush"),
        ("REDIS_PASSWORD", "hush"),
        ("AUTH0_CLIENT_SECRET", "hush"),
        ("AUTH0_MGMT_SECRET", "hush"),
        ("KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
    ];
    let text = toml::to_string(table).unwrap();
    Config::parse(&text, Path::new("gateway.toml"), &overlay(&variables, &[]))
}

/// The way to every table, and the keys in it whose names are ours to choose.
fn tables(table: &Table, way: &[String], found: &mut Vec<(Vec<String>, Vec<String>)>) {
    let free = matches!(
        way.last().map(String::as_str),
        Some("idp" | "upstreams" | "identity" | "authorize_params")
    );
    if !free {
        found.push((way.to_vec(), table.keys().cloned().collect()));
    }
    for (key, value) in table {
        let way: Vec<String> = way.iter().cloned().chain([key.clone()]).collect();
        match value {
            Value::Table(inner) => tables(inner, &way, found),
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    if let Value::Table(inner) = item {
                        let way: Vec<String> =
                            way.iter().cloned().chain([at.to_string()]).collect();
                        tables(inner, &way, found);
                    }
                }
            }
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_) => {}
        }
    }
}

fn at<'t>(table: &'t mut Table, way: &[String]) -> &'t mut Table {
    let Some((first, rest)) = way.split_first() else {
        return table;
    };
    match &mut table[first] {
        Value::Table(inner) => at(inner, rest),
        Value::Array(items) => {
            let item = &mut items[rest[0].parse::<usize>().unwrap()];
            at(item.as_table_mut().unwrap(), &rest[1..])
        }
        Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Boolean(_)
        | Value::Datetime(_) => panic!("{way:?}"),
    }
}

/// One letter left out, put in, changed, or swapped with the next; at three places.
fn misspellings(key: &str) -> Vec<String> {
    let mut all = Vec::new();
    for place in [0, key.len() / 2, key.len() - 1] {
        let (head, tail) = key.split_at(place);
        let rest = &tail[1..];
        all.push(format!("{head}{rest}"));
        all.push(format!("{head}x{tail}"));
        all.push(format!("{head}x{rest}"));
        if let Some(next) = rest.chars().next() {
            all.push(format!("{head}{next}{}{}", &tail[..1], &rest[1..]));
        }
    }
    all.retain(|misspelt| misspelt != key && !misspelt.is_empty());
    all
}

#[test]
fn the_reference_with_all_its_keys_loads() {
    load(&reference()).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn every_key_misspelt_by_a_letter_is_refused_and_suggested() {
    let reference = reference();
    let mut ways = Vec::new();
    tables(&reference, &[], &mut ways);
    let mut keys = 0;
    for (way, key) in ways
        .iter()
        .flat_map(|(way, keys)| keys.iter().map(move |key| (way, key)))
    {
        keys += 1;
        for misspelt in misspellings(key) {
            let mut table = reference.clone();
            let section = at(&mut table, way);
            let value = section.remove(key).unwrap();
            section.insert(misspelt.clone(), value);
            let problems = load(&table).unwrap_err();
            let wanted = format!("did you mean `{key}`?");
            let told = problems.entries().any(|e| {
                e.message.starts_with("unknown key")
                    && e.message.contains(&misspelt)
                    && e.help.as_ref() == Some(&wanted)
            });
            assert!(told, "{way:?}.{misspelt} for {key}:\n{problems}");
        }
    }
    assert!(keys > 80, "only {keys} keys were tried");
}

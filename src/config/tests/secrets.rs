//! Where secrets come from, and what is said where they don't.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn with_secret(secret: &str) -> String {
    SMALL.replace(
        "client_auth = \"none\"",
        &format!("client_secret = {secret}"),
    )
}

fn load(secret: &str, dir: &Path, variables: &[(&str, &str)]) -> Result<Checked, Problems> {
    Config::parse(
        &with_secret(secret),
        &dir.join("gateway.toml"),
        &overlay(variables, &[]),
    )
}

fn exposed(checked: &Checked) -> &str {
    checked.config.idps[0]
        .issuer
        .client_secret
        .as_ref()
        .unwrap()
        .expose()
}

#[test]
fn a_secret_is_in_a_file_a_variable_or_a_credential() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("secret"), "from the file\r\n").unwrap();
    fs::write(dir.path().join("credential"), "from systemd").unwrap();
    let credentials = dir.path().display().to_string();
    let variables = [
        ("SECRET", "from the variable"),
        ("CREDENTIALS_DIRECTORY", credentials.as_str()),
    ];
    for (secret, text) in [
        ("{ file = \"secret\" }", "from the file"),
        ("{ env = \"SECRET\" }", "from the variable"),
        ("{ credential = \"credential\" }", "from systemd"),
    ] {
        let checked =
            load(secret, dir.path(), &variables).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(exposed(&checked), text);
        assert!(checked.warnings.is_empty());
    }
}

#[test]
fn a_secret_in_plain_text_is_warned_of_but_not_in_a_variable() {
    let here = Path::new("");
    let checked = load("\"hunter2\"", here, &[]).unwrap();
    assert_eq!(exposed(&checked), "hunter2");
    assert_eq!(
        messages(&checked.warnings),
        ["`idp.main.client_secret` is a secret in plain text"]
    );
    assert!(!format!("{checked:?}{}", checked.warnings).contains("hunter2"));

    let variable = [("TIDEGATE__IDP__MAIN__CLIENT_SECRET", "0815")];
    let checked = load("\"hunter2\"", here, &variable).unwrap();
    assert_eq!(exposed(&checked), "0815");
    assert!(checked.warnings.is_empty());
}

#[test]
fn what_is_no_secret_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("empty"), "\n").unwrap();
    for (secret, message) in [
        ("{ file = \"nowhere\" }", "/nowhere: there is no such file"),
        ("{ file = \"empty\" }", "`idp.main.client_secret` is empty"),
        ("\"\"", "`idp.main.client_secret` is empty"),
        (
            "{ env = \"NOT_SET\" }",
            "the environment variable NOT_SET is not set",
        ),
        (
            "{ credential = \"../x\" }",
            "is the name of a credential, not a path",
        ),
        (
            "{ credential = \"x\" }",
            "systemd hands over no credentials here",
        ),
        (
            "{ fil = \"x\" }",
            "unknown key `idp.main.client_secret.fil`",
        ),
        (
            "{ file = \"a\", env = \"B\" }",
            "must say one place where the secret is",
        ),
        ("{}", "must say one place where the secret is"),
        (
            "7",
            "`idp.main.client_secret` must be a secret, not a number",
        ),
        (
            "[\"x\"]",
            "`idp.main.client_secret` must be a secret, not a list",
        ),
    ] {
        let problems = load(secret, dir.path(), &[]).unwrap_err();
        let told = messages(&problems);
        assert_eq!(told.len(), 1, "{secret}: {told:?}");
        assert!(told[0].contains(message), "{secret}: {told:?}");
        assert!(!problems.are_permissions());
    }
}

#[test]
fn a_secret_that_may_not_be_read_is_a_matter_of_permission() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    fs::write(&file, "x").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&file).is_ok() {
        return; // the superuser may read anything
    }
    let problems = load("{ file = \"secret\" }", dir.path(), &[]).unwrap_err();
    assert!(problems.are_permissions(), "{problems}");
    let with_more =
        with_secret("{ file = \"secret\" }").replace("auth = \"session\"", "auth = \"sesion\"");
    let problems = Config::parse(
        &with_more,
        &dir.path().join("gateway.toml"),
        &Overlay::default(),
    )
    .unwrap_err();
    assert!(!problems.are_permissions(), "{problems}");
}

#[test]
fn encryption_keys_are_32_bytes_at_least_however_written() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("raw"), [0xff_u8; 32]).unwrap();
    fs::write(
        dir.path().join("base64"),
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
    )
    .unwrap();
    fs::write(dir.path().join("short-raw"), [0xff_u8; 31]).unwrap();
    fs::write(
        dir.path().join("short-base64"),
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\n",
    )
    .unwrap();
    let load = |file: &str| {
        let text = format!("{SMALL}[session]\nencryption_keys = [{{ file = \"{file}\" }}]\n");
        Config::parse(&text, &dir.path().join("gateway.toml"), &Overlay::default())
    };
    let key = |file: &str| match load(file).unwrap().config.encryption_keys {
        EncryptionKeys::Given(keys) => keys[0].clone(),
        EncryptionKeys::KeptIn(_) | EncryptionKeys::OfThisRun => panic!("not as given"),
    };
    assert_eq!(key("raw"), [0xff; 32]);
    assert_eq!(key("base64"), (0..32).collect::<Vec<u8>>());
    for (file, bytes) in [("short-raw", 31), ("short-base64", 24)] {
        let problems = load(file).unwrap_err();
        let entry = problems.entries().next().unwrap();
        let message =
            format!("`session.encryption_keys[0]` is too short: {bytes} bytes, and 32 are needed");
        assert_eq!(entry.message, message);
        assert!(entry.help.unwrap().contains("tidegate key new session"));
    }
}

#[test]
fn keys_that_are_not_given_are_kept_where_the_sessions_are() {
    let keys = |session: &str| accept(&format!("{SMALL}{session}")).encryption_keys;
    assert!(matches!(
        keys("[session]\nstore = \"memory\"\n"),
        EncryptionKeys::OfThisRun
    ));
    let disk = keys("[store.disk]\npath = \"/var/lib/tidegate/s.redb\"\n");
    assert!(
        matches!(disk, EncryptionKeys::KeptIn(path) if path == Path::new("/var/lib/tidegate/session.key"))
    );
}

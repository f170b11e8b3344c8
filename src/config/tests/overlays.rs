//! What comes on top of the file, and in which order.

use super::*;

fn load(overlay: &Overlay) -> Result<Config, Problems> {
    let text = format!("{SMALL}[session]\nidle_timeout = \"20m\"\n");
    Config::parse(&text, Path::new("gateway.toml"), overlay).map(|checked| checked.config)
}

fn idle(overlay: &Overlay) -> u64 {
    load(overlay).unwrap().session.idle_timeout.as_secs() / 60
}

#[test]
fn the_command_line_beats_the_environment_and_that_the_file_and_that_the_defaults() {
    assert_eq!(accept(SMALL).session.idle_timeout, Duration::from_mins(30));
    let variable = [("TIDEGATE__SESSION__IDLE_TIMEOUT", "15m")];
    assert_eq!(idle(&overlay(&[], &[])), 20);
    assert_eq!(idle(&overlay(&variable, &[])), 15);
    assert_eq!(idle(&overlay(&variable, &["session.idle_timeout=10m"])), 10);
    let twice = ["session.idle_timeout=10m", "session.idle_timeout=\"5m\""];
    assert_eq!(idle(&overlay(&variable, &twice)), 5);
}

#[test]
fn values_are_toml_where_they_are_toml_and_else_text() {
    let variables = [
        ("TIDEGATE__SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
        ("TIDEGATE__LOGOUT__RP_INITIATED", "false"),
        ("TIDEGATE__IDP__MAIN__CLIENT_ID", "4711"),
        ("TIDEGATE__IDP__MAIN__LABEL", "2024-01-01"),
        ("TIDEGATE__HEADERS__IDENTITY", "{ X-User = \"{sub}\" }"),
        (
            "TIDEGATE__UPSTREAMS__OTHER__TARGETS",
            "[\"http://[::1]:9\"]",
        ),
        ("TIDEGATE__ROUTES__0__SLIDE", "false"),
        ("PATH", "/usr/bin"),
        ("TIDEGATE_CONFIG", "x"),
    ];
    let set = [
        "pages.title=a=b",
        "idp.main.authorize_params.\"a.b\"=c",
        "telemetry.access_log.path = off",
    ];
    let problems = load(&overlay(&variables, &set)).unwrap_err();
    assert_eq!(
        messages(&problems),
        ["`telemetry.access_log.path = \" off\"` is not supported by this version yet"]
    );

    let set = [set[0], set[1], "telemetry.access_log.path=off"];
    let config = load(&overlay(&variables, &set)).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(config.forward.trusted_proxies[0].to_string(), "10.0.0.0/8");
    assert!(!config.rp_initiated);
    assert_eq!(&*config.idps[0].issuer.client_id, "4711");
    assert_eq!(&*config.idps[0].issuer.label, "2024-01-01");
    assert_eq!(
        config.idps[0].issuer.authorize_params,
        [("a.b".to_owned(), "c".to_owned())]
    );
    assert_eq!(config.forward.identity[0].0, "x-user");
    assert_eq!(&*config.upstreams[1].targets[0].host, "::1");
    assert!(!config.routes[0].slide);
    assert_eq!(config.pages.title, "a=b");
    assert!(config.telemetry.access_log.is_none());
}

#[test]
fn text_can_stand_in_a_file_that_a_variable_names() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("label");
    std::fs::write(&file, "Staff\n").unwrap();
    let file = file.display().to_string();
    let named = [("TIDEGATE__IDP__MAIN__LABEL_FILE", file.as_str())];
    assert_eq!(
        &*load(&overlay(&named, &[])).unwrap().idps[0].issuer.label,
        "Staff"
    );

    let both = [named[0], ("TIDEGATE__IDP__MAIN__LABEL", "x")];
    let problems = load(&overlay(&both, &[])).unwrap_err();
    assert_eq!(
        messages(&problems),
        ["TIDEGATE__IDP__MAIN__LABEL_FILE and TIDEGATE__IDP__MAIN__LABEL are both set"]
    );

    let nowhere = [("TIDEGATE__IDP__MAIN__LABEL_FILE", "/nowhere/label")];
    let problems = load(&overlay(&nowhere, &[])).unwrap_err();
    assert_eq!(
        messages(&problems),
        ["can't read the file /nowhere/label: there is no such file"]
    );
}

#[test]
fn mistakes_name_the_variable_or_the_flag_and_never_the_value() {
    let variables = [
        ("TIDEGATE__SESION__IDLE_TIMEOUT", "hunter2"),
        ("TIDEGATE__SESSION__IDLE_TIMEOUT", "hunter2"),
        ("TIDEGATE__VERSION__X", "hunter2"),
        ("TIDEGATE__ROUTES__7__AUTH", "hunter2"),
    ];
    let set = [
        "logout.revok=hunter2",
        "hunter2",
        "a b=hunter2",
        "=hunter2",
        "server.prefix.x=hunter2",
    ];
    let problems = load(&overlay(&variables, &set)).unwrap_err();
    let told = problems.to_string();
    assert!(!told.contains("hunter2"), "{told}");
    let told: Vec<_> = problems
        .entries()
        .map(|e| (e.source, e.message, e.help.unwrap_or_default()))
        .collect();
    let has = |source: &str, message: &str, help: &str| {
        let found = told
            .iter()
            .any(|(s, m, h)| s == source && m == message && h.contains(help));
        assert!(found, "{source} {message} {help}\nnot in {told:#?}");
    };
    has(
        "environment variable TIDEGATE__SESION__IDLE_TIMEOUT",
        "unknown key `sesion`",
        "did you mean `session`?",
    );
    has(
        "environment variable TIDEGATE__SESSION__IDLE_TIMEOUT",
        "`session.idle_timeout` is not a duration",
        "15m",
    );
    has(
        "environment variable TIDEGATE__VERSION__X",
        "`version` is a number, not a table: nothing can be set in it",
        "",
    );
    has(
        "environment variable TIDEGATE__ROUTES__7__AUTH",
        "`routes` has no element 7: it has 1, counted from 0",
        "",
    );
    has(
        "--set logout.revok",
        "unknown key `logout.revok`",
        "did you mean `revoke`?",
    );
    has(
        "--set …",
        "--set needs a key, `=` and a value",
        "section.key=value",
    );
    has("--set a b", "this is not a key", "section.key=value");
    has("--set ", "this is not a key", "section.key=value");
}

//! What may be said and what may not, one rule a line.

use std::num::NonZeroUsize;

use super::*;
use crate::route::OnSessionEnd;

/// [`SMALL`] with `from` replaced.
fn with(from: &str, to: &str) -> String {
    assert!(SMALL.contains(from), "{from}");
    SMALL.replacen(from, to, 1)
}

fn and(more: &str) -> String {
    format!("{SMALL}{more}\n")
}

/// The one thing that is wrong with it.
#[track_caller]
fn refused(text: &str, message: &str) {
    let told = refuse(text);
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains(message), "{told:#?}");
}

#[track_caller]
fn warned(text: &str, message: &str) {
    let warnings = parse(text)
        .unwrap_or_else(|problems| panic!("{problems}"))
        .warnings;
    let told = messages(&warnings);
    assert_eq!(told.len(), usize::from(!message.is_empty()), "{told:#?}");
    assert!(told.iter().all(|told| told.contains(message)), "{told:#?}");
}

#[test]
fn the_external_url_is_https_and_an_origin() {
    let url = "https://localhost:8443";
    refused(&with(url, "http://localhost:8443"), "it must be https");
    refused(
        &with(url, "https://localhost/x"),
        "scheme, host and port only",
    );
    refused(
        &with(url, "https://localhost?x"),
        "scheme, host and port only",
    );
    refused(
        &with(url, "https://a:b@localhost"),
        "no user and no password",
    );
    refused(
        &with(url, "localhost:8443"),
        "its scheme must be https or http",
    );
    refused(&with(url, "/x"), "is not a URL");
}

#[test]
fn only_localhost_goes_without_a_certificate() {
    let (url, missing) = ("https://localhost:8443", "there is no certificate");
    for local in [
        "https://127.0.0.1",
        "https://[::1]:8443",
        "https://apps.localhost",
        "https://LOCALHOST",
    ] {
        accept(&with(url, local));
    }
    let public = with(url, "https://apps.example.com");
    for host in [
        "apps.example.com",
        "localhost.example.com",
        "128.0.0.1",
        "notlocalhost",
    ] {
        refused(&with(url, &format!("https://{host}")), missing);
    }
    accept(&format!(
        "{public}[[listeners]]\naddress = \"127.0.0.1:80\"\nprotocol = \"http\"\n"
    ));
    let with_files = format!(
        "{public}[tls]\ncertificates = [{{ cert = \"a.crt\", key = {{ file = \"a.key\" }} }}]\n"
    );
    let config = accept(&with_files);
    assert_eq!(config.tls.certificates[0].1, Path::new("a.key"));
    assert_eq!(config.listeners.len(), 1);
    assert!(config.listeners[0].address.ip().is_unspecified());
    assert_eq!(config.listeners[0].address.port(), 443);
    let empty = format!("{public}[tls]\ncertificates = []\n");
    refused(&empty, "`tls.certificates` is an empty list");
    let text_key =
        format!("{public}[tls]\ncertificates = [{{ cert = \"a.crt\", key = \"hunter2\" }}]\n");
    refused(&text_key, "`tls.certificates[0].key` must name a file");
}

/// The advice that comes with the first mistake.
fn advice(text: &str) -> String {
    let problems = parse(text).unwrap_err();
    problems.entries().next().unwrap().help.unwrap()
}

#[test]
fn nobody_is_told_to_leave_out_what_is_needed() {
    let audience = SMALL.replace("[\"apps\"]", "[]");
    assert_eq!(advice(&audience), "write at least one, such as [\"apps\"]");
    let targets = SMALL.replace("[\"http://127.0.0.1:8080\"]", "[]");
    assert!(advice(&targets).starts_with("write at least one"));
    let nothing = SMALL.replace("[\"apps\"]", "[\"\"]");
    assert_eq!(advice(&nothing), "write a value");
}

#[test]
fn a_prefix_that_is_too_long_is_said_to_be() {
    for (network, help) in [
        (
            "10.0.0.0/33",
            "at most 32: \"10.0.0.0/32\" is that one address",
        ),
        (
            "fd00::/129",
            "at most 128: \"fd00::/128\" is that one address",
        ),
    ] {
        let proxies =
            format!("external_url = \"https://localhost:8443\"\ntrusted_proxies = [\"{network}\"]");
        let text = SMALL.replace("external_url = \"https://localhost:8443\"", &proxies);
        assert_eq!(advice(&text), help);
    }
}

#[test]
fn listeners_have_an_address_each_and_one_of_them_serves() {
    refused(
        &and("[[listeners]]\naddress = \":8443\""),
        "is not an IP address with a port",
    );
    refused(
        &and("[[listeners]]\naddress = \"localhost:8443\""),
        "is not an IP address with a port",
    );
    refused(
        &and("[[listeners]]\nprotocol = \"https\""),
        "`listeners[0].address` is missing",
    );
    refused(
        &and("[[listeners]]\naddress = \"[::]:80\"\nprotocol = \"redirect\""),
        "no listener serves anything",
    );
    refused(&and("listeners = []"), "unknown key `routes[0].listeners`");
    refused(
        &and("[listeners]\naddress = \"[::]:80\""),
        "`listeners` must be a list, not a table",
    );
    let two = "[[listeners]]\naddress = \"127.0.0.1:8443\"\n";
    refused(&and(&two.repeat(2)), "two listeners want 127.0.0.1:8443");
    refused(
        &and(&format!("{two}proxy_protocol = \"required\"")),
        "is not supported by this version yet",
    );
    refused(
        &and(&format!("{two}protocol = \"ext_authz\"")),
        "is not supported by this version yet",
    );
    accept(&and(&format!("{two}proxy_protocol = \"off\"")));
}

#[test]
fn the_prefix_is_a_path() {
    for good in ["/oauth2", "/a/b", "/_auth.v1~x"] {
        assert_eq!(
            accept(&with(
                "[idp.main]",
                &format!("prefix = \"{good}\"\n[idp.main]")
            ))
            .prefix,
            good
        );
    }
    for bad in [
        "oauth2", "/", "/oauth2/", "//a", "/a/../b", "/a b", "/{x}", "/a?b", "/%61",
    ] {
        refused(
            &with("[idp.main]", &format!("prefix = \"{bad}\"\n[idp.main]")),
            "can't be used as a path",
        );
    }
}

#[test]
fn a_provider_is_named_safely_and_reached_safely() {
    refused(
        &SMALL.replace("idp.main", "idp.\"a b\""),
        "can't be an identity provider's name",
    );
    warned(
        &with("https://idp.example.com", "http://idp.example.com"),
        "is http",
    );
    warned(
        &with("https://idp.example.com", "http://127.0.0.1:8080/realms/x"),
        "",
    );
    refused(
        &with("https://idp.example.com", "ftp://idp.example.com"),
        "its scheme must be https or http",
    );
    refused(
        &with("https://idp.example.com", "https://idp.example.com?x=1"),
        "it must have no query",
    );
    let slash = accept(&with(
        "https://idp.example.com",
        "https://tenant.example.com/",
    ));
    assert_eq!(&*slash.idps[0].issuer.issuer, "https://tenant.example.com/");
}

#[test]
fn a_client_has_a_secret_unless_it_says_that_it_has_none() {
    refused(
        &with("client_auth = \"none\"\n", ""),
        "`idp.main.client_secret` is missing",
    );
    refused(
        &with(
            "client_auth = \"none\"",
            "client_auth = \"none\"\nclient_secret = \"x\"",
        ),
        "is never used",
    );
    refused(
        &with("\"none\"", "\"private_key_jwt\""),
        "is not supported by this version yet",
    );
}

#[test]
fn a_leeway_for_reuse_is_short_and_none_by_default() {
    let leeway = |time: &str| {
        with(
            "client_id",
            &format!("reuse_leeway = \"{time}\"\nclient_id"),
        )
    };
    let of = |text: &str| accept(text).idps[0].issuer.reuse_leeway;
    assert_eq!(of(SMALL), Duration::ZERO);
    assert_eq!(of(&leeway("10s")), Duration::from_secs(10));
    refused(&leeway("3m"), "`idp.main.reuse_leeway` is more than 2m");
}

#[test]
fn scopes_contain_openid() {
    refused(
        &with("client_id", "scopes = [\"profile\"]\nclient_id"),
        "`idp.main.scopes` lacks \"openid\"",
    );
    refused(
        &with("client_id", "scopes = [\"openid profile\"]\nclient_id"),
        "is not a scope",
    );
    accept(&with("client_id", "scopes = [\"openid\"]\nclient_id"));
}

#[test]
fn an_audience_is_named_or_unchecked_in_so_many_words() {
    let audience = "audience = [\"apps\"]";
    refused(&with(audience, "audience = []"), "is an empty list");
    refused(
        &with(audience, "audience = \"apps\""),
        "must be a list, or the word \"unchecked\"",
    );
    refused(
        &with(audience, "typ = [\"JWT\"]"),
        "`idp.main.access_token.audience` is missing",
    );
    refused(
        &with("access_token = { audience = [\"apps\"] }\n", ""),
        "`idp.main.access_token.audience` is missing",
    );
    warned(&with(audience, "audience = \"unchecked\""), "is unchecked");
}

#[test]
fn algorithms_are_signatures_of_the_provider() {
    let algorithms = |list: &str| {
        with(
            "audience = [\"apps\"]",
            &format!("audience = [\"apps\"], algorithms = {list}"),
        )
    };
    accept(&algorithms("[\"RS256\", \"PS512\", \"ES384\", \"EdDSA\"]"));
    refused(&algorithms("[\"none\"]"), "that is no signature");
    refused(
        &algorithms("[\"HS256\"]"),
        "is not supported by this version yet",
    );
    refused(&algorithms("[\"RS265\"]"), "can't be \"RS265\"");
    refused(&algorithms("[]"), "is an empty list");
}

#[test]
fn what_the_gateway_sends_itself_can_not_be_overridden() {
    let params = |list: &str| {
        with(
            "client_id",
            &format!("authorize_params = {list}\nclient_id"),
        )
    };
    accept(&params("{ audience = \"https://api\" }"));
    for own in [
        "state",
        "nonce",
        "redirect_uri",
        "code_challenge",
        "request_uri",
    ] {
        refused(
            &params(&format!("{{ {own} = \"x\" }}")),
            "can't be set: the gateway sets it",
        );
    }
}

#[test]
fn sessions_have_times_that_go_together() {
    refused(
        &and("[session]\nidle_timeout = \"13h\""),
        "is longer than `session.absolute_timeout`",
    );
    refused(
        &and("[session]\nabsolute_timeout = \"1m\"\nrefresh_before = \"2m\""),
        "is longer than",
    );
    accept(&and("[session]\nabsolute_timeout = \"1m\""));
    let grace = |time: &str| and(&format!("[session]\noutage_grace = \"{time}\""));
    refused(&grace("13h"), "is longer than `session.absolute_timeout`");
    for (time, minutes) in [("0s", 0), ("10m", 10), ("12h", 720)] {
        let grace = accept(&grace(time)).session.outage_grace;
        assert_eq!(grace, Duration::from_mins(minutes));
    }
    refused(&and("[session]\nidle_timeout = \"0s\""), "can't be zero");
    refused(&and("[session]\nidle_timeout = 30"), "needs a unit");
    refused(
        &and("[session]\nidle_timeout = \"30\""),
        "is not a duration",
    );
    refused(
        &and("[session]\nidle_timeout = true"),
        "must be a duration, not true or false",
    );
    for (number, limit) in [
        ("0", None),
        ("1", NonZeroUsize::new(1)),
        ("10", NonZeroUsize::new(10)),
    ] {
        let config = accept(&and(&format!("[session]\nmax_per_user = {number}")));
        assert_eq!(config.session.max_per_user, limit);
    }
    refused(&and("[session]\nmax_per_user = -1"), "must be from 0 to");
    refused(
        &and("[session]\nmax_per_user = \"1\""),
        "must be a number, not a string",
    );
    assert_eq!(accept(SMALL).session.swaps_at_once, 64);
    assert_eq!(
        accept(&and("[session]\nswaps_at_once = 1024"))
            .session
            .swaps_at_once,
        1024
    );
    for bad in ["0", "1025", "0.5"] {
        let text = and(&format!("[session]\nswaps_at_once = {bad}"));
        refused(&text, "`session.swaps_at_once` must be");
    }
    accept(&and("[session]\ncookie = { same_site = \"lax\" }"));
    for (word, message) in [
        ("strict", "can only be"),
        ("none", "can only be"),
        ("lux", "can't be"),
    ] {
        let text = and(&format!("[session]\ncookie = {{ same_site = \"{word}\" }}"));
        refused(&text, message);
    }
    for name in [
        "tidegate",
        "__Host-",
        "__host-x",
        "__Host-a b",
        "__Host-a=b",
        "__Host-ä",
        "__Secure-x",
    ] {
        refused(
            &and(&format!("[session]\ncookie = {{ name = \"{name}\" }}")),
            "must begin with __Host-",
        );
    }
}

#[test]
fn an_audit_log_says_where_to() {
    let audit = |value: &str| and(&format!("[telemetry]\naudit_log = {value}"));
    accept(&audit("{ path = \"off\" }"));
    refused(&audit("{}"), "`telemetry.audit_log.path` is missing");
    let problems = parse(&audit("\"-\"")).unwrap_err();
    let told = problems.entries().next().unwrap();
    assert!(told.message.contains("must be a table"), "{told:?}");
    let help = "such as audit_log = { path = \"-\" }";
    assert_eq!(told.help.as_deref(), Some(help));
}

#[test]
fn redirects_after_a_sign_out_are_urls() {
    let redirects = |url: &str| and(&format!("[logout]\npost_logout_redirects = [\"{url}\"]"));
    assert_eq!(
        accept(&redirects("https://www.example.com/bye?x=1"))
            .post_logout_redirects
            .len(),
        1
    );
    refused(&redirects("http://www.example.com/"), "must be https");
    refused(
        &redirects("javascript:alert(1)"),
        "its scheme must be https or http",
    );
    refused(&redirects("//example.com"), "is not a URL");
    for pattern in ["https://*.example.com", "https://www.example.com/*"] {
        refused(&redirects(pattern), "a * matches nothing here");
    }
    refused(&and("[logout]\nrefuse_for = \"0s\""), "can't be zero");
    let logout = accept(&and("[logout]\nbackchannel = false\nrevoke = []"));
    assert!(!logout.backchannel_logout && logout.frontchannel_logout);
}

#[test]
fn identity_headers_name_claims_and_take_nothing_that_is_needed() {
    let identity = |header: &str| and(&format!("[headers]\nidentity = {{ {header} }}"));
    accept(&identity(
        "X-A = \"{sub}\", X-B = \"Basic {realm_access.roles} {email}\"",
    ));
    for bad in [
        "sub", "{sub", "sub}", "{}", "{a..b}", "{{a}}", "a}{sub}", "{sub}\\n",
    ] {
        refused(&identity(&format!("X-A = \"{bad}\"")), "can't be used");
    }
    for taken in [
        "Host",
        "Cookie",
        "Authorization",
        "X-Forwarded-For",
        "x_forwarded_for",
        "traceparent",
        "TE",
    ] {
        refused(
            &identity(&format!("{taken} = \"{{sub}}\"")),
            "needs this header",
        );
    }
    refused(&identity("\"X A\" = \"{sub}\""), "is not a header's name");
    refused(
        &identity("X-A = \"{sub}\", x_a = \"{sub}\""),
        "is the same header",
    );
    let stripped = accept(&and(
        "[headers]\nidentity = { X-A = \"{sub}\" }\nstrip_incoming = [\"X-B\"]",
    ))
    .forward
    .strip_incoming;
    assert!(
        stripped.iter().any(|name| name == "x-b")
            && stripped.iter().any(|name| name == "x-forwarded-user")
    );
}

#[test]
fn upstreams_are_origins() {
    let target = "http://127.0.0.1:8080";
    refused(
        &with(target, "http://127.0.0.1:8080/x"),
        "must be scheme, host and port only",
    );
    refused(&with(target, "127.0.0.1:8080"), "is not a URL");
    refused(
        &with("[\"http://127.0.0.1:8080\"]", "[]"),
        "is an empty list",
    );
    refused(
        &with(
            "targets = [\"http://127.0.0.1:8080\"]",
            "connect_timeout = \"1s\"",
        ),
        "`upstreams.app.targets` is missing",
    );
    let tls = "\ntls = { ca = \"ca.pem\" }";
    refused(
        &with(
            "[\"http://127.0.0.1:8080\"]",
            &format!("[\"{target}\"]{tls}"),
        ),
        "has no effect: no target is https",
    );
    let config = accept(&with(
        "[\"http://127.0.0.1:8080\"]",
        &format!("[\"https://api\"]{tls}"),
    ));
    assert_eq!(
        (
            config.upstreams[0].targets[0].port,
            &*config.upstreams[0].targets[0].host
        ),
        (443, "api")
    );
}

#[test]
fn routes_say_who_may_pass_and_mean_it() {
    let auth = "auth = \"session\"";
    refused(&with(auth, "slide = true"), "`routes[0].auth` is missing");
    refused(
        &with(auth, "auth = \"none\"\nrules = [{ groups = [\"a\"] }]"),
        "has no effect on a route with auth = \"none\"",
    );
    for (word, way) in [
        ("", OnSessionEnd::Close),
        ("on_session_end = \"close\"", OnSessionEnd::Close),
        ("on_session_end = \"drain\"", OnSessionEnd::Drain),
        ("on_session_end = \"ignore\"", OnSessionEnd::Ignore),
    ] {
        let config = accept(&with(auth, &format!("{auth}\n{word}")));
        assert_eq!(config.routes[0].on_session_end, way);
    }
    refused(
        &with(auth, &format!("{auth}\non_session_end = \"abort\"")),
        "routes[0].on_session_end",
    );
    refused(
        &with(auth, "auth = \"none\"\non_session_end = \"close\""),
        "has no effect on a route with auth = \"none\"",
    );
    refused(
        &with(auth, "auth = \"none\"\ncsrf = \"header\""),
        "has no effect on a route with auth = \"none\"",
    );
    for empty in [
        "[]",
        "[{}]",
        "[{ groups = [] }]",
        "[{ groups = [\"a\"], methods = [] }]",
    ] {
        let told = refuse(&with(auth, &format!("{auth}\nrules = {empty}")));
        assert!(
            told[0].contains("is an empty list") || told[0].contains("asks for nothing"),
            "{empty}: {told:?}"
        );
    }
    for later in [
        "acr = [\"a\"]",
        "max_age = \"1m\"",
        "client_ip = [\"10.0.0.0/8\"]",
    ] {
        let rule = format!("{auth}\nrules = [{{ groups = [\"a\"], {later} }}]");
        refused(&with(auth, &rule), "is not supported by this version yet");
    }
    refused(
        &with(
            auth,
            &format!("{auth}\nrules = [{{ methods = [\"get\"] }}]"),
        ),
        "methods are written in capitals",
    );
    refused(
        &with(
            auth,
            &format!("{auth}\nrules = [{{ methods = [\"TRACE\"] }}]"),
        ),
        "never passed on",
    );
    refused(
        &with(auth, &format!("{auth}\ncredential_from = [\"query\"]")),
        "is not supported by this version yet",
    );
    accept(&with(
        auth,
        &format!("{auth}\ncredential_from = [\"header\"]"),
    ));
}

#[test]
fn routes_lead_somewhere_and_each_is_there_once() {
    refused(
        &with("upstream = \"app\"", "upstream = \"apps\""),
        "there is no upstream \"apps\"",
    );
    refused(
        &with("path = \"/{*rest}\"", "path = \"rest\""),
        "the path must begin with a slash",
    );
    refused(
        &with("path = \"/{*rest}\"", "path = \"/oauth2/x\""),
        "the route /oauth2/x can't be used",
    );
    let route = "[[routes]]\npath = \"/a/{x}\"\nupstream = \"app\"\nauth = \"none\"\n";
    let other = route.replace("{x}", "{y}");
    let hosted = route.replace("path", "host = \"apps.example.com\"\npath");
    accept(&and(&format!("{route}{hosted}")));
    let problems = parse(&and(&format!("{route}{other}{hosted}{hosted}"))).unwrap_err();
    assert_eq!(problems.len(), 2, "{problems}");
    let lines: Vec<_> = problems
        .entries()
        .map(|entry| entry.line.unwrap())
        .collect();
    assert_eq!(lines, [19, 28], "{problems}");
    refused(
        &and(&hosted.replace("apps.", "*.")),
        "is not supported by this version yet",
    );
    refused(
        &and(&hosted.replace("apps.example.com", "https://apps")),
        "is not a host's name",
    );
    refused(
        &with(&SMALL[SMALL.find("[[routes]]").unwrap()..], ""),
        "there are no routes",
    );
}

#[test]
fn routes_that_need_a_provider_need_a_provider() {
    let start = SMALL.find("[idp.main]").unwrap();
    let end = SMALL.find("[upstreams").unwrap();
    let without = SMALL.replace(&SMALL[start..end], "");
    refused(&without, "needs an identity provider, and there is none");
    accept(&without.replace("auth = \"session\"", "auth = \"none\""));
}

#[test]
fn log_levels_are_levels() {
    for good in [
        "info",
        "WARN",
        "off",
        "info,tidegate::session=debug",
        "tidegate=trace",
    ] {
        accept(&and(&format!("[telemetry]\nlog_level = \"{good}\"")));
    }
    refused(
        &and("[telemetry]\nlog_level = \"inof\""),
        "inof is not a level",
    );
    refused(
        &and("[telemetry]\nlog_level = \"info,tidegate=loud\""),
        "is not a filter",
    );
    refused(
        &and("[telemetry]\nlog_format = \"logfmt\""),
        "is not supported by this version yet",
    );
    refused(
        &and("[telemetry]\naccess_log = { path = \"/var/log/x\" }"),
        "is not supported by this version yet",
    );
    refused(
        &and("[telemetry]\naccess_log = { exclude = [\"healthz\"] }"),
        "is not a path",
    );
}

#[test]
fn only_this_shape_of_the_file_is_read() {
    refused(
        &with("version = 1", "version = 2"),
        "`version = 2` is not supported by this version yet",
    );
    refused(
        &with("version = 1", "version = \"1\""),
        "`version` must be a number, not a string",
    );
    accept(&with("version = 1\n", ""));
}

#[test]
fn the_admin_listener_is_for_this_machine_only() {
    use crate::admin::Settings;

    let admin = |text: &str| and(&format!("[admin]\n{text}"));
    let token = "token = \"a-token-that-nobody-guesses\"";
    let at = |address: &str| admin(&format!("address = \"{address}\"\n{token}"));
    assert!(accept(SMALL).admin.is_none());
    for local in ["127.0.0.1:9901", "127.1.2.3:1", "[::1]:9901"] {
        let settings = accept(&at(local)).admin;
        assert!(
            matches!(settings, Some(Settings::Loopback { address, .. }) if address.to_string() == local)
        );
    }
    for open in [
        "0.0.0.0:9901",
        "[::]:9901",
        "10.0.0.1:9901",
        "[::ffff:127.0.0.1]:9901",
        "[::ffff:10.0.0.1]:9901",
    ] {
        refused(
            &at(open),
            "`admin.address` must be a loopback address or a Unix socket",
        );
    }
    refused(&at("localhost:9901"), "is not an IP address with a port");
    refused(&at("/run/admin.sock"), "is not an IP address with a port");
    refused(&at("unix:"), "`admin.address` names no file");
    refused(
        &at("unix://run/admin.sock"),
        "`admin.address` names no file",
    );
    refused(&admin(token), "`admin.address` is missing");
    refused(
        &admin("address = \"127.0.0.1:9901\""),
        "`admin.token` is missing",
    );
    refused(
        &admin("address = \"127.0.0.1:9901\"\ntoken = \"\""),
        "`admin.token` is empty",
    );
    warned(
        &at("127.0.0.1:9901"),
        "`admin.token` is a secret in plain text",
    );

    let socket = accept(&admin("address = \"unix:/run/tidegate/admin.sock\"")).admin;
    assert!(matches!(
        socket,
        Some(Settings::Socket { path, token: None }) if path == Path::new("/run/tidegate/admin.sock")
    ));
    // One that is written is not ignored.
    let socket = accept(&at("unix:admin.sock")).admin;
    assert!(matches!(
        socket,
        Some(Settings::Socket { path, token: Some(_) }) if path == Path::new("admin.sock")
    ));
}

#[test]
fn an_admin_token_that_can_be_guessed_is_warned_of() {
    let text = and("[admin]\naddress = \"127.0.0.1:9901\"\ntoken = { env = \"TOKEN\" }");
    for (token, warning) in [("fifteen-letters", true), ("sixteen--letters", false)] {
        let over = overlay(&[("TOKEN", token)], &[]);
        let checked = Config::parse(&text, Path::new("gateway.toml"), &over).unwrap();
        let told = messages(&checked.warnings);
        let told = told
            .iter()
            .any(|told| told.contains("short enough to be guessed"));
        assert_eq!(told, warning, "{token}");
    }
}

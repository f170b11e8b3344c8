//! Which route a path finds, and which paths have more than one meaning.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use proptest::prelude::*;

use super::*;
use crate::target::normal_path;

fn route(pattern: &str) -> Route {
    let (host, path) = pattern.split_at(pattern.find('/').unwrap_or(pattern.len()));
    Route {
        name: pattern.into(),
        host: (!host.is_empty()).then(|| host.into()),
        path: path.into(),
        upstream: "app".into(),
        access: Access::Session,
        rules: Vec::new(),
        slide: true,
        csrf_header: false,
        on_session_end: OnSessionEnd::Close,
    }
}

fn try_table(patterns: &[&str]) -> Result<Table, (usize, String)> {
    Table::new("/oauth2", patterns.iter().map(|p| route(p)).collect())
}

fn table(patterns: &[&str]) -> Table {
    try_table(patterns).unwrap()
}

fn at(table: &Table, host: &str, path: &str) -> String {
    let target = Target {
        host: host.into(),
        port: None,
        path: normal_path(path).unwrap(),
        query: None,
    };
    match table.find(&target) {
        Ok(Destination::Own(path)) => format!("own {path}"),
        Ok(Destination::Upstream(route)) => route.name.to_string(),
        Err(Error::NoRoute) => "none".to_owned(),
        Err(Error::Ambiguous) => "ambiguous".to_owned(),
    }
}

#[track_caller]
fn finds(table: &Table, rows: &[(&str, &str)]) {
    for (path, route) in rows {
        assert_eq!(at(table, "a.test", path), *route, "{path}");
    }
}

#[test]
fn the_most_specific_pattern_wins_in_any_order() {
    let patterns = [
        "/{*rest}",
        "/users/{*rest}",
        "/users/{id}",
        "/users/me",
        "/users/{id}/posts/{*rest}",
        "/users/me/posts",
        "/{section}/about",
    ];
    let rows = [
        ("/", "/{*rest}"),
        ("/x", "/{*rest}"),
        ("/x/y/z", "/{*rest}"),
        ("/users", "/users/{*rest}"),
        ("/users/", "/users/{*rest}"),
        ("/users/me", "/users/me"),
        ("/users/me/", "/users/me"),
        ("/users/7", "/users/{id}"),
        ("/users/7/", "/users/{id}"),
        ("/users/7/x", "/users/{*rest}"),
        ("/users/7/posts", "/users/{id}/posts/{*rest}"),
        ("/users/7/posts/1/2", "/users/{id}/posts/{*rest}"),
        ("/users/me/posts", "/users/me/posts"),
        ("/users/me/posts/1", "/users/{id}/posts/{*rest}"),
        ("/users/about", "/users/{id}"),
        ("/company/about", "/{section}/about"),
        ("/company/other", "/{*rest}"),
    ];
    finds(&table(&patterns), &rows);
    let reversed: Vec<_> = patterns.iter().rev().copied().collect();
    finds(&table(&reversed), &rows);
}

#[test]
fn a_rest_is_also_nothing_and_ends_at_a_segment() {
    let table = table(&["/admin/{*rest}", "/exact", "/slash/"]);
    finds(
        &table,
        &[
            ("/admin", "/admin/{*rest}"),
            ("/admin/", "/admin/{*rest}"),
            ("/admin/x", "/admin/{*rest}"),
            ("/administrator", "none"),
            ("/adm", "none"),
            ("/exact", "/exact"),
            ("/exact/", "/exact"),
            ("/exact/x", "none"),
            ("/slash/", "/slash/"),
            ("/slash", "/slash/"),
            ("/", "none"),
        ],
    );
}

#[test]
fn both_spellings_of_a_trailing_slash_can_have_a_route() {
    let table = table(&["/a", "/a/", "/b", "/b/{*rest}"]);
    finds(
        &table,
        &[
            ("/a", "/a"),
            ("/a/", "/a/"),
            ("/b", "/b"),
            ("/b/", "/b/{*rest}"),
        ],
    );
}

#[test]
fn a_segment_is_never_empty() {
    let table = table(&["/{a}/x", "/{a}"]);
    finds(
        &table,
        &[
            ("/1/x", "/{a}/x"),
            ("/1", "/{a}"),
            ("/", "none"),
            ("//x", "ambiguous"),
        ],
    );
}

#[test]
fn a_host_of_its_own_comes_first() {
    let table = table(&["a.test/{*rest}", "b.test/b", "/{*rest}", "/b"]);
    for (host, path, route) in [
        ("a.test", "/b", "a.test/{*rest}"),
        ("b.test", "/b", "b.test/b"),
        ("b.test", "/c", "/{*rest}"),
        ("c.test", "/b", "/b"),
    ] {
        assert_eq!(at(&table, host, path), route, "{host}{path}");
    }
    let closed = try_table(&["A.test/{*rest}"]).unwrap();
    assert_eq!(at(&closed, "a.test", "/"), "A.test/{*rest}");
    assert_eq!(at(&closed, "b.test", "/"), "none");
    assert_eq!(at(&closed, "b.test", "/oauth2/sign_in"), "own /sign_in");
}

#[test]
fn nothing_under_the_prefix_goes_upstream() {
    let table = table(&["/{*rest}"]);
    finds(
        &table,
        &[
            ("/oauth2", "own /"),
            ("/oauth2/", "own /"),
            ("/oauth2/sign_out", "own /sign_out"),
            ("/oauth2/a/b", "own /a/b"),
            ("/oauth2/a%2Fb", "own /a%2Fb"),
            ("/x/../oauth2/a", "own /a"),
            ("/oauth2x", "/{*rest}"),
            ("/oauth2.css", "/{*rest}"),
            ("/x/oauth2/a", "/{*rest}"),
            ("/OAuth2/sign_out", "ambiguous"),
            ("//oauth2/sign_out", "ambiguous"),
            ("/oauth2;x/sign_out", "ambiguous"),
            ("/oauth2%2Fsign_out", "ambiguous"),
            ("/oauth2%5Csign_out", "ambiguous"),
            ("/oauth2\\sign_out", "ambiguous"),
            ("/oauth2./sign_out", "ambiguous"),
            ("/oauth2%20/sign_out", "ambiguous"),
            ("/oauth2/..%2Fadmin", "ambiguous"),
            ("/x/..%2Foauth2/a", "ambiguous"),
            ("/%6fauth2/a", "own /a"),
            ("/%256fauth2/a", "ambiguous"),
            (
                "/.well-known/oauth-protected-resource",
                "own /.well-known/oauth-protected-resource",
            ),
            ("/.well-known/openid-configuration", "/{*rest}"),
        ],
    );
}

#[test]
fn readings_that_lead_to_different_routes_are_refused() {
    let table = table(&["/public/{*rest}", "/admin/{*rest}", "/{*rest}"]);
    for path in [
        "/public/..%2fadmin",
        "/public/..%2Fadmin/x",
        "/public/%2e%2e%2fadmin",
        "/public/..%5cadmin",
        "/public/..\\admin",
        "/public\\..\\admin",
        "/public/..;/admin",
        "/public/..;x=1/admin",
        "/public/x/..;/..;/admin",
        "/public/..%3b/admin",
        "/public/..%3bx/admin",
        "/public/%252e%252e/admin",
        "/public/%252e%252e%252fadmin",
        "/public/..%252fadmin",
        "/public/..%255cadmin",
        "/public/..%253b/admin",
        "//admin",
        "//admin/x",
        "///admin",
        "/;/admin",
        "/;x/admin",
        "/;a/;b/admin",
        "/admin;x",
        "/admin;x=1/y",
        "/admin%3Bx/y",
        "/admin%2Fx",
        "/admin%252Fx",
        "/%2Fadmin",
        "/%5Cadmin",
        "/\\admin",
        "/ADMIN",
        "/Admin/x",
        "/%41dmin",
        "/%2541dmin",
        "/adm%2569n",
        "/admin%3F",
        "/admin%3Fx/y",
        "/admin%23/x",
        "/admin%253F",
        "/x/..%2f/admin",
        "/x;%2f..%2f..%2fadmin",
        "/Public/%2e%2e%5cADMIN",
        "/x//..%2f..%2f/admin//y",
        "/admin.",
        "/admin./x",
        "/admin.../x",
        "/admin%20",
        "/admin%20/x",
        "/admin.%20./x",
        "/admin%2e/x",
        "/admin%252e/x",
        "/admin.;x/y",
        "/ADMIN./x",
        "/public/..%20/admin",
        "/public/..%20%2fadmin",
        "/.../admin",
        "/%20/admin",
    ] {
        assert_eq!(at(&table, "a.test", path), "ambiguous", "{path}");
    }
}

#[test]
fn readings_that_agree_pass() {
    let table = table(&[
        "/public/{*rest}",
        "/admin/{*rest}",
        "/api/{*rest}",
        "/{*rest}",
    ]);
    finds(
        &table,
        &[
            ("/api/v4/projects/foo%2Fbar/issues", "/api/{*rest}"),
            ("/api/a//b", "/api/{*rest}"),
            ("/api/a;v=1/b", "/api/{*rest}"),
            ("/api/Users/ADMIN", "/api/{*rest}"),
            ("/api/100%25", "/api/{*rest}"),
            ("/api/caf%C3%A9%20au%20lait", "/api/{*rest}"),
            ("/api/a%3Fb%23c", "/api/{*rest}"),
            ("/public/../admin/x", "/admin/{*rest}"),
            ("/public//../../admin/x", "/admin/{*rest}"),
            ("/public/%2e%2e/admin/x", "/admin/{*rest}"),
            ("/api/https:%2F%2Fexample.com%2F", "/api/{*rest}"),
            ("/a%2Fb", "/{*rest}"),
            ("/README.md", "/{*rest}"),
            ("/api/Acme%20Inc./%20x%20", "/api/{*rest}"),
            ("/api/.../x", "/api/{*rest}"),
            ("/what-is-this...", "/{*rest}"),
            ("/.well-known/x.", "/{*rest}"),
            ("/administration.", "/{*rest}"),
            ("/files/%E2%82%AC", "/{*rest}"),
            ("/", "/{*rest}"),
        ],
    );
}

#[test]
fn patterns_in_any_spelling_match() {
    let table = table(&[
        "/API/{*rest}",
        "/caf\u{e9}/{*rest}",
        "/a%20b",
        "/%7Ejoe",
        "/v1.0/x",
        "/{*rest}",
    ]);
    finds(
        &table,
        &[
            ("/API/x", "/API/{*rest}"),
            ("/api/x", "ambiguous"),
            ("/caf%C3%A9/x", "/caf\u{e9}/{*rest}"),
            ("/caf%c3%a9/x%20y", "/caf\u{e9}/{*rest}"),
            ("/a%20b", "/a%20b"),
            ("/~joe", "/%7Ejoe"),
            ("/%7ejoe", "/%7Ejoe"),
            ("/v1.0/x", "/v1.0/x"),
            ("/x", "/{*rest}"),
        ],
    );
}

#[test]
fn the_query_is_never_matched() {
    let table = table(&["/public/{*rest}", "/{*rest}"]);
    let target = Target {
        host: "a.test".into(),
        port: None,
        path: "/admin".into(),
        query: Some("path=/public/x".into()),
    };
    let Ok(Destination::Upstream(found)) = table.find(&target) else {
        unreachable!()
    };
    assert_eq!(&*found.name, "/{*rest}");
}

#[test]
fn what_is_wrong_with_a_pattern_is_said() {
    for (pattern, why) in [
        ("", "begin with a slash"),
        ("/{*rest}/x", "must be the last"),
        ("/a//b", "empty segment"),
        ("/a/../b", "dot segment"),
        ("/a/.", "dot segment"),
        ("/img-{id}.png", "whole segment"),
        ("/{}", "needs a name"),
        ("/{*}", "needs a name"),
        ("/*", "whole segment"),
        ("/a?b", "no query"),
        ("/a%zz", "hexadecimal"),
        ("/a%00", "control"),
        ("/oauth2/x", "belongs to the gateway"),
        ("/OAuth2/{*rest}", "belongs to the gateway"),
        (
            "/.well-known/oauth-protected-resource",
            "belongs to the gateway",
        ),
    ] {
        let (index, said) = try_table(&["/{*rest}", pattern]).unwrap_err();
        assert_eq!(index, 1);
        assert!(said.contains(why), "{pattern}: {said}");
    }
}

#[test]
fn two_routes_never_share_a_place() {
    for (one, other) in [
        ("/a", "/a"),
        ("/a", "/%61"),
        ("/{a}", "/{b}"),
        ("/x/{*a}", "/x/{*b}"),
        ("/a", "/A"),
        ("a.test/x", "A.TEST/x"),
    ] {
        let (index, said) = try_table(&[one, other]).unwrap_err();
        assert_eq!(index, 1);
        assert!(said.starts_with(one), "{said}");
    }
    assert!(try_table(&["a.test/x", "b.test/x", "/x", "/x/", "/x/{*rest}", "/{x}"]).is_ok());
}

#[test]
fn many_routes_and_hosts() {
    let patterns: Vec<String> = (0..300)
        .flat_map(|n| {
            [
                format!("h{n}.test/p{n}/{{*rest}}"),
                format!("/p{n}/x/{{id}}"),
            ]
        })
        .collect();
    let patterns: Vec<_> = patterns.iter().map(String::as_str).collect();
    let table = table(&patterns);
    assert_eq!(at(&table, "h217.test", "/p217/y"), "h217.test/p217/{*rest}");
    assert_eq!(at(&table, "other.test", "/p217/x/1"), "/p217/x/{id}");
    assert_eq!(at(&table, "h217.test", "/p218/y"), "none");
}

#[test]
fn the_longest_and_oddest_path_is_read_in_bounded_space() {
    let path = "/a;b%2F%252e\\".repeat(630);
    let readings = readings::of(path.as_bytes());
    assert!(readings.len() <= 256, "{}", readings.len());
}

const ODD: &str = "(/|//|\\.\\.|%2[eEfF]|%5[cC]|%3[bB]|%25|%252[fF]|%252e|\\\\|;|;x|a|A|\\.|%20|%2e|public|admin|ADMIN|oauth2|%61|%E9|%3F){0,10}";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// What is forwarded means the same route to every reader, each known trick applied in any order.
    #[test]
    fn any_reading_of_what_is_forwarded_finds_the_same_route(
        path in ODD,
        tricks in proptest::collection::vec(0..6usize, 0..3),
    ) {
        let table = table(&["/public/{*rest}", "/admin/{*rest}", "/a", "/a/{id}", "/{*rest}"]);
        let Ok(path) = normal_path(&format!("/{path}")) else { return Ok(()) };
        let found = at(&table, "a.test", &path);
        prop_assume!(found != "ambiguous");
        let mut read = path.to_string();
        for trick in tricks {
            read = match trick {
                0 => read.replace("%2F", "/").replace("%2f", "/"),
                1 => read.replace("%5C", "/").replace("%5c", "/").replace('\\', "/"),
                2 => String::from_utf8_lossy(&percent_encoding::percent_decode_str(&read).collect::<Vec<_>>()).into_owned(),
                3 => read.split('/').map(|s| s.split(';').next().unwrap_or("")).collect::<Vec<_>>().join("/"),
                4 => read.split('/').map(|s| if s == "." || s == ".." { s } else { s.trim_end_matches(['.', ' ']) }).collect::<Vec<_>>().join("/"),
                _ => { while read.contains("//") { read = read.replace("//", "/"); } read }
            };
        }
        let resolved = crate::target::resolve_dots(read.as_bytes());
        let meant = table.meaning(None, &readings::encode(&resolved), Case::Exact);
        let meant = match meant {
            Meaning::Own => "own".to_owned(),
            Meaning::Route(index) => table.routes[index].name.to_string(),
            Meaning::Nothing => "none".to_owned(),
        };
        prop_assert!(found.starts_with(&meant), "{} read as {:?}: {} and {}", path, read, found, meant);
        let folded = table.meaning(None, &fold(&readings::encode(&resolved)), Case::Folded);
        prop_assert_eq!(folded, table.meaning(None, &readings::encode(&resolved), Case::Exact));
    }
}

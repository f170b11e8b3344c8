//! Names, zeros and labels of what is counted.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::*;

fn metrics() -> Metrics {
    Metrics::new([&Arc::from("main")])
}

#[test]
fn every_value_of_a_label_is_there_from_the_start_and_counts_for_itself() {
    fn proven<L: Label + PartialEq + fmt::Debug>() {
        let all = L::all();
        assert_eq!(all.len(), L::COUNT);
        for (at, value) in all.into_iter().enumerate() {
            assert_eq!(value.index(), at, "{value:?}");
        }
    }
    proven::<SwapOutcome>();
    proven::<(RevocationSource, RevocationTarget, RevocationOutcome)>();

    let metrics = metrics();
    let kind = (
        RevocationSource::SignIn,
        RevocationTarget::AccessToken,
        RevocationOutcome::Failed,
    );
    metrics.revocations.count(kind);
    metrics.idp("main").swaps.count(SwapOutcome::Elsewhere);
    let text = metrics.text();
    for line in [
        "tidegate_revocations_total{source=\"sign_in\",target=\"access_token\",outcome=\"failed\"} 1",
        "tidegate_revocations_total{source=\"sign_in\",target=\"access_token\",outcome=\"confirmed\"} 0",
        "tidegate_token_refresh_total{idp=\"main\",outcome=\"elsewhere\"} 1",
        "tidegate_token_refresh_total{idp=\"main\",outcome=\"swapped\"} 0",
        "# TYPE tidegate_token_refresh_total counter",
    ] {
        assert!(text.lines().any(|l| l == line), "{line} is not in:\n{text}");
    }
}

#[test]
fn what_is_under_way_is_counted_until_it_ends() {
    let metrics = metrics();
    let idp = metrics.idp("main");
    let first = idp.swap_begins();
    let second = idp.swap_begins();
    let shown = || {
        let text = metrics.text();
        let line = "tidegate_token_refresh_in_flight{idp=\"main\"} ";
        let value = text.lines().find_map(|l| l.strip_prefix(line)).unwrap();
        value.to_owned()
    };
    assert_eq!(shown(), "2");
    drop(first);
    drop(second);
    assert_eq!(shown(), "0");
}

#[test]
fn a_provider_that_is_not_configured_makes_no_series() {
    let metrics = metrics();
    metrics.idp("other").logins.count(LoginOutcome::SignedIn);
    assert!(!metrics.text().contains("other"));
}

#[test]
fn a_host_s_certificate_is_the_one_that_it_shows() {
    let metrics = metrics();
    let shown = || {
        let text = metrics.text();
        let lines = text.lines().filter(|line| line.contains("certificate"));
        let mut series: Vec<_> = lines
            .filter(|l| !l.starts_with('#'))
            .map(str::to_owned)
            .collect();
        series.sort();
        series
    };
    assert!(!metrics.text().contains("certificate"), "no TLS, no metric");
    let at = Timestamp::from_secs;
    metrics.certificates([("a.test", at(10)), ("*.b.test", at(20)), ("a.test", at(30))]);
    let series = |host, ends: u64| {
        format!("tidegate_certificate_expiry_timestamp_seconds{{host=\"{host}\"}} {ends}")
    };
    assert_eq!(shown(), [series("*.b.test", 20), series("a.test", 10)]);
    metrics.certificates([("a.test", at(40))]);
    assert_eq!(shown(), [series("a.test", 40)]);
}

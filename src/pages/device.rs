//! A `User-Agent` in words: a few well-known names, and never anything of the text itself, which is anybody's to write.

/// What tells a browser, the particular before the general: most claim to be several others too.
const BROWSERS: [(&str, &str); 21] = [
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("Edge/", "Edge"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("OPiOS/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex Browser"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("Ddg/", "DuckDuckGo"),
    ("FxiOS/", "Firefox"),
    ("Firefox/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chromium/", "Chromium"),
    ("Chrome/", "Chrome"),
    ("Trident/", "Internet Explorer"),
    ("MSIE ", "Internet Explorer"),
    ("curl/", "curl"),
    ("Wget/", "Wget"),
];

/// What tells a system, likewise.
const SYSTEMS: [(&str, &str); 14] = [
    ("Windows Phone", "Windows Phone"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("iPod", "iPod"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "Mac"),
    ("Mac OS X", "Mac"),
    ("FreeBSD", "FreeBSD"),
    ("OpenBSD", "OpenBSD"),
    ("NetBSD", "NetBSD"),
    ("Linux", "Linux"),
    ("X11", "Unix"),
];

/// "Firefox on Linux", or as much of that as can be told.
pub fn device(user_agent: &str) -> String {
    let browser = browser(user_agent).unwrap_or("An unknown browser");
    match found(&SYSTEMS, user_agent) {
        Some(system) => format!("{browser} on {system}"),
        None => browser.to_owned(),
    }
}

/// The same in the middle of a sentence.
pub fn device_within(user_agent: &str) -> String {
    let words = device(user_agent);
    match words.strip_prefix("An ") {
        Some(rest) => format!("an {rest}"),
        None => words,
    }
}

fn browser(user_agent: &str) -> Option<&'static str> {
    // All but Safari itself say of themselves that they are like it.
    let safari = user_agent.contains("Safari/") && user_agent.contains("Version/");
    found(&BROWSERS, user_agent).or(safari.then_some("Safari"))
}

fn found(words: &[(&str, &'static str)], text: &str) -> Option<&'static str> {
    let known = words.iter().find(|(sign, _)| text.contains(sign));
    known.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    //! What people use is told by name; what nobody knows is said to be unknown, whatever it is.

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_use_has_its_name() {
        for (user_agent, name) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
                "Firefox on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
                "Chrome on Windows",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0",
                "Edge on Windows",
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
                "Safari on Mac",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
                "Safari on iPhone",
            ),
            (
                "Mozilla/5.0 (iPad; CPU OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/128.0 Mobile/15E148 Safari/605.1.15",
                "Firefox on iPad",
            ),
            (
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36",
                "Chrome on Android",
            ),
            (
                "Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/26.0 Chrome/122.0.0.0 Mobile Safari/537.36",
                "Samsung Internet on Android",
            ),
            (
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36",
                "Chrome on ChromeOS",
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36 OPR/115.0.0.0",
                "Opera on Linux",
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
                "Internet Explorer on Windows",
            ),
            ("curl/8.5.0", "curl"),
            (
                "Mozilla/5.0 (X11; Linux x86_64)",
                "An unknown browser on Linux",
            ),
            ("Mozilla/5.0 (tests)", "An unknown browser"),
            ("", "An unknown browser"),
        ] {
            assert_eq!(device(user_agent), name, "{user_agent}");
        }
        assert_eq!(device_within(""), "an unknown browser");
        assert_eq!(device_within("curl/8.5.0"), "curl");
    }

    proptest! {
        #[test]
        fn nothing_of_the_text_gets_through(user_agent in "\\PC*(Firefox/|Linux|iPad|<script>|\"|\u{202e}|\n){0,4}\\PC*") {
            let words = device(&user_agent);
            let known = words.replacen("An unknown browser", "", 1);
            let of_ours = |name: &str| BROWSERS.iter().chain(&SYSTEMS).any(|(_, ours)| *ours == name);
            let mut rest = known.split(" on ").filter(|name| !name.is_empty());
            prop_assert!(rest.all(|name| of_ours(name) || name == "Safari"), "{words}");
        }
    }
}

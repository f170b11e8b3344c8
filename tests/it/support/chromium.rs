//! A real browser: headless Chromium, driven as a person drives it, photographed on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chromiumoxide::cdp::browser_protocol::emulation::{
    MediaFeature, SetDeviceMetricsOverrideParams,
};
use chromiumoxide::cdp::browser_protocol::network::Cookie;
use chromiumoxide::cdp::browser_protocol::page::{
    GetNavigationHistoryParams, GetNavigationHistoryReturns, NavigateToHistoryEntryParams,
};
use chromiumoxide::error::CdpError;
use chromiumoxide::page::ScreenshotParams;
use chromiumoxide::{Browser, BrowserConfig, Page};
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// How long a page may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser with a profile of its own.
pub struct Chromium {
    browser: Browser,
    driver: JoinHandle<()>,
    profile: TempDir,
}

impl Chromium {
    /// Starts one. The gateway's certificate for localhost is self-signed, so certificate errors are passed over.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let config = BrowserConfig::builder()
            .chrome_executable(executable())
            .no_sandbox()
            .user_data_dir(profile.path())
            .window_size(1100, 800)
            .viewport(None)
            .launch_timeout(PATIENCE)
            .args(["disable-gpu", "disable-quic", "disable-component-update"])
            .args(["disable-domain-reliability", "no-default-browser-check"])
            .build()
            .unwrap();
        let (browser, mut events) = Browser::launch(config).await.unwrap();
        let driver = tokio::spawn(async move { while events.next().await.is_some() {} });
        Self {
            browser,
            driver,
            profile,
        }
    }

    /// Opens a tab.
    pub async fn open(&self, url: &str) -> Tab {
        let page = self.browser.new_page("about:blank").await.unwrap();
        let tab = Tab { page };
        tab.goto(url).await;
        tab
    }

    /// Ends the browser and waits until it is gone.
    pub async fn close(mut self) {
        let _ = self.browser.close().await;
        let _ = self.browser.wait().await;
        self.driver.abort();
        drop(self.profile);
    }
}

/// One tab.
pub struct Tab {
    page: Page,
}

impl Tab {
    /// Types an address and waits until the page it ends at has loaded.
    pub async fn goto(&self, url: &str) {
        self.page.goto(url).await.unwrap();
    }

    /// The address bar.
    pub async fn url(&self) -> String {
        self.script("location.href").await
    }

    /// What a person can read.
    pub async fn text(&self) -> String {
        self.script("document.body.innerText").await
    }

    /// What the page is made of.
    pub async fn html(&self) -> String {
        self.page.content().await.unwrap()
    }

    /// Types into a field.
    pub async fn fill(&self, field: &str, text: &str) {
        let element = self.page.find_element(field).await.unwrap();
        element.click().await.unwrap().type_str(text).await.unwrap();
    }

    /// Clicks, and does not wait for what it leads to: [`Self::until`] does.
    pub async fn click(&self, element: &str) {
        let element = self.page.find_element(element).await.unwrap();
        element.click().await.unwrap();
    }

    /// Presses a key: what has the focus gets it.
    pub async fn key(&self, key: &str) {
        let body = self.page.find_element("body").await.unwrap();
        body.press_key(key).await.unwrap();
    }

    /// Makes the window so wide and so high, in CSS pixels.
    pub async fn resize(&self, width: i64, height: i64) {
        let size = SetDeviceMetricsOverrideParams::new(width, height, 1.0, false);
        self.page.execute(size).await.unwrap();
    }

    /// Waits until an expression is true in the page, over navigations.
    pub async fn until(&self, expression: &str) {
        let begun = Instant::now();
        let expression = format!("document.readyState === 'complete' && !!({expression})");
        loop {
            if let Ok(answer) = self.page.evaluate_expression(expression.as_str()).await
                && answer.into_value::<bool>().unwrap_or(false)
            {
                return;
            }
            if begun.elapsed() > PATIENCE {
                let (url, text) = (self.url().await, self.text().await);
                panic!("never true: {expression}\nat {url}\n{text}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The value of an expression in the page; a promise is awaited.
    ///
    /// In the moment between two pages there is none to ask: the one that comes is asked.
    pub async fn script<T: DeserializeOwned>(&self, expression: &str) -> T {
        let begun = Instant::now();
        loop {
            match self.page.evaluate_expression(expression).await {
                Ok(answer) => return answer.into_value().unwrap(),
                Err(CdpError::Chrome(error)) if is_between_pages(&error.message) => {
                    assert!(begun.elapsed() < PATIENCE, "no page to ask: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{expression}: {error}"),
            }
        }
    }

    /// All cookies that the page's address would be sent, also those that scripts can't see.
    pub async fn cookies(&self) -> Vec<Cookie> {
        self.page.get_cookies().await.unwrap()
    }

    /// How many things there are to press.
    pub async fn buttons(&self) -> usize {
        self.script("document.querySelectorAll('main a, main button').length")
            .await
    }

    /// Presses the back button and waits for the page before; false where there is none.
    pub async fn back(&self) -> bool {
        let history = self.history().await;
        let before = history.current_index - 1;
        let Ok(index) = usize::try_from(before) else {
            return false;
        };
        let entry = history.entries[index].id;
        let go = NavigateToHistoryEntryParams::new(entry);
        self.page.execute(go).await.unwrap();
        let begun = Instant::now();
        while self.history().await.current_index != before {
            assert!(begun.elapsed() < PATIENCE, "the back button does nothing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.until("true").await;
        true
    }

    /// Chromium has none to tell in the moment between two pages.
    async fn history(&self) -> GetNavigationHistoryReturns {
        let begun = Instant::now();
        loop {
            let asked = GetNavigationHistoryParams::default();
            if let Ok(answer) = self.page.execute(asked).await {
                return answer.result;
            }
            assert!(begun.elapsed() < PATIENCE, "the tab has no history");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Photographs the whole page, light and dark, into `target/screenshots`.
    pub async fn photograph(&self, name: &str) {
        let whole = || ScreenshotParams::builder().full_page(true).build();
        self.photograph_with(name, whole).await;
    }

    /// The same of what the window shows; a photograph of the whole page would forget [`Self::resize`].
    pub async fn photograph_window(&self, name: &str) {
        self.photograph_with(name, ScreenshotParams::default).await;
    }

    async fn photograph_with(&self, name: &str, params: impl Fn() -> ScreenshotParams) {
        for scheme in ["light", "dark"] {
            let feature = MediaFeature::new("prefers-color-scheme", scheme);
            self.page
                .emulate_media_features(vec![feature])
                .await
                .unwrap();
            let picture = self.page.screenshot(params()).await.unwrap();
            fs::write(screenshots().join(format!("{name}-{scheme}.png")), picture).unwrap();
        }
    }
}

/// Chromium's words for an expression whose page went away.
fn is_between_pages(message: &str) -> bool {
    [
        "Cannot find context with specified id",
        "Execution context was destroyed.",
        "Inspected target navigated or closed",
    ]
    .contains(&message)
}

fn screenshots() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/screenshots");
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// What `./test` found to start, else Debian's.
#[expect(
    clippy::disallowed_methods,
    reason = "the test command's word to its tests"
)]
fn executable() -> PathBuf {
    match std::env::var("TIDEGATE_TEST_CHROMIUM") {
        Ok(path) if !path.is_empty() => path.into(),
        _ => "/usr/bin/chromium".into(),
    }
}

//! The page in headless Chromium, spoken to over the DevTools protocol. Without Chromium on the
//! machine nothing is checked, and the test says so. `RLAIF_SCREENSHOTS=DIR` keeps pictures.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::Engine;
use serde_json::{Value, json};

use super::{HOSTILE, folder, serve};

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
const VIEWS: [&str; 4] = ["curves", "samples", "labels", "results"];

/// A browser with one page, over its pipe: messages are JSON that ends with a zero byte.
struct Browser {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    n_sent: u64,
    session: Option<String>,
    /// What the page complained of.
    complaints: Vec<String>,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` where there is no Chromium.
    fn start() -> Option<Self> {
        let works = |name: &&&str| {
            Command::new(name)
                .arg("--version")
                .output()
                .is_ok_and(|found| found.status.success())
        };
        let name = NAMES.iter().find(works)?;
        let profile = tempfile::tempdir().unwrap();
        // The pipe is of handles 3 and 4, which the shell makes of its input and output. In a
        // container there is no sandbox to be had, and the page is our own.
        let script = "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1";
        let mut process = Command::new("sh")
            .args([
                "-c",
                script,
                "sh",
                name,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-pipe",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut browser = Self {
            input: process.stdin.take().unwrap(),
            output: BufReader::new(process.stdout.take().unwrap()),
            process,
            n_sent: 0,
            session: None,
            complaints: Vec::new(),
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", attach);
        browser.session = session["sessionId"].as_str().map(String::from);
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    fn call(&mut self, method: &str, params: Value) -> Value {
        self.n_sent += 1;
        let mut message = json!({"id": self.n_sent, "method": method, "params": params});
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.input
            .write_all(format!("{message}\0").as_bytes())
            .unwrap();
        loop {
            let mut bytes = Vec::new();
            self.output.read_until(0, &mut bytes).unwrap();
            let mut found: Value =
                serde_json::from_slice(bytes.strip_suffix(b"\0").unwrap()).unwrap();
            if found["id"] == self.n_sent {
                assert!(found["error"].is_null(), "{method}: {found}");
                return found["result"].take();
            }
            let event = found["method"].as_str().unwrap_or_default();
            if [
                "Runtime.exceptionThrown",
                "Runtime.consoleAPICalled",
                "Log.entryAdded",
            ]
            .contains(&event)
            {
                self.complaints.push(found.to_string());
            }
        }
    }

    /// What an expression comes to, after waiting for its promise.
    #[track_caller]
    fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut found = self.call("Runtime.evaluate", params);
        assert!(found["exceptionDetails"].is_null(), "{expression}: {found}");
        found["result"]["value"].take()
    }

    /// Waits until an expression is true.
    #[track_caller]
    fn wait_for(&mut self, expression: &str) {
        let waiting = format!(
            "new Promise((done) => {{ const start = Date.now(); const look = () => {{
               const found = {expression};
               if (found || Date.now() - start > 20000) done(Boolean(found));
               else setTimeout(look, 20);
             }}; look(); }})"
        );
        let text = "document.body.innerText.slice(0, 2000)";
        let found = self.eval(&waiting);
        assert_eq!(found, true, "{expression} in: {}", self.eval(text));
    }

    fn look(&mut self, size: [u32; 2], scheme: &str) {
        let size = json!({"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size[0] < 600});
        self.call("Emulation.setDeviceMetricsOverride", size);
        let feature = json!({"name": "prefers-color-scheme", "value": scheme});
        self.call("Emulation.setEmulatedMedia", json!({"features": [feature]}));
    }

    fn key(&mut self, key: &str, code: u32) {
        for kind in ["keyDown", "keyUp"] {
            let params =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("RLAIF_SCREENSHOTS") else {
            return;
        };
        let found = self.call("Page.captureScreenshot", json!({"format": "png"}));
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(found["data"].as_str().unwrap());
        fs::write(
            Path::new(&folder).join(format!("{name}.png")),
            bytes.unwrap(),
        )
        .unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Contrast of two colours as WCAG 2 defines it, of texts like `rgb(1, 2, 3)`.
fn contrast(a: &str, b: &str) -> f64 {
    let luminance = |color: &str| {
        let parts = color.trim_matches(|c: char| !c.is_ascii_digit()).split(',');
        let linear = |part: &str| {
            let value = part.trim().parse::<f64>().unwrap() / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        let weights = [0.2126, 0.7152, 0.0722];
        parts
            .map(linear)
            .zip(weights)
            .map(|(part, weight)| part * weight)
            .sum::<f64>()
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn check_view(browser: &mut Browser, view: &str, name: &str) {
    let filled = match view {
        "curves" => "document.querySelectorAll('main svg path.curve').length >= 4",
        "samples" => "document.querySelectorAll('main article').length >= 10",
        "labels" => "document.querySelectorAll('main figure').length >= 5",
        _ => "document.querySelectorAll('main table').length >= 2",
    };
    browser.wait_for(filled);
    let width = browser.eval("[document.documentElement.scrollWidth, innerWidth]");
    assert!(
        width[0].as_u64() <= width[1].as_u64(),
        "{name} scrolls sideways: {width}"
    );
    let styles = "(({color}, back) => [color, back])(getComputedStyle(document.body), getComputedStyle(document.body).backgroundColor)";
    let colors = browser.eval(styles);
    let found = contrast(colors[0].as_str().unwrap(), colors[1].as_str().unwrap());
    assert!(found >= 7.0, "{name}: {colors} have a contrast of {found}");
    // What a model wrote is text, and nothing of it has become an element or has run.
    let made =
        "[document.querySelectorAll('main script, main img, main iframe').length, typeof hacked]";
    assert_eq!(browser.eval(made), json!([0, "undefined"]), "{name}");
    browser.picture(name);
}

/// Goes through the page by the Tab key; everything that can be reached has a name and shows that it
/// has the focus.
fn check_keyboard(browser: &mut Browser) {
    let mut reached = Vec::new();
    browser.eval("document.activeElement.blur()");
    for _ in 0..14 {
        browser.key("Tab", 9);
        let focused = "(() => { const found = document.activeElement;
            const name = found.getAttribute('aria-label') ?? found.labels?.[0]?.textContent ?? found.textContent;
            return [found.localName, name.trim().slice(0, 30), getComputedStyle(found).outlineStyle]; })()";
        let found = browser.eval(focused);
        let unnamed = found[1] == "" && found[0] != "body";
        assert!(
            !unnamed && (found[2] != "none" || found[0] == "body"),
            "{found}"
        );
        reached.push(found[0].as_str().unwrap().to_string());
    }
    for part in ["a", "input", "summary", "svg"] {
        assert!(
            reached.iter().any(|found| found == part),
            "{part}: {reached:?}"
        );
    }
    // The arrow keys read a chart's values.
    browser.eval("document.querySelector('main svg').focus()");
    browser.key("ArrowRight", 39);
    let read = browser.eval("document.querySelector('main .readout').textContent");
    assert!(read.as_str().unwrap().starts_with("step 1"), "{read}");
}

#[test]
fn the_page_works_on_a_phone_and_a_desk_by_day_and_by_night() {
    let Some(mut browser) = Browser::start() else {
        eprintln!("skipped: no Chromium is installed ({})", NAMES.join(", "));
        return;
    };
    let root = tempfile::tempdir().unwrap();
    let runs = [
        folder(root.path(), "first"),
        folder(root.path(), HOSTILE.split('/').next().unwrap()),
    ];
    let page = format!("http://{}/", serve(&runs));
    let places = [([390, 844], "phone"), ([1280, 900], "desk")];
    for ((size, place), scheme) in places
        .into_iter()
        .flat_map(|place| [(place, "light"), (place, "dark")])
    {
        browser.look(size, scheme);
        browser.call("Page.navigate", json!({"url": page}));
        for view in VIEWS {
            browser.wait_for(&format!(
                "document.querySelector('nav a[href=\"#{view}\"]')"
            ));
            browser.eval(&format!(
                "document.querySelector('nav a[href=\"#{view}\"]').click()"
            ));
            check_view(&mut browser, view, &format!("{view}-{place}-{scheme}"));
        }
    }
    browser.eval("location.hash = 'samples'");
    browser.wait_for("document.querySelector('main .text.chosen')");
    let text = browser.eval("document.querySelector('main .text.chosen').textContent");
    assert_eq!(text, HOSTILE);
    browser.eval("document.getElementById('next').click()");
    browser.wait_for("document.querySelector('main h3').textContent === 'p10'");

    // The judges' verdicts on an evaluation; what became of a prompt over the steps.
    for (kind, filled) in [
        (
            "evaluations",
            "document.querySelector('main .facts b')?.textContent === 'sft over policy, 0.750'",
        ),
        (
            "prompts",
            "document.querySelector('main article svg path.curve')",
        ),
    ] {
        browser.eval(&format!(
            "(() => {{ const choice = document.querySelectorAll('main select')[1]; \
             choice.value = '{kind}'; choice.dispatchEvent(new Event('change')); }})()"
        ));
        browser.wait_for(filled);
        browser.picture(&format!("samples-{kind}"));
    }

    browser.eval("location.hash = 'curves'");
    browser.wait_for("document.querySelector('main svg')");
    check_keyboard(&mut browser);
    browser.eval("(() => { const search = document.querySelector('input[type=search]'); search.value = 'sft/lo'; search.dispatchEvent(new Event('input')); })()");
    browser.wait_for("document.querySelectorAll('main figure').length === 1");
    assert!(browser.complaints.is_empty(), "{:#?}", browser.complaints);
}

//! Controls a browser with the Chrome `DevTools` protocol. It has no window and no profile, and reaches only our server.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use super::client::TIMEOUT;

/// Commands under which the browser may be installed. `IMPASTO_CHROMIUM` sets another one.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

const FLAGS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--use-fake-ui-for-media-stream",
    "--remote-debugging-port=0",
    "--window-size=1280,900",
];

/// A page in its own browser.
pub(crate) struct Page {
    child: Child,
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: String,
    number: u64,
    /// Errors and refusals reported to the page's console.
    pub(crate) console: Vec<String>,
    _profile: TempDir,
}

/// The browser's command; if there is none, prints a line and returns `None`.
#[expect(clippy::print_stderr, reason = "a test that is skipped should say so")]
fn browser() -> Option<String> {
    let own = std::env::var("IMPASTO_CHROMIUM").ok();
    let names = own.into_iter().chain(NAMES.map(str::to_owned));
    let works =
        |name: &String| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let found = names.into_iter().find(works);
    if found.is_none() {
        eprintln!("skipped: there is no Chromium here");
    }
    found
}

impl Page {
    /// Opens `url`; `None` if there is no browser.
    pub(crate) fn open(url: &str, camera: &str) -> Option<Self> {
        let program = browser()?;
        let profile = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(FLAGS).arg(format!("--use-fake-device-for-media-stream={camera}"));
        command.arg(format!("--user-data-dir={}", profile.path().display())).arg("about:blank");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.strip_prefix("DevTools listening on ").map(str::to_owned));
        // Later output must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let (socket, _) = tungstenite::connect(address.expect("the browser gives no address")).unwrap();
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        }
        let mut page =
            Self { child, socket, session: String::new(), number: 0, console: Vec::new(), _profile: profile };
        let target = page.call("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = page.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        attached["sessionId"].as_str().unwrap().clone_into(&mut page.session);
        for domain in ["Page", "Runtime", "Log", "Accessibility", "DOM"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page.call("Page.navigate", json!({ "url": url }));
        page.wait_for("document.body?.dataset.ready === 'true'");
        Some(page)
    }

    /// Calls a method and waits for its result.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let number = self.number;
        let mut message = json!({ "id": number, "method": method, "params": parameters });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(message.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else { continue };
            let answer: Value = serde_json::from_str(text.as_str()).unwrap();
            if answer["id"] == number {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.listen(&answer);
        }
    }

    fn listen(&mut self, event: &Value) {
        let told = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => event["params"]["exceptionDetails"].to_string(),
            Some("Log.entryAdded") if event["params"]["entry"]["level"] == "error" => {
                event["params"]["entry"].to_string()
            }
            Some("Runtime.consoleAPICalled") if event["params"]["type"] == "error" => {
                event["params"]["args"].to_string()
            }
            _ => return,
        };
        self.console.push(told);
    }

    /// The value of an expression in the page. Waits for a promise.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let result = self.call("Runtime.evaluate", parameters);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    pub(crate) fn text(&mut self, expression: &str) -> String {
        let value = self.evaluate(expression);
        value.as_str().unwrap_or_else(|| panic!("{expression} is {value}")).to_owned()
    }

    /// The value of an expression that is a whole number.
    pub(crate) fn number(&mut self, expression: &str) -> i64 {
        let value = self.evaluate(expression);
        value.as_i64().unwrap_or_else(|| panic!("{expression} is {value}"))
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let started = Instant::now();
        while self.evaluate(&format!("Boolean({expression})")) != true {
            let alert =
                "document.getElementById('alert')?.innerText + ' / ' + document.getElementById('status')?.innerText";
            let late = started.elapsed() > TIMEOUT;
            assert!(!late, "{expression} stays false: {}; {:?}", self.evaluate(alert), self.console);
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// The centre of an element, in pixels of the window.
    pub(crate) fn middle_of(&mut self, selector: &str) -> (f64, f64) {
        let script = format!(
            "(() => {{ const element = document.querySelector('{selector}'); element.scrollIntoView({{ block: 'nearest' }}); \
             const box = element.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
        );
        let middle = self.evaluate(&script);
        (middle[0].as_f64().unwrap(), middle[1].as_f64().unwrap())
    }

    pub(crate) fn click(&mut self, selector: &str) {
        let at = self.middle_of(selector);
        self.drag(at, at);
    }

    /// Presses the mouse button at one position and releases it at another.
    pub(crate) fn drag(&mut self, from: (f64, f64), to: (f64, f64)) {
        let middle = (f64::midpoint(from.0, to.0), f64::midpoint(from.1, to.1));
        let steps = [
            ("mouseMoved", from, "none", 0),
            ("mousePressed", from, "left", 1),
            ("mouseMoved", middle, "left", 1),
            ("mouseMoved", to, "left", 1),
            ("mouseReleased", to, "left", 0),
        ];
        for (kind, (x, y), button, buttons) in steps {
            let event = json!({ "type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", event);
        }
    }

    pub(crate) fn press(&mut self, key: &str) {
        let code = match key {
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            "Tab" => 9,
            "Home" => 36,
            _ => 32,
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if key == " " && kind == "keyDown" { " " } else { "" };
            let event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Drops a file on the page. The event is created in the page, because events of the protocol do not reach a page
    /// without a window.
    pub(crate) fn drop_file(&mut self, name: &str, media_type: &str, bytes: &[u8]) {
        let script = format!(
            "{{ const transfer = new DataTransfer(); \
             transfer.items.add(new File([new Uint8Array({bytes:?})], '{name}', {{ type: '{media_type}' }})); \
             for (const kind of ['dragenter', 'dragover', 'drop']) document.getElementById('compare').dispatchEvent( \
             new DragEvent(kind, {{ dataTransfer: transfer, bubbles: true, cancelable: true }})); }}"
        );
        self.evaluate(&script);
    }

    /// Chooses a file, as a user does with the button.
    pub(crate) fn choose_file(&mut self, path: &str) {
        let document = self.call("DOM.getDocument", json!({}))["root"]["nodeId"].clone();
        let input =
            self.call("DOM.querySelector", json!({ "nodeId": document, "selector": "#file" }))["nodeId"].clone();
        self.call("DOM.setFileInputFiles", json!({ "files": [path], "nodeId": input }));
    }

    /// Writes a screenshot to the folder in `IMPASTO_SCREENSHOTS`, if it is set.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("IMPASTO_SCREENSHOTS") else { return };
        let picture = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = decode_base64(picture["data"].as_str().unwrap());
        std::fs::write(std::path::Path::new(&folder).join(name), bytes).unwrap();
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // The browser may have crashed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Decodes base64 (RFC 4648, 4).
fn decode_base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').map(value).collect();
    let bytes = letters.chunks(4).flat_map(|four| {
        let bits = four.iter().enumerate().fold(0u32, |bits, (i, value)| bits | u32::from(*value) << (18 - 6 * i));
        bits.to_be_bytes()[1..four.len()].to_vec()
    });
    bytes.collect()
}

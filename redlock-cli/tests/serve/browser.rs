//! A real browser without a screen, spoken to over a pipe in its remote debugging protocol.
// Source: https://chromedevtools.github.io/devtools-protocol/

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use redlock_tests::Program;
use redlock_tests::wait::eventually;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than any answer takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// One page in a browser.
pub(crate) struct Browser {
    to: File,
    from: Receiver<Value>,
    session: Option<String>,
    number: u64,
    /// Killed when this is dropped.
    _program: Program,
    /// Its profile and the pipes.
    _folder: TempDir,
}

/// The program, if there is one.
fn program() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|program| Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()))
}

impl Browser {
    /// `None`, and a word of it, where there is none: with `REDLOCK_REQUIRE_BROWSER=1` there must be.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = program() else {
            assert!(
                std::env::var_os("REDLOCK_REQUIRE_BROWSER").is_none(),
                "there is no chromium; install that package"
            );
            eprintln!("SKIPPED: there is no chromium; install that package to test the page");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
            path
        };
        let (asked, answered) = (pipe("asked"), pipe("answered"));
        // The browser reads its descriptor 3 and writes its descriptor 4.
        let script = format!("exec \"$0\" \"$@\" 3<'{}' 4>'{}'", asked.display(), answered.display());
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &script,
            program,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ]);
        command.args(["--no-first-run", "--disable-extensions", "--disable-background-networking", "--mute-audio"]);
        command.args(["--remote-debugging-pipe", "--window-size=1280,800"]);
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display())).arg("about:blank");
        let program = Program::start(&mut command);
        // In the order in which the shell opens them: each waits for the other end.
        let to = OpenOptions::new().write(true).open(asked).unwrap();
        let read = BufReader::new(File::open(answered).unwrap());
        let (told, from) = channel();
        thread::spawn(move || {
            for message in read.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { return };
                if told.send(message).is_err() {
                    return;
                }
            }
        });
        let mut browser = Self { to, from, session: None, number: 0, _program: program, _folder: folder };
        let target = browser.ask("Target.createTarget", json!({ "url": "about:blank" }))["targetId"].clone();
        let attached = browser.ask("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser.ask("Page.enable", json!({}));
        browser.size(1280, 800);
        Some(browser)
    }

    #[expect(clippy::needless_pass_by_value, reason = "they are written where they are asked")]
    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.number += 1;
        let mut message = json!({ "id": self.number, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = session.as_str().into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.from.recv_timeout(LIMIT).unwrap_or_else(|error| panic!("{method}: {error}"));
            if answer["id"] == self.number {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    pub(crate) fn size(&mut self, width: u32, height: u32) {
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
    }

    pub(crate) fn prefer(&mut self, scheme: &str) {
        self.ask(
            "Emulation.setEmulatedMedia",
            json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    pub(crate) fn open(&mut self, url: &str) {
        let opened = self.ask("Page.navigate", json!({ "url": url }));
        assert!(opened["errorText"].is_null(), "{url}: {opened}");
        self.until("the page is there", "document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// What this is in the page.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let told = self.ask("Runtime.evaluate", asked);
        assert!(told["exceptionDetails"].is_null(), "{expression}: {told}");
        told["result"]["value"].clone()
    }

    /// Waits until this is true in the page.
    pub(crate) fn until(&mut self, what: &str, expression: &str) {
        let asked = format!("(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()");
        eventually(what, || self.value(&asked) == true);
    }

    /// Presses one key.
    pub(crate) fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 {
            key
        } else if key == "Enter" {
            "\r"
        } else {
            ""
        };
        let code = if key == "Enter" { 13 } else { 0 };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.ask("Input.dispatchKeyEvent", event);
        }
    }

    /// Keeps a picture, where `REDLOCK_SHOTS` names a folder.
    pub(crate) fn shoot(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("REDLOCK_SHOTS") else { return };
        let shot = self.ask("Page.captureScreenshot", json!({ "format": "png" }));
        let bytes = from_base64(shot["data"].as_str().unwrap_or_default());
        fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for six in text.bytes().filter_map(value) {
        bits = (bits << 6 | u32::from(six)) & 0xff_ffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap_or_default());
        }
    }
    bytes
}

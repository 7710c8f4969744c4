//! The page as a browser gets it, fetched by a minimal client over a socket.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use impasto_common::error::ErrorKind;
use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// A page of a run folder of its own.
fn open() -> (Live, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let address = "0".parse().unwrap();
    (Live::open(&address, &folder.path().join("a.run"), "waves <1>", 4).unwrap(), folder)
}

/// Sends `request`, which asks the server to close the connection, and returns status, headers and body.
fn send(live: &Live, request: &str) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(live.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    (head[9..12].parse().unwrap(), head, answer[end + 4..].to_vec())
}

fn get(live: &Live, target: &str) -> (u16, String, Vec<u8>) {
    send(live, &format!("GET {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", live.address()))
}

fn status(live: &Live, target: &str) -> u16 {
    get(live, target).0
}

/// Waits for the state with `revision`. The cached state may be a second old.
fn state(live: &Live, revision: u64) -> Value {
    loop {
        let (status, head, body) = get(live, "/state");
        assert!(status == 200 && head.contains("content-type: application/json"), "{head}");
        let state: Value = serde_json::from_slice(&body).unwrap();
        if state["revision"] == revision {
            return state;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn metrics(step: usize) -> Metrics {
    Metrics {
        step,
        learning_rate: 1e-3,
        total: 8.0 / step as f32,
        content: 1.0,
        style: 2.0,
        tv: 0.5,
        temporal: Some(0.25),
        gradient_norm: 7.0,
        layers: vec![("content.relu1_2".into(), 0.1)],
    }
}

#[test]
fn an_address_is_a_port_of_this_machine_or_names_its_host() {
    for (text, shown) in
        [("8017", DEFAULT_ADDRESS), ("0.0.0.0:80", "0.0.0.0:80"), ("studio:1", "studio:1"), ("[::1]:80", "[::1]:80")]
    {
        let address: Address = text.parse().unwrap();
        assert_eq!(address.to_string(), shown);
        assert_eq!(shown.parse::<Address>().unwrap(), address);
    }
    for text in ["", "x", ":80", "studio:", "99999", "studio:80:x"] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_forbids_it() {
    let (live, _folder) = open();
    for (target, kind) in [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")] {
        let (status, head, body) = get(&live, target);
        assert!(status == 200 && head.contains(&format!("content-type: {kind}")), "{target}: {head}");
        assert!(head.contains("content-security-policy: default-src 'none'"), "{target}: {head}");
        assert!(!String::from_utf8(body).unwrap().contains("://"), "{target}");
    }
    assert_eq!(status(&live, "/nowhere"), 404);
    assert_eq!(status(&live, "/report"), 404, "there is none yet");
    let post = format!("POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", live.address());
    assert_eq!(send(&live, &post).0, 405);
}

#[test]
fn the_state_follows_the_training_between_snapshots() {
    let (mut live, _folder) = open();
    let before = state(&live, 0);
    assert_eq!((&before["name"], &before["step"]), (&"waves <1>".into(), &Value::Null));
    live.started(0, 8, 12);
    live.stepped(&metrics(1));
    live.stepped(&metrics(2));
    let after = state(&live, 3);
    assert_eq!((&after["step"], &after["steps"], &after["photos"]), (&2.into(), &8.into(), &12.into()));
    assert!(after["photos_per_second"].as_f64().unwrap() > 0.0 && after["seconds_left"].as_f64().unwrap() >= 0.0);
    let curves = after["curves"].as_str().unwrap();
    for name in ["learning_rate", "total", "temporal", "content.relu1_2"] {
        assert!(curves.contains(&format!("aria-label=\"{name}\"")), "{name}: {curves}");
    }
    assert_eq!(after["latest"][0], serde_json::json!(["total", 4.0]));
    assert_eq!(status(&live, "/state?seen=3"), 204);
    assert_eq!(status(&live, "/state?seen=2"), 200);
}

#[test]
fn a_resumed_training_shows_its_earlier_steps_and_a_roll_back_forgets_those_undone() {
    let (mut live, folder) = open();
    let run = folder.path().join("a.run");
    fs::create_dir(&run).unwrap();
    fs::write(run.join("metrics.csv"), "step,learning_rate,total\n1,0.001,10\n2,0.001,100\n").unwrap();
    live.started(2, 8, 12);
    let resumed = state(&live, 1);
    assert!(resumed["curves"].as_str().unwrap().contains(">105</text>"), "{resumed}");
    fs::write(run.join("metrics.csv"), "step,learning_rate,total\n1,0.001,10\n").unwrap();
    live.rolled_back(2, 1, 0.5);
    let back = state(&live, 2);
    assert!(!back["curves"].as_str().unwrap().contains(">105</text>"), "{back}");
    assert_eq!(back["step"], 1);
    let note = "Losses were not finite after step 2: training went back to step 1, and the learning rate is now multiplied by 0.5.";
    assert_eq!(back["note"], note);
    live.split(256, 2);
    let note =
        "A batch at 256×256 does not fit into the device's memory. From now on it is split into 2 micro-batches.";
    assert_eq!(state(&live, 3)["note"], note);
}

#[test]
fn requests_with_a_foreign_host_name_are_refused_for_every_path() {
    let (live, _folder) = open();
    for target in ["/", "/state", "/nowhere", "/sheets/1"] {
        for head in ["Host: evil.example\r\n", "Host: 127.0.0.1.evil.example:8017\r\n", ""] {
            let request = format!("GET {target} HTTP/1.1\r\n{head}Connection: close\r\n\r\n");
            let (status, head, body) = send(&live, &request);
            assert!(status == 421 || status == 400, "{target}: {head}");
            assert!(!String::from_utf8_lossy(&body).contains("waves"));
        }
    }
    let disguised = "GET http://evil.example/state HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert_eq!(send(&live, disguised).0, 421);
    let embedded = "GET /state HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(send(&live, embedded).0, 403);
    let named = "GET /state HTTP/1.1\r\nHost: localhost:99\r\nConnection: close\r\n\r\n";
    assert_eq!(send(&live, named).0, 200);
}

#[test]
fn files_of_the_run_folder_are_served_and_no_others() {
    let (live, folder) = open();
    let run = folder.path().join("a.run");
    fs::create_dir_all(run.join("previews")).unwrap();
    fs::write(run.join("previews/00000003.png"), b"sheet").unwrap();
    fs::write(run.join("report.html"), b"report").unwrap();
    fs::write(run.join("snapshot.safetensors"), b"secret").unwrap();
    fs::write(folder.path().join("secret.png"), b"secret").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path().join("secret.png"), run.join("previews/00000004.png")).unwrap();
    assert_eq!(get(&live, "/sheets/3").2, b"sheet");
    assert_eq!(get(&live, "/report").2, b"report");
    for target in [
        "/sheets/4",
        "/sheets/5",
        "/sheets/-1",
        "/sheets/../../secret.png",
        "/sheets/..%2f..%2fsecret.png",
        "/sheets/%2e%2e%2f%2e%2e%2fsecret",
        "/../secret.png",
        "//secret.png",
        "/snapshot.safetensors",
        "/previews/00000003.png",
        "/sheets/99999999999999999999999",
    ] {
        let (status, _, body) = get(&live, target);
        assert!(status == 404 && body != b"secret", "{target}: {status}");
    }
}

#[test]
fn clients_that_stall_do_not_block_others() {
    let (mut live, _folder) = open();
    let stalled: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = TcpStream::connect(live.address()).unwrap();
            stream.write_all(b"GET /state HTTP/1.1\r\nHost: local").unwrap();
            stream
        })
        .collect();
    live.started(0, 8, 12);
    live.stepped(&metrics(1));
    assert_eq!(state(&live, 2)["step"], 1);
    drop(stalled);
}

#[test]
fn the_page_loads_quickly_although_every_connection_is_half_open() {
    let (live, _folder) = open();
    let half_open: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(live.address()).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    assert_eq!(status(&live, "/"), 200);
    assert!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
    drop(half_open);
}

#[test]
fn an_address_in_use_is_reported_before_anything_else() {
    let (live, folder) = open();
    let address: Address = live.address().to_string().parse().unwrap();
    let error = Live::open(&address, folder.path(), "b", 1).unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot serve the training at `{address}`: ")), "{error}");
    assert_eq!((error.kind(), error.hint().unwrap().contains("`--serve 0`")), (ErrorKind::Usage, true));
    // An address reserved for documentation (RFC 5737), so it belongs to no machine.
    let error = Live::open(&"192.0.2.1:80".parse().unwrap(), folder.path(), "b", 1).unwrap_err();
    assert_eq!((error.kind(), error.hint().unwrap().contains("`--serve 0`")), (ErrorKind::Usage, false));
    let nowhere = "no-such-host.invalid:80".parse().unwrap();
    let error = Live::open(&nowhere, folder.path(), "b", 1).unwrap_err();
    assert!(error.to_string().contains("`no-such-host.invalid` is not a known host"), "{error}");
}

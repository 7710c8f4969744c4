//! Every error of the API: its status, its code, and its texts.

use std::collections::BTreeSet;
use std::io::Write;
use std::thread;
use std::time::Duration;

use super::client::{Answer, Served, bomb, half_close, jpeg, png, raw_frame, read_answer, stylize_request};

/// Asserts that a response is a complete problem document.
fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (status, Some("application/problem+json")),
        "{code}: {}",
        answer.text()
    );
    let problem = answer.json();
    assert_eq!((problem["code"].as_str(), problem["status"].as_u64()), (Some(code), Some(status.into())));
    for part in ["title", "detail", "hint"] {
        assert!(problem[part].as_str().is_some_and(|text| !text.is_empty()), "{code} has no {part}");
    }
    assert_eq!(answer.header("retry-after").is_some(), status == 503, "{code}");
    assert!(!answer.text().contains("/tmp") && !answer.text().contains(".rs"), "{}", answer.text());
}

fn request(head: &str) -> Vec<u8> {
    format!("{}\r\n\r\n", head.replace('\n', "\r\n")).into_bytes()
}

#[test]
fn invalid_options_are_named() {
    let served = Served::new();
    for (query, word) in [
        ("strength=2", "`strength` is `2`, expected a number from 0 to 1"),
        ("strength=nan", "expected a number from 0 to 1"),
        ("strength=", "`strength` is ``"),
        ("keep_colors=yes", "expected `true` or `false`"),
        ("max_size=0", "pixels above 0"),
        ("max_size=99999999999", "pixels above 0"),
        ("max_size=-1", "pixels above 0"),
        ("margin=-4", "expected `auto` or a multiple of 4 up to 256 pixels"),
        ("margin=10", "not a multiple of 4"),
        ("format=heic", "jpg, png, webp"),
        ("quality=101", "from 1 to 100"),
        ("quality=1&quality=2", "`quality` is given twice"),
        ("output=/etc/passwd", "there is no option `output`"),
        ("strength=%ff", "`strength` is"),
    ] {
        let answer = served.stylize(query, &jpeg(9, 8));
        assert_problem(&answer, 400, "bad_option");
        assert!(answer.json()["detail"].as_str().unwrap().contains(word), "{query}: {}", answer.text());
    }
    assert_problem(&served.get("/v1/live?strength=x"), 400, "bad_option");
    assert_problem(&served.get("/v1/live?format=png"), 400, "bad_option");
}

#[test]
fn unknown_styles_and_pages_are_not_searched_in_files() {
    let served = Served::new();
    for name in ["nope", "..%2F..%2Fetc%2Fpasswd", "style.safetensors", "%2Fetc%2Fpasswd", "%00"] {
        let answer = served.stylize(&format!("style={name}"), &jpeg(9, 8));
        assert_problem(&answer, 404, "no_such_style");
        assert!(answer.json()["hint"].as_str().unwrap().contains("`tiny`"));
    }
    assert_problem(&served.get("/v1/styles/nope/thumbnail"), 404, "no_such_style");
    for path in [
        "/etc/passwd",
        "/../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "//etc/passwd",
        "/style.css/..",
        "/v1",
        "/page/index.html",
        "/style.safetensors",
    ] {
        assert_problem(&served.get(path), 404, "no_such_page");
    }
}

#[test]
fn unsupported_methods_are_refused_with_the_supported_ones() {
    let served = Served::new();
    for (method, path, allow) in [
        ("GET", "/v1/stylize", "POST"),
        ("PUT", "/v1/stylize", "POST"),
        ("OPTIONS", "/v1/stylize", "POST"),
        ("POST", "/v1/styles", "GET, HEAD"),
        ("DELETE", "/", "GET, HEAD"),
    ] {
        let answer = served.send(&request(&format!("{method} {path} HTTP/1.1\nHost: localhost\nContent-Length: 0")));
        assert_problem(&answer, 405, "wrong_method");
        let allowed: BTreeSet<_> = answer.header("allow").unwrap().split(',').map(str::trim).collect();
        assert_eq!(allowed, allow.split(", ").collect(), "{method} {path}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_problem(&served.get("/v1/live"), 426, "upgrade_required");
}

#[test]
fn other_hosts_and_other_sites_are_refused_everywhere() {
    let served = Served::with("--allow-host studio.example");
    for path in ["/", "/v1/styles", "/v1/live", "/healthz", "/metrics", "/nowhere"] {
        for host in ["Host: evil.example", "X: y", "Host: evil.example:80\nHost: localhost"] {
            assert_problem(&served.send(&request(&format!("GET {path} HTTP/1.1\n{host}"))), 403, "foreign_host");
        }
        let absolute = format!("GET http://evil.example{path} HTTP/1.1\nHost: localhost");
        assert_problem(&served.send(&request(&absolute)), 403, "foreign_host");
        for origin in ["http://evil.example", "http://localhost:1", "null"] {
            let answer = served.send(&request(&format!("GET {path} HTTP/1.1\nHost: localhost\nOrigin: {origin}")));
            assert_problem(&answer, 403, "foreign_page");
        }
    }
    let post = "POST /v1/stylize HTTP/1.1\nHost: localhost\nContent-Length: 0\nContent-Type: text/plain";
    assert_problem(
        &served.send(&request(&format!("{post}\nSec-Fetch-Site: cross-site\nSec-Fetch-Mode: no-cors"))),
        403,
        "foreign_page",
    );
    assert_problem(&served.send(&request(&format!("{post}\nOrigin: http://evil.example"))), 403, "foreign_page");
    assert_eq!(served.send(&request("GET /healthz HTTP/1.1\nHost: studio.example")).status, 200);
    // This also applies to the handshake of a WebSocket.
    let handshake = "GET /v1/live HTTP/1.1\nHost: localhost\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    assert_problem(&served.send(&request(&format!("{handshake}\nOrigin: http://evil.example"))), 403, "foreign_page");
    assert_eq!(served.send(&request(&format!("{handshake}\nOrigin: http://localhost"))).status, 101);
}

#[test]
fn a_websocket_key_that_is_not_16_bytes_in_base64_is_refused() {
    let served = Served::new();
    let handshake =
        "GET /v1/live HTTP/1.1\nHost: localhost\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13";
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for keys in ["", "\nSec-WebSocket-Key: ", "\nSec-WebSocket-Key: abc", "\nSec-WebSocket-Key: dGhlIHNhbXBsZQ=="] {
        assert_problem(&served.send(&request(&format!("{handshake}{keys}"))), 400, "bad_handshake");
    }
    let twice = format!("{handshake}\nSec-WebSocket-Key: {key}\nSec-WebSocket-Key: {key}");
    assert_problem(&served.send(&request(&twice)), 400, "bad_handshake");
    assert_eq!(served.send(&request(&format!("{handshake}\nSec-WebSocket-Key: {key}"))).status, 101);
}

#[test]
fn bodies_that_are_too_large_are_refused_in_any_encoding() {
    let served = Served::with("--max-body 10K");
    let claimed =
        b"POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n";
    assert_problem(&served.send(claimed), 413, "body_too_large");
    assert_problem(&served.stylize("", &vec![0; 11 << 10]), 413, "body_too_large");
    let chunk = [b"1000\r\n".as_slice(), &[7; 0x1000], b"\r\n"].concat();
    let head = b"POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_problem(
        &served.send(&[head.as_slice(), &chunk, &chunk, &chunk, b"0\r\n\r\n"].concat()),
        413,
        "body_too_large",
    );
    served.assert_well();
}

#[test]
fn bodies_that_end_early_or_never_are_abandoned() {
    let served = Served::with("--body-time 0.3");
    let head = b"POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\n";
    assert_problem(&served.send(&[head.as_slice(), b"Content-Length: 100\r\n\r\nabc"].concat()), 408, "too_slow");
    let chunked = [head.as_slice(), b"Transfer-Encoding: chunked\r\n\r\nno size\r\n"].concat();
    assert_problem(&served.send(&chunked), 400, "cut_short");
    let mut stream = served.connect();
    stream.write_all(&[head.as_slice(), b"Content-Length: 100\r\n\r\nabc"].concat()).unwrap();
    half_close(&stream);
    // A client that disconnects in the middle may or may not get a response, but never a success.
    assert!(read_answer(&mut stream).is_none_or(|answer| answer.status >= 400));
    served.assert_well();
}

#[test]
fn invalid_oversized_and_damaged_pictures_are_distinguished() {
    let served = Served::with("--max-megapixels 0.01");
    for body in [b"".as_slice(), b"no picture", b"qoif", &[0; 5000]] {
        assert_problem(&served.stylize("", body), 415, "not_a_picture");
    }
    for (width, height) in [(60_000, 60_000), (101, 100), (30_000, 1)] {
        let answer = served.stylize("max_size=10", &bomb(width, height));
        assert_problem(&answer, 413, "too_many_pixels");
        assert!(answer.text().contains(&format!("{width}x{height}")), "{}", answer.text());
    }
    // A margin makes a thin picture a large one.
    let answer = served.stylize("margin=32", &png(1000, 1));
    assert_problem(&answer, 413, "too_many_pixels");
    assert!(answer.text().contains("1064x65"), "{}", answer.text());
    assert_eq!(served.stylize("margin=4", &png(1000, 1)).status, 200);
    assert_eq!(served.stylize("margin=32&max_size=30", &png(1000, 1)).status, 200);
    let whole = jpeg(60, 60);
    assert_problem(&served.stylize("", &whole[..whole.len() / 2]), 422, "damaged_picture");
    // The claimed size is within the limits, but the pixels are missing.
    assert_problem(&served.stylize("", &bomb(90, 90)), 422, "damaged_picture");
    assert_problem(&served.stylize("", &png(20, 20)[..60]), 422, "damaged_picture");
    served.assert_well();
}

#[test]
fn a_painting_too_long_for_its_format_is_refused() {
    let answer = Served::new().stylize("format=webp", &png(16_500, 1));
    assert_problem(&answer, 422, "does_not_fit");
}

#[test]
fn a_painting_that_fails_is_the_servers_fault() {
    let served = Served::with("--memory 1K");
    let answer = served.stylize("", &png(600, 400));
    assert_problem(&answer, 500, "failed");
    assert_problem(&served.get("/v1/styles/tiny/thumbnail"), 500, "failed");
}

#[test]
fn a_painting_that_takes_too_long_is_abandoned() {
    let served = Served::with("--paint-time 0.001");
    assert_problem(&served.stylize("", &jpeg(900, 600)), 504, "took_too_long");
}

#[test]
fn more_pictures_than_may_wait_and_more_cameras_than_may_be_open_are_refused() {
    let served = Served::with("--queue 1 --live 1");
    let large = stylize_request("", &jpeg(1600, 1200));
    let answers: Vec<_> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(|| served.send(&large))).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let refused =
        answers.iter().filter(|answer| answer.status != 200).inspect(|answer| assert_problem(answer, 503, "busy"));
    let refused = refused.count();
    assert!((1..8).contains(&refused), "{refused} of 8 are refused");
    let first = served.live("");
    let handshake = "GET /v1/live HTTP/1.1\nHost: localhost\nConnection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    assert_problem(&served.send(&request(handshake)), 503, "busy");
    drop(first);
    // Its place is free again once the server notices that it has disconnected.
    while served.send(&request(handshake)).status == 503 {
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn complaints_about_frames_name_the_frame_and_leave_the_camera_open() {
    use tungstenite::Message;
    let served = Served::new();
    let mut socket = served.live("");
    let mut complaint = |message: Message| {
        socket.send(message).unwrap();
        let Message::Text(text) = super::client::next(&mut socket) else { panic!("no complaint") };
        let value: serde_json::Value = serde_json::from_str(text.as_str()).unwrap();
        assert!(value["problem"]["hint"].is_string(), "{value}");
        (value["id"].as_u64(), value["problem"]["code"].as_str().unwrap().to_owned())
    };
    let mut cut = raw_frame(5, 8, 8);
    cut.pop();
    assert_eq!(complaint(Message::binary(cut)), (Some(5), "bad_frame".into()));
    assert_eq!(complaint(Message::binary(vec![1, 2])), (Some(0), "bad_frame".into()));
    let encoded = |picture: &[u8]| Message::binary([&6u32.to_le_bytes()[..], &[0; 4], picture].concat());
    assert_eq!(complaint(encoded(b"no picture")), (Some(6), "not_a_picture".into()));
    assert_eq!(complaint(encoded(&bomb(60_000, 60_000))), (Some(6), "too_many_pixels".into()));
    assert_eq!(complaint(encoded(&jpeg(30, 30)[..200])), (Some(6), "damaged_picture".into()));
    assert_eq!(complaint(Message::text("{\"strength\": 7}")), (None, "bad_option".into()));
    assert_eq!(complaint(Message::text("{\"style\": \"nope\"}")), (None, "no_such_style".into()));
    assert_eq!(complaint(Message::text("[1]")), (None, "bad_option".into()));
    assert_eq!(complaint(Message::text("{\"format\": \"png\"}")), (None, "bad_option".into()));
    assert_eq!(complaint(Message::text("{\"margin\": 10}")), (None, "bad_option".into()));
    socket.send(Message::binary(raw_frame(9, 16, 16))).unwrap();
    assert!(super::client::next(&mut socket).is_binary());
}

#[test]
fn every_code_that_is_documented_is_tested() {
    let document = Served::new().get("/openapi.json").json();
    let codes = document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"].as_array().unwrap();
    let tests = include_str!("errors.rs");
    for code in codes.iter().map(|code| code.as_str().unwrap()) {
        // A stopping server ends too soon for a request; see the unit tests of the painters.
        assert!(code == "stopping" || tests.contains(&format!("\"{code}\"")), "{code}");
    }
}

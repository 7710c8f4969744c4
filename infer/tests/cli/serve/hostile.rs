//! Sends a thousand malformed requests, the same ones each time, and then a valid one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Served, bomb, half_close, jpeg, png, raw_frame, read_answer, stylize_request};

/// The number of requests.
const REQUESTS: u64 = 1000;
/// Clients that send them.
const CLIENTS: u64 = 8;

/// Pseudorandom numbers that are the same each time (Steele et al., 2014, `SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        (0..self.below(most)).map(|_| self.next() as u8).collect()
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// The bytes of one bad request.
fn bad_request(dice: &mut Dice) -> Vec<u8> {
    let whole = stylize_request("strength=0.5", &jpeg(24, 24));
    match dice.below(12) {
        // Truncated.
        0 => whole[..dice.below(whole.len())].to_vec(),
        // A wrong length.
        1 => {
            let length = dice.pick(&["5", "999999", "-1", "1e9", "18446744073709551616", "0x10", "3, 4", ""]);
            format!("POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\nabc").into_bytes()
        }
        // Two framings at once, as in request smuggling.
        2 => b"POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG".to_vec(),
        3 => {
            let size = dice.pick(&["zz", "ffffffffffffffffff", "-5", "5;ext=\u{7f}", " 1"]);
            format!("POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{size}\r\nab").into_bytes()
        }
        // Decompression bombs.
        4 => {
            let side = [60_000, u32::MAX >> 1, 16_000][dice.below(3)];
            stylize_request("max_size=64", &bomb(side, side))
        }
        // Garbage after the header of a picture.
        5 => {
            let heads: [&[u8]; 7] = [b"\x89PNG\r\n\x1a\n", b"\xFF\xD8\xFF\xE0", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8L", b"II*\0", b"MM\0*", b"BM"];
            let body = [dice.pick(&heads), dice.bytes(400).as_slice()].concat();
            stylize_request("", &body)
        }
        // A picture with a byte changed.
        6 => {
            let mut body = if dice.below(2) == 0 { png(20, 20) } else { jpeg(20, 20) };
            let at = dice.below(body.len());
            body[at] ^= 1 << dice.below(8);
            stylize_request("", &body)
        }
        // Odd paths.
        7 => {
            let path = dice.pick(&["/../../etc/passwd", "/%00", "/%2e%2e%2f", "*", "http://[::1", "/\u{ff}", "/v1//live", "/v1/styles/%ff/thumbnail", "/?a=%zz"]);
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
        }
        // Odd options.
        8 => {
            let query = dice.pick(&["strength=NaN", "strength=1e400", "max_size=4294967296", "style=%00%ff", "quality=&quality=", "a[]=1&&&=", "format=../x"]);
            stylize_request(query, &png(9, 9))
        }
        // An incomplete handshake, and invalid frames.
        9 => {
            let handshake = "GET /v1/live HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            let frames: [&[u8]; 5] = [b"", b"\x82", b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\0\0\0\0", b"\xF7\x80\0\0\0\0", b"\x82\x05hello"];
            [handshake.as_bytes(), dice.pick(&frames), &raw_frame(1, 4, 4)[..dice.below(70)]].concat()
        }
        // Endless headers.
        10 => {
            let name = "x".repeat(dice.below(2000) + 1);
            let lines = format!("{name}: 1\r\n").repeat(dice.below(200));
            format!("GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes()
        }
        // Noise.
        _ => dice.bytes(600),
    }
}

/// Sends one bad request and disconnects without waiting properly. Returns the response if it was the server's fault.
fn misbehave(address: &str, dice: &mut Dice) -> Option<String> {
    let bytes = bad_request(dice);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
    // The server may refuse before it has read everything.
    let _ = stream.write_all(&bytes);
    match dice.below(3) {
        0 => return None,
        1 => half_close(&stream),
        _ => {}
    }
    let mut head = [0; 15];
    // No response is also acceptable.
    let read = stream.read(&mut head).unwrap_or(0);
    let answer = String::from_utf8_lossy(&head[..read]).into_owned();
    // Bad clients get 4xx, or 503 if there are too many. Any other error is the server's fault.
    let at_fault = answer.strip_prefix("HTTP/1.1 5").is_some_and(|rest| !rest.starts_with("03"));
    at_fault.then(|| format!("{answer}: {}", String::from_utf8_lossy(&bytes)))
}

#[test]
fn a_thousand_malformed_requests_and_then_a_good_one() {
    // Short time limits, so that half-open connections are closed within the test.
    let mut served = Served::with("--header-time 0.5 --body-time 0.5 --live 64 --queue 64");
    let faults: Vec<String> = thread::scope(|scope| {
        let address = &served.address;
        let client = |i| {
            scope.spawn(move || {
                let mut dice = Dice(i);
                (0..REQUESTS / CLIENTS).filter_map(|_| misbehave(address, &mut dice)).collect::<Vec<_>>()
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(faults, Vec::<String>::new());
    served.assert_well();
    // None of their connections is left.
    let started = Instant::now();
    while !served.get("/metrics").text().contains("impasto_connections 1\n") {
        assert!(started.elapsed() < Duration::from_secs(20), "{}", served.get("/metrics").text());
        thread::sleep(Duration::from_millis(50));
    }
    assert!(served.get("/metrics").text().contains("impasto_cameras 0\n"));
    // Nothing has panicked.
    served.child().kill().unwrap();
    let mut said = String::new();
    served.stderr().read_to_string(&mut said).unwrap();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn slow_clients_are_disconnected_and_do_not_keep_others_out() {
    let served = Served::with("--header-time 0.5 --connections 8");
    // As many as there are places, each with an incomplete header and another line from time to time.
    let mut idlers: Vec<_> = (0..8).map(|_| served.connect()).collect();
    let started = Instant::now();
    for i in 0..20 {
        for idler in &mut idlers {
            // The connection may be closed already.
            let _ = idler.write_all(if i == 0 { b"GET / HTTP/1.1\r\nHost: localhost\r\n" } else { b"x: y\r\n" });
        }
        thread::sleep(Duration::from_millis(100));
    }
    served.assert_well();
    assert!(started.elapsed() < Duration::from_secs(40));
    for mut idler in idlers {
        let mut rest = Vec::new();
        // Closed, with or without a response, and not waiting.
        let _ = idler.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP/1.1 2"));
    }
}

#[test]
fn a_client_that_does_not_read_its_painting_is_disconnected() {
    let served = Served::with("--write-time 0.3");
    let mut stream = served.connect();
    // Far more than the system buffers: 20 MB of pixels without compression.
    stream.write_all(&stylize_request("format=bmp", &jpeg(3000, 2300))).unwrap();
    let started = Instant::now();
    while !served.get("/metrics").text().contains("impasto_painting_seconds_count 1") {
        assert!(started.elapsed() < Duration::from_secs(60), "it is never painted");
        thread::sleep(Duration::from_millis(20));
    }
    while !served.get("/metrics").text().contains("impasto_connections 1\n") {
        assert!(started.elapsed() < Duration::from_secs(90), "it is never given up");
        thread::sleep(Duration::from_millis(20));
    }
    let mut taken = Vec::new();
    // The end may be an error. What matters is that not everything was kept in memory for it.
    let _ = stream.read_to_end(&mut taken);
    assert!(taken.len() < 20_000_000, "all {} bytes came", taken.len());
}

#[test]
fn no_picture_is_painted_for_a_client_that_has_disconnected() {
    // One place more than disconnecting clients, because the server may not have noticed them yet when ours asks.
    let served = Served::with("--queue 5");
    let large = stylize_request("", &jpeg(2000, 1500));
    let mut gone: Vec<_> = (0..4).map(|_| served.connect()).collect();
    for stream in &mut gone {
        stream.write_all(&large).unwrap();
    }
    let started = Instant::now();
    while served.get("/metrics").text().contains("impasto_queue_length 0") && started.elapsed() < Duration::from_secs(5)
    {
    }
    drop(gone);
    served.assert_well();
    let metrics = served.get("/metrics").text();
    let count = metrics.lines().find_map(|line| line.strip_prefix("impasto_painting_seconds_count ")).unwrap();
    // Ours, and at most those already being painted when the server noticed the disconnections.
    assert!(count.parse::<u32>().unwrap() <= 3, "{count} were painted");
}

#[test]
fn a_client_that_half_closes_after_its_request_gets_its_painting() {
    let served = Served::new();
    let mut stream = served.connect();
    stream.write_all(&stylize_request("", &jpeg(1200, 900))).unwrap();
    half_close(&stream);
    let answer = read_answer(&mut stream).unwrap();
    assert_eq!((answer.status, answer.image().width()), (200, 1200));
}

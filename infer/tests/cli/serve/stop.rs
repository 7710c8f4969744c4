//! Ctrl-C: running requests are finished, no new ones are accepted, and the port is freed.
#![cfg(unix)]

use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use tungstenite::Message;

use super::client::{Served, jpeg, next, raw_frame};

fn signal(served: &Served, name: &str) {
    let kill = Command::new("kill").args([name, &served.process().to_string()]).status();
    assert!(kill.unwrap().success());
}

#[test]
fn an_interrupt_finishes_running_requests_and_accepts_no_new_ones() {
    for name in ["-INT", "-TERM"] {
        let mut served = Served::new();
        let mut camera = served.live("");
        camera.send(Message::binary(raw_frame(1, 32, 32))).unwrap();
        assert!(next(&mut camera).is_binary());
        let large = jpeg(2400, 1800);
        let painted = thread::scope(|scope| {
            let client = scope.spawn(|| served.stylize("", &large));
            while !served.get("/metrics").text().contains("impasto_pictures 1\n") {
                assert!(!client.is_finished(), "it was painted too fast to be seen");
            }
            signal(&served, name);
            client.join().unwrap()
        });
        assert_eq!(painted.status, 200, "{}", painted.text());
        assert_eq!(painted.image().width(), 2400);
        let Message::Close(Some(close)) = next(&mut camera) else { panic!("the camera was not told") };
        assert_eq!(u16::from(close.code), 1001);
        assert_eq!(served.child().wait().unwrap().code(), Some(0));
        assert!(TcpStream::connect(&served.address).is_err());
    }
}

#[test]
fn a_second_interrupt_stops_immediately() {
    let mut served = Served::new();
    let _idle = served.live("");
    let mut half = served.connect();
    std::io::Write::write_all(&mut half, b"POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        .unwrap();
    thread::sleep(Duration::from_millis(100));
    signal(&served, "-INT");
    thread::sleep(Duration::from_millis(200));
    assert_eq!(served.child().try_wait().unwrap(), None, "it did not wait for the running request");
    signal(&served, "-INT");
    assert_eq!(served.child().wait().unwrap().code(), Some(130));
}

#[test]
fn work_that_outlasts_the_grace_period_is_aborted() {
    let mut served = Served::with("--grace 0.2");
    let mut half = served.connect();
    std::io::Write::write_all(&mut half, b"POST /v1/stylize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        .unwrap();
    thread::sleep(Duration::from_millis(100));
    signal(&served, "-TERM");
    assert_eq!(served.child().wait().unwrap().code(), Some(0));
}

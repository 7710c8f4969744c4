//! A training with its web page.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;

use impasto_trainer::cli;
use impasto_trainer::live::Live;
use impasto_trainer::metrics::Metrics;
use impasto_trainer::train::{Observer, Observers, train};

use crate::fixture::{Fixture, config};

/// Requests a page after every step, and also opens a request that it leaves incomplete.
struct Visitor {
    address: SocketAddr,
    answers: Vec<String>,
    stalled: Vec<TcpStream>,
}

impl Visitor {
    fn ask(&self, target: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Observer for &mut Visitor {
    fn stepped(&mut self, metrics: &Metrics) {
        let mut stalled = TcpStream::connect(self.address).unwrap();
        stalled.write_all(b"GET /st").unwrap();
        self.stalled.push(stalled);
        let target = if metrics.step > 3 { "/sheets/3" } else { "/state" };
        self.answers.push(self.ask(target));
    }
}

#[test]
fn a_training_that_is_watched_ends_with_the_same_bytes() {
    let fixture = Fixture::new();
    let (alone, watched) = (fixture.job("alone"), fixture.job("watched"));
    train(&alone, &config(), &mut Observers::default(), &AtomicBool::new(false)).unwrap();
    let live = Live::open(&"0".parse().unwrap(), &watched.run_dir, "checks", 2).unwrap();
    let mut visitor = Visitor { address: live.address(), answers: Vec::new(), stalled: Vec::new() };
    let mut observers = Observers(vec![Box::new(live), Box::new(&mut visitor)]);
    train(&watched, &config(), &mut observers, &AtomicBool::new(false)).unwrap();
    drop(observers);
    assert_eq!(visitor.answers.len(), 8);
    assert!(visitor.answers.iter().all(|answer| answer.starts_with("HTTP/1.1 200")), "{:?}", visitor.answers);
    assert!(visitor.answers[0].contains("\"step\":1,"), "{}", visitor.answers[0]);
    assert!(visitor.answers[7].contains("image/png") && visitor.answers[7].contains("PNG"));
    assert_eq!(fs::read(&alone.output).unwrap(), fs::read(&watched.output).unwrap());
}

#[test]
fn an_address_in_use_ends_the_program_before_it_reads_anything() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = ["trainer", "train", "--style", "none.png", "--photos", "none", "--output", "none.safetensors"];
    let words = [&words[..], &["--loss-weights", "none.safetensors", "--quiet", "--serve", &address]].concat();
    assert_eq!(cli::run(words), ExitCode::from(2));
}

//! The server's messages when it starts or cannot start.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use super::client::Served;
use crate::studio::{STYLE, Studio};

#[test]
fn an_address_in_use_is_named() {
    let served = Served::new();
    let run = served.studio.run(&format!("serve --listen {}", served.address));
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains(&format!("cannot listen on `{}`", served.address)), "{}", run.stderr);
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
    let run = served.studio.run("serve --style style.safetensors --style style.safetensors --listen 127.0.0.1:0");
    assert_eq!((run.code, run.stderr.contains("two styles are named `tiny`")), (Some(2), true), "{}", run.stderr);
    let run = served.studio.run("serve --queue 0 --listen 127.0.0.1:0");
    assert_eq!((run.code, run.stderr.contains("`--queue` must be above 0")), (Some(2), true), "{}", run.stderr);
    let run = served.studio.run("serve --painters 1000000 --listen 127.0.0.1:0");
    assert_eq!((run.code, run.stderr.contains("at most 256")), (Some(2), true), "{}", run.stderr);
}

#[test]
fn an_address_of_another_machine_is_not_called_a_busy_port() {
    // An address reserved for documentation (RFC 5737).
    let run = Studio::new().run("serve --listen 192.0.2.1:7400");
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("hint: this machine does not have that address"), "{}", run.stderr);
}

/// Starts a server in `studio` and reads its address.
fn start(studio: &Studio, flags: &str, stderr: Stdio) -> (Child, String) {
    let words = format!("serve --style {STYLE} {flags}");
    let mut child = studio.command(words.split_whitespace()).stdout(Stdio::piped()).stderr(stderr).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().strip_prefix("http://").unwrap().to_owned())
}

fn said_at_the_start(flags: &str) -> String {
    let studio = Studio::new();
    let (mut child, _) = start(&studio, flags, Stdio::piped());
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("press Ctrl-C to stop the server") && stderr.read_line(&mut said).unwrap() > 0 {}
    child.kill().unwrap();
    child.wait().unwrap();
    stderr.read_to_string(&mut said).unwrap();
    said
}

#[test]
fn a_server_that_other_machines_can_reach_prints_one_notice() {
    let notice = "other machines on the network can reach this server";
    assert_eq!(said_at_the_start("--listen 0.0.0.0:0").matches(notice).count(), 1);
    assert_eq!(said_at_the_start("--listen 127.0.0.1:0").matches(notice).count(), 0);
}

/// Asserts that a server whose standard error is `stderr` answers; `lose` may do something to it first.
#[cfg(unix)]
fn assert_answers(stderr: Stdio, lose: impl FnOnce(&mut Child)) {
    use std::io::Write;
    let studio = Studio::new();
    let (mut child, address) = start(&studio, "--listen 127.0.0.1:0", stderr);
    lose(&mut child);
    for _ in 0..3 {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let answer = super::client::read_answer(&mut stream);
        assert_eq!(answer.map(|answer| answer.text()).as_deref(), Some("ok\n"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[cfg(target_os = "linux")]
fn a_server_that_cannot_write_its_log_still_answers() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    assert_answers(full.into(), |_| ());
}

#[test]
#[cfg(unix)]
fn a_server_whose_log_reader_is_gone_still_answers() {
    assert_answers(Stdio::piped(), |child| drop(child.stderr.take()));
}

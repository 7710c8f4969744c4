//! Tests of a small server with clients on raw sockets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tokio::sync::oneshot;

use super::*;

const LIMITS: ConnectionLimits =
    ConnectionLimits { connections: 8, header_time: Duration::from_secs(60), write_time: Duration::from_secs(60) };

/// Bytes of the answer to `/large`: more than the system keeps for a client.
const LARGE: usize = 32 << 20;

/// A server that stops at the end of the test.
struct Served {
    address: SocketAddr,
    connections: Arc<Connections>,
    /// Answers to `/slow` that were begun, and those that were finished.
    slow: Arc<[AtomicUsize; 2]>,
    _stop: oneshot::Sender<()>,
}

impl Served {
    fn new(limits: ConnectionLimits) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, slow) = (Connections::new(limits), Arc::<[AtomicUsize; 2]>::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (router, own) = (router(&slow), Arc::clone(&connections));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                serve(listener, router, &own, async { drop(stopped.await) }, |error| panic!("{error}")).await;
                own.stop();
                own.closed().await;
            });
        });
        Self { address, connections, slow, _stop: stop }
    }

    /// Connects and sends `text`.
    fn send(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    fn slow(&self) -> [usize; 2] {
        [0, 1].map(|i| self.slow[i].load(Ordering::SeqCst))
    }
}

fn router(slow: &Arc<[AtomicUsize; 2]>) -> Router {
    let slow = Arc::clone(slow);
    let answer_slowly = async move || {
        slow[0].fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(600)).await;
        slow[1].fetch_add(1, Ordering::SeqCst);
        "slow"
    };
    Router::new()
        .route("/", get(async || "here"))
        .route("/slow", get(answer_slowly))
        .route("/large", get(async || vec![b'x'; LARGE]))
}

/// A request whose connection ends with its answer.
fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
}

/// Everything that comes until the connection ends, by an end or an error.
fn read_all(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// Waits until `condition` holds.
fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_client_that_stalls_loses_its_connection() {
    let served = Served::new(ConnectionLimits { header_time: Duration::from_millis(50), ..LIMITS });
    for head in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: x\r\n"] {
        let answer = read_all(served.send(head));
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // A connection that sends no further request after its answer ends too.
    let answer = read_all(served.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
}

#[test]
fn a_client_that_does_not_read_its_answer_loses_its_connection() {
    let served = Served::new(ConnectionLimits { write_time: Duration::from_millis(100), ..LIMITS });
    let stalled = served.send(&request("/large"));
    wait_for("it is never connected", || served.connections.open() == 1);
    wait_for("it is never given up", || served.connections.open() == 0);
    assert!(read_all(stalled).len() < LARGE);
    assert!(read_all(served.send(&request("/large"))).len() > LARGE);
}

#[test]
fn a_client_that_half_closes_after_its_request_gets_its_whole_answer() {
    let served = Served::new(LIMITS);
    for (path, end) in [("/", "here"), ("/slow", "slow"), ("/large", "xxx")] {
        let stream = served.send(&request(path));
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = read_all(stream);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(end), "{path}: {answer:.100}");
    }
    // Two pipelined requests; the second waits for a while.
    let two = ["GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", &request("/slow")].concat();
    let stream = served.send(&two);
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = read_all(stream);
    let starts: Vec<_> = answer.match_indices("HTTP/1.1 200 OK\r\n").map(|(start, _)| start).collect();
    assert_eq!((starts.len(), starts[0], answer.matches("slow").count()), (2, 0, 2), "{answer}");
    // Nothing more is sent to an idle connection that ends.
    let mut stream = served.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).unwrap();
    assert!(answer[..read].ends_with(b"here"));
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(stream), "");
}

#[test]
fn a_request_whose_client_has_disconnected_is_abandoned() {
    let served = Served::new(LIMITS);
    let gone = served.send(&request("/slow"));
    wait_for("it is never asked", || served.slow() == [1, 0]);
    drop(gone);
    wait_for("it is never closed", || served.connections.open() == 0);
    assert_eq!(served.slow(), [1, 0]);
}

#[test]
fn idle_connections_do_not_keep_others_out() {
    let served = Served::new(LIMITS);
    let idle: Vec<_> = (0..2 * LIMITS.connections).map(|_| served.send("GET / HT")).collect();
    let started = Instant::now();
    let slow = served.send(&request("/slow"));
    let answer = read_all(served.send(&request("/")));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // The connections idle longest were closed, one after the other, but not those waiting for an answer.
    assert!(started.elapsed() < Duration::from_secs(20), "it took {:?}", started.elapsed());
    assert!(read_all(slow).ends_with("slow"));
    drop(idle);
}

#[test]
fn a_connection_is_counted_once_from_its_beginning_to_its_end() {
    let served = Served::new(LIMITS);
    assert_eq!(served.connections.open(), 0);
    let streams: Vec<_> = (1..4)
        .map(|count| {
            let stream = served.send("GET");
            wait_for("it is never counted", || served.connections.open() == count);
            stream
        })
        .collect();
    drop(streams);
    wait_for("they are counted for ever", || served.connections.open() == 0);
}

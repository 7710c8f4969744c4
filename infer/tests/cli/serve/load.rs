//! Many clients at once for some seconds: each gets a response, and the memory does not grow.
#![cfg(target_os = "linux")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Served, jpeg, png, stylize_request};

/// The number of clients: more than may wait.
const CLIENTS: usize = 24;
const TIME: Duration = Duration::from_secs(4);
/// How much the memory may grow after the warm-up, because of pictures in progress and of memory that the allocator keeps.
const GROWTH: u64 = 48 << 20;

/// Resident memory of a process, bytes; see proc(5).
fn resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
}

/// Sends pictures until the time is up. Returns how many were painted and how many were refused.
fn load(served: &Served) -> (u32, u32) {
    let requests = [stylize_request("", &jpeg(160, 120)), stylize_request("strength=0.5&format=jpg", &png(200, 90))];
    let end = Instant::now() + TIME;
    thread::scope(|scope| {
        let client = |i: usize| {
            let request = &requests[i % 2];
            scope.spawn(move || {
                let mut counts = (0, 0);
                while Instant::now() < end {
                    let answer = served.send(request);
                    match answer.status {
                        200 => {
                            assert!(answer.image().width() >= 160);
                            counts.0 += 1;
                        }
                        503 => {
                            assert!(answer.header("retry-after").is_some());
                            counts.1 += 1;
                        }
                        other => panic!("{other}: {}", answer.text()),
                    }
                }
                counts
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let counts = clients.into_iter().map(|client| client.join().unwrap());
        counts.fold((0, 0), |sum, counts| (sum.0 + counts.0, sum.1 + counts.1))
    })
}

#[test]
fn every_request_of_many_is_answered_and_the_memory_does_not_grow() {
    let served = Served::with("--queue 8");
    load(&served);
    let before = resident(served.process());
    let (painted, refused) = load(&served);
    let after = resident(served.process());
    assert!(painted > 0 && refused > 0, "{painted} painted, {refused} refused");
    assert!(after < before + GROWTH, "from {before} to {after} bytes, {painted} paintings later");
    served.assert_well();
}

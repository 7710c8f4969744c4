//! A star topology over TCP: all processes connect to the first one, which broadcasts bytes and computes sums.
//!
//! The first process adds the values in the order of the processes and sends the sum to all of them. So every process gets the
//! same bytes in every run.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use impasto_common::{Error, Result, ResultExt};

use super::Seat;

/// How long processes wait for each other at the start. Launchers start them at the same time.
const MEETING: Duration = Duration::from_secs(120);

/// How long a process waits for another's sums. The first process may meanwhile write a snapshot and a contact sheet to a slow
/// disk.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Sent first, followed by index and count. A connection that does not send it is rejected.
const GREETING: [u8; 8] = *b"impasto1";

/// The connections of one process: from the first process to all others, in order; from any other process to the first.
#[derive(Debug)]
pub(super) struct Star {
    first: bool,
    streams: Vec<TcpStream>,
}

impl Star {
    pub(super) fn meet(seat: &Seat) -> Result<Self> {
        let (host, port) = &seat.address;
        let streams = if seat.index == 0 { listen(seat) } else { call(seat).map(|stream| vec![stream]) };
        let streams = streams.map_err(|error| {
            Error::new(format!(
                "process {} of {} cannot connect to the others at {host}:{port}",
                seat.index, seat.count
            ))
            .with_source(error)
            .with_hint("start all processes; `MASTER_ADDR` and `MASTER_PORT` set the address of the first one")
        })?;
        for stream in &streams {
            let prepared = stream
                .set_nodelay(true)
                .and_then(|()| stream.set_nonblocking(false))
                .and_then(|()| stream.set_read_timeout(Some(TIMEOUT)));
            prepared.context(|| "cannot prepare a connection")?;
        }
        Ok(Self { first: seat.index == 0, streams })
    }

    /// Broadcasts the first process's bytes to all processes.
    #[cfg_attr(not(feature = "nccl"), cfg_attr(not(test), expect(dead_code, reason = "hands out the NCCL id")))]
    pub(super) fn hand_out<const N: usize>(&mut self, mut bytes: [u8; N]) -> Result<[u8; N]> {
        for stream in &mut self.streams {
            let moved = if self.first { stream.write_all(&bytes) } else { stream.read_exact(&mut bytes) };
            moved.context(gone)?;
        }
        Ok(bytes)
    }

    /// Sums the values over all processes.
    pub(super) fn sum(&mut self, values: &[f32]) -> Result<Vec<f32>> {
        let mut sums = values.to_vec();
        let mut bytes = vec![0; 4 * values.len()];
        if self.first {
            for stream in &mut self.streams {
                stream.read_exact(&mut bytes).context(gone)?;
                for (sum, &value) in sums.iter_mut().zip(bytes.as_chunks().0) {
                    *sum += f32::from_le_bytes(value);
                }
            }
        }
        fill(&mut bytes, &sums);
        for stream in &mut self.streams {
            stream.write_all(&bytes).context(gone)?;
            if !self.first {
                stream.read_exact(&mut bytes).context(gone)?;
            }
        }
        Ok(bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
    }
}

fn fill(bytes: &mut [u8], values: &[f32]) {
    for (bytes, value) in bytes.as_chunks_mut().0.iter_mut().zip(values) {
        *bytes = value.to_le_bytes();
    }
}

fn gone() -> &'static str {
    "the connection to another process of this training is lost"
}

fn greeting(seat: &Seat) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&GREETING);
    bytes[8..12].copy_from_slice(&(seat.index as u32).to_le_bytes());
    bytes[12..].copy_from_slice(&(seat.count as u32).to_le_bytes());
    bytes
}

/// Waits for all other processes, in the order in which they connect.
fn listen(seat: &Seat) -> Result<Vec<TcpStream>> {
    let (host, port) = &seat.address;
    // With a loopback address, no other machine can connect.
    let local = host == "127.0.0.1" || host == "localhost";
    let listener = TcpListener::bind((if local { "127.0.0.1" } else { "0.0.0.0" }, *port));
    let listener = listener.context(|| "cannot listen")?;
    listener.set_nonblocking(true).context(|| "cannot listen")?;
    let start = Instant::now();
    let mut others: Vec<Option<TcpStream>> = (1..seat.count).map(|_| None).collect();
    while others.iter().any(Option::is_none) {
        if let Ok((mut stream, _)) = listener.accept() {
            if let Some(index) = who(&mut stream, seat.count) {
                others[index - 1] = Some(stream);
            }
        } else if start.elapsed() > MEETING {
            let missing = others.iter().filter(|other| other.is_none()).count();
            return Err(Error::new(format!("{missing} did not connect within {} s", MEETING.as_secs())));
        } else {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(others.into_iter().flatten().collect())
}

/// The index that the connecting process sends; `None` if it is not a process of this training.
fn who(stream: &mut TcpStream, count: usize) -> Option<usize> {
    let mut bytes = [0; 16];
    stream.set_nonblocking(false).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.read_exact(&mut bytes).ok()?;
    let expected = |index: usize| greeting(&Seat { index, count, ..Seat::ALONE });
    (1..count).find(|&index| expected(index) == bytes)
}

/// Tries to connect to the first process until it answers.
fn call(seat: &Seat) -> Result<TcpStream> {
    let start = Instant::now();
    loop {
        let (host, port) = &seat.address;
        let connected = TcpStream::connect((host.as_str(), *port));
        match connected {
            Ok(mut stream) => {
                stream.write_all(&greeting(seat)).context(gone)?;
                return Ok(stream);
            }
            Err(error) if start.elapsed() > MEETING => {
                return Err(error).context(|| "the first process does not respond");
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_connections_are_closed_and_bytes_reach_every_process() {
        let seats = Seat::local(3);
        let address = seats[0].address.clone();
        let threads: Vec<_> = seats
            .into_iter()
            .map(|seat| {
                std::thread::spawn(move || {
                    let mut star = Star::meet(&seat).unwrap();
                    let bytes = star.hand_out(if seat.index == 0 { *b"shared" } else { [0; 6] }).unwrap();
                    (bytes, star.sum(&[seat.index as f32, 0.5]).unwrap())
                })
            })
            .collect();
        if let Ok(mut stranger) = TcpStream::connect((address.0.as_str(), address.1)) {
            let _ = stranger.write_all(b"GET / HTTP/1.1\r\n\r\n");
        }
        for thread in threads {
            assert_eq!(thread.join().unwrap(), (*b"shared", vec![3.0, 1.5]));
        }
    }
}

//! A server process for tests, and a client that sends exactly the given bytes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, ChildStderr, Stdio};
use std::time::Duration;

use tungstenite::handshake::client::generate_key;
use tungstenite::{Message, WebSocket};

use crate::studio::{STYLE, Studio, photo};

/// Longer than any test takes on a busy machine.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// `infer serve` with the tiny style, on a free port; killed with the test.
pub(crate) struct Served {
    child: Child,
    pub(crate) address: String,
    pub(crate) studio: Studio,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Served {
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// Starts a server with more flags.
    pub(crate) fn with(flags: &str) -> Self {
        let studio = Studio::new();
        let words = format!("serve --listen 127.0.0.1:0 --quiet --style {STYLE} {flags}");
        let mut command = studio.command(words.split_whitespace());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("http://").unwrap_or_else(|| panic!("no address in `{line}`")).to_owned();
        Self { child, address, studio }
    }

    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub(crate) fn stderr(&mut self) -> ChildStderr {
        self.child.stderr.take().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// Sends `bytes` and reads the response.
    pub(crate) fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = self.connect();
        stream.write_all(bytes).unwrap();
        read_answer(&mut stream).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())
    }

    /// Posts `body` to `/v1/stylize` with this query.
    pub(crate) fn stylize(&self, query: &str, body: &[u8]) -> Answer {
        self.send(&stylize_request(query, body))
    }

    /// Opens `/v1/live` with this query.
    pub(crate) fn live(&self, query: &str) -> WebSocket<TcpStream> {
        let request = tungstenite::http::Request::builder()
            .uri(format!("ws://{}/v1/live?{query}", self.address))
            .header("host", &self.address)
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", generate_key())
            .body(())
            .unwrap();
        tungstenite::client(request, self.connect()).unwrap().0
    }

    /// Asserts that the server still works, by painting a picture.
    pub(crate) fn assert_well(&self) {
        let answer = self.stylize("", &jpeg(48, 32));
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // The server may have ended already, as in some tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The pixels of the body.
    pub(crate) fn image(&self) -> image::DynamicImage {
        image::load_from_memory(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

/// Reads one response; `None` if the connection ends before it is complete.
pub(crate) fn read_answer(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        if let Some(answer) = parse(&bytes) {
            return Some(answer);
        }
        match stream.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return None,
            Ok(read) => bytes.extend_from_slice(&buffer[..read]),
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer { status, head, body: Vec::new() };
    if status == 100 {
        return parse(&bytes[end + 4..]);
    }
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    answer.body = bytes[end + 4..].get(..length)?.to_vec();
    Some(answer)
}

pub(crate) fn stylize_request(query: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/stylize?{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

pub(crate) fn jpeg(width: u32, height: u32) -> Vec<u8> {
    encoded(width, height, image::ImageFormat::Jpeg)
}

pub(crate) fn png(width: u32, height: u32) -> Vec<u8> {
    encoded(width, height, image::ImageFormat::Png)
}

fn encoded(width: u32, height: u32, format: image::ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    photo(width, height).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A PNG file of a few bytes, with correct checksums, that claims to have `width` by `height` pixels.
pub(crate) fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = png(1, 1);
    bytes[16..20].copy_from_slice(&width.to_be_bytes());
    bytes[20..24].copy_from_slice(&height.to_be_bytes());
    let checksum = crc(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    bytes
}

/// The checksum of PNG chunks (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { 0xEDB8_8320 ^ (crc >> 1) } else { crc >> 1 };
    !bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// A frame of RGBA pixels.
pub(crate) fn raw_frame(number: u32, width: u16, height: u16) -> Vec<u8> {
    let mut bytes = [&number.to_le_bytes()[..], &width.to_le_bytes(), &height.to_le_bytes()].concat();
    let pixels = photo(width.into(), height.into());
    bytes.extend(pixels.pixels().flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 255]));
    bytes
}

/// The numbers before a painted frame, and its pixels.
pub(crate) fn painted_frame(bytes: &[u8]) -> ([u32; 4], image::RgbImage) {
    let number = |i: usize| u32::from_le_bytes(bytes[4 * i..][..4].try_into().unwrap());
    let image = image::load_from_memory_with_format(&bytes[16..], image::ImageFormat::Jpeg).unwrap();
    ([number(0), number(1), number(2), number(3)], image.into_rgb8())
}

/// The next message that is not a ping.
pub(crate) fn next(socket: &mut WebSocket<TcpStream>) -> Message {
    loop {
        match socket.read().unwrap() {
            Message::Ping(_) | Message::Pong(_) => {}
            message => return message,
        }
    }
}

/// Closes only the sending half.
pub(crate) fn half_close(stream: &TcpStream) {
    // The other side may have disconnected already.
    let _ = stream.shutdown(Shutdown::Write);
}

//! ffmpeg's messages on standard error, used as the cause of an error.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, BufRead};

use impasto_common::Error;

/// The number of lines to keep. A damaged file can cause thousands.
const KEPT_LINES: usize = 3;

/// The first lines of an error log.
#[derive(Debug, Default)]
pub(super) struct FfmpegLog {
    lines: Vec<String>,
    /// Whether any line says that the disk is full.
    disk_full: bool,
}

impl FfmpegLog {
    /// Reads a log to its end. A program whose log is not read would block.
    pub(super) fn read(log: impl BufRead) -> Self {
        let mut read = Self::default();
        for line in log.split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            read.disk_full |= says_disk_full(&line);
            // Removes the name and address of the ffmpeg component that wrote the line.
            let text = line.rsplit_once("] ").map_or(&*line, |(_, text)| text).trim().to_owned();
            if read.lines.len() < KEPT_LINES && !text.is_empty() && !read.lines.contains(&text) {
                read.lines.push(text);
            }
        }
        read
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub(super) fn is_disk_full(&self) -> bool {
        self.disk_full
    }
}

impl fmt::Display for FfmpegLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("; "))
    }
}

impl StdError for FfmpegLog {}

/// Whether a full disk is the cause of an error. It is recognised by the kind of the error, or by ffmpeg's message, since
/// ffmpeg reports it in no other way.
pub(super) fn is_disk_full(error: &Error) -> bool {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        let by_kind = error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded));
        if by_kind || error.downcast_ref::<FfmpegLog>().is_some_and(FfmpegLog::is_disk_full) {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Matches the messages of Unix and of Windows.
fn says_disk_full(line: &str) -> bool {
    ["No space left on device", "not enough space on the disk"].iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use impasto_common::ResultExt;

    use super::*;

    #[test]
    fn a_log_is_told_in_its_first_lines_without_addresses() {
        let log = "[mp4 @ 0x55] one\n[mp4 @ 0x55] one\n\ntwo\nthree\nfour\n";
        assert_eq!(FfmpegLog::read(log.as_bytes()).to_string(), "one; two; three");
        assert!(FfmpegLog::read(&b""[..]).is_empty());
    }

    #[test]
    fn a_full_disk_is_known_by_its_kind_or_by_ffmpegs_words_in_any_line() {
        let log =
            FfmpegLog::read("one\ntwo\nthree\n[mp4 @ 0x55] Error writing trailer: No space left on device".as_bytes());
        assert!(is_disk_full(&Error::new("cannot encode").with_source(log)));
        let full: Result<(), _> = Err(io::Error::from(io::ErrorKind::StorageFull));
        assert!(is_disk_full(&full.context(|| "cannot write").context(|| "cannot paint").unwrap_err()));
        assert!(!is_disk_full(&Error::new("No space left on device is the name of a film")));
    }
}

//! The segments of a JPEG file (ITU-T T.81, annex B), and the messages for incomplete files.

use impasto_error::{Error, Result};

const END_OF_IMAGE: u8 = 0xD9;
pub(super) const START_OF_SCAN: u8 = 0xDA;

/// The notice for a file with all of its pixels.
pub(super) const NO_END_MARKER: &str = "the file has no end marker, but all pixels are complete";

/// Walks the segments of a JPEG file (ITU-T T.81, annex B), and returns whether it has an end marker.
pub(super) fn has_end(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let Some((marker, after)) = next_marker(rest) {
        rest = match marker {
            END_OF_IMAGE => return true,
            // Entropy-coded data follows the header of a scan; the search for the next marker skips it.
            START_OF_SCAN | 0x02..=0xCF | 0xD8 | 0xDB..=0xFE => match skip_segment(marker, after) {
                Ok(rest) => rest,
                Err(_) => return false,
            },
            _ => after,
        };
    }
    false
}

/// Whether the file is progressive: its blocks are spread over the file (ITU-T T.81, annex G).
pub(super) fn is_progressive(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let Some((marker, after)) = next_marker(rest) {
        match (marker, skip_segment(marker, after)) {
            (0xC2 | 0xC6 | 0xCA | 0xCE, _) => return true,
            (START_OF_SCAN, _) | (_, Err(_)) => return false,
            (_, Ok(after)) => rest = after,
        }
    }
    false
}

pub(super) fn cut_short() -> Error {
    Error::new("the file is cut short").with_hint("copy or download it again")
}

/// The error of [`crate::decode::prose`] for a damaged file.
pub(super) fn damaged() -> Error {
    Error::new("the file is damaged")
}

/// The next marker and the bytes after it. A marker is 0xFF, possibly repeated, followed by a byte that is neither 0 (a
/// stuffed byte) nor a restart.
pub(super) fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF | 0xD0..=0xD7);
    let at = bytes.windows(2).position(is_marker)?;
    Some((bytes[at + 1], &bytes[at + 2..]))
}

pub(super) fn skip_segment(marker: u8, after: &[u8]) -> Result<&[u8]> {
    if marker == 0xD8 {
        return Ok(after);
    }
    let length = after.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)));
    length.and_then(|length| after.get(length..)).ok_or_else(cut_short)
}

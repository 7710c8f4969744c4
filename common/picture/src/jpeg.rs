//! Whether a JPEG file is whole.
//!
//! The decoder fills missing parts with grey and reports success, so an incomplete download would be painted, or trained on.
//! Its strict mode also refuses harmless deviations of real cameras; looking for the end marker does not.

use impasto_error::{Error, Result};

const END_OF_IMAGE: u8 = 0xD9;
const START_OF_SCAN: u8 = 0xDA;

/// Walks the segments of a JPEG file up to its end marker (ITU-T T.81, annex B).
///
/// # Errors
///
/// If the file ends first.
pub(super) fn check_complete(bytes: &[u8]) -> Result<()> {
    let mut rest = bytes.get(2..).unwrap_or_default();
    while let Some((marker, after)) = next_marker(rest) {
        rest = match marker {
            END_OF_IMAGE => return Ok(()),
            // Entropy-coded data follows the header of a scan; the search for the next marker steps over it.
            START_OF_SCAN | 0x02..=0xCF | 0xD8 | 0xDB..=0xFE => skip_segment(marker, after)?,
            _ => after,
        };
    }
    Err(cut_short())
}

/// Whether the blocks of the picture are spread over the file (ITU-T T.81, annex G).
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

/// The next marker and what follows it: 0xFF, perhaps repeated, before neither zero (a stuffed byte) nor a restart.
fn next_marker(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let is_marker = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0x00 | 0xFF | 0xD0..=0xD7);
    let at = bytes.windows(2).position(is_marker)?;
    Some((bytes[at + 1], &bytes[at + 2..]))
}

fn skip_segment(marker: u8, after: &[u8]) -> Result<&[u8]> {
    if marker == 0xD8 {
        return Ok(after);
    }
    let length = after.first_chunk().map(|length| usize::from(u16::from_be_bytes(*length)));
    length.and_then(|length| after.get(length..)).ok_or_else(cut_short)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, a segment that holds a false end marker (as an embedded thumbnail does), a scan with a stuffed byte and a
    /// restart, end, and junk as some phones append.
    const WHOLE: [u8; 29] = [
        0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2, 0xFF, 0xDA, 0, 4, 9, 9, 7, 0xFF, 0x00, 7, 0xFF, 0xD3, 7, 7,
        0xFF, 0xFF, 0xD9, 0, 0,
    ];

    #[test]
    fn an_end_marker_inside_a_segment_does_not_count() {
        check_complete(&WHOLE).unwrap();
        for length in 0..WHOLE.len() - 2 {
            let error = check_complete(&WHOLE[..length]).unwrap_err();
            assert_eq!(error.to_string(), "the file is cut short", "{length}");
        }
    }
}

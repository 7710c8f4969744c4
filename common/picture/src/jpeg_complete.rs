//! Checks that a JPEG file is complete.
//!
//! The decoder fills missing pixels with grey and reports success, so an incomplete download would be painted or used for
//! training. Its strict mode also rejects harmless deviations of real cameras. Checking for the end marker does not.

use impasto_error::{Error, Result};

use super::jpeg::{cut_short, has_end};
use super::strips::baseline::present;

/// Walks the segments of a JPEG file up to its end marker (ITU-T T.81, annex B). If only the marker is missing, returns a
/// file with the same pixels and an end marker.
///
/// # Errors
///
/// If the file ends before that. The error says how many rows are missing, if the layout of the file allows it.
pub(super) fn check_complete(bytes: &[u8]) -> Result<Option<Vec<u8>>> {
    if has_end(bytes) {
        return Ok(None);
    }
    let Some(rows) = present::rows_of(bytes) else { return Err(cut_short()) };
    if let Some(whole) = rows.whole {
        return Ok(Some(whole));
    }
    let (missing, height) = (rows.height - rows.present, rows.height);
    Err(Error::new(format!("the file is cut short: the last {missing} of {height} rows are missing"))
        .with_hint("copy or download it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start, a segment with a false end marker (as in an embedded thumbnail), a scan with a stuffed byte and a restart,
    /// end, and the junk that some phones append.
    const WHOLE: [u8; 29] = [
        0xFF, 0xD8, 0xFF, 0xE1, 0, 6, 0xFF, 0xD9, 1, 2, 0xFF, 0xDA, 0, 4, 9, 9, 7, 0xFF, 0x00, 7, 0xFF, 0xD3, 7, 7,
        0xFF, 0xFF, 0xD9, 0, 0,
    ];

    #[test]
    fn an_end_marker_inside_a_segment_does_not_count() {
        assert_eq!(check_complete(&WHOLE).unwrap(), None);
        for length in 0..WHOLE.len() - 2 {
            let error = check_complete(&WHOLE[..length]).unwrap_err();
            assert_eq!(error.to_string(), "the file is cut short", "{length}");
        }
    }
}

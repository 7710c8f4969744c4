//! The checksum of a snapshot: a CRC-32 of the whole file, stored in the file itself.
//!
//! The header contains the eight hexadecimal digits. They count as zeros when the checksum is computed.

use std::ops::Range;

use impasto_common::{Error, Result};

/// The placeholder for the digits while the checksum is computed.
pub(super) const BLANK: &str = "00000000";

/// The text before the digits. The header is JSON inside a JSON string.
const KEY: &[u8] = br#"\"checksum\":\""#;

/// Puts the checksum into a file that was written with [`BLANK`] digits.
///
/// # Errors
///
/// If the file has no place for it.
pub(super) fn seal(bytes: &mut [u8]) -> Result<()> {
    let place = place(bytes).ok_or_else(|| Error::new("the header has no place for the checksum"))?;
    let digits = digits(bytes, &place);
    bytes[place].copy_from_slice(digits.as_bytes());
    Ok(())
}

/// Whether the checksum in the file is correct; `None` if the file has no checksum.
pub(super) fn holds(bytes: &[u8]) -> Option<bool> {
    let place = place(bytes)?;
    Some(digits(bytes, &place).as_bytes() == &bytes[place])
}

/// The position of the digits.
fn place(bytes: &[u8]) -> Option<Range<usize>> {
    let length = u64::from_le_bytes(*bytes.first_chunk()?);
    let header = &bytes[..bytes.len().min(usize::try_from(length).ok()?.saturating_add(8))];
    let start = header.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let place = start..start + BLANK.len();
    (place.end <= bytes.len()).then_some(place)
}

fn digits(bytes: &[u8], place: &Range<usize>) -> String {
    let mut hasher = crc32fast::Hasher::new();
    for stretch in [&bytes[..place.start], BLANK.as_bytes(), &bytes[place.end..]] {
        hasher.update(stretch);
    }
    format!("{:08x}", hasher.finalize())
}

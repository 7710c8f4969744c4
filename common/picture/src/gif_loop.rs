//! Reads how often a GIF plays. The image crate reports endless repetition for a file without a loop block.

use super::Repeat;

/// Block labels of `GIF89a`, and the applications whose extension holds the loop count.
const EXTENSION: u8 = 0x21;
const APPLICATION: u8 = 0xFF;
const IMAGE: u8 = 0x2C;
const LOOPING: [&[u8]; 2] = [b"NETSCAPE2.0", b"ANIMEXTS1.0"];

/// How often a GIF plays: once if there is no loop block. Otherwise the block gives the number of repetitions after the
/// first play.
pub(super) fn repeat(bytes: &[u8]) -> Repeat {
    match loop_count(bytes) {
        None => Repeat::Times(1),
        Some(0) => Repeat::Forever,
        Some(repetitions) => Repeat::Times(u32::from(repetitions) + 1),
    }
}

/// The count of the last loop block.
fn loop_count(bytes: &[u8]) -> Option<u16> {
    let mut count = None;
    let mut rest = bytes.get(13 + color_table(*bytes.get(10)?)..)?;
    loop {
        rest = match *rest {
            [EXTENSION, APPLICATION, ..] => {
                let (name, after) = sub_block(&rest[2..])?;
                match after {
                    [3, 1, low, high, ..] if LOOPING.contains(&name) => count = Some(u16::from_le_bytes([*low, *high])),
                    _ => {}
                }
                skip_sub_blocks(after)
            }
            [EXTENSION, _, ..] => skip_sub_blocks(&rest[2..]),
            [IMAGE, ..] => match rest.get(9).and_then(|&flags| rest.get(11 + color_table(flags)..)) {
                Some(data) => skip_sub_blocks(data),
                None => return count,
            },
            _ => return count,
        };
    }
}

/// The size, in bytes, of the colour table that these flags describe.
fn color_table(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

fn sub_block(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(length.into())
}

/// The bytes after the empty block that ends a sequence of blocks.
fn skip_sub_blocks(mut bytes: &[u8]) -> &[u8] {
    while let Some((block, rest)) = sub_block(bytes) {
        bytes = rest;
        if block.is_empty() {
            return bytes;
        }
    }
    &[]
}

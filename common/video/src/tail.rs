//! Whether the end of a clip's file is missing, by the sizes that its format states.
//!
//! Most demuxers of ffmpeg end a file that was cut between two packets like a whole one, without a message.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use impasto_error::{Result, ResultExt};

/// Boxes or tags that are looked at. More are in no sensible clip.
const MOST_STEPS: usize = 4_000_000;

/// The boxes that MP4 and `QuickTime` files begin with.
const BOXES: [[u8; 4]; 7] = [*b"ftyp", *b"styp", *b"moov", *b"mdat", *b"wide", *b"free", *b"skip"];

/// Bytes at the end in which the last page of an Ogg file begins.
const LARGEST_PAGE: u64 = 65_536;

/// The first byte of each packet of a transport stream, and the bytes of a packet.
const SYNC: u8 = 0x47;
const PACKET: u64 = 188;

/// The first bytes of ASF files (WMV), and of their list of file properties.
const ASF: [u8; 16] = *b"\x30\x26\xB2\x75\x8E\x66\xCF\x11\xA6\xD9\x00\xAA\x00\x62\xCE\x6C";
const ASF_PROPERTIES: [u8; 16] = *b"\xA1\xDC\xAB\x8C\x47\xA9\xCF\x11\x8E\xE4\x00\xC0\x0C\x20\x53\x65";

/// Whether the file is shorter than its format says. False for formats without a size.
///
/// # Errors
///
/// If the file cannot be read.
pub(super) fn is_cut(path: &Path) -> Result<bool> {
    let action = || format!("cannot read `{}`", path.display());
    let metadata = std::fs::metadata(path).context(action)?;
    if !metadata.is_file() {
        return Ok(false);
    }
    let file = File::open(path).context(action)?;
    match is_short(&mut BufReader::new(file), metadata.len()) {
        // Not even the header is whole.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
        result => result.context(action),
    }
}

fn is_short(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let mut head = [0; 16];
    file.read_exact(&mut head)?;
    match head {
        [_, _, _, _, kind @ .., _, _, _, _, _, _, _, _] if BOXES.contains(&kind) => boxes(file, length),
        [b'R', b'I', b'F', b'F', ..] => riff(file, length),
        [b'F', b'L', b'V', 1, ..] => flv(file, length),
        [0x1A, 0x45, 0xDF, 0xA3, ..] => matroska(file, length),
        [b'O', b'g', b'g', b'S', ..] => ogg(file, length),
        [SYNC, ..] => packets(file, length),
        _ if head == ASF => asf(file, length),
        _ => Ok(false),
    }
}

fn bytes_at<const N: usize>(file: &mut (impl Read + Seek), at: u64) -> io::Result<[u8; N]> {
    let here = file.stream_position()?;
    // A relative movement keeps what is buffered.
    file.seek(SeekFrom::Current(at.wrapping_sub(here).cast_signed()))?;
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// The number in the first bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn number_from_last(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// MP4 and `QuickTime` (ISO/IEC 14496-12): boxes one behind the other.
fn boxes(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let mut at = 0;
    for _ in 0..MOST_STEPS {
        if at + 8 > length {
            // A few bytes that are no box are no part of the clip.
            return Ok(false);
        }
        let head: [u8; 8] = bytes_at(file, at)?;
        let size = match number(&head[..4]) {
            // It goes on to the end.
            0 => return Ok(false),
            1 => number(&bytes_at::<8>(file, at + 8)?),
            size => size,
        };
        if size < 8 || !head[4..].iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
            return Ok(false);
        }
        at = at.saturating_add(size);
        if at >= length {
            return Ok(at > length);
        }
    }
    Ok(false)
}

/// AVI: one list, or several of them in large files (`OpenDML`).
fn riff(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let mut at = 0;
    while at + 8 <= length {
        let head: [u8; 8] = bytes_at(file, at)?;
        let size = number_from_last(&head[4..]);
        if !head.starts_with(b"RIFF") || size == 0 || size == 0xFFFF_FFFF {
            return Ok(false);
        }
        at += 8 + size + size % 2;
    }
    // The last byte may be missing if it is only there to make the size even.
    Ok(at > length + 1)
}

/// Flash video: tags one behind the other, each followed by its size.
fn flv(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let mut at = number(&bytes_at::<4>(file, 5)?) + 4;
    for _ in 0..MOST_STEPS {
        if at >= length {
            // Some programs leave out the last size.
            return Ok(at > length + 4);
        }
        if at + 11 > length {
            return Ok(true);
        }
        let head: [u8; 11] = bytes_at(file, at)?;
        if ![8, 9, 18].contains(&(head[0] & 0x1F)) {
            return Ok(false);
        }
        at += 11 + number(&head[1..4]) + 4;
    }
    Ok(false)
}

/// Matroska (RFC 9559): a header, and one element with all the rest.
fn matroska(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let Some((size, width)) = element_size(file, 4)? else { return Ok(false) };
    let at = (4 + width).saturating_add(size);
    if at > length {
        return Ok(true);
    }
    if bytes_at(file, at)? != [0x18, 0x53, 0x80, 0x67] {
        return Ok(false);
    }
    let Some((size, width)) = element_size(file, at + 4)? else { return Ok(false) };
    Ok((at + 4 + width).saturating_add(size) > length)
}

/// The size of an element and the bytes that it takes to say it; `None` if it is unknown.
fn element_size(file: &mut (impl Read + Seek), at: u64) -> io::Result<Option<(u64, u64)>> {
    let [first] = bytes_at(file, at)?;
    let width = u64::from(first.leading_zeros()) + 1;
    if width > 8 {
        return Ok(None);
    }
    let mut size = u64::from(first) & (0xFF >> width);
    for i in 1..width {
        size = size << 8 | u64::from(bytes_at::<1>(file, at + i)?[0]);
    }
    Ok((size != (1 << (7 * width)) - 1).then_some((size, width)))
}

/// Ogg (RFC 3533): the last page of a stream is marked.
fn ogg(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let start = length.saturating_sub(LARGEST_PAGE);
    file.seek(SeekFrom::Start(start))?;
    let mut end = Vec::new();
    file.take(LARGEST_PAGE).read_to_end(&mut end)?;
    let Some(page) = end.windows(4).rposition(|bytes| bytes == b"OggS") else { return Ok(false) };
    Ok(end.get(page + 5).is_none_or(|kind| kind & 4 == 0))
}

/// MPEG transport stream: packets of one size.
fn packets(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let are_packets = length > 2 * PACKET && bytes_at(file, PACKET)? == [SYNC] && bytes_at(file, 2 * PACKET)? == [SYNC];
    Ok(are_packets && !length.is_multiple_of(PACKET))
}

/// ASF: the header states the size of the file, unless it was broadcast.
fn asf(file: &mut (impl Read + Seek), length: u64) -> io::Result<bool> {
    let end = number_from_last(&bytes_at::<8>(file, 16)?).min(length);
    let mut at = 30;
    while at + 24 <= end {
        let head: [u8; 24] = bytes_at(file, at)?;
        if head.starts_with(&ASF_PROPERTIES) {
            let size = number_from_last(&bytes_at::<8>(file, at + 40)?);
            let broadcast = bytes_at::<1>(file, at + 88)?[0] & 1 == 1;
            return Ok(!broadcast && size > length);
        }
        at = at.saturating_add(number_from_last(&head[16..]).max(24));
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn is_cut(bytes: &[u8]) -> bool {
        is_short(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    #[test]
    fn files_without_their_end_are_known_by_the_sizes_in_them() {
        let mp4 = b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x01mdat\0\0\0\0\0\0\0\x12..\0\0\0\x0cfree....".to_vec();
        let avi = b"RIFF\x0c\0\0\0AVI LIST....RIFF\x04\0\0\0AVIX".to_vec();
        let flv = b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x09\0\0\x02\0\0\0\0\0\0\0..\0\0\0\x0d".to_vec();
        let mkv = b"\x1A\x45\xDF\xA3\x84....\x18\x53\x80\x67\x40\x05.....".to_vec();
        for whole in [&mp4, &avi, &mkv] {
            assert!(!is_cut(whole), "{whole:?}");
            for cut in 1..3 {
                assert!(is_cut(&whole[..whole.len() - cut]) || whole == &avi && cut == 1, "{cut} of {whole:?}");
            }
        }
        let stream = [[SYNC; PACKET as usize]; 3].concat();
        assert!(!is_cut(&stream) && is_cut(&stream[..stream.len() - 1]));
        assert!(!is_cut(&flv) && !is_cut(&flv[..flv.len() - 4]) && is_cut(&flv[..flv.len() - 5]));
    }

    #[test]
    fn sizes_that_are_not_known_yet_and_other_formats_are_no_cut() {
        for whole in [
            b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\0mdat".as_slice(),
            b"RIFF\0\0\0\0AVI LIST",
            b"\x1A\x45\xDF\xA3\x84....\x18\x53\x80\x67\x01\xFF\xFF\xFF\xFF\xFF\xFF\xFF..",
            b"\x47.....................",
        ] {
            assert!(!is_cut(whole), "{whole:?}");
        }
    }
}

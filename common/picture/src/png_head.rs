//! The chunks of a PNG file before its pixels (PNG specification, third edition, 5.3).

use std::io::{self, Read, Seek, SeekFrom};

use super::extras::{FileProfile, MAX_PROFILE};

const SIGNATURE: usize = 8;
/// Length, name and checksum.
const CHUNK: usize = 12;

/// The content of the chunks before the pixels.
#[derive(Debug)]
pub(super) struct PngHead {
    pub(super) profile: FileProfile,
    /// Frames of an animation, 0 if there is none.
    pub(super) frames: u32,
}

/// Reads the chunks before the pixels. If the file ends too early, returns what was read up to there.
pub(super) fn read(mut file: impl Read + Seek) -> PngHead {
    let mut head = PngHead { profile: FileProfile::None, frames: 0 };
    if file.seek(SeekFrom::Start(SIGNATURE as u64)).is_ok() {
        while let Ok(true) = read_chunk(&mut file, &mut head) {}
    }
    head
}

/// Returns whether another chunk may follow before the pixels.
fn read_chunk(file: &mut (impl Read + Seek), head: &mut PngHead) -> io::Result<bool> {
    let mut start = [0; 8];
    file.read_exact(&mut start)?;
    let [l0, l1, l2, l3, name @ ..] = start;
    let length = u32::from_be_bytes([l0, l1, l2, l3]);
    let mut left = i64::from(length) + 4;
    match &name {
        b"IDAT" | b"IEND" => return Ok(false),
        b"iCCP" if head.profile == FileProfile::None => {
            head.profile = FileProfile::Unusable;
            if length as usize <= MAX_PROFILE {
                let mut body = vec![0; length as usize];
                file.read_exact(&mut body)?;
                left -= i64::from(length);
                head.profile = inflate(&body).map_or(FileProfile::Unusable, FileProfile::Sound);
            }
        }
        b"acTL" if length >= 4 => {
            let mut frames = [0; 4];
            file.read_exact(&mut frames)?;
            left -= 4;
            head.frames = u32::from_be_bytes(frames);
        }
        _ => {}
    }
    file.seek_relative(left)?;
    Ok(true)
}

/// The profile of an `iCCP` chunk: a name of up to 79 bytes that ends with 0, the method 0, and zlib data.
fn inflate(body: &[u8]) -> Option<Vec<u8>> {
    let name = body.iter().take(80).position(|&byte| byte == 0)?;
    let (&method, data) = body.get(name + 1..)?.split_first()?;
    let profile = fdeflate::decompress_to_vec_bounded(data, MAX_PROFILE);
    profile.ok().filter(|_| method == 0)
}

/// The file without the profiles before its pixels.
pub(super) fn without_profile(bytes: &[u8]) -> Vec<u8> {
    let (signature, mut rest) = bytes.split_at(SIGNATURE.min(bytes.len()));
    let mut file = signature.to_vec();
    while let [l0, l1, l2, l3, name0, name1, name2, name3, ..] = *rest {
        let name = [name0, name1, name2, name3];
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let Some((chunk, after)) = rest.split_at_checked(length + CHUNK).filter(|_| name != *b"IDAT") else { break };
        if name != *b"iCCP" {
            file.extend_from_slice(chunk);
        }
        rest = after;
    }
    file.extend_from_slice(rest);
    file
}

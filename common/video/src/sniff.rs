//! Distinguishes clips from other files by their first bytes, without running another program.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use impasto_error::{Result, ResultExt};
use impasto_files::has_extension;
use impasto_picture::PictureFormat;

/// File extensions (lower case) of clips, for searching folders.
pub const VIDEO_EXTENSIONS: [&str; 19] = [
    "mp4", "m4v", "mov", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "mts", "m2ts", "wmv", "flv", "ogv", "3gp", "mxf",
    "nut", "y4m", "vob",
];

/// Bytes that [`is_video`] inspects: three packets of an MPEG transport stream with its longest framing.
const SNIFFED: u64 = 3 * 204;

/// The first bytes of other containers.
const MAGICS: [&[u8]; 13] = [
    b"YUV4MPEG2 ",
    // Matroska and WebM: the EBML header.
    b"\x1a\x45\xdf\xa3",
    b"FLV\x01",
    b"OggS",
    b"nut/multimedia container\0",
    b"DKIF",
    // ASF (WMV): the header object's GUID.
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    // MPEG program stream, MPEG-1 and MPEG-2 video.
    b"\0\0\x01\xba",
    b"\0\0\x01\xb3",
    // H.264 and H.265 in Annex B: an access unit delimiter or a parameter set.
    b"\0\0\0\x01",
    b"\0\0\x01\x09",
    // MXF: a partition pack's key.
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01",
    b".RMF",
];

/// Brands of files that share MP4's structure but hold pictures.
const PICTURE_BRANDS: [&[u8]; 13] = [
    b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis", b"crx ", b"jxl ", b"j2ki",
];

/// Whether the file begins like a clip, regardless of its name.
///
/// # Errors
///
/// If it cannot be read.
pub fn is_video(path: &Path) -> Result<bool> {
    let action = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::with_capacity(SNIFFED as usize);
    File::open(path).and_then(|file| file.take(SNIFFED).read_to_end(&mut bytes)).context(action)?;
    Ok(is_video_start(&bytes))
}

/// Whether a file name has the extension of a clip.
#[must_use]
pub fn is_video_name(path: &Path) -> bool {
    has_extension(path, &VIDEO_EXTENSIONS)
}

/// Whether these are the first bytes of a clip. A few hundred bytes are enough.
#[must_use]
pub fn is_video_start(bytes: &[u8]) -> bool {
    MAGICS.iter().any(|magic| bytes.starts_with(magic))
        || (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"AVI "))
        || (!is_picture(bytes) && (is_quicktime(bytes) || is_transport_stream(bytes)))
}

/// Whether these are surely the first bytes of a picture, any of which may look like those of a container without a magic
/// number: GIF begins with a transport stream's 0x47. Two bytes, all that tells a BMP file, are not enough.
fn is_picture(bytes: &[u8]) -> bool {
    PictureFormat::of_bytes(bytes).is_ok_and(|format| format != PictureFormat::Bmp)
}

/// MP4 and `QuickTime`: the first box is a valid one, and the brand is not that of a picture.
fn is_quicktime(bytes: &[u8]) -> bool {
    match bytes.get(4..8) {
        Some(b"ftyp") => bytes.get(8..12).is_some_and(|brand| !PICTURE_BRANDS.contains(&brand)),
        Some(kind) => [b"moov", b"mdat", b"wide", b"free", b"skip"].contains(&kind.try_into().unwrap_or(b"    ")),
        None => false,
    }
}

/// MPEG transport stream: packets of 188 bytes that begin with 0x47, optionally with four bytes before or sixteen bytes
/// after each.
fn is_transport_stream(bytes: &[u8]) -> bool {
    let synchronised = |offset: usize, length: usize| (0..3).all(|i| bytes.get(offset + i * length) == Some(&0x47));
    synchronised(0, 188) || synchronised(4, 192) || synchronised(0, 204)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clips_are_told_from_pictures_by_their_first_bytes() {
        let mut stream = vec![0; 600];
        (0..3).for_each(|i| stream[4 + i * 192] = 0x47);
        for clip in [
            b"\0\0\0\x20ftypisom____".as_slice(),
            b"\0\0\0\x08wide\0\0",
            b"\x1a\x45\xdf\xa3\x01",
            b"RIFF____AVI LIST",
            b"YUV4MPEG2 W4 H2\n",
            &stream,
        ] {
            assert!(is_video_start(clip), "{clip:?}");
        }
        let mut gif = b"GIF89a".to_vec();
        gif.resize(600, 0);
        (gif[188], gif[376]) = (0x47, 0x47);
        for other in [
            b"".as_slice(),
            &gif,
            b"II*\0moov\0\0\0\0",
            b"\0\0\0\x20ftypheic____",
            b"\0\0\0\x18ftypcrx ____",
            b"RIFF____WEBPVP8X",
            b"\x89PNG\r\n\x1a\n",
            b"GIF89a",
            b"\xff\xd8",
        ] {
            assert!(!is_video_start(other), "{other:?}");
        }
    }
}

//! What a file is that was named, or found in a folder: a picture, a clip, or neither.

use std::path::Path;

use impasto_common::Result;
use impasto_files::{first_bytes, has_extension};
use impasto_picture::{FileKind, ForeignFormat, PictureFormat, TELLING_BYTES};
use impasto_video::{is_video_name, is_video_start};

/// What a file is. The content decides where it is known, otherwise the ending of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InputKind {
    Picture(PictureFormat),
    Clip,
    /// A picture that cannot be read.
    Foreign(ForeignFormat),
    Other,
}

impl InputKind {
    /// The kind of a file. A clip is found only by its ending or that of a picture: containers of clips hold music too.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn of(path: &Path) -> Result<Self> {
        Ok(Self::of_beginning(path, &first_bytes(path, TELLING_BYTES)?))
    }

    fn of_beginning(path: &Path, beginning: &[u8]) -> Self {
        match FileKind::of(path, beginning) {
            FileKind::Other if is_video_name(path) => Self::Clip,
            FileKind::Other => Self::Other,
            _ if is_video_start(beginning) => Self::Clip,
            FileKind::Picture(format) => Self::Picture(format),
            FileKind::Foreign(format) => Self::Foreign(format),
        }
    }

    /// Whether a picture that can be read has the ending of a clip, or of a format that cannot be read.
    pub(super) fn is_misnamed(path: &Path) -> bool {
        !matches!(Self::of_beginning(path, b""), Self::Other | Self::Picture(_))
    }
}

/// Whether a file is a segment of a clip whose painting was interrupted.
pub(super) fn is_segment(path: &Path) -> bool {
    path.parent().is_some_and(|parent| has_extension(parent, &["parts"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_decides_where_it_is_known() {
        let of = |name: &str, beginning: &[u8]| InputKind::of_beginning(Path::new(name), beginning);
        let (jpeg, clip) = (b"\xff\xd8\xff\xe0\0\x10JFIF".as_slice(), b"\0\0\0\x18ftypisom\0\0\0\0avc1".as_slice());
        for name in ["a.jpg", "a.HEIC", "a", "a.mp4", "a.txt"] {
            assert_eq!(of(name, jpeg), InputKind::Picture(PictureFormat::Jpeg), "{name}");
        }
        for name in ["a.mp4", "a.MOV", "a.jpg", "a.gif"] {
            assert_eq!(of(name, clip), InputKind::Clip, "{name}");
        }
        for (name, beginning) in [("a.m4a", clip), ("a", clip), ("README.txt", b"text"), ("Thumbs.db", b"")] {
            assert_eq!(of(name, beginning), InputKind::Other, "{name}");
        }
        assert_eq!(of("a.mp4", b""), InputKind::Clip);
        assert_eq!(of("a.heic", b"\0\0\0\x1cftypheic\0\0\0\0"), InputKind::Foreign(ForeignFormat::Heic));
        assert!(InputKind::is_misnamed(Path::new("a.HEIC")) && InputKind::is_misnamed(Path::new("a.mov")));
        assert!(!InputKind::is_misnamed(Path::new("a.jpe")) && !InputKind::is_misnamed(Path::new("Mr. Smith")));
    }
}

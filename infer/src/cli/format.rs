//! The formats that paintings are written in.

use std::path::Path;
use std::str::FromStr;

use impasto_picture::PictureFormat;

use crate::video::Container;

/// The format of a painting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PaintingFormat {
    /// A picture, or an animation if the format supports it.
    Picture(PictureFormat),
    /// A clip.
    Clip(Container),
    /// Uncompressed frames for a pipe.
    Y4m,
}

impl PaintingFormat {
    /// The format that belongs to a file's extension.
    pub(super) fn of_path(path: &Path) -> Option<Self> {
        PictureFormat::of_path(path).map(Self::Picture).or_else(|| path.extension()?.to_str()?.parse().ok())
    }

    /// The usual file extension, without the dot.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Picture(format) => format.extension(),
            Self::Clip(container) => container.extension(),
            Self::Y4m => "y4m",
        }
    }
}

impl FromStr for PaintingFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("y4m") {
            return Ok(Self::Y4m);
        }
        let clip = || text.parse().map(Self::Clip);
        text.parse().map(Self::Picture).or_else(|_: String| clip()).map_err(|_| {
            "expected `jpg`, `png`, `webp`, `tiff`, `bmp` or `gif`, or for clips `mp4`, `mov`, `mkv`, `webm` or `y4m`".into()
        })
    }
}

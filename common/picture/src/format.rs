//! The file formats that pictures are read from and written to.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::ImageFormat;
use impasto_error::{Error, Result};
use impasto_files::{find, has_extension};

/// The file extensions (lower case) of the supported picture formats.
pub const IMAGE_EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "tif", "tiff", "bmp", "gif"];

/// All files below `folder` with the extension of a picture, sorted by path. Symbolic links are followed.
///
/// # Errors
///
/// If a folder cannot be read.
pub fn find_images(folder: &Path) -> Result<Vec<PathBuf>> {
    find(folder, |path| has_extension(path, &IMAGE_EXTENSIONS))
}

/// A file format of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    /// 8 bits, no alpha, lossy.
    Jpeg,
    /// 8 or 16 bits, alpha, lossless.
    Png,
    /// 8 bits, alpha; written lossless.
    WebP,
    /// 8 or 16 bits, alpha; written without compression.
    Tiff,
    /// 8 bits, alpha, no compression, no colour profile.
    Bmp,
    /// 256 colours per frame, pixels either opaque or transparent, animation, no colour profile.
    Gif,
}

impl PictureFormat {
    /// All formats.
    pub const ALL: [Self; 6] = [Self::Jpeg, Self::Png, Self::WebP, Self::Tiff, Self::Bmp, Self::Gif];

    /// The format that belongs to a file's extension.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        path.extension()?.to_str()?.parse().ok()
    }

    /// The format of a file, recognised by its first bytes.
    ///
    /// # Errors
    ///
    /// If they belong to no supported format.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self> {
        if BIG_TIFF.iter().any(|magic| bytes.starts_with(magic)) {
            return Ok(Self::Tiff);
        }
        let format = image::guess_format(bytes).ok();
        let known = Self::ALL.into_iter().find(|&known| format == Some(known.into()));
        known.ok_or_else(|| match (bytes, format) {
            ([], _) => Error::new("the file is empty"),
            (_, Some(other)) => {
                Error::new(format!("the picture's format, {other:?}, is not supported")).with_hint(READABLE)
            }
            _ => Error::new("the file is not a picture").with_hint(READABLE),
        })
    }

    /// The usual file extension, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::WebP => "webp",
            Self::Tiff => "tiff",
            Self::Bmp => "bmp",
            Self::Gif => "gif",
        }
    }

    /// Whether the format supports animation.
    #[must_use]
    pub fn is_animated(self) -> bool {
        matches!(self, Self::Gif | Self::WebP)
    }

    /// The longest side in pixels that the format can describe.
    pub(super) fn max_side(self) -> u32 {
        match self {
            Self::Jpeg | Self::Gif => 65_535,
            Self::WebP => 16_383,
            Self::Png | Self::Tiff | Self::Bmp => i32::MAX as u32,
        }
    }

    pub(super) fn has_alpha(self) -> bool {
        self != Self::Jpeg
    }

    pub(super) fn has_profile(self) -> bool {
        !matches!(self, Self::Bmp | Self::Gif)
    }

    pub(super) fn has_16_bits(self) -> bool {
        matches!(self, Self::Png | Self::Tiff)
    }
}

/// The first bytes of TIFF files with 64-bit offsets.
const BIG_TIFF: [&[u8]; 2] = [b"II+\0", b"MM\0+"];

const READABLE: &str = "supported formats are JPEG, PNG, WebP, TIFF, BMP and GIF";

impl fmt::Display for PictureFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::WebP => "WebP",
            Self::Tiff => "TIFF",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
        })
    }
}

impl FromStr for PictureFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "jpg" | "jpeg" => Ok(Self::Jpeg),
            "png" => Ok(Self::Png),
            "webp" => Ok(Self::WebP),
            "tif" | "tiff" => Ok(Self::Tiff),
            "bmp" => Ok(Self::Bmp),
            "gif" => Ok(Self::Gif),
            _ => Err("expected `jpg`, `png`, `webp`, `tiff`, `bmp` or `gif`".into()),
        }
    }
}

impl From<PictureFormat> for ImageFormat {
    fn from(format: PictureFormat) -> Self {
        match format {
            PictureFormat::Jpeg => Self::Jpeg,
            PictureFormat::Png => Self::Png,
            PictureFormat::WebP => Self::WebP,
            PictureFormat::Tiff => Self::Tiff,
            PictureFormat::Bmp => Self::Bmp,
            PictureFormat::Gif => Self::Gif,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_extension_that_folders_are_searched_for_is_a_format() {
        for extension in IMAGE_EXTENSIONS {
            assert!(PictureFormat::of_path(Path::new(&format!("a.{}", extension.to_uppercase()))).is_some());
        }
        assert_eq!(PictureFormat::of_path(Path::new("a.txt")), None);
        assert_eq!(PictureFormat::of_path(Path::new("png")), None);
    }

    #[test]
    fn bytes_that_are_no_picture_say_what_can_be_read() {
        let error = PictureFormat::of_bytes(b"hello, world, how are you").unwrap_err();
        assert_eq!(error.to_string(), "the file is not a picture");
        assert_eq!(error.hint(), Some(READABLE));
        assert_eq!(PictureFormat::of_bytes(b"").unwrap_err().to_string(), "the file is empty");
        assert_eq!(
            PictureFormat::of_bytes(b"qoif____").unwrap_err().to_string(),
            "the picture's format, Qoi, is not supported"
        );
    }
}

//! Pictures read and written in strips of rows, from the top down: a picture of a thousand million pixels is never in
//! memory as a whole.
//!
//! A strip is a [`Picture`] as wide as the file's, so that all that works on pictures works on strips. PNG, TIFF and JPEG
//! can be read and written so, but for the variants of them whose rows are not stored in order.

mod baseline;
mod jpeg;
mod png;
mod read;
mod samples;
mod tiff;
mod turned;
mod write;

use super::Picture;

pub(crate) use baseline::rows_of as jpeg_rows;
pub use read::StripReader;
pub use write::StripWriter;

/// What is known of a picture before its first pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureInfo {
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// Bits per channel, 8 or 16.
    pub bits: u8,
    /// Whether there is an alpha channel.
    pub has_alpha: bool,
    /// The embedded ICC profile, if it describes RGB.
    pub icc: Option<Vec<u8>>,
}

impl PictureInfo {
    /// Samples in a row: three or four a pixel.
    fn row_samples(&self) -> usize {
        self.width as usize * if self.has_alpha { 4 } else { 3 }
    }
}

impl Picture {
    /// The size, depth, alpha and profile.
    #[must_use]
    pub fn info(&self) -> PictureInfo {
        PictureInfo {
            width: self.width(),
            height: self.height(),
            bits: self.bits(),
            has_alpha: self.has_alpha(),
            icc: self.icc.clone(),
        }
    }
}

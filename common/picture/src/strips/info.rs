//! The properties of a picture in its header.

use crate::Picture;

/// The properties of a picture that are known before its first pixel.
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
    /// Samples in a row: three or four per pixel.
    pub(super) fn row_samples(&self) -> usize {
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

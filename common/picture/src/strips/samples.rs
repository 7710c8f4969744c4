//! Interleaved samples of some rows.

use std::ops::Range;

use image::{DynamicImage, GrayAlphaImage, GrayImage, ImageBuffer, RgbImage, RgbaImage};

use impasto_error::{Error, Result};

/// Interleaved samples in one of the two depths.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Samples {
    Eight(Vec<u8>),
    Sixteen(Vec<u16>),
}

impl Samples {
    /// No samples, with capacity for `count`.
    pub(super) fn with_capacity(bits: u8, count: usize) -> Self {
        if bits == 8 { Self::Eight(Vec::with_capacity(count)) } else { Self::Sixteen(Vec::with_capacity(count)) }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Eight(samples) => samples.len(),
            Self::Sixteen(samples) => samples.len(),
        }
    }

    /// Appends a part of `other`.
    ///
    /// # Errors
    ///
    /// If `other` is too short or has a different depth, as in a damaged file.
    pub(super) fn extend_from(&mut self, other: &Self, part: Range<usize>) -> Result<()> {
        let extended = match (self, other) {
            (Self::Eight(samples), Self::Eight(other)) => other.get(part).map(|part| samples.extend_from_slice(part)),
            (Self::Sixteen(samples), Self::Sixteen(other)) => {
                other.get(part).map(|part| samples.extend_from_slice(part))
            }
            _ => None,
        };
        extended.ok_or_else(|| Error::new("a strip or tile of the picture is shorter than its header says"))
    }

    /// The samples as an image of one to four channels: grey, grey and alpha, RGB, RGBA.
    pub(super) fn into_image(self, channels: usize, width: u32, height: u32) -> Result<DynamicImage> {
        let image = match (self, channels) {
            (Self::Eight(samples), 1) => GrayImage::from_raw(width, height, samples).map(Into::into),
            (Self::Eight(samples), 2) => GrayAlphaImage::from_raw(width, height, samples).map(Into::into),
            (Self::Eight(samples), 3) => RgbImage::from_raw(width, height, samples).map(Into::into),
            (Self::Eight(samples), _) => RgbaImage::from_raw(width, height, samples).map(Into::into),
            (Self::Sixteen(samples), 1) => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLuma16),
            (Self::Sixteen(samples), 2) => {
                ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageLumaA16)
            }
            (Self::Sixteen(samples), 3) => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgb16),
            (Self::Sixteen(samples), _) => ImageBuffer::from_raw(width, height, samples).map(DynamicImage::ImageRgba16),
        };
        image.ok_or_else(|| Error::new(format!("there are too few samples for {width}x{height} pixels")))
    }

    /// The samples of an RGB or RGBA image with 8 or 16 bits.
    pub(super) fn of(image: DynamicImage) -> Self {
        match image {
            DynamicImage::ImageRgb8(image) => Self::Eight(image.into_raw()),
            DynamicImage::ImageRgba8(image) => Self::Eight(image.into_raw()),
            DynamicImage::ImageRgba16(image) => Self::Sixteen(image.into_raw()),
            other => Self::Sixteen(other.into_rgb16().into_raw()),
        }
    }

    /// The bytes of the samples; 16-bit samples have the high byte first.
    pub(super) fn into_big_endian(self) -> Vec<u8> {
        match self {
            Self::Eight(samples) => samples,
            Self::Sixteen(samples) => samples.into_iter().flat_map(u16::to_be_bytes).collect(),
        }
    }

    /// The opposite of [`Self::into_big_endian`].
    pub(super) fn from_big_endian(bits: u8, bytes: Vec<u8>) -> Self {
        if bits == 8 {
            return Self::Eight(bytes);
        }
        Self::Sixteen(bytes.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair)).collect())
    }
}

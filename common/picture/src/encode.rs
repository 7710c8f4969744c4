//! Writes pictures.

use std::io::{Cursor, Write};
use std::path::Path;

use image::codecs::bmp::BmpEncoder;
use image::codecs::gif::GifEncoder;
use image::codecs::png::PngEncoder;
use image::codecs::tiff::TiffEncoder;
use image::codecs::webp::WebPEncoder;
use image::{DynamicImage, ImageEncoder, ImageResult, Rgb, RgbImage, RgbaImage};

use super::{Picture, PictureFormat, jpeg_encode};
use impasto_error::{Error, Result, ResultExt};
use impasto_files::write_atomic;

/// The default JPEG quality, at which compression is not visible in a painting. Below about 85, there is visible ringing at
/// the edges of strokes.
pub const DEFAULT_QUALITY: u8 = 92;

/// The speed of choosing GIF colours, from 1 (slowest and best) to 30. 10 is the encoder's own recommendation.
pub(super) const GIF_SPEED: i32 = 10;

/// How a picture is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodeOptions {
    /// The file format.
    pub format: PictureFormat,
    /// JPEG quality, 1 to 100. Default: [`DEFAULT_QUALITY`]. The other formats are lossless.
    pub quality: u8,
}

impl From<PictureFormat> for EncodeOptions {
    fn from(format: PictureFormat) -> Self {
        Self { format, quality: DEFAULT_QUALITY }
    }
}

/// A property of a picture that a file format cannot store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Transparent pixels are blended with white.
    Transparency,
    /// Partly transparent pixels become opaque or transparent.
    PartialTransparency,
    /// The colour profile is dropped, so the colours will be interpreted as sRGB.
    Profile,
}

impl Picture {
    /// What is lost by writing this picture as `format`. The reduction from 16 to 8 bits is not reported.
    #[must_use]
    pub fn losses(&self, format: PictureFormat) -> Vec<Loss> {
        let mut losses = Vec::new();
        let (mut transparent, mut partly) = (false, false);
        if self.has_alpha() && (!format.has_alpha() || format == PictureFormat::Gif) {
            for pixel in self.image.to_rgba8().pixels() {
                transparent |= pixel[3] < u8::MAX;
                partly |= (1..u8::MAX).contains(&pixel[3]);
            }
        }
        if transparent && !format.has_alpha() {
            losses.push(Loss::Transparency);
        } else if partly {
            losses.push(Loss::PartialTransparency);
        }
        if self.icc.is_some() && !format.has_profile() {
            losses.push(Loss::Profile);
        }
        losses
    }

    /// Writes the picture in the format of the file's extension, JPEG with [`DEFAULT_QUALITY`].
    ///
    /// # Errors
    ///
    /// If the extension belongs to no format, or as for [`Self::save_as`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let format = PictureFormat::of_path(path).ok_or_else(|| {
            Error::usage(format!("`{}` does not have the extension of a supported picture format", path.display()))
        })?;
        self.save_as(path, format.into())
    }

    /// Writes the picture file atomically, so that a killed run leaves no incomplete file.
    ///
    /// # Errors
    ///
    /// If the picture is too large for the format, or the file cannot be written.
    pub fn save_as(&self, path: impl AsRef<Path>, options: EncodeOptions) -> Result<()> {
        let path = path.as_ref();
        let bytes = self.encode(options).context(|| format!("cannot write `{}`", path.display()))?;
        write_atomic(path, |writer| writer.write_all(&bytes).context(|| "cannot write the pixels"))
    }

    /// The bytes of a picture file. What the format cannot store is lost as [`Loss`] describes.
    ///
    /// # Errors
    ///
    /// If the picture is too large for the format.
    pub fn encode(&self, options: EncodeOptions) -> Result<Vec<u8>> {
        let format = options.format;
        check_side(format, self.width().max(self.height()))?;
        let image = self.clone().into_compatible(format);
        let mut bytes = Cursor::new(Vec::new());
        let out = &mut bytes;
        let written = match format {
            PictureFormat::Jpeg => {
                let (width, height) = (image.width(), image.height());
                let row_bytes = 3 * width as usize;
                let row = |y: u32, take: &mut jpeg_encode::TakeRow| {
                    take(&image.as_bytes()[y as usize * row_bytes..][..row_bytes]);
                };
                jpeg_encode::encode(&mut *out, (width, height), options.quality, self.icc.as_deref(), row)?;
                Ok(())
            }
            PictureFormat::Png => self.write(&image, PngEncoder::new(out)),
            PictureFormat::WebP => self.write(&image, WebPEncoder::new_lossless(out)),
            PictureFormat::Tiff => self.write(&image, TiffEncoder::new(out)),
            PictureFormat::Bmp => self.write(&image, BmpEncoder::new(out)),
            PictureFormat::Gif => self.write(&image, GifEncoder::new_with_speed(out, GIF_SPEED)),
        };
        written.context(|| format!("cannot encode as {format}"))?;
        Ok(bytes.into_inner())
    }

    fn write(&self, image: &DynamicImage, mut encoder: impl ImageEncoder) -> ImageResult<()> {
        if let Some(profile) = &self.icc {
            // An encoder without support for profiles returns an error; `losses` reports this to the caller.
            let _ = encoder.set_icc_profile(profile.clone());
        }
        encoder.write_image(image.as_bytes(), image.width(), image.height(), image.color().into())
    }

    /// The pixels with a depth and channels that `format` can store.
    pub(super) fn into_compatible(self, format: PictureFormat) -> DynamicImage {
        match (self.has_alpha(), format.has_alpha()) {
            (true, false) => over_white(&self.image.into_rgba8()).into(),
            (true, true) if format == PictureFormat::Gif => binary_alpha(self.image.into_rgba8()).into(),
            (true, true) if !format.has_16_bits() => self.image.into_rgba8().into(),
            (false, _) if !format.has_16_bits() => self.image.into_rgb8().into(),
            _ => self.image,
        }
    }
}

pub(super) fn check_side(format: PictureFormat, side: u32) -> Result<()> {
    let limit = format.max_side();
    if side <= limit {
        return Ok(());
    }
    Err(Error::new(format!("a {format} picture can be at most {limit} pixels wide and high, not {side}"))
        .with_hint("use PNG, or make the picture smaller with `--max-size`"))
}

/// The picture blended with white, as browsers and viewers show it.
pub(super) fn over_white(image: &RgbaImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| {
        let &[red, green, blue, alpha] = &image.get_pixel(x, y).0;
        let alpha = u32::from(alpha);
        Rgb([red, green, blue].map(|level| ((u32::from(level) * alpha + 255 * (255 - alpha) + 127) / 255) as u8))
    })
}

pub(super) fn binary_alpha(mut image: RgbaImage) -> RgbaImage {
    for pixel in image.pixels_mut() {
        pixel[3] = if pixel[3] < 128 { 0 } else { u8::MAX };
    }
    image
}

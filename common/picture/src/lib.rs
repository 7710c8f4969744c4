//! Reads and writes pictures, as a whole or in strips, and animations.
#![forbid(unsafe_code)]

mod animation;
mod animation_writer;
mod decode;
mod encode;
mod extras;
mod folder;
mod foreign;
mod format;
mod gif_loop;
mod hidden;
mod jpeg;
mod jpeg_complete;
mod jpeg_encode;
mod jpeg_layout;
mod png_head;
mod rows;
mod strips;
mod tiff_tags;
mod webp_animation;
mod webp_frames;

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, RgbImage};

use impasto_error::{Error, Result};

pub use animation::{Animation, AnimationFrame, GifWriter, Repeat};
pub use animation_writer::AnimationWriter;
pub use decode::{bytes_to_decode, claimed_size, read_picture_bytes};
pub use encode::{DEFAULT_QUALITY, EncodeOptions, Loss};
pub use folder::{FileKind, FolderPictures, TELLING_BYTES, count_foreign, find_images, mac_metadata_note};
pub use foreign::ForeignFormat;
pub use format::PictureFormat;
pub use hidden::{BledColors, VisibleColors};
pub use rows::level_of_8_bits;
pub use strips::{PictureInfo, StripReader, StripWriter};
pub use webp_animation::WebPWriter;

/// An upright picture: RGB with 8 or 16 bits per channel, optionally with an alpha channel and a colour profile.
///
/// Grey, palette, CMYK and floating-point files are converted to RGB; floating-point levels are clamped to `[0, 1]` and
/// stored in 16 bits. Other metadata (camera, place, date) is not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// One of `ImageRgb8`, `ImageRgba8`, `ImageRgb16` and `ImageRgba16`.
    image: DynamicImage,
    icc: Option<Vec<u8>>,
    format: Option<PictureFormat>,
    /// Notices about how the file was read.
    notes: Vec<String>,
}

impl From<DynamicImage> for Picture {
    fn from(image: DynamicImage) -> Self {
        use image::ColorType::{L8, L16, La8, Rgb8, Rgb16, Rgb32F, Rgba8};
        let image = match image.color() {
            L8 | Rgb8 => image.into_rgb8().into(),
            La8 | Rgba8 => image.into_rgba8().into(),
            L16 | Rgb16 | Rgb32F => image.into_rgb16().into(),
            // The remaining variants, and those that the image crate may add, are converted to 16-bit RGBA.
            _ => image.into_rgba16().into(),
        };
        Self { image, icc: None, format: None, notes: Vec::new() }
    }
}

impl From<RgbImage> for Picture {
    fn from(image: RgbImage) -> Self {
        Self { image: image.into(), icc: None, format: None, notes: Vec::new() }
    }
}

impl Picture {
    /// The width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.image.width()
    }

    /// The height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.image.height()
    }

    /// Bits per channel, 8 or 16.
    #[must_use]
    pub fn bits(&self) -> u8 {
        match self.image {
            DynamicImage::ImageRgb8(_) | DynamicImage::ImageRgba8(_) => 8,
            _ => 16,
        }
    }

    /// Whether there is an alpha channel.
    #[must_use]
    pub fn has_alpha(&self) -> bool {
        self.image.color().has_alpha()
    }

    /// The embedded ICC profile, if it describes RGB. Other profiles do not apply to the converted pixels.
    #[must_use]
    pub fn icc_profile(&self) -> Option<&[u8]> {
        self.icc.as_deref()
    }

    /// The format of the file that the picture came from.
    #[must_use]
    pub fn format(&self) -> Option<PictureFormat> {
        self.format
    }

    /// Notices for the user about how the file was read, such as a missing end marker.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The pixels, as a type of the image crate.
    #[must_use]
    pub fn as_image(&self) -> &DynamicImage {
        &self.image
    }

    /// The pixels, as a type of the image crate.
    #[must_use]
    pub fn into_image(self) -> DynamicImage {
        self.image
    }

    /// Takes the bytes out of an 8-bit picture: red, green, blue and optionally alpha of each pixel. [`Blank::fill`] puts
    /// them back.
    ///
    /// # Errors
    ///
    /// If the picture has 16 bits per channel, it is returned.
    pub fn into_bytes(self) -> Result<(Blank, Vec<u8>), Box<Self>> {
        let Self { image, icc, format, notes } = self;
        let (width, height, has_alpha) = (image.width(), image.height(), image.color().has_alpha());
        let bytes = match image {
            DynamicImage::ImageRgb8(image) => image.into_raw(),
            DynamicImage::ImageRgba8(image) => image.into_raw(),
            image => return Err(Box::new(Self { image, icc, format, notes })),
        };
        Ok((Blank { width, height, has_alpha, icc, format, notes }, bytes))
    }

    /// The pixels as 8-bit RGB without alpha.
    #[must_use]
    pub fn into_rgb8(self) -> RgbImage {
        self.image.into_rgb8()
    }

    /// The pixels as 8-bit RGB, as they are seen on white.
    #[must_use]
    pub fn into_rgb8_on_white(self) -> RgbImage {
        if self.has_alpha() { encode::over_white(&self.image.into_rgba8()) } else { self.into_rgb8() }
    }

    /// Whether any pixel is not opaque.
    #[must_use]
    pub fn is_transparent(&self) -> bool {
        match &self.image {
            DynamicImage::ImageRgba8(image) => image.pixels().any(|pixel| pixel[3] < u8::MAX),
            DynamicImage::ImageRgba16(image) => image.pixels().any(|pixel| pixel[3] < u16::MAX),
            _ => false,
        }
    }

    /// The picture shrunk so that its longer side has at most `long_side` pixels. A smaller picture is unchanged.
    ///
    /// Colours and alpha are filtered separately. The colours under fully transparent pixels are replaced first (see
    /// [`Self::with_bled_colors`]), so that they do not show at the edges.
    #[must_use]
    pub fn fit_within(mut self, long_side: u32) -> Self {
        if self.width().max(self.height()) > long_side {
            let side = long_side.max(1);
            self = self.with_bled_colors();
            self.image = self.image.resize(side, side, FilterType::Lanczos3);
        }
        self
    }
}

/// An 8-bit picture without its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Blank {
    width: u32,
    height: u32,
    has_alpha: bool,
    icc: Option<Vec<u8>>,
    format: Option<PictureFormat>,
    notes: Vec<String>,
}

impl Blank {
    /// Height and width in pixels.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        (self.height as usize, self.width as usize)
    }

    /// Bytes per pixel, 3 or 4.
    #[must_use]
    pub fn channels(&self) -> usize {
        if self.has_alpha { 4 } else { 3 }
    }

    /// The picture with these bytes.
    ///
    /// # Errors
    ///
    /// If there are too few bytes for the picture.
    pub fn fill(self, bytes: Vec<u8>) -> Result<Picture> {
        let Self { width, height, has_alpha, icc, format, notes } = self;
        let image = if has_alpha {
            image::RgbaImage::from_raw(width, height, bytes).map(DynamicImage::from)
        } else {
            RgbImage::from_raw(width, height, bytes).map(DynamicImage::from)
        };
        let image = image
            .ok_or_else(|| Error::new(format!("the buffer is too small for a picture of {width}x{height} pixels")))?;
        Ok(Picture { image, icc, format, notes })
    }
}

/// Reads a picture as 8-bit RGB with its EXIF rotation applied. Transparent areas are blended with white.
///
/// # Errors
///
/// If the file cannot be read, is cut short, or is not a supported picture.
pub fn read_rgb(path: &Path) -> Result<RgbImage> {
    Ok(read_rgb_noted(path)?.0)
}

/// Like [`read_rgb`], and returns notices for the user about how the file was read.
///
/// # Errors
///
/// As [`read_rgb`].
pub fn read_rgb_noted(path: &Path) -> Result<(RgbImage, Vec<String>)> {
    let picture = Picture::open(path)?;
    let mut notes = picture.notes.clone();
    if picture.is_transparent() {
        notes.push("transparent areas of the picture are blended with white".to_owned());
    }
    Ok((picture.into_rgb8_on_white(), notes))
}

#[cfg(test)]
mod tests {
    use image::{Rgb, Rgba, RgbaImage};

    use super::*;

    #[test]
    fn bytes_come_out_and_go_back() {
        for image in [
            DynamicImage::from(RgbImage::from_pixel(3, 2, Rgb([1, 2, 3]))),
            DynamicImage::from(RgbaImage::from_pixel(3, 2, Rgba([1, 2, 3, 4]))),
        ] {
            let picture = Picture { icc: Some(vec![7]), ..Picture::from(image) };
            let (blank, bytes) = picture.clone().into_bytes().unwrap();
            assert_eq!((blank.size(), bytes.len()), ((2, 3), 6 * blank.channels()));
            assert!(blank.clone().fill(vec![0; 3]).is_err());
            assert_eq!(blank.fill(bytes).unwrap(), picture);
        }
        let deep = Picture::from(DynamicImage::new_rgb16(2, 2));
        assert_eq!(*deep.clone().into_bytes().unwrap_err(), deep);
    }

    #[test]
    fn transparency_is_what_is_not_opaque_and_is_seen_on_white() {
        let opaque = Picture::from(DynamicImage::from(RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 255]))));
        assert!(!opaque.is_transparent() && !Picture::from(RgbImage::new(2, 2)).is_transparent());
        assert_eq!(opaque.into_rgb8_on_white().get_pixel(1, 1).0, [1, 2, 3]);
        let clear = Picture::from(DynamicImage::from(RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 0]))));
        assert!(clear.is_transparent());
        assert_eq!(clear.into_rgb8_on_white().get_pixel(1, 1).0, [255; 3]);
    }

    #[test]
    fn a_picture_with_transparency_is_learnt_from_as_it_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("style.png");
        let image = RgbaImage::from_fn(2, 1, |x, _| Rgba([0, 100, 255, if x == 0 { 0 } else { 128 }]));
        Picture::from(DynamicImage::from(image)).save(&path).unwrap();
        let (image, notes) = read_rgb_noted(&path).unwrap();
        assert_eq!(image.into_raw(), [255, 255, 255, 127, 177, 255]);
        assert_eq!(notes, ["transparent areas of the picture are blended with white"]);
        Picture::from(RgbImage::new(2, 2)).save(&path).unwrap();
        assert_eq!(read_rgb_noted(&path).unwrap().1, [""; 0]);
    }
}

//! Pictures in files, whole or in strips, and in memory; animations.
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

/// A picture the right way up: RGB in 8 or 16 bits, perhaps an alpha channel, perhaps a colour profile.
///
/// Grey, palette, CMYK and floating-point sources are RGB by the time they are here; floating-point levels are cut off
/// outside `[0, 1]` and kept in 16 bits. Other metadata (camera, place, date) is not carried.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// One of `ImageRgb8`, `ImageRgba8`, `ImageRgb16` and `ImageRgba16`.
    image: DynamicImage,
    icc: Option<Vec<u8>>,
    format: Option<PictureFormat>,
    /// What the user should know of how the file was read.
    notes: Vec<String>,
}

impl From<DynamicImage> for Picture {
    fn from(image: DynamicImage) -> Self {
        use image::ColorType::{L8, L16, La8, Rgb8, Rgb16, Rgb32F, Rgba8};
        let image = match image.color() {
            L8 | Rgb8 => image.into_rgb8().into(),
            La8 | Rgba8 => image.into_rgba8().into(),
            L16 | Rgb16 | Rgb32F => image.into_rgb16().into(),
            // What is left, and what the image crate may add, has an alpha channel and more than 8 bits.
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

    /// The embedded ICC profile, if it describes RGB: no other fits the converted pixels.
    #[must_use]
    pub fn icc_profile(&self) -> Option<&[u8]> {
        self.icc.as_deref()
    }

    /// The format of the file that the picture came from.
    #[must_use]
    pub fn format(&self) -> Option<PictureFormat> {
        self.format
    }

    /// What the user should know of how the file was read, such as that it lacks its end.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The pixels, as the image crate holds them.
    #[must_use]
    pub fn as_image(&self) -> &DynamicImage {
        &self.image
    }

    /// The pixels, as the image crate holds them.
    #[must_use]
    pub fn into_image(self) -> DynamicImage {
        self.image
    }

    /// Takes the bytes out of a picture of 8 bits, red, green, blue and perhaps alpha of each pixel, to be put back by
    /// [`Blank::fill`].
    ///
    /// # Errors
    ///
    /// If there are 16 bits: the picture comes back.
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

    /// The picture made smaller so that its longer side has at most `long_side` pixels; a smaller one is left alone.
    ///
    /// Colours and alpha are filtered apart. The colours under fully transparent pixels are replaced first (see
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

/// A picture of 8 bits without its bytes.
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

    /// Bytes of a pixel, 3 or 4.
    #[must_use]
    pub fn channels(&self) -> usize {
        if self.has_alpha { 4 } else { 3 }
    }

    /// The picture with these bytes.
    ///
    /// # Errors
    ///
    /// If it has more.
    pub fn fill(self, bytes: Vec<u8>) -> Result<Picture> {
        let Self { width, height, has_alpha, icc, format, notes } = self;
        let image = if has_alpha {
            image::RgbaImage::from_raw(width, height, bytes).map(DynamicImage::from)
        } else {
            RgbImage::from_raw(width, height, bytes).map(DynamicImage::from)
        };
        let image = image.ok_or_else(|| Error::new(format!("a picture of {width}x{height} pixels has more bytes")))?;
        Ok(Picture { image, icc, format, notes })
    }
}

/// Reads a picture as 8-bit RGB, turned upright by its EXIF orientation; transparent parts are laid on white.
///
/// # Errors
///
/// If the file cannot be read, is cut short, or is not a picture we know.
pub fn read_rgb(path: &Path) -> Result<RgbImage> {
    Ok(read_rgb_noted(path)?.0)
}

/// The same, and what the user should know of how the file was read.
///
/// # Errors
///
/// As [`read_rgb`].
pub fn read_rgb_noted(path: &Path) -> Result<(RgbImage, Vec<String>)> {
    let Picture { image, mut notes, .. } = Picture::open(path)?;
    if !image.color().has_alpha() {
        return Ok((image.into_rgb8(), notes));
    }
    let image = image.into_rgba8();
    if image.pixels().any(|pixel| pixel[3] < u8::MAX) {
        notes.push("transparent parts of the picture are laid on white".to_owned());
    }
    Ok((encode::over_white(&image), notes))
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
    fn a_picture_with_transparency_is_learnt_from_as_it_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("style.png");
        let image = RgbaImage::from_fn(2, 1, |x, _| Rgba([0, 100, 255, if x == 0 { 0 } else { 128 }]));
        Picture::from(DynamicImage::from(image)).save(&path).unwrap();
        let (image, notes) = read_rgb_noted(&path).unwrap();
        assert_eq!(image.into_raw(), [255, 255, 255, 127, 177, 255]);
        assert_eq!(notes, ["transparent parts of the picture are laid on white"]);
        Picture::from(RgbImage::new(2, 2)).save(&path).unwrap();
        assert_eq!(read_rgb_noted(&path).unwrap().1, [""; 0]);
    }
}

//! Reads pictures. The format is recognised by the content, not by the name.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Cursor, ErrorKind, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits};

use super::extras::{FileExtras, MAX_PROFILE, PROFILE_LEFT_OUT};
use super::folder::TELLING_BYTES;
use super::foreign::ForeignFormat;
use super::webp_frames::WebPFrames;
use super::{Picture, PictureFormat, jpeg, jpeg_complete, jpeg_layout, tiff_tags};
use impasto_error::{Error, Result, ResultExt};

/// The largest picture to decode: 2^28 pixels, such as 16384x16384. A file of a few bytes can claim any size.
pub(super) const MAX_PIXELS: u64 = 1 << 28;

/// Bytes that a decoder may allocate: enough for 16-bit RGBA twice, since some decoders buffer.
const BYTES_PER_PIXEL: u64 = 16;
const MAX_BYTES: u64 = BYTES_PER_PIXEL * MAX_PIXELS;

/// Bytes that a decoder may use in addition, for tables and metadata, even for the smallest picture.
const SMALL_BYTES: u64 = 16 << 20;

impl Picture {
    /// Reads a picture file and applies its EXIF rotation. For an animation, reads the first frame.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is cut short or damaged, is not a supported picture, or has more than 2^28 pixels.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = read_picture_bytes(path)?;
        Self::decode(&bytes).context(|| format!("cannot read `{}`", path.display()))
    }

    /// Reads a picture from the bytes of a file and applies its EXIF rotation. For an animation, reads the first frame.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_within(bytes, MAX_PIXELS)
    }

    /// Like [`Self::decode`], for untrusted bytes: limited to `pixels` pixels and the memory for them.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], or if the picture has more pixels.
    pub fn decode_within(bytes: &[u8], pixels: u64) -> Result<Self> {
        guarded(|| Self::decode_unguarded(bytes, pixels))
    }

    fn decode_unguarded(bytes: &[u8], pixels: u64) -> Result<Self> {
        let format = PictureFormat::of_bytes(bytes)?;
        let (mut notes, mut pixels_from) = (Vec::new(), Cow::Borrowed(bytes));
        if format == PictureFormat::Jpeg {
            if let Some(whole) = jpeg_complete::check_complete(bytes)? {
                notes.push(jpeg::NO_END_MARKER.to_owned());
                pixels_from = Cow::Owned(whole);
            }
            if !jpeg_layout::is_usual(bytes) {
                return Self::decode_unusual_jpeg(bytes, pixels, notes);
            }
        }
        let extras = FileExtras::of(format, bytes);
        if extras.camera_raw {
            return Err(ForeignFormat::CameraRaw.error());
        }
        notes.extend(extras.notes);
        if let Some(instead) = extras.instead {
            pixels_from = Cow::Owned(instead);
        }
        let open = |bytes| {
            let mut reader = ImageReader::with_format(Cursor::new(bytes), format.into());
            let mut limits = limits();
            limits.max_alloc = Some(MAX_BYTES.min(BYTES_PER_PIXEL * pixels + SMALL_BYTES));
            reader.limits(limits);
            reader.into_decoder().map_err(prose)
        };
        let mut decoder = open(if format == PictureFormat::Jpeg { bytes } else { &pixels_from })?;
        check_size_within(decoder.dimensions(), pixels.min(MAX_PIXELS))?;
        // A damaged profile or EXIF block should not make the pixels unreadable.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let icc = match format {
            PictureFormat::Png | PictureFormat::WebP | PictureFormat::Tiff => extras.icc,
            _ => decoder.icc_profile().unwrap_or_default(),
        };
        if icc.as_ref().is_some_and(|profile| profile.len() > MAX_PROFILE) {
            notes.push(PROFILE_LEFT_OUT.to_owned());
        }
        let icc = icc.filter(|profile| profile.len() <= MAX_PROFILE && describes_rgb(profile));
        let frame = if format == PictureFormat::WebP { first_webp_frame(bytes, pixels)? } else { None };
        let is_frame = frame.is_some() || format == PictureFormat::Gif;
        let mut image = match (frame, &pixels_from) {
            (Some(frame), _) => frame,
            (None, Cow::Borrowed(_)) => DynamicImage::from_decoder(decoder).map_err(prose)?,
            (None, Cow::Owned(whole)) => DynamicImage::from_decoder(open(whole)?).map_err(prose)?,
        };
        image.apply_orientation(orientation);
        if is_frame && is_opaque(&image) {
            // Frames of an animation always have an alpha channel, stills only if the file has one.
            image = image.into_rgb8().into();
        }
        let mut picture = Self { icc, format: Some(format), notes, ..Self::from(image) };
        if extras.associated_alpha {
            tiff_tags::divide_by_alpha(&mut picture.image);
        }
        Ok(picture)
    }

    fn decode_unusual_jpeg(bytes: &[u8], pixels: u64, notes: Vec<String>) -> Result<Self> {
        let (height, width) = jpeg_layout::unusual_size(bytes)?;
        check_size_within((width, height), pixels.min(MAX_PIXELS))?;
        let jpeg = jpeg_layout::decode_unusual(bytes, MAX_BYTES.min(BYTES_PER_PIXEL * pixels + SMALL_BYTES))?;
        let mut image = jpeg.image;
        image.apply_orientation(jpeg.orientation);
        let icc = jpeg.icc.filter(|profile| describes_rgb(profile));
        Ok(Self { icc, format: Some(PictureFormat::Jpeg), notes, ..Self::from(image) })
    }
}

/// The bytes of a picture file.
///
/// Only a file that begins like a picture is read completely, so that a video of several gigabytes among the photos is not
/// loaded into memory.
///
/// # Errors
///
/// If the file cannot be read or does not begin like a supported picture.
pub fn read_picture_bytes(path: &Path) -> Result<Vec<u8>> {
    let action = || format!("cannot read `{}`", path.display());
    let mut file = File::open(path).context(action)?;
    let mut bytes = Vec::with_capacity(file.metadata().map_or(0, |metadata| metadata.len().min(1 << 26)) as usize);
    file.by_ref().take(TELLING_BYTES).read_to_end(&mut bytes).context(action)?;
    PictureFormat::of_file(path, &bytes).context(action)?;
    file.read_to_end(&mut bytes).context(action)?;
    Ok(bytes)
}

/// Height and width of a picture according to the header of its file.
///
/// A file of a few bytes can claim any size, so check this before decoding.
///
/// # Errors
///
/// If the bytes are not a supported picture, or the header is damaged or cut short.
pub fn claimed_size(bytes: &[u8]) -> Result<(u32, u32)> {
    let format = PictureFormat::of_bytes(bytes)?;
    if format == PictureFormat::Jpeg && !jpeg_layout::is_usual(bytes) {
        return guarded(|| jpeg_layout::unusual_size(bytes));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.into());
    let mut limits = limits();
    limits.max_alloc = Some(SMALL_BYTES);
    reader.limits(limits);
    let (width, height) = reader.into_dimensions().map_err(prose)?;
    Ok((height, width))
}

/// The memory, in bytes, for decoding a picture as a whole, in addition to the bytes of the file: the pixels, and for
/// progressive JPEG all coefficients, because they are not stored in the order of the pixels. `None` if the header does not
/// give the size.
#[must_use]
pub fn bytes_to_decode(bytes: &[u8]) -> Option<u64> {
    let (height, width) = claimed_size(bytes).ok()?;
    let progressive = PictureFormat::of_bytes(bytes).ok()? == PictureFormat::Jpeg && jpeg::is_progressive(bytes);
    // Two bytes for each of three components. This is an upper bound, since chroma is often subsampled.
    Some(u64::from(height) * u64::from(width) * if progressive { 3 + 6 } else { 3 })
}

/// The first frame of an animated WebP; `None` for a still picture.
fn first_webp_frame(bytes: &[u8], pixels: u64) -> Result<Option<DynamicImage>> {
    let Some(mut frames) = WebPFrames::open(bytes, pixels.min(MAX_PIXELS))? else { return Ok(None) };
    let frame = frames.next().transpose()?.ok_or_else(|| Error::new("the animation has no frame"))?;
    Ok(Some(frame.0.into()))
}

/// Runs a decoder and turns a panic into an error. Decoders have panicked on unusual files before, and one picture must not
/// end a batch or a training.
pub(super) fn guarded<T>(decode: impl FnOnce() -> Result<T>) -> Result<T> {
    let gave_up = |_| {
        Err(Error::new("the decoder crashed on this file").with_hint("save the picture again with another program"))
    };
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(gave_up)
}

/// What the decoder of an animation of this width and height may allocate.
pub(super) fn limits_of((width, height): (u32, u32)) -> Limits {
    let mut limits = limits();
    limits.max_alloc = Some(BYTES_PER_PIXEL * u64::from(width) * u64::from(height) + SMALL_BYTES);
    limits
}

pub(super) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    limits
}

pub(super) fn check_size_within((width, height): (u32, u32), pixels: u64) -> Result<()> {
    if width == 0 || height == 0 {
        return Err(Error::new(format!("the picture has no pixels: {width}x{height}")));
    }
    if u64::from(width) * u64::from(height) > pixels {
        let limit = pixels / 1_000_000;
        return Err(Error::new(format!("a picture of {width}x{height} pixels exceeds the limit of {limit} million")));
    }
    Ok(())
}

/// Describes the common causes in plain words. The image crate's own messages are like "failed to fill whole buffer".
pub(super) fn prose(error: ImageError) -> Error {
    match error {
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Error::new("the file is cut short").with_hint("copy or download it again")
        }
        ImageError::Limits(_) => Error::new("decoding the picture would exceed the memory limit"),
        ImageError::Unsupported(error) => Error::new("this variant of the picture format is not supported")
            .with_source(error)
            .with_hint("save it as an ordinary PNG or JPEG first"),
        error => Error::new("the file is damaged").with_source(error),
    }
}

/// Whether an ICC profile's header says `RGB ` (ICC.1:2022, 7.2.8): a CMYK or grey profile does not apply to pixels
/// converted to RGB.
pub(super) fn describes_rgb(profile: &[u8]) -> bool {
    profile.get(16..20) == Some(b"RGB ")
}

fn is_opaque(image: &DynamicImage) -> bool {
    image.as_rgba8().is_none_or(|image| image.pixels().all(|pixel| pixel[3] == u8::MAX))
}

#[cfg(test)]
mod tests;

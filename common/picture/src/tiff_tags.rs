//! Tags of a TIFF file that its decoder ignores, or reads with too much memory.

use std::io::{Read, Seek};

use image::DynamicImage;
use tiff::decoder::Decoder;
use tiff::tags::{Tag, Type};

use super::extras::{FileProfile, MAX_PROFILE};

/// The value of `ExtraSamples` for colours that are multiplied by alpha (TIFF 6.0, section 18).
const ASSOCIATED: u16 = 1;

/// The tag that every DNG has: its version.
const DNG_VERSION: u16 = 50_706;

/// The bit of `NewSubfileType` of a picture that is a smaller version of another in the file (TIFF 6.0, section 8).
const REDUCED: u32 = 1;

/// Whether the file is a camera's raw file: a DNG, or one whose first picture is a preview of others below it, as in NEF and ARW.
pub(super) fn is_camera_raw<R: Read + Seek>(decoder: &mut Decoder<R>) -> bool {
    let kind = decoder.find_tag_unsigned::<u32>(Tag::NewSubfileType).ok().flatten();
    let tags = decoder.image_ifd();
    let is_preview = kind.is_some_and(|kind| kind & REDUCED != 0) && tags.find_entry(Tag::SubIfd).is_some();
    is_preview || tags.find_entry(Tag::from_u16_exhaustive(DNG_VERSION)).is_some()
}

/// Whether the colours are multiplied by alpha.
pub(super) fn has_associated_alpha<R: Read + Seek>(decoder: &mut Decoder<R>) -> bool {
    let extra = decoder.find_tag_unsigned_vec::<u16>(Tag::ExtraSamples);
    extra.is_ok_and(|extra| extra.is_some_and(|extra| extra.first() == Some(&ASSOCIATED)))
}

/// The colour profile. The decoder's own method needs thirty times its size.
pub(super) fn profile<R: Read + Seek>(decoder: &mut Decoder<R>) -> FileProfile {
    let mut tags = decoder.image_ifd();
    let Some(entry) = tags.find_entry(Tag::IccProfile) else { return FileProfile::None };
    if !matches!(entry.field_type(), Type::BYTE | Type::UNDEFINED) || entry.count() > MAX_PROFILE as u64 {
        return FileProfile::Unusable;
    }
    let mut profile = vec![0; entry.count() as usize];
    match tags.find_tag_bytes(Tag::IccProfile, &mut profile, 0) {
        Ok(_) => FileProfile::Sound(profile),
        Err(_) => FileProfile::Unusable,
    }
}

/// Divides the colours of an RGBA image of 8 or 16 bits by alpha.
pub(super) fn divide_by_alpha(image: &mut DynamicImage) {
    match image {
        DynamicImage::ImageRgba8(image) => divide_samples(image),
        DynamicImage::ImageRgba16(image) => divide_samples(image),
        _ => {}
    }
}

/// Divides the colours of interleaved RGBA samples by alpha, rounded to the nearest level. Fully transparent pixels stay 0.
pub(super) fn divide_samples<T: Copy + Into<u32> + TryFrom<u32>>(samples: &mut [T]) {
    let brightest = if size_of::<T>() == 1 { u32::from(u8::MAX) } else { u32::from(u16::MAX) };
    for pixel in samples.as_chunks_mut::<4>().0 {
        let alpha = pixel[3].into();
        if alpha == 0 || alpha == brightest {
            continue;
        }
        for level in &mut pixel[..3] {
            // Less than 2^32: 65535 * 65535 + 32767.
            let divided = ((*level).into() * brightest + alpha / 2) / alpha;
            *level = T::try_from(divided.min(brightest)).unwrap_or(*level);
        }
    }
}

//! Reads what a PNG, WebP or TIFF file stores in addition to the pixels: the colour profile, and how to interpret the
//! pixels.
//!
//! Profiles are read here and not by the decoders, because a profile of a few bytes may inflate to gigabytes.

use std::io::Cursor;

use super::{PictureFormat, png_head, tiff_tags, webp_frames};

/// The size, in bytes, of the largest colour profile that is kept. Profiles of printing presses have a few megabytes.
pub(super) const MAX_PROFILE: usize = 16 << 20;

/// The notice for a file whose profile is dropped.
pub(super) const PROFILE_LEFT_OUT: &str =
    "the colour profile is damaged or larger than 16 MiB, so it is dropped; colours may look different";
const ANIMATED_PNG: &str = "only the first frame is painted, because animated PNG is not supported";

/// A file's colour profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileProfile {
    /// The file has none.
    None,
    /// A profile of at most [`MAX_PROFILE`] bytes.
    Sound(Vec<u8>),
    /// Too large, or damaged.
    Unusable,
}

impl FileProfile {
    /// The profile if it is kept, or a notice that it is dropped.
    pub(super) fn or_note(self) -> (Option<Vec<u8>>, Option<String>) {
        match self {
            Self::None => (None, None),
            Self::Sound(profile) => (Some(profile), None),
            Self::Unusable => (None, Some(PROFILE_LEFT_OUT.to_owned())),
        }
    }
}

/// What a file stores in addition to its pixels.
#[derive(Debug, Default)]
pub(super) struct FileExtras {
    pub(super) icc: Option<Vec<u8>>,
    /// Notices for the user.
    pub(super) notes: Vec<String>,
    /// Whether the colours are multiplied by alpha.
    pub(super) associated_alpha: bool,
    /// The pixels are the preview of a camera's raw file.
    pub(super) camera_raw: bool,
    /// The file without what its decoder has no memory for; decoded instead.
    pub(super) instead: Option<Vec<u8>>,
}

impl FileExtras {
    /// Reads them from a PNG, WebP or TIFF file. Damage is reported later by the decoder of the pixels.
    pub(super) fn of(format: PictureFormat, bytes: &[u8]) -> Self {
        let mut extras = Self::default();
        let profile = match format {
            PictureFormat::Png => {
                let head = png_head::read(Cursor::new(bytes));
                if head.profile == FileProfile::Unusable {
                    extras.instead = Some(png_head::without_profile(bytes));
                }
                extras.notes.extend((head.frames > 1).then(|| ANIMATED_PNG.to_owned()));
                head.profile
            }
            PictureFormat::WebP => match webp_frames::profile(bytes) {
                None => FileProfile::None,
                Some(profile) if profile.len() <= MAX_PROFILE => FileProfile::Sound(profile.to_vec()),
                Some(_) => FileProfile::Unusable,
            },
            PictureFormat::Tiff => match tiff::decoder::Decoder::new(Cursor::new(bytes)) {
                Ok(mut decoder) => {
                    extras.camera_raw = tiff_tags::is_camera_raw(&mut decoder);
                    extras.associated_alpha = tiff_tags::has_associated_alpha(&mut decoder);
                    tiff_tags::profile(&mut decoder)
                }
                Err(_) => FileProfile::None,
            },
            _ => FileProfile::None,
        };
        let (icc, note) = profile.or_note();
        extras.icc = icc;
        extras.notes.extend(note);
        extras
    }
}

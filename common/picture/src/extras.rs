//! What stands beside the pixels in a PNG, WebP or TIFF file: the colour profile, and how the pixels are meant.
//!
//! Profiles are read here and not by the decoders, because a profile of a few bytes may inflate to gigabytes.

use std::io::Cursor;

use super::{PictureFormat, png_head, tiff_tags, webp_frames};

/// Bytes of the largest colour profile that is kept. Those of presses have some megabytes.
pub(super) const MAX_PROFILE: usize = 16 << 20;

/// Said of a file whose pixels are all there.
pub(super) const PROFILE_LEFT_OUT: &str =
    "the colour profile is damaged or larger than 16 MiB and is left out; the colours may look different";
const ANIMATED_PNG: &str = "only the first frame is painted; animated PNG is read as a still";

/// A file's colour profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FileProfile {
    /// The file has none.
    None,
    /// Of at most [`MAX_PROFILE`] bytes.
    Sound(Vec<u8>),
    /// Too large, or damaged.
    Unusable,
}

impl FileProfile {
    /// The profile that is kept, or the note that it is not.
    pub(super) fn or_note(self) -> (Option<Vec<u8>>, Option<String>) {
        match self {
            Self::None => (None, None),
            Self::Sound(profile) => (Some(profile), None),
            Self::Unusable => (None, Some(PROFILE_LEFT_OUT.to_owned())),
        }
    }
}

/// What stands beside the pixels of a file.
#[derive(Debug, Default)]
pub(super) struct FileExtras {
    pub(super) icc: Option<Vec<u8>>,
    /// What the user should know.
    pub(super) notes: Vec<String>,
    /// The colours are multiplied by alpha.
    pub(super) associated_alpha: bool,
    /// The pixels are the preview of a camera's raw file.
    pub(super) camera_raw: bool,
    /// The file without what its decoder has no memory for; decoded instead.
    pub(super) instead: Option<Vec<u8>>,
}

impl FileExtras {
    /// Of a PNG, WebP or TIFF file. Damage is left to the decoder of the pixels to report.
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

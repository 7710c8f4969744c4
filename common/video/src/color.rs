//! The meaning of pixel values in a video.

use std::str::FromStr;

/// Videos with at least this many lines and no given matrix count as high definition, as in players.
const HD_LINES: u32 = 720;

/// The matrix between RGB and YCbCr (ITU-T H.273, table 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorMatrix {
    /// ITU-R BT.601: standard definition.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
    /// ITU-R BT.2020 with non-constant luminance: wide gamut.
    Bt2020,
    /// SMPTE 240M: early high definition.
    Smpte240m,
    /// Title 47 CFR 73.682: old American television.
    Fcc,
}

impl ColorMatrix {
    /// The weights of red and blue in luma. The weight of green is 1 minus both.
    #[must_use]
    pub fn weights(self) -> (f32, f32) {
        match self {
            Self::Bt601 => (0.299, 0.114),
            Self::Bt709 => (0.2126, 0.0722),
            Self::Bt2020 => (0.2627, 0.0593),
            Self::Smpte240m => (0.212, 0.087),
            Self::Fcc => (0.3, 0.11),
        }
    }

    /// The name in encoders and containers, for ffmpeg's `-colorspace`.
    #[must_use]
    pub fn tag(self) -> &'static str {
        match self {
            Self::Bt601 => "smpte170m",
            Self::Bt709 => "bt709",
            Self::Bt2020 => "bt2020nc",
            Self::Smpte240m => "smpte240m",
            Self::Fcc => "fcc",
        }
    }

    /// The name in ffmpeg's scale filter.
    #[must_use]
    pub fn scale_name(self) -> &'static str {
        match self {
            Self::Bt2020 => "bt2020",
            other => other.tag(),
        }
    }

    /// The matrix that players assume if the file gives none.
    #[must_use]
    pub fn guess(height: u32) -> Self {
        if height >= HD_LINES { Self::Bt709 } else { Self::Bt601 }
    }
}

impl FromStr for ColorMatrix {
    type Err = ();

    /// Reads ffprobe's `color_space`; RGB and unknown names are errors.
    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "smpte170m" | "bt470bg" => Ok(Self::Bt601),
            "bt709" => Ok(Self::Bt709),
            "bt2020nc" | "bt2020c" => Ok(Self::Bt2020),
            "smpte240m" => Ok(Self::Smpte240m),
            "fcc" => Ok(Self::Fcc),
            _ => Err(()),
        }
    }
}

/// How levels of a video represent colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Color {
    /// The matrix, guessed from the size if the file gives none.
    pub matrix: ColorMatrix,
    /// Whether black and white are the ends of the range, instead of 16 and 235.
    pub full_range: bool,
    /// The primaries by ffmpeg's name, if the file gives them.
    pub primaries: Option<String>,
    /// The transfer function by ffmpeg's name, if the file gives it.
    pub transfer: Option<String>,
}

impl Color {
    /// The colours of a video of this height that does not describe them.
    #[must_use]
    pub fn guess(height: u32) -> Self {
        Self { matrix: ColorMatrix::guess(height), full_range: false, primaries: None, transfer: None }
    }

    /// High definition with all values given. High dynamic range is converted to this.
    pub(super) fn standard() -> Self {
        let tag = || Some("bt709".to_owned());
        Self { matrix: ColorMatrix::Bt709, full_range: false, primaries: tag(), transfer: tag() }
    }

    /// Whether the video has high dynamic range (PQ or HLG).
    #[must_use]
    pub fn is_hdr(&self) -> bool {
        matches!(self.transfer.as_deref(), Some("smpte2084" | "arib-std-b67"))
    }
}

//! The file formats of painted clips, and the streams that each can contain.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use impasto_video::{OtherStream, StreamKind};

/// A file format of painted clips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// MPEG-4, which plays everywhere.
    Mp4,
    /// `QuickTime`.
    Mov,
    /// Matroska, which can contain any stream. Timestamps are in milliseconds.
    Mkv,
    /// `WebM`, a subset of Matroska for browsers.
    WebM,
}

impl Container {
    /// All containers.
    pub const ALL: [Self; 4] = [Self::Mp4, Self::Mov, Self::Mkv, Self::WebM];

    /// The container that belongs to a file's extension.
    #[must_use]
    pub fn of_path(path: &Path) -> Option<Self> {
        path.extension()?.to_str()?.parse().ok()
    }

    /// The usual file extension, without the dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Mkv => "mkv",
            Self::WebM => "webm",
        }
    }

    /// ffmpeg's name.
    pub(super) fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Mkv => "matroska",
            Self::WebM => "webm",
        }
    }

    pub(super) fn default_codec(self) -> &'static str {
        if self == Self::WebM { "libvpx-vp9" } else { "libx264" }
    }

    /// ffmpeg's codec for a stream beside the video, mostly `copy`; `None` if the stream is not copied.
    pub(super) fn codec_for(self, stream: &OtherStream) -> Option<&'static str> {
        match stream.kind {
            // What ffmpeg does not know it cannot copy whole.
            StreamKind::Audio | StreamKind::Subtitle if stream.codec.is_empty() => None,
            StreamKind::Audio => Some("copy"),
            StreamKind::Attachment => (self == Self::Mkv).then_some("copy"),
            StreamKind::Subtitle => self.subtitle_codec(&stream.codec),
            StreamKind::Cover
            | StreamKind::TimeCode
            | StreamKind::ChapterTitles
            | StreamKind::Video
            | StreamKind::Data => None,
        }
    }

    fn subtitle_codec(self, codec: &str) -> Option<&'static str> {
        match (self, codec) {
            (Self::Mkv, "mov_text" | "eia_608") => Some("srt"),
            (Self::Mp4 | Self::Mov, "mov_text")
            | (Self::Mp4, "dvd_subtitle")
            | (Self::Mov, "eia_608")
            | (Self::WebM, "webvtt")
            | (Self::Mkv, _) => Some("copy"),
            // Pictures cannot become text.
            (_, "dvd_subtitle" | "dvb_subtitle" | "hdmv_pgs_subtitle" | "xsub" | "dvb_teletext") => None,
            (Self::WebM, _) => Some("webvtt"),
            (Self::Mp4 | Self::Mov, _) => Some("mov_text"),
        }
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mp4 => "MP4",
            Self::Mov => "MOV",
            Self::Mkv => "Matroska",
            Self::WebM => "WebM",
        })
    }
}

impl FromStr for Container {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "mp4" | "m4v" => Ok(Self::Mp4),
            "mov" => Ok(Self::Mov),
            "mkv" => Ok(Self::Mkv),
            "webm" => Ok(Self::WebM),
            _ => Err("expected `mp4`, `mov`, `mkv` or `webm`".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtitles_are_kept_as_text_where_they_are_text() {
        let subtitle = |codec: &str| OtherStream {
            index: 2,
            kind: StreamKind::Subtitle,
            codec: codec.into(),
            tag: None,
            file_name: None,
            time_code: None,
        };
        for (container, codec, expected) in [
            (Container::Mp4, "subrip", Some("mov_text")),
            (Container::Mp4, "hdmv_pgs_subtitle", None),
            (Container::Mp4, "dvd_subtitle", Some("copy")),
            (Container::Mov, "dvd_subtitle", None),
            (Container::Mkv, "", None),
            (Container::Mkv, "hdmv_pgs_subtitle", Some("copy")),
            (Container::Mkv, "mov_text", Some("srt")),
            (Container::WebM, "ass", Some("webvtt")),
        ] {
            assert_eq!(container.codec_for(&subtitle(codec)), expected, "{container} {codec}");
        }
    }
}

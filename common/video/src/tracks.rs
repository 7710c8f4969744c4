//! What a file holds beside its video.

/// Codecs of pictures. A single frame of them beside another video is a cover, even if it is not marked as one.
const STILL_CODECS: [&str; 7] = ["mjpeg", "png", "bmp", "gif", "webp", "tiff", "jpegxl"];

/// A stream beside the video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherStream {
    /// Its number among the file's streams.
    pub index: usize,
    /// What it is.
    pub kind: StreamKind,
    /// The codec by ffmpeg's name; empty if ffmpeg does not know it.
    pub codec: String,
    /// The codec by the file's own name: four characters. `None` if it has none that can be read.
    pub tag: Option<String>,
    /// The name of an attached file.
    pub file_name: Option<String>,
    /// The time code that it begins with.
    pub time_code: Option<String>,
}

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// Sound.
    Audio,
    /// Subtitles.
    Subtitle,
    /// A file, such as a font.
    Attachment,
    /// A cover picture.
    Cover,
    /// The time code of the first frame.
    TimeCode,
    /// The titles of the chapters, which ffmpeg also reports as chapters.
    ChapterTitles,
    /// Another video.
    Video,
    /// Anything else, such as the measurements of a camera.
    Data,
}

/// Whether a codec is one of pictures.
pub(super) fn is_still(codec: &str) -> bool {
    STILL_CODECS.contains(&codec)
}

/// A codec's tag as ffprobe prints it, such as `apac` and `[0][0][0][0]`, if it is four characters.
pub(super) fn printable_tag(tag: &str) -> Option<String> {
    let is_name = tag.chars().count() == 4 && tag.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    (is_name && !tag.trim().is_empty()).then(|| tag.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_told_where_it_can_be_read() {
        for (tag, expected) in [("apac", Some("apac")), ("raw ", Some("raw")), ("[0][0][0][0]", None), ("", None)] {
            assert_eq!(printable_tag(tag).as_deref(), expected, "{tag}");
        }
    }
}

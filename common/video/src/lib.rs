//! Reads clips: their properties, and their frames with exact timestamps.
//!
//! ffmpeg handles containers and codecs. `ffprobe` and `ffmpeg` run as child processes, and frames arrive through a pipe as
//! raw pixels, one in memory at a time. Timestamps are the integers of the file in the time base of the stream, not a frame
//! number divided by a rounded rate. So a clip with a variable frame rate keeps its exact times.
//!
//! Pipes of uncompressed frames, YUV4MPEG2 and plain RGB, are read and written here too, without ffmpeg.

#![forbid(unsafe_code)]

mod color;
mod ffmpeg;
mod log;
mod planar;
mod probe;
mod ratio;
mod reader;
mod sniff;
mod tail;
mod tracks;
mod watched;
mod y4m;

use std::path::Path;

pub use color::{Color, ColorMatrix};
pub use ffmpeg::{Ffmpeg, quiet_child};
pub use planar::{ChromaSubsampling, planar_to_rgb, rgb_to_planar};
pub use probe::{VideoInfo, count_frames};
pub use ratio::Ratio;
pub use reader::{ReadOptions, VideoReader};
pub use sniff::{VIDEO_EXTENSIONS, is_video, is_video_name, is_video_start};
pub use tracks::{OtherStream, StreamKind};
pub use watched::{WatchedChild, WatchedPipe, is_silence};
pub use y4m::{RawStreamInfo, RgbReader, Y4M_MAGIC, Y4mReader, Y4mWriter};

use impasto_error::Result;
use impasto_picture::Picture;

/// A frame of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoFrame {
    /// The pixels: 8-bit RGB, upright; with alpha if the clip has it.
    pub picture: Picture,
    /// The time at which it is shown, in the time base of its reader.
    pub pts: i64,
}

/// The properties of the clip at `path`.
///
/// # Errors
///
/// If ffprobe is not installed, or the file cannot be read or holds no video.
pub fn probe(path: &Path) -> Result<VideoInfo> {
    probe::probe(&Ffmpeg::find()?, path)
}

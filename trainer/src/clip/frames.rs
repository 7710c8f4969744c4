//! The frames of a clip: a video, or a folder of numbered pictures.

use std::path::{Path, PathBuf};

use image::RgbImage;
use impasto_common::{Error, Result};
use impasto_picture::{find_images, read_rgb};
use impasto_video::{ReadOptions, VideoFrame, VideoReader};

use crate::resample::{Rectangle, resize};

/// The frames of a clip, one in memory at a time.
pub struct Frames {
    size: (u32, u32),
    source: FrameSource,
}

enum FrameSource {
    Video(Box<VideoReader>),
    Folder(std::vec::IntoIter<PathBuf>),
}

impl Frames {
    /// Opens a video, or a folder of frames, ordered by name. Frames are resized to `size` (width and height), if
    /// given.
    ///
    /// # Errors
    ///
    /// If there is no frame, the first frame cannot be read, or an entry of the folder is a picture that cannot be read.
    pub fn open(path: &Path, size: Option<(u32, u32)>) -> Result<Self> {
        if path.is_dir() {
            let found = find_images(path)?;
            // Without one of its frames a clip is another.
            if let Some(error) = found.unreadable.into_iter().next() {
                return Err(error);
            }
            let pictures = found.pictures;
            let first =
                pictures.first().ok_or_else(|| Error::usage(format!("there are no frames in `{}`", path.display())))?;
            let size = match size {
                Some(size) => size,
                None => read_rgb(first)?.dimensions(),
            };
            return Ok(Self { size, source: FrameSource::Folder(pictures.into_iter()) });
        }
        let reader = VideoReader::with_options(path, ReadOptions { size, ..ReadOptions::default() })?;
        Ok(Self { size: reader.size(), source: FrameSource::Video(Box::new(reader)) })
    }

    /// The width and height of the frames.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        self.size
    }
}

impl Iterator for Frames {
    type Item = Result<RgbImage>;

    fn next(&mut self) -> Option<Self::Item> {
        let image = match &mut self.source {
            FrameSource::Video(reader) => match reader.next() {
                Some(frame) => frame.map(|VideoFrame { picture, .. }| picture.into_rgb8_on_white()),
                None => return reader.damage().map(Err),
            },
            FrameSource::Folder(paths) => read_rgb(&paths.next()?),
        };
        Some(image.and_then(|image| fitted(image, self.size)))
    }
}

fn fitted(image: RgbImage, (width, height): (u32, u32)) -> Result<RgbImage> {
    if image.dimensions() == (width, height) {
        return Ok(image);
    }
    let whole = Rectangle { left: 0, top: 0, width: image.width(), height: image.height() };
    resize(&image, whole, width, height)
}

//! Writes animations in either of the two formats.

use std::io::Write;

use super::PictureFormat;
use super::animation::{AnimationFrame, GifWriter, Repeat};
use super::webp_animation::WebPWriter;
use impasto_error::{Error, Result};

/// Writes an animation in the format of a file.
pub enum AnimationWriter<W: Write> {
    /// GIF, with 256 colours per frame.
    Gif(GifWriter<W>),
    /// Animated WebP, lossless.
    WebP(WebPWriter<W>),
}

impl<W: Write> AnimationWriter<W> {
    /// Starts an animation.
    ///
    /// # Errors
    ///
    /// If this format does not support animation, or the writer fails.
    pub fn new(format: PictureFormat, writer: W, repeat: Repeat) -> Result<Self> {
        match format {
            PictureFormat::Gif => Ok(Self::Gif(GifWriter::new(writer, repeat)?)),
            PictureFormat::WebP => Ok(Self::WebP(WebPWriter::new(writer, repeat))),
            other => Err(Error::new(format!("{other} does not support animation")).with_hint("use GIF or WebP")),
        }
    }

    /// Adds a frame.
    ///
    /// # Errors
    ///
    /// If it is too large, or the writer fails.
    pub fn push(&mut self, frame: AnimationFrame) -> Result<()> {
        match self {
            Self::Gif(writer) => writer.push(frame),
            Self::WebP(writer) => writer.push(frame),
        }
    }

    /// Ends the animation.
    ///
    /// # Errors
    ///
    /// If there is no frame, or the writer fails.
    pub fn finish(self) -> Result<()> {
        match self {
            Self::Gif(_) => Ok(()),
            Self::WebP(writer) => writer.finish(),
        }
    }
}

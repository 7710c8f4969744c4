//! Writes animated WebP files frame by frame. The image crate encodes stills, and an animation is a list of stills.
//!
//! The container is that of <https://developers.google.com/speed/webp/docs/riff_container>; every frame is complete and
//! lossless.

use std::io::Write;

use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::PictureFormat;
use super::animation::{AnimationFrame, Repeat};
use super::encode::check_side;
use impasto_error::{Error, Result, ResultExt};

/// The sizes, in bytes, of a RIFF header and of a chunk header.
const RIFF_HEADER: usize = 12;
const CHUNK_HEADER: usize = 8;

/// Collects the frames of an animated WebP file. Its header contains their total size, so everything is written at the end.
pub struct WebPWriter<W: Write> {
    writer: W,
    repeat: Repeat,
    size: Option<(u32, u32)>,
    has_alpha: bool,
    frames: Vec<u8>,
}

impl<W: Write> WebPWriter<W> {
    /// Starts an animation that [`Self::finish`] writes.
    pub fn new(writer: W, repeat: Repeat) -> Self {
        Self { writer, repeat, size: None, has_alpha: false, frames: Vec::new() }
    }

    /// Adds a frame.
    ///
    /// # Errors
    ///
    /// If its size differs from that of the first frame, or is too large for WebP.
    pub fn push(&mut self, frame: AnimationFrame) -> Result<()> {
        let AnimationFrame { picture, delay } = frame;
        let size = (picture.width(), picture.height());
        check_side(PictureFormat::WebP, size.0.max(size.1))?;
        if *self.size.get_or_insert(size) != size {
            return Err(Error::new(format!(
                "a frame of {}x{} pixels does not have the size of the animation",
                size.0, size.1
            )));
        }
        self.has_alpha |= picture.has_alpha();
        let mut still = Vec::new();
        let encoder = WebPEncoder::new_lossless(&mut still);
        let image = picture.into_image().into_rgba8();
        encoder.write_image(&image, size.0, size.1, ExtendedColorType::Rgba8).context(|| "cannot encode a frame")?;
        // Position 0, 0, then the size and the duration, and the flag that the frame is not blended with the previous one.
        let head = [&[0; 6][..], &u24(size.0 - 1), &u24(size.1 - 1), &u24(delay), &[0b10]].concat();
        let bitstream = still.get(RIFF_HEADER..).ok_or_else(|| Error::new("the encoder wrote no frame"))?;
        self.frames.extend(header(*b"ANMF", head.len() + bitstream.len()));
        self.frames.extend(head);
        self.frames.extend(bitstream);
        Ok(())
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// If there is no frame, the file would have 4 GB or more, or the writer fails.
    pub fn finish(mut self) -> Result<()> {
        let (width, height) = self.size.ok_or_else(|| Error::new("an animation needs at least one frame"))?;
        let times = match self.repeat {
            Repeat::Forever => 0,
            Repeat::Times(times) => times.clamp(1, u16::MAX.into()) as u16,
        };
        let flags = if self.has_alpha { 0b1_0010 } else { 0b0_0010 };
        let mut head = header(*b"VP8X", 10).to_vec();
        head.extend([&[flags, 0, 0, 0], &u24(width - 1)[..], &u24(height - 1)].concat());
        head.extend(header(*b"ANIM", 6));
        head.extend([[0; 4].as_slice(), &times.to_le_bytes()].concat());
        let bytes = 4 + head.len() + self.frames.len();
        let length = u32::try_from(bytes).map_err(|_| Error::new("the animation exceeds 4 GB, the limit of WebP"))?;
        let parts = [b"RIFF".as_slice(), &length.to_le_bytes(), b"WEBP", &head, &self.frames];
        parts.iter().try_for_each(|part| self.writer.write_all(part)).context(|| "cannot write the animation")
    }
}

fn header(name: [u8; 4], length: usize) -> [u8; CHUNK_HEADER] {
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [name[0], name[1], name[2], name[3], a, b, c, d]
}

fn u24(value: u32) -> [u8; 3] {
    let [a, b, c, _] = value.min(0xFF_FFFF).to_le_bytes();
    [a, b, c]
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::super::Animation;
    use super::*;
    use crate::Picture;

    #[test]
    fn frames_delays_and_repetitions_come_back() {
        let mut bytes = Vec::new();
        let mut writer = WebPWriter::new(&mut bytes, Repeat::Times(3));
        let colors = [[255, 0, 0, 255], [0, 7, 255, 255], [9, 9, 9, 255]];
        for (i, color) in colors.into_iter().enumerate() {
            let picture = Picture::from(image::DynamicImage::from(RgbaImage::from_pixel(5, 3, Rgba(color))));
            writer.push(AnimationFrame { picture, delay: 33 * (i as u32 + 1) }).unwrap();
        }
        writer.finish().unwrap();
        let animation = Animation::decode(&bytes).unwrap().unwrap();
        assert_eq!(animation.repeat(), Repeat::Times(3));
        let frames: Vec<_> = animation.map(Result::unwrap).collect();
        assert_eq!(frames.iter().map(|frame| frame.delay).collect::<Vec<_>>(), [33, 66, 99]);
        for (frame, color) in frames.into_iter().zip(colors) {
            assert_eq!(frame.picture.into_image().into_rgba8().get_pixel(4, 2).0, color);
        }
    }

    #[test]
    fn an_animation_of_nothing_or_of_two_sizes_is_refused() {
        assert!(WebPWriter::new(Vec::new(), Repeat::Forever).finish().is_err());
        let mut writer = WebPWriter::new(Vec::new(), Repeat::Forever);
        let frame = |side| AnimationFrame { picture: image::RgbImage::new(side, 2).into(), delay: 1 };
        writer.push(frame(2)).unwrap();
        assert!(writer.push(frame(3)).is_err());
    }
}

//! Animations: GIF and animated WebP, one decoded frame in memory at a time.

use std::collections::VecDeque;
use std::io::{Cursor, Write};

use image::codecs::gif::{self, GifDecoder, GifEncoder};
use image::{AnimationDecoder, Delay, DynamicImage, ImageDecoder, RgbaImage};

use super::encode::{GIF_SPEED, binary_alpha, check_side};
use super::webp_frames::WebPFrames;
use super::{Picture, PictureFormat, decode, gif_loop};
use impasto_error::{Result, ResultExt};

/// How often an animation plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Without end.
    Forever,
    /// This many times.
    Times(u32),
}

/// A complete frame of an animation, and its duration.
#[derive(Debug, Clone, PartialEq)]
pub struct AnimationFrame {
    /// The picture, already composed with the frames before it.
    pub picture: Picture,
    /// The duration in milliseconds.
    pub delay: u32,
}

/// Complete frames, and the duration of each in milliseconds.
type ComposedFrames<'a> = Box<dyn Iterator<Item = Result<(RgbaImage, u32)>> + 'a>;

/// The frames of an animation, decoded on demand.
pub struct Animation<'a> {
    /// The first two frames, decoded to find out whether this is an animation.
    first: VecDeque<Result<(RgbaImage, u32)>>,
    rest: ComposedFrames<'a>,
    format: PictureFormat,
    repeat: Repeat,
}

impl<'a> Animation<'a> {
    /// Opens the bytes of a file with more than one frame; `None` if there is only one picture.
    ///
    /// # Errors
    ///
    /// If the bytes are not a supported picture, or the first frames are damaged or too large.
    pub fn decode(bytes: &'a [u8]) -> Result<Option<Self>> {
        let format = PictureFormat::of_bytes(bytes)?;
        decode::guarded(|| match format {
            PictureFormat::Gif => Ok(Self::new(format, gif_loop::repeat(bytes), gif_frames(bytes)?)),
            PictureFormat::WebP => {
                let frames = WebPFrames::open(bytes, decode::MAX_PIXELS)?;
                Ok(frames.and_then(|frames| Self::new(format, frames.repeat(), Box::new(frames))))
            }
            _ => Ok(None),
        })
    }

    fn new(format: PictureFormat, repeat: Repeat, mut rest: ComposedFrames<'a>) -> Option<Self> {
        let first: VecDeque<_> = rest.by_ref().take(2).collect();
        (first.len() == 2).then_some(Self { first, rest, format, repeat })
    }

    /// How often the animation plays.
    #[must_use]
    pub fn repeat(&self) -> Repeat {
        self.repeat
    }
}

/// The frames of a GIF, as the image crate composes them.
fn gif_frames(bytes: &[u8]) -> Result<ComposedFrames<'_>> {
    let mut decoder = GifDecoder::new(Cursor::new(bytes)).map_err(decode::prose)?;
    decode::check_size_within(decoder.dimensions(), decode::MAX_PIXELS)?;
    // A frame can claim to be larger than the picture that it is part of.
    decoder.set_limits(decode::limits_of(decoder.dimensions())).map_err(decode::prose)?;
    Ok(Box::new(decoder.into_frames().map(|frame| {
        let frame = frame.map_err(decode::prose)?;
        let (numerator, denominator) = frame.delay().numer_denom_ms();
        Ok((frame.into_buffer(), numerator / denominator.max(1)))
    })))
}

impl Iterator for Animation<'_> {
    type Item = Result<AnimationFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = || Ok(self.first.pop_front().or_else(|| self.rest.next()));
        let frame = decode::guarded(next).and_then(Option::transpose).transpose()?;
        Some(frame.map(|(image, delay)| {
            let picture = Picture { format: Some(self.format), ..Picture::from(DynamicImage::from(image)) };
            AnimationFrame { picture, delay }
        }))
    }
}

/// Writes an animated GIF frame by frame.
pub struct GifWriter<W: Write> {
    encoder: GifEncoder<W>,
}

impl<W: Write> GifWriter<W> {
    /// Starts an animation on `writer`.
    ///
    /// # Errors
    ///
    /// If `writer` fails.
    pub fn new(writer: W, repeat: Repeat) -> Result<Self> {
        let mut encoder = GifEncoder::new_with_speed(writer, GIF_SPEED);
        let repeat = match repeat {
            Repeat::Forever => gif::Repeat::Infinite,
            // The file counts the repetitions after the first play. For none, the encoder writes no loop block.
            Repeat::Times(times) => gif::Repeat::Finite(times.saturating_sub(1).try_into().unwrap_or(u16::MAX)),
        };
        encoder.set_repeat(repeat).context(|| "cannot start the animation")?;
        Ok(Self { encoder })
    }

    /// Adds a frame. Times in GIF are in hundredths of a second, to which `frame.delay` is rounded.
    ///
    /// # Errors
    ///
    /// If the frame is too large for GIF or the writer fails.
    pub fn push(&mut self, frame: AnimationFrame) -> Result<()> {
        let picture = frame.picture;
        check_side(PictureFormat::Gif, picture.width().max(picture.height()))?;
        let delay = Delay::from_numer_denom_ms((frame.delay + 5) / 10 * 10, 1);
        let image = binary_alpha(picture.into_image().into_rgba8());
        let frame = image::Frame::from_parts(image, 0, 0, delay);
        self.encoder.encode_frame(frame).context(|| "cannot write a frame")
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    fn write(colors: &[[u8; 3]], repeat: Repeat) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = GifWriter::new(&mut bytes, repeat).unwrap();
        for (i, &color) in colors.iter().enumerate() {
            let picture = RgbImage::from_pixel(5, 3, Rgb(color)).into();
            writer.push(AnimationFrame { picture, delay: 50 * (i as u32 + 1) }).unwrap();
        }
        drop(writer);
        bytes
    }

    fn read(bytes: &[u8]) -> Vec<([u8; 3], u32)> {
        let frames = Animation::decode(bytes).unwrap().unwrap();
        let summary = |frame: AnimationFrame| (frame.picture.into_rgb8().get_pixel(4, 2).0, frame.delay);
        frames.map(|frame| summary(frame.unwrap())).collect()
    }

    #[test]
    fn frames_delays_and_repetitions_come_back() {
        let bytes = write(&[[255, 0, 0], [0, 0, 255], [9, 9, 9]], Repeat::Times(4));
        assert_eq!(read(&bytes), [([255, 0, 0], 50), ([0, 0, 255], 100), ([9, 9, 9], 150)]);
        assert_eq!(Animation::decode(&bytes).unwrap().unwrap().repeat(), Repeat::Times(4));
        for repeat in [Repeat::Forever, Repeat::Times(1), Repeat::Times(2), Repeat::Times(65_536)] {
            let bytes = write(&[[0; 3]; 2], repeat);
            assert_eq!(Animation::decode(&bytes).unwrap().unwrap().repeat(), repeat);
        }
    }

    #[test]
    fn a_frame_that_claims_far_more_than_the_picture_is_refused_before_memory_is_taken() {
        let mut bytes = write(&[[255, 0, 0], [0, 0, 255]], Repeat::Forever);
        // The descriptor of the first frame: a comma, its place, its size.
        let descriptor = [b',', 0, 0, 0, 0, 5, 0, 3, 0];
        let at = bytes.windows(9).position(|window| window == descriptor).unwrap();
        bytes[at + 5..at + 9].copy_from_slice(&[0xFF, 0xFF, 0xFF, 0x7F]);
        let mut frames = Animation::decode(&bytes).unwrap().unwrap();
        let error = frames.find_map(Result::err).unwrap().to_string();
        assert!(error.contains("memory") || error.contains("limit"), "{error}");
    }

    #[test]
    fn a_gif_without_a_loop_block_plays_once_and_its_painting_too() {
        let bytes = write(&[[0; 3]; 2], Repeat::Times(1));
        assert!(!bytes.windows(11).any(|name| name == b"NETSCAPE2.0"));
        assert_eq!(Animation::decode(&bytes).unwrap().unwrap().repeat(), Repeat::Times(1));
    }

    #[test]
    fn an_animated_webp_made_elsewhere_is_read() {
        let bytes = include_bytes!("testdata/animated.webp");
        assert_eq!(read(bytes), [([255, 0, 0], 70), ([0, 0, 255], 130), ([0, 255, 0], 40)]);
        assert_eq!(Animation::decode(bytes).unwrap().unwrap().repeat(), Repeat::Times(3));
    }

    #[test]
    fn a_single_picture_is_no_animation() {
        let picture = Picture::from(RgbImage::new(5, 3));
        for format in PictureFormat::ALL {
            assert!(Animation::decode(&picture.encode(format.into()).unwrap()).unwrap().is_none(), "{format}");
        }
    }

    #[test]
    fn an_animation_cut_short_ends_with_an_error() {
        let bytes = write(&[[255, 0, 0], [0, 0, 255], [9, 9, 9]], Repeat::Forever);
        let frames = Animation::decode(&bytes[..bytes.len() - 12]).unwrap().unwrap();
        assert!(frames.take(10).any(|frame| frame.is_err()));
    }
}

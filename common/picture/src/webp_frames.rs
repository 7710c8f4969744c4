//! Reads animated WebP files frame by frame.
//!
//! Each frame is decoded as a still and composed with the canvas as in libwebp's `anim_decode.c`. The image crate's own
//! composition keeps frames that should be removed, and its blending is off by a level.
//!
//! The container is that of <https://developers.google.com/speed/webp/docs/riff_container>.

use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use image::{DynamicImage, RgbaImage};

use super::{Repeat, decode};
use impasto_error::{Error, Result};

/// The sizes, in bytes, of a chunk header, and of a frame header before the frame's own chunks.
const CHUNK_HEADER: usize = 8;
const FRAME_HEAD: usize = 16;

/// Bits of `VP8X` and of a frame header.
const ANIMATION: u8 = 0b10;
const OVERWRITE: u8 = 0b10;
const DISPOSE: u8 = 0b01;
const ALPHA: u8 = 0b1_0000;

/// A rectangle of the canvas, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rectangle {
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

impl Rectangle {
    fn contains(self, x: u32, y: u32) -> bool {
        x.wrapping_sub(self.x) < self.width && y.wrapping_sub(self.y) < self.height
    }
}

/// What the composition of the next frame needs to know about the previous one.
#[derive(Debug, Clone, Copy)]
struct PreviousFrame {
    rectangle: Rectangle,
    dispose: bool,
    /// Whether the frame did not depend on earlier ones.
    is_key: bool,
}

/// The composed frames of an animated WebP file, each with its duration in milliseconds.
pub(super) struct WebPFrames<'a> {
    chunks: Chunks<'a>,
    canvas: RgbaImage,
    previous: Option<PreviousFrame>,
    repeat: Repeat,
    failed: bool,
}

impl<'a> WebPFrames<'a> {
    /// Opens an animation; `None` if the file is a still picture. The canvas may have at most `pixels` pixels.
    ///
    /// # Errors
    ///
    /// If the header is damaged or cut short, or the canvas is too large.
    pub(super) fn open(bytes: &'a [u8], pixels: u64) -> Result<Option<Self>> {
        let mut chunks = Chunks::of_file(bytes)?;
        let Some((b"VP8X", head)) = chunks.next().transpose()? else { return Ok(None) };
        let &[flags, _, _, _, w0, w1, w2, h0, h1, h2, ..] = head else { return Err(damaged()) };
        if flags & ANIMATION == 0 {
            return Ok(None);
        }
        let (width, height) = (u24([w0, w1, w2]) + 1, u24([h0, h1, h2]) + 1);
        decode::check_size_within((width, height), pixels)?;
        let times = loop {
            match chunks.next().transpose()? {
                Some((b"ANIM", &[_, _, _, _, low, high, ..])) => break u16::from_le_bytes([low, high]),
                Some((b"ANIM" | b"ANMF", _)) | None => return Err(damaged()),
                Some(_) => {}
            }
        };
        let repeat = if times == 0 { Repeat::Forever } else { Repeat::Times(times.into()) };
        let canvas = RgbaImage::new(width, height);
        Ok(Some(Self { chunks, canvas, previous: None, repeat, failed: false }))
    }

    /// How often the animation plays.
    pub(super) fn repeat(&self) -> Repeat {
        self.repeat
    }

    /// Composes the frame of this `ANMF` chunk with the canvas. Returns its duration.
    fn compose(&mut self, chunk: &[u8]) -> Result<u32> {
        let (head, chunks) = chunk.split_at_checked(FRAME_HEAD).ok_or_else(damaged)?;
        let field = |i: usize| u24([head[3 * i], head[3 * i + 1], head[3 * i + 2]]);
        let rectangle = Rectangle { x: 2 * field(0), y: 2 * field(1), width: field(2) + 1, height: field(3) + 1 };
        let (duration, flags) = (field(4), head[15]);
        let (width, height) = self.canvas.dimensions();
        if rectangle.x + rectangle.width > width || rectangle.y + rectangle.height > height {
            return Err(damaged());
        }
        let frame = decode_still(chunks, rectangle)?;
        let covers = |rectangle: Rectangle| (rectangle.width, rectangle.height) == (width, height);
        let overwrites = flags & OVERWRITE != 0;
        let is_key = self.previous.is_none_or(|previous| {
            let leaves_nothing = previous.dispose && (covers(previous.rectangle) || previous.is_key);
            leaves_nothing || (overwrites && covers(rectangle))
        });
        let disposed = self.previous.filter(|previous| previous.dispose).map(|previous| previous.rectangle);
        if let Some(disposed) = disposed {
            self.clear(disposed);
        }
        for (x, y, &source) in frame.enumerate_pixels() {
            let (x, y) = (rectangle.x + x, rectangle.y + y);
            let is_over_nothing = is_key || disposed.is_some_and(|disposed| disposed.contains(x, y));
            let target = self.canvas.get_pixel_mut(x, y);
            target.0 = if overwrites || is_over_nothing { source.0 } else { blend(source.0, target.0) };
        }
        self.previous = Some(PreviousFrame { rectangle, dispose: flags & DISPOSE != 0, is_key });
        Ok(duration)
    }

    /// Makes a part of the canvas transparent. The background colour is ignored, as by libwebp and browsers.
    fn clear(&mut self, part: Rectangle) {
        for y in part.y..part.y + part.height {
            for x in part.x..part.x + part.width {
                self.canvas.get_pixel_mut(x, y).0 = [0; 4];
            }
        }
    }
}

impl Iterator for WebPFrames<'_> {
    type Item = Result<(RgbaImage, u32)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let frame = loop {
            match self.chunks.next()? {
                Ok((b"ANMF", chunk)) => break self.compose(chunk).map(|duration| (self.canvas.clone(), duration)),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        self.failed = frame.is_err();
        Some(frame)
    }
}

/// The colour profile of a WebP file, animated or not.
pub(super) fn profile(bytes: &[u8]) -> Option<&[u8]> {
    let mut chunks = Chunks::of_file(bytes).ok()?.map_while(Result::ok);
    chunks.next().filter(|(name, _)| *name == b"VP8X")?;
    chunks.find(|(name, _)| *name == b"ICCP").map(|(_, profile)| profile)
}

/// Decodes the chunks of a frame as a separate file.
fn decode_still(chunks: &[u8], rectangle: Rectangle) -> Result<RgbaImage> {
    let (mut alpha, mut pixels) = (None, None);
    for chunk in (Chunks { rest: chunks, missing: false }) {
        match chunk? {
            (b"ALPH", body) => alpha = Some(body),
            (name @ (b"VP8 " | b"VP8L"), body) => {
                pixels = Some((name, body));
                break;
            }
            _ => {}
        }
    }
    let (name, body) = pixels.ok_or_else(damaged)?;
    let mut file = b"RIFF\0\0\0\0WEBP".to_vec();
    if let (b"VP8 ", Some(alpha)) = (name, alpha) {
        let size = [rectangle.width - 1, rectangle.height - 1].map(u32::to_le_bytes);
        push(&mut file, *b"VP8X", &[&[ALPHA, 0, 0, 0][..], &size[0][..3], &size[1][..3]].concat());
        push(&mut file, *b"ALPH", alpha);
    }
    push(&mut file, *name, body);
    let length = u32::try_from(file.len() - CHUNK_HEADER).map_err(|_| damaged())?;
    file[4..8].copy_from_slice(&length.to_le_bytes());
    let decoder = WebPDecoder::new(Cursor::new(file)).map_err(decode::prose)?;
    // Checked before decoding, because a frame of a few bytes can claim any size.
    if image::ImageDecoder::dimensions(&decoder) != (rectangle.width, rectangle.height) {
        return Err(damaged());
    }
    Ok(DynamicImage::from_decoder(decoder).map_err(decode::prose)?.into_rgba8())
}

fn push(file: &mut Vec<u8>, name: [u8; 4], body: &[u8]) {
    file.extend(name);
    file.extend((body.len() as u32).to_le_bytes());
    file.extend_from_slice(body);
    file.extend(std::iter::repeat_n(0, body.len() % 2));
}

/// Blends `source` over `target`, both RGBA not multiplied by alpha, with the integer arithmetic of libwebp's
/// `BlendPixelNonPremult`.
fn blend(source: [u8; 4], target: [u8; 4]) -> [u8; 4] {
    let (alpha, under) = (u32::from(source[3]), u32::from(target[3]));
    match alpha {
        0 => target,
        255 => source,
        _ => {
            let under = (under * (256 - alpha)) >> 8;
            let sum = alpha + under;
            let scale = (1 << 24) / sum;
            let level =
                |i: usize| (((u32::from(source[i]) * alpha + u32::from(target[i]) * under) * scale) >> 24) as u8;
            [level(0), level(1), level(2), sum as u8]
        }
    }
}

/// The chunks of a RIFF file, or of a frame.
struct Chunks<'a> {
    rest: &'a [u8],
    /// Whether the file is shorter than its header says.
    missing: bool,
}

impl<'a> Chunks<'a> {
    fn of_file(bytes: &'a [u8]) -> Result<Self> {
        let (head, rest) = bytes.split_at_checked(12).ok_or_else(cut_short)?;
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let length = length.saturating_sub(4);
        Ok(Self { rest: &rest[..length.min(rest.len())], missing: length > rest.len() + 1 })
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Result<(&'a [u8; 4], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < CHUNK_HEADER {
            self.rest = &[];
            return std::mem::take(&mut self.missing).then(|| Err(cut_short()));
        }
        let (name, rest) = self.rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let Some((body, rest)) = rest.split_at_checked(length) else {
            (self.rest, self.missing) = (&[], false);
            return Some(Err(cut_short()));
        };
        self.rest = rest.get(length % 2..).unwrap_or_default();
        Some(Ok((name, body)))
    }
}

fn u24([a, b, c]: [u8; 3]) -> u32 {
    u32::from_le_bytes([a, b, c, 0])
}

fn cut_short() -> Error {
    Error::new("the file is cut short").with_hint("copy or download it again")
}

fn damaged() -> Error {
    Error::new("the file is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares the frames of an animation, one below the other, with those composed by libwebp.
    fn check(animation: &[u8], expected: &[u8], tolerance: u8) {
        let expected = image::load_from_memory(expected).unwrap().into_rgba8();
        let frames: Vec<_> =
            WebPFrames::open(animation, 1000).unwrap().unwrap().map(|frame| frame.unwrap().0).collect();
        let height = frames[0].height();
        assert_eq!(expected.height(), height * frames.len() as u32);
        for (i, frame) in frames.iter().enumerate() {
            for (x, y, pixel) in frame.enumerate_pixels() {
                let right = expected.get_pixel(x, i as u32 * height + y);
                let near = pixel.0.iter().zip(right.0).all(|(&level, right)| level.abs_diff(right) <= tolerance);
                assert!(near, "frame {i} at {x}, {y}: {pixel:?} should be {right:?}");
            }
        }
    }

    #[test]
    fn an_animated_webp_shows_what_a_browser_shows_however_frames_are_blended_and_disposed_of() {
        check(include_bytes!("testdata/disposal.webp"), include_bytes!("testdata/disposal.png"), 0);
        check(include_bytes!("testdata/disposal_lossy.webp"), include_bytes!("testdata/disposal_lossy.png"), 0);
    }

    #[test]
    fn a_still_is_no_animation_and_a_cut_one_is_refused() {
        let animation = include_bytes!("testdata/disposal.webp");
        for length in [0, 11, 20, 40, 60, animation.len() - 20] {
            let frames = WebPFrames::open(&animation[..length], 1000);
            let fails =
                frames.map_or(true, |frames| frames.is_some_and(|mut frames| frames.any(|frame| frame.is_err())));
            assert!(fails, "{length}");
        }
        assert!(WebPFrames::open(animation, 100).is_err());
        let mut still = Cursor::new(Vec::new());
        RgbaImage::new(3, 2).write_to(&mut still, image::ImageFormat::WebP).unwrap();
        assert!(WebPFrames::open(still.get_ref(), 1000).unwrap().is_none());
    }
}

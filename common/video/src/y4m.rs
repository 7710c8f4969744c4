//! YUV4MPEG2, a format of uncompressed video for pipes: a line of text, then planes of bytes. ffmpeg is not needed.

use std::io::{BufRead, Read, Write};

use image::RgbImage;

use super::planar::{ChromaSubsampling, planar_to_rgb, rgb_to_planar};
use super::{Color, Ratio, VideoFrame};
use impasto_error::{Error, Result, ResultExt};
use impasto_picture::Picture;

/// The beginning of a stream.
pub const Y4M_MAGIC: &[u8] = b"YUV4MPEG2";

/// The limit on the length of a header line. Real headers have less than a hundred bytes.
const LONGEST_LINE: u64 = 4096;

/// The longest side in pixels and the most pixels of a frame, since a header can claim any size.
const LONGEST_SIDE: u32 = 65_535;
const MOST_PIXELS: u64 = 1 << 28;

/// Bytes that are asked for before any of a frame have come.
const FIRST_BYTES: usize = 1 << 24;

/// The properties of all frames of a raw stream.
#[derive(Debug, Clone, PartialEq)]
pub struct RawStreamInfo {
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// Frames a second.
    pub frame_rate: Ratio,
    /// The aspect ratio of a pixel, width to height; `None` if it is square.
    pub sample_aspect: Option<Ratio>,
    /// What the levels mean.
    pub color: Color,
    /// Bits per channel. If there are more than 8, only the upper 8 are read.
    pub bits: u8,
    /// Whether frames are two fields.
    pub interlaced: bool,
}

/// The frames of a YUV4MPEG2 stream. Their timestamps count frames.
pub struct Y4mReader<R> {
    reader: R,
    info: RawStreamInfo,
    subsampling: ChromaSubsampling,
    count: FrameCounter,
}

impl<R: BufRead> Y4mReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    ///
    /// If the stream is not YUV4MPEG2, or of an unsupported kind.
    pub fn new(mut reader: R) -> Result<Self> {
        let line = line(&mut reader)?.ok_or_else(|| Error::new("the stream is empty"))?;
        let (info, subsampling) = parse_header(&line)?;
        Ok(Self { reader, info, subsampling, count: FrameCounter::default() })
    }

    /// The properties of all frames.
    #[must_use]
    pub fn info(&self) -> &RawStreamInfo {
        &self.info
    }
}

impl<R: BufRead> Iterator for Y4mReader<R> {
    type Item = Result<VideoFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { reader, info, subsampling, count } = self;
        let RawStreamInfo { width, height, bits, ref color, .. } = *info;
        count.next(|frame| {
            let Some(line) = line(reader)? else { return Ok(None) };
            if line != "FRAME" && !line.starts_with("FRAME ") {
                return Err(Error::new(format!("frame {frame} of the stream does not begin with `FRAME`")));
            }
            let samples = subsampling.bytes(width, height);
            let planes = exactly(reader, samples * if bits > 8 { 2 } else { 1 }, frame)?;
            let planes = if bits > 8 { upper_bits(&planes, bits) } else { planes };
            Ok(Some(planar_to_rgb(&planes, (width, height), *subsampling, color)))
        })
    }
}

/// The frames of a stream of RGB bytes without any header. Their timestamps count frames.
pub struct RgbReader<R> {
    reader: R,
    size: (u32, u32),
    count: FrameCounter,
}

impl<R: BufRead> RgbReader<R> {
    /// Reads frames of `width` by `height` pixels.
    pub fn new(reader: R, size: (u32, u32)) -> Self {
        Self { reader, size, count: FrameCounter::default() }
    }
}

impl<R: BufRead> Iterator for RgbReader<R> {
    type Item = Result<VideoFrame>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { reader, size: (width, height), count } = self;
        count.next(|frame| {
            if reader.fill_buf().context(|| CANNOT_READ)?.is_empty() {
                return Ok(None);
            }
            let pixels = exactly(reader, 3 * *width as usize * *height as usize, frame)?;
            let image = RgbImage::from_raw(*width, *height, pixels);
            image.map(Some).ok_or_else(|| Error::new("a frame has too few bytes"))
        })
    }
}

/// Counts the frames read so far. Reading ends at the first error or at the end of the stream.
#[derive(Debug, Default)]
struct FrameCounter {
    frames: i64,
    ended: bool,
}

impl FrameCounter {
    /// The next frame. `read` gets the number of the frame and returns it.
    fn next(&mut self, read: impl FnOnce(i64) -> Result<Option<RgbImage>>) -> Option<Result<VideoFrame>> {
        if self.ended {
            return None;
        }
        let image = read(self.frames);
        self.ended = !matches!(image, Ok(Some(_)));
        let pts = self.frames;
        self.frames += 1;
        image.map(|image| image.map(|image| VideoFrame { picture: image.into(), pts })).transpose()
    }
}

/// Writes a YUV4MPEG2 stream with 4:2:0 chroma subsampling.
pub struct Y4mWriter<W> {
    writer: W,
    color: Color,
}

impl<W: Write> Y4mWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    ///
    /// If the writer fails.
    pub fn new(mut writer: W, info: &RawStreamInfo) -> Result<Self> {
        let RawStreamInfo { width, height, frame_rate, ref color, .. } = *info;
        let aspect = info.sample_aspect.unwrap_or(Ratio { numerator: 1, denominator: 1 });
        let rate = format!("{}:{}", frame_rate.numerator, frame_rate.denominator);
        let aspect = format!("{}:{}", aspect.numerator, aspect.denominator);
        let range = if color.full_range { "FULL" } else { "LIMITED" };
        // Chroma is placed as in MPEG-2. `XCOLORRANGE` is an extension of ffmpeg.
        writeln!(
            writer,
            "YUV4MPEG2 W{width} H{height} F{rate} Ip A{aspect} C420mpeg2 XYSCSS=420MPEG2 XCOLORRANGE={range}"
        )
        .context(|| CANNOT_WRITE)?;
        Ok(Self { writer, color: color.clone() })
    }

    /// Writes a frame; transparent parts are laid on white.
    ///
    /// # Errors
    ///
    /// If the writer fails.
    pub fn push(&mut self, picture: Picture) -> Result<()> {
        let planes = rgb_to_planar(&picture.into_rgb8_on_white(), &self.color);
        let written = self.writer.write_all(b"FRAME\n").and_then(|()| self.writer.write_all(&planes));
        written.and_then(|()| self.writer.flush()).context(|| CANNOT_WRITE)
    }
}

const CANNOT_READ: &str = "cannot read the stream";
const CANNOT_WRITE: &str = "cannot write the stream";

/// A line without its line break; `None` at the end of the stream.
fn line(reader: &mut impl BufRead) -> Result<Option<String>> {
    let mut line = Vec::new();
    reader.take(LONGEST_LINE).read_until(b'\n', &mut line).context(|| CANNOT_READ)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop() != Some(b'\n') {
        return Err(Error::new("the stream is cut short"));
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn exactly(reader: &mut impl Read, length: usize, frame: i64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length.min(FIRST_BYTES));
    reader.take(length as u64).read_to_end(&mut bytes).context(|| CANNOT_READ)?;
    if bytes.len() < length {
        return Err(Error::new(format!("the stream is cut short in frame {frame}")));
    }
    Ok(bytes)
}

/// Rounds samples of `bits` bits, stored as two bytes in little-endian order, to their upper eight bits.
fn upper_bits(samples: &[u8], bits: u8) -> Vec<u8> {
    let (half, shift) = (1_u32 << (bits - 9), bits - 8);
    let sample = |pair: &[u8; 2]| u32::from(u16::from_le_bytes(*pair));
    samples.as_chunks::<2>().0.iter().map(|pair| ((sample(pair) + half) >> shift).min(255) as u8).collect()
}

fn parse_header(line: &str) -> Result<(RawStreamInfo, ChromaSubsampling)> {
    let wrong = |what: &str| Error::new(format!("the header of the YUV4MPEG2 stream {what}"));
    let mut words = line.split(' ');
    if words.next() != Some("YUV4MPEG2") {
        return Err(Error::new("the stream does not begin with `YUV4MPEG2`"));
    }
    let (mut width, mut height, mut rate, mut aspect) = (0, 0, None, None);
    let (mut chroma, mut interlaced, mut full_range) = ("420jpeg", false, false);
    for word in words.filter(|word| !word.is_empty() && word.is_ascii()) {
        let (key, value) = word.split_at(1);
        match key {
            "W" => width = value.parse().map_err(|_| wrong("has a width that is not a number"))?,
            "H" => height = value.parse().map_err(|_| wrong("has a height that is not a number"))?,
            "F" => rate = value.parse().ok(),
            "A" => aspect = value.parse().ok().filter(|aspect: &Ratio| aspect.numerator != aspect.denominator),
            "I" => interlaced = ["t", "b", "m"].contains(&value),
            "C" => chroma = value,
            "X" => full_range |= value == "COLORRANGE=FULL",
            _ => {}
        }
    }
    let is_too_large = width.max(height) > LONGEST_SIDE || u64::from(width) * u64::from(height) > MOST_PIXELS;
    if width == 0 || height == 0 || is_too_large {
        return Err(wrong(&format!("has an invalid frame size of {width}x{height} pixels")));
    }
    let (layout, bits) = chroma.split_once('p').filter(|(layout, _)| layout.len() == 3).unwrap_or((chroma, "8"));
    let bits = bits.parse().unwrap_or(8);
    let subsampling = match layout {
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => ChromaSubsampling::Both,
        "422" => ChromaSubsampling::Horizontal,
        "444" => ChromaSubsampling::None,
        "mono" => ChromaSubsampling::Grey,
        _ => {
            let error = wrong(&format!("has the pixel layout `{chroma}`, which is not supported"));
            return Err(error.with_hint("convert it with ffmpeg: `-pix_fmt yuv420p`"));
        }
    };
    if !(8..=16).contains(&bits) {
        return Err(wrong(&format!("has an unsupported depth of {bits} bits")));
    }
    let color = Color { full_range, ..Color::guess(height) };
    let frame_rate = rate.unwrap_or(Ratio { numerator: 25, denominator: 1 });
    Ok((RawStreamInfo { width, height, frame_rate, sample_aspect: aspect, color, bits, interlaced }, subsampling))
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn info(width: u32, height: u32) -> RawStreamInfo {
        let frame_rate = Ratio { numerator: 30000, denominator: 1001 };
        let sample_aspect = Ratio::new(4, 3);
        let color = Color { full_range: true, ..Color::guess(height) };
        RawStreamInfo { width, height, frame_rate, sample_aspect, color, bits: 8, interlaced: false }
    }

    fn stream(width: u32, height: u32) -> (Vec<u8>, RgbImage) {
        let image = RgbImage::from_fn(width, height, |x, y| Rgb([10 * x as u8, 5 * y as u8, 99]));
        let mut bytes = Vec::new();
        let mut writer = Y4mWriter::new(&mut bytes, &info(width, height)).unwrap();
        for _frame in 0..3 {
            writer.push(image.clone().into()).unwrap();
        }
        (bytes, image)
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (width, height) in [(8, 6), (7, 5)] {
            let (bytes, image) = stream(width, height);
            let reader = Y4mReader::new(&bytes[..]).unwrap();
            assert_eq!(reader.info(), &info(width, height));
            let frames: Vec<_> = reader.map(Result::unwrap).collect();
            assert_eq!(frames.iter().map(|frame| frame.pts).collect::<Vec<_>>(), [0, 1, 2]);
            let back = frames[2].picture.clone().into_rgb8();
            assert!(back.iter().zip(image.iter()).all(|(a, b)| a.abs_diff(*b) <= 12), "{width}x{height}");
        }
    }

    #[test]
    fn headers_of_other_programs_are_understood() {
        let (info, subsampling) =
            parse_header("YUV4MPEG2 W720 H576 F25:1 It A16:11 C422p10 XYSCSS=422P10 XCOLORRANGE=LIMITED").unwrap();
        assert_eq!((info.width, info.height, info.bits, info.interlaced), (720, 576, 10, true));
        assert_eq!((subsampling, info.color.full_range), (ChromaSubsampling::Horizontal, false));
        let (info, subsampling) = parse_header("YUV4MPEG2 W4 H2").unwrap();
        assert_eq!((info.frame_rate.value(), info.sample_aspect, subsampling), (25.0, None, ChromaSubsampling::Both));
        for (header, word) in [
            ("YUV4MPEG2 W4", "4x0"),
            ("YUV4MPEG2 W99999 H2", "99999x2"),
            ("YUV4MPEG2 W65535 H65535", "65535x65535"),
            ("YUV4MPEG2 W4 H2 C411", "`411`"),
            ("YUV4MPEG2 W4 H2 C420p99", "99 bits"),
            ("RIFF", "does not begin"),
        ] {
            let error = parse_header(header).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn deep_samples_keep_their_upper_bits() {
        assert_eq!(upper_bits(&[0xFF, 0x03, 0x02, 0x00, 0x00, 0x02], 10), [255, 1, 128]);
    }

    #[test]
    fn a_stream_cut_short_gives_its_whole_frames_and_an_error() {
        let (bytes, _) = stream(8, 6);
        let frames: Vec<_> = Y4mReader::new(&bytes[..bytes.len() - 1]).unwrap().collect();
        assert_eq!(frames.len(), 3);
        assert!(frames[1].is_ok());
        assert_eq!(frames[2].as_ref().unwrap_err().to_string(), "the stream is cut short in frame 2");
        assert!(Y4mReader::new(&b""[..]).is_err());
        let frames: Vec<_> = RgbReader::new(&[7; 12 * 5 + 1][..], (2, 2)).collect();
        assert!(frames.len() == 6 && frames[5].is_err());
    }
}

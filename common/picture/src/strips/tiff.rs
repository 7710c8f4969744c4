//! Reads and writes TIFF in strips. The strips of the file, or rows of its tiles, are decoded one at a time. The strips
//! that are returned are taken from them.

use std::fs::File;
use std::io::{BufReader, Seek, Write};

use image::ImageError;
use image::error::{DecodingError, LimitError, LimitErrorKind, UnsupportedError, UnsupportedErrorKind};
use image::metadata::Orientation;
use tiff::ColorType;
use tiff::decoder::{ChunkType, Decoder, DecodingResult};
use tiff::encoder::colortype::{RGB8, RGB16, RGBA8, RGBA16};
use tiff::encoder::{TiffEncoder, TiffKind, TiffKindBig, TiffKindStandard, TiffValue};
use tiff::tags::{PlanarConfiguration, SampleFormat, Tag};

use super::decoder::{DecoderHeader, MAX_BYTES, RowDecoder};
use super::info::PictureInfo;
use super::queue::StripQueue;
use super::samples::Samples;
use crate::{ForeignFormat, PictureFormat, decode, tiff_tags};
use impasto_error::{Error, Result, ResultExt};

/// Bytes in a strip that is written.
const STRIP_BYTES: u64 = 1 << 20;

/// An upper bound of the bytes in a file that are not pixels: profile and tables.
const REST_BYTES: u64 = 64 << 20;

/// The rows of a TIFF file.
pub(super) struct TiffRows {
    decoder: Decoder<BufReader<File>>,
    width: usize,
    height: usize,
    /// Bits per sample in the file: 1, 8 or 16.
    bits: u8,
    channels: usize,
    orientation: Orientation,
    icc: Option<Vec<u8>>,
    note: Option<String>,
    associated_alpha: bool,
    /// Rows in a strip of the file, or in a row of tiles.
    band_rows: usize,
    band: Option<(usize, Samples)>,
    next_row: usize,
}

impl TiffRows {
    /// Opens a file; `None` if the kind or order of its pixels requires reading the whole picture.
    pub(super) fn open(file: BufReader<File>) -> Result<Option<Self>> {
        let mut decoder = Decoder::new(file).map_err(prose)?;
        if tiff_tags::is_camera_raw(&mut decoder) {
            return Err(ForeignFormat::CameraRaw.error());
        }
        let (width, height) = decoder.dimensions().map_err(prose)?;
        let (bits, channels) = match decoder.colortype() {
            Ok(ColorType::Gray(bits @ (1 | 8 | 16))) => (bits, 1),
            Ok(ColorType::RGB(bits @ (8 | 16))) => (bits, 3),
            Ok(ColorType::RGBA(bits @ (8 | 16))) => (bits, 4),
            // If it cannot be read at all, reading it as a whole returns the reason.
            _ => return Ok(None),
        };
        if !is_plain(&mut decoder, channels)? || (bits == 1 && decoder.get_chunk_type() == ChunkType::Tile) {
            return Ok(None);
        }
        let band_rows = decoder.chunk_dimensions().1.min(height) as usize;
        let band_bytes = (band_rows * channels * usize::from(bits.div_ceil(8))).checked_mul(width as usize);
        if band_rows == 0 || band_bytes.is_none_or(|bytes| bytes > MAX_BYTES) {
            return Ok(None);
        }
        let (icc, note) = tiff_tags::profile(&mut decoder).or_note();
        Ok(Some(Self {
            orientation: orientation(&mut decoder)?,
            icc,
            note,
            associated_alpha: channels == 4 && tiff_tags::has_associated_alpha(&mut decoder),
            width: width as usize,
            height: height as usize,
            decoder,
            bits,
            channels,
            band_rows,
            band: None,
            next_row: 0,
        }))
    }

    /// Rows `band * band_rows ..` of the picture, as many as there are.
    fn read_band(&mut self, band: usize) -> Result<Samples> {
        let chunk_width = self.decoder.chunk_dimensions().0.max(1) as usize;
        let across = self.width.div_ceil(chunk_width);
        let mut chunks = (0..across).map(|column| {
            let index = u32::try_from(band * across + column).map_err(|_| Error::new("there are too many tiles"))?;
            self.read_chunk(index)
        });
        if across == 1 {
            return chunks.next().unwrap_or_else(|| Err(Error::new("the picture has no pixels")));
        }
        let chunks = chunks.collect::<Result<Vec<_>>>()?;
        let rows = self.band_rows.min(self.height - band * self.band_rows);
        let mut samples = Samples::with_capacity(self.bits, rows * self.width * self.channels);
        for row in 0..rows {
            for (column, chunk) in chunks.iter().enumerate() {
                let length = chunk_width.min(self.width - column * chunk_width) * self.channels;
                samples.extend_from(chunk, row * length..(row + 1) * length)?;
            }
        }
        Ok(samples)
    }

    fn read_chunk(&mut self, index: u32) -> Result<Samples> {
        match self.decoder.read_chunk(index).map_err(prose)? {
            DecodingResult::U8(bytes) if self.bits == 1 => Ok(Samples::Eight(spread(&bytes, self.width))),
            DecodingResult::U8(samples) => Ok(Samples::Eight(samples)),
            DecodingResult::U16(samples) => Ok(Samples::Sixteen(samples)),
            _ => Err(Error::new("the file is damaged")),
        }
    }
}

/// Whether the samples are unsigned and interleaved, with as many samples per pixel as there are channels.
fn is_plain(decoder: &mut Decoder<BufReader<File>>, channels: usize) -> Result<bool> {
    let formats = decoder.find_tag_unsigned_vec::<u16>(Tag::SampleFormat).map_err(prose)?.unwrap_or_default();
    let samples = decoder.find_tag_unsigned::<u16>(Tag::SamplesPerPixel).map_err(prose)?.unwrap_or(1);
    let planes = decoder.find_tag_unsigned::<u16>(Tag::PlanarConfiguration).map_err(prose)?;
    Ok(formats.iter().all(|&format| format == SampleFormat::Uint.to_u16())
        && usize::from(samples) == channels
        && planes.is_none_or(|planes| planes == PlanarConfiguration::Chunky.to_u16()))
}

fn orientation(decoder: &mut Decoder<BufReader<File>>) -> Result<Orientation> {
    let tag = decoder.find_tag(Tag::Orientation).map_err(prose)?;
    let orientation = tag.and_then(|tag| Orientation::from_exif(tag.into_u16().ok()?.min(255) as u8));
    Ok(orientation.unwrap_or(Orientation::NoTransforms))
}

/// Converts bits to samples of 0 and 255. The highest bit of a byte comes first, and each row begins with a new byte.
fn spread(bytes: &[u8], width: usize) -> Vec<u8> {
    let bit = |row: &[u8], x: usize| if row[x / 8] & (0x80 >> (x % 8)) == 0 { 0 } else { u8::MAX };
    bytes.chunks_exact(width.div_ceil(8)).flat_map(|row| (0..width).map(move |x| bit(row, x))).collect()
}

impl RowDecoder for TiffRows {
    fn header(&self) -> DecoderHeader {
        DecoderHeader {
            width: self.width as u32,
            height: self.height as u32,
            bits: self.bits.max(8),
            channels: self.channels,
            orientation: self.orientation,
            icc: self.icc.clone(),
            note: self.note.clone(),
        }
    }

    fn read(&mut self, rows: usize) -> Result<Samples> {
        let row_samples = self.width * self.channels;
        let mut samples = Samples::with_capacity(self.bits.max(8), rows * row_samples);
        let end = self.next_row + rows;
        while self.next_row < end {
            let (index, first) = (self.next_row / self.band_rows, self.next_row % self.band_rows);
            let band = match self.band.take() {
                Some((there, band)) if there == index => band,
                _ => self.read_band(index)?,
            };
            let taken = (end - self.next_row).min(self.band_rows - first);
            samples.extend_from(&band, first * row_samples..(first + taken) * row_samples)?;
            self.band = Some((index, band));
            self.next_row += taken;
        }
        match &mut samples {
            _ if !self.associated_alpha => {}
            Samples::Eight(samples) => tiff_tags::divide_samples(samples),
            Samples::Sixteen(samples) => tiff_tags::divide_samples(samples),
        }
        Ok(samples)
    }

    fn end(&mut self) -> Result<Option<String>> {
        self.band = None;
        Ok(None)
    }

    fn rewind(&mut self) -> Result<()> {
        self.next_row = 0;
        self.band = None;
        Ok(())
    }
}

/// The error that [`crate::Picture::decode`] returns for the same problem.
fn prose(error: tiff::TiffError) -> Error {
    let hint = || image::ImageFormat::from(PictureFormat::Tiff).into();
    decode::prose(match error {
        tiff::TiffError::IoError(error) => ImageError::IoError(error),
        tiff::TiffError::LimitsExceeded => {
            ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory))
        }
        tiff::TiffError::UnsupportedError(what) => {
            let kind = UnsupportedErrorKind::GenericFeature(what.to_string());
            ImageError::Unsupported(UnsupportedError::from_format_and_kind(hint(), kind))
        }
        error => ImageError::Decoding(DecodingError::new(hint(), error)),
    })
}

/// Writes a TIFF without compression, as [`crate::Picture::encode`] does; one that outgrows the format's
/// 32-bit offsets becomes a `BigTIFF`.
pub(super) fn write<W: Write + Seek>(writer: &mut W, info: &PictureInfo, strips: &mut StripQueue) -> Result<()> {
    let row_bytes = info.row_samples() as u64 * u64::from(info.bits / 8);
    if row_bytes * u64::from(info.height) < u64::from(u32::MAX) - REST_BYTES {
        write_kind::<W, TiffKindStandard>(writer, info, strips)
    } else {
        write_kind::<W, TiffKindBig>(writer, info, strips)
    }
}

fn write_kind<W: Write + Seek, K: TiffKind>(writer: &mut W, info: &PictureInfo, strips: &mut StripQueue) -> Result<()> {
    match (info.bits, info.has_alpha) {
        (8, false) => write_colors::<W, K, RGB8>(writer, info, strips, eight),
        (8, true) => write_colors::<W, K, RGBA8>(writer, info, strips, eight),
        (_, false) => write_colors::<W, K, RGB16>(writer, info, strips, sixteen),
        (_, true) => write_colors::<W, K, RGBA16>(writer, info, strips, sixteen),
    }
}

fn write_colors<W: Write + Seek, K: TiffKind, C: tiff::encoder::colortype::ColorType>(
    writer: &mut W,
    info: &PictureInfo,
    strips: &mut StripQueue,
    samples: fn(Samples) -> Result<Vec<C::Inner>>,
) -> Result<()>
where
    [C::Inner]: TiffValue,
{
    let action = || "cannot encode as TIFF";
    let mut encoder = TiffEncoder::<_, K>::new_generic(writer).context(action)?;
    let mut image = encoder.new_image::<C>(info.width, info.height).context(action)?;
    if let Some(profile) = &info.icc {
        image.encoder().write_tag(Tag::IccProfile, profile.as_slice()).context(action)?;
    }
    let row_bytes = info.row_samples() as u64 * u64::from(info.bits / 8);
    let rows = (STRIP_BYTES / row_bytes).clamp(1, u64::from(info.height)) as u32;
    image.rows_per_strip(rows).context(action)?;
    for first in (0..info.height).step_by(rows as usize) {
        let strip = samples(strips.take(rows.min(info.height - first))?)?;
        image.write_strip(&strip).context(action)?;
    }
    image.finish().context(action)
}

fn eight(samples: Samples) -> Result<Vec<u8>> {
    match samples {
        Samples::Eight(samples) => Ok(samples),
        Samples::Sixteen(_) => Err(Error::new("found samples of 16 bits where samples of 8 bits were expected")),
    }
}

fn sixteen(samples: Samples) -> Result<Vec<u16>> {
    match samples {
        Samples::Sixteen(samples) => Ok(samples),
        Samples::Eight(_) => Err(Error::new("found samples of 8 bits where samples of 16 bits were expected")),
    }
}

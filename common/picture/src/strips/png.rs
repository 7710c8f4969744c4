//! Reads and writes PNG in strips. Rows are compressed one after the other, so only about two are in memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufReader, Seek, Write};

use image::ImageError;
use image::error::{DecodingError, LimitError, LimitErrorKind, ParameterError, ParameterErrorKind};
use image::metadata::Orientation;
use png::{BitDepth, ColorType, Compression, Decoder, Encoder, Filter, Info, Limits, Reader, Transformations};

use super::decoder::{DecoderHeader, MAX_BYTES, RowDecoder};
use super::info::PictureInfo;
use super::queue::StripQueue;
use super::samples::Samples;
use crate::{PictureFormat, decode, png_head};
use impasto_error::{Error, Result, ResultExt};

/// Compressed bytes in a chunk: as many as the reader of the `png` crate reads at a time.
const CHUNK: usize = 32 << 10;

/// The rows of a PNG file.
pub(super) struct PngRows {
    file: File,
    reader: Reader<BufReader<File>>,
    icc: Option<Vec<u8>>,
    note: Option<String>,
}

impl PngRows {
    /// Opens a file; `None` if the rows are not in order, or there is more than one picture.
    pub(super) fn open(file: File) -> Result<Option<Self>> {
        // The profile is read first, because both readers share the file's position.
        let (icc, note) = png_head::read(BufReader::new(&file)).profile.or_note();
        let reader = open_reader(&file)?;
        let info = reader.info();
        let in_order = !info.interlaced && info.animation_control.is_none();
        if !in_order {
            return Ok(None);
        }
        Ok(Some(Self { file, reader, icc, note }))
    }
}

/// A decoder at the first row, with the transformations that the image crate uses: depths below 8 become 8, and palettes
/// and transparent colours become RGB and alpha.
fn open_reader(file: &File) -> Result<Reader<BufReader<File>>> {
    let mut file = file.try_clone().context(|| "cannot open the file again")?;
    file.rewind().context(|| "cannot read the file again")?;
    let mut decoder = Decoder::new_with_limits(BufReader::new(file), Limits { bytes: MAX_BYTES });
    decoder.set_ignore_text_chunk(true);
    // `png_head` reads it, with less memory.
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info().map_err(prose)
}

impl RowDecoder for PngRows {
    fn header(&self) -> DecoderHeader {
        let info = self.reader.info();
        let (color, depth) = self.reader.output_color_type();
        let exif = info.exif_metadata.as_deref().and_then(Orientation::from_exif_chunk);
        DecoderHeader {
            width: info.width,
            height: info.height,
            bits: bits_of(depth),
            channels: color.samples(),
            orientation: exif.unwrap_or(Orientation::NoTransforms),
            icc: self.icc.clone(),
            note: self.note.clone(),
        }
    }

    fn read(&mut self, rows: usize) -> Result<Samples> {
        let (_, depth) = self.reader.output_color_type();
        let row_bytes = self.reader.output_line_size(self.reader.info().width).ok_or_else(too_much_memory)?;
        let mut bytes = vec![0; row_bytes.checked_mul(rows).ok_or_else(too_much_memory)?];
        for row in bytes.chunks_exact_mut(row_bytes) {
            self.reader.read_row(row).map_err(prose)?;
        }
        Ok(Samples::from_big_endian(bits_of(depth), bytes))
    }

    fn end(&mut self) -> Result<Option<String>> {
        self.reader.read_row(&mut []).map_err(prose)?;
        Ok(None)
    }

    fn rewind(&mut self) -> Result<()> {
        self.reader = open_reader(&self.file)?;
        Ok(())
    }
}

/// The depth after expansion.
fn bits_of(depth: BitDepth) -> u8 {
    if depth == BitDepth::Sixteen { 16 } else { 8 }
}

fn too_much_memory() -> Error {
    prose(png::DecodingError::LimitsExceeded)
}

/// The error that [`crate::Picture::decode`] returns for the same problem.
fn prose(error: png::DecodingError) -> Error {
    decode::prose(match error {
        png::DecodingError::IoError(error) => ImageError::IoError(error),
        png::DecodingError::LimitsExceeded => {
            ImageError::Limits(LimitError::from_kind(LimitErrorKind::InsufficientMemory))
        }
        error @ png::DecodingError::Format(_) => {
            ImageError::Decoding(DecodingError::new(image::ImageFormat::from(PictureFormat::Png).into(), error))
        }
        error @ png::DecodingError::Parameter(_) => {
            ImageError::Parameter(ParameterError::from_kind(ParameterErrorKind::Generic(error.to_string())))
        }
    })
}

/// Writes a PNG with the settings of [`crate::Picture::encode`].
pub(super) fn write(writer: &mut impl Write, info: &PictureInfo, strips: &mut StripQueue) -> Result<()> {
    let action = || "cannot encode as PNG";
    let mut header = Info::with_size(info.width, info.height);
    header.icc_profile = info.icc.as_deref().map(Cow::Borrowed);
    let mut encoder = Encoder::with_info(writer, header).context(action)?;
    encoder.set_color(if info.has_alpha { ColorType::Rgba } else { ColorType::Rgb });
    encoder.set_depth(if info.bits == 8 { BitDepth::Eight } else { BitDepth::Sixteen });
    encoder.set_compression(Compression::Fast);
    encoder.set_filter(Filter::Adaptive);
    let mut writer = encoder.write_header().context(action)?;
    let mut stream = writer.stream_writer_with_size(CHUNK).context(action)?;
    while let Some(samples) = strips.next()? {
        stream.write_all(&samples.into_big_endian()).context(action)?;
    }
    stream.finish().context(action)?;
    writer.finish().context(action)
}

//! Reads baseline JPEG in strips.
//!
//! The JPEG decoders in Rust decode only whole pictures. So each strip is converted into a JPEG file of its own: the
//! entropy-coded data is read block by block, and the blocks of some rows are appended to the file's tables with a new
//! header (see [`scan`]). The usual decoder decodes the result. One more row of blocks on either side is included, because
//! chroma is interpolated between rows; so the pixels are the same as those of the file decoded as a whole, and only one
//! strip is in memory.
//!
//! This works only for a single scan with all components. Progressive files (ITU-T T.81, annex G) spread every block over
//! the file, so all coefficients must be in memory at once.

mod header;
mod huffman;
pub(crate) mod present;
mod scan;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Cursor, Seek, SeekFrom};

use image::codecs::jpeg::JpegDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder};

use super::decoder::{DecoderHeader, RowDecoder};
use super::samples::Samples;
use crate::decode::prose;
use crate::jpeg::{NO_END_MARKER, damaged};
use impasto_error::{Result, ResultExt};

use header::JpegHeader;
use scan::Scan;

/// The target size of a strip, in bytes of pixels. The two rows of blocks around it are decoded in addition.
const STRIP: usize = 8 << 20;

/// The rows of a baseline JPEG file.
pub(super) struct JpegRows {
    file: File,
    header: JpegHeader,
    channels: usize,
    orientation: Orientation,
    icc: Option<Vec<u8>>,
    scan: Scan,
    /// Rows of blocks for the next strips, each coded separately, from number `first` on.
    coded: VecDeque<Vec<u8>>,
    first: usize,
    /// The first row of blocks of the next strip.
    next: usize,
    /// The samples of the current strip, and how many of them have been handed out.
    strip: Vec<u8>,
    given: usize,
}

impl JpegRows {
    /// Opens a file; `None` if it is progressive, or of another kind that is not stored from the top down.
    pub(super) fn open(mut file: File) -> Result<Option<Self>> {
        let Some(header) = JpegHeader::read(&mut file)? else { return Ok(None) };
        let scan = open_scan(&file, &header)?;
        let mut decoder = JpegDecoder::new(Cursor::new(&header.bytes)).map_err(prose)?;
        // As for a whole picture, a damaged profile or EXIF block should not make the pixels unreadable.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let icc = decoder.icc_profile().unwrap_or_default();
        let channels = usize::from(decoder.color_type().channel_count());
        let (coded, strip) = (VecDeque::new(), Vec::new());
        Ok(Some(Self { file, header, channels, orientation, icc, scan, coded, first: 0, next: 0, strip, given: 0 }))
    }

    /// Decodes the next strip.
    fn advance(&mut self) -> Result<()> {
        let JpegHeader { frame, .. } = &self.header;
        let (row_bytes, row_height) = (usize::from(frame.width) * self.channels, frame.mcu_height());
        let rows = (STRIP / (row_bytes * row_height)).max(1);
        let (begin, end) = (self.next, (self.next + rows).min(frame.mcu_rows()));
        let (above, below) = (begin.saturating_sub(1), (end + 1).min(frame.mcu_rows()));
        while self.first < above {
            self.coded.pop_front();
            self.first += 1;
        }
        while self.first + self.coded.len() < below {
            self.coded.push_back(self.scan.next_row(&self.header.frame)?);
        }
        let row = |mcu_row: usize| (mcu_row * row_height).min(usize::from(frame.height));
        let picture = self.header.strip(row(below) - row(above), self.coded.make_contiguous());
        let decoder = JpegDecoder::new(Cursor::new(picture)).map_err(prose)?;
        let samples = match DynamicImage::from_decoder(decoder).map_err(prose)? {
            DynamicImage::ImageLuma8(image) if self.channels == 1 => image.into_raw(),
            DynamicImage::ImageRgb8(image) if self.channels == 3 => image.into_raw(),
            _ => return Err(damaged()),
        };
        self.strip.clear();
        self.strip.extend_from_slice(
            &samples[(row(begin) - row(above)) * row_bytes..][..(row(end) - row(begin)) * row_bytes],
        );
        (self.next, self.given) = (end, 0);
        Ok(())
    }
}

impl RowDecoder for JpegRows {
    fn header(&self) -> DecoderHeader {
        DecoderHeader {
            width: self.header.frame.width.into(),
            height: self.header.frame.height.into(),
            bits: 8,
            channels: self.channels,
            orientation: self.orientation,
            icc: self.icc.clone(),
            // The profile in a JPEG file is always smaller than 16 MiB.
            note: None,
        }
    }

    fn read(&mut self, rows: usize) -> Result<Samples> {
        let wanted = rows * usize::from(self.header.frame.width) * self.channels;
        let mut samples = Vec::with_capacity(wanted);
        while samples.len() < wanted {
            if self.given == self.strip.len() {
                self.advance()?;
            }
            let part = &self.strip[self.given..];
            let part = &part[..part.len().min(wanted - samples.len())];
            samples.extend_from_slice(part);
            self.given += part.len();
        }
        Ok(Samples::Eight(samples))
    }

    fn end(&mut self) -> Result<Option<String>> {
        // All rows were read, so only the marker can be missing.
        Ok(self.scan.end().is_err().then(|| NO_END_MARKER.to_owned()))
    }

    fn rewind(&mut self) -> Result<()> {
        self.scan = open_scan(&self.file, &self.header)?;
        self.coded.clear();
        self.strip.clear();
        (self.first, self.next, self.given) = (0, 0, 0);
        Ok(())
    }
}

fn open_scan(file: &File, header: &JpegHeader) -> Result<Scan> {
    let mut file = file.try_clone().context(|| "cannot open the file again")?;
    file.seek(SeekFrom::Start(header.scan_at)).context(|| "cannot read the file again")?;
    Ok(Scan::new(Box::new(file), &header.frame))
}

#[cfg(test)]
mod tests;

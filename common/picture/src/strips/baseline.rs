//! Baseline JPEG read in strips.
//!
//! Every decoder of JPEG in Rust decodes a whole picture. So a strip is made a whole picture: the entropy-coded data is
//! walked through block by block, and the blocks of some rows are put behind the file's tables with a header of their own
//! (see [`scan`]). The usual decoder decodes that, together with a row of blocks more on either side, for chroma that is
//! interpolated between rows: the pixels are those of the file decoded as a whole, and memory holds a strip.
//!
//! Only one scan that holds all components can be cut so. Progressive files (ITU-T T.81, annex G) spread every block over
//! the file: their coefficients are in memory together or nowhere.

mod head;
mod huffman;
mod scan;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Cursor, Seek, SeekFrom};

use image::codecs::jpeg::JpegDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder};

use super::read::{Header, Rows};
use super::samples::Samples;
use crate::decode::prose;
use crate::jpeg::NO_END_MARKER;
use impasto_error::{Error, Result, ResultExt};

use head::Head;
use scan::Scan;

/// Bytes of pixels that a strip should stay below. The two rows of blocks around it are decoded for nothing.
const STRIP: usize = 8 << 20;

/// The rows of a baseline JPEG file.
pub(super) struct JpegRows {
    file: File,
    head: Head,
    channels: usize,
    orientation: Orientation,
    icc: Option<Vec<u8>>,
    scan: Scan,
    /// Rows of blocks that the next strips need, coded one by one, from the number `first` on.
    coded: VecDeque<Vec<u8>>,
    first: usize,
    /// The row of blocks that the next strip begins with.
    next: usize,
    /// The samples of the current strip, and how many of them have been handed out.
    strip: Vec<u8>,
    given: usize,
}

impl JpegRows {
    /// `None` if the file is progressive, or of another kind that is in no one order from the top down.
    pub(super) fn open(mut file: File) -> Result<Option<Self>> {
        let Some(head) = Head::read(&mut file)? else { return Ok(None) };
        let scan = open_scan(&file, &head)?;
        let mut decoder = JpegDecoder::new(Cursor::new(&head.bytes)).map_err(prose)?;
        // As for a whole picture: a damaged profile or EXIF block is no reason to refuse the pixels.
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let icc = decoder.icc_profile().unwrap_or_default();
        let channels = usize::from(decoder.color_type().channel_count());
        let (coded, strip) = (VecDeque::new(), Vec::new());
        Ok(Some(Self { file, head, channels, orientation, icc, scan, coded, first: 0, next: 0, strip, given: 0 }))
    }

    /// Decodes the next strip.
    fn advance(&mut self) -> Result<()> {
        let Head { frame, .. } = &self.head;
        let (row_bytes, row_height) = (usize::from(frame.width) * self.channels, frame.mcu_height());
        let rows = (STRIP / (row_bytes * row_height)).max(1);
        let (begin, end) = (self.next, (self.next + rows).min(frame.mcu_rows()));
        let (above, below) = (begin.saturating_sub(1), (end + 1).min(frame.mcu_rows()));
        while self.first < above {
            self.coded.pop_front();
            self.first += 1;
        }
        while self.first + self.coded.len() < below {
            self.coded.push_back(self.scan.next_row(&self.head.frame)?);
        }
        let row = |mcu_row: usize| (mcu_row * row_height).min(usize::from(frame.height));
        let picture = self.head.strip(row(below) - row(above), self.coded.make_contiguous());
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

impl Rows for JpegRows {
    fn header(&self) -> Header {
        Header {
            width: self.head.frame.width.into(),
            height: self.head.frame.height.into(),
            bits: 8,
            channels: self.channels,
            orientation: self.orientation,
            icc: self.icc.clone(),
        }
    }

    fn read(&mut self, rows: usize) -> Result<Samples> {
        let wanted = rows * usize::from(self.head.frame.width) * self.channels;
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
        // All rows were read, so nothing but the marker can be missing.
        Ok(self.scan.end().is_err().then(|| NO_END_MARKER.to_owned()))
    }

    fn rewind(&mut self) -> Result<()> {
        self.scan = open_scan(&self.file, &self.head)?;
        self.coded.clear();
        self.strip.clear();
        (self.first, self.next, self.given) = (0, 0, 0);
        Ok(())
    }
}

fn open_scan(file: &File, head: &Head) -> Result<Scan> {
    let mut file = file.try_clone().context(|| "cannot open it again")?;
    file.seek(SeekFrom::Start(head.scan_at)).context(|| "cannot read it again")?;
    Ok(Scan::new(Box::new(file), &head.frame))
}

/// What of a file's pixels is there.
pub(crate) struct PresentRows {
    /// Rows of pixels that are whole.
    pub(crate) present: usize,
    /// Rows of the picture.
    pub(crate) height: usize,
    /// If all rows are whole: a file of these pixels, without a profile and an EXIF block.
    pub(crate) whole: Option<Vec<u8>>,
}

/// The rows of a file that may lack its end; `None` if it is not one that can be cut into strips.
pub(crate) fn rows_of(bytes: &[u8]) -> Option<PresentRows> {
    let head = Head::read(bytes).ok()??;
    let data = bytes.get(usize::try_from(head.scan_at).ok()?..)?.to_vec();
    let mut scan = Scan::new(Box::new(Cursor::new(data)), &head.frame);
    let rows: Vec<_> = (0..head.frame.mcu_rows()).map_while(|_| scan.next_row(&head.frame).ok()).collect();
    let height = usize::from(head.frame.height);
    let present = (rows.len() * head.frame.mcu_height()).min(height);
    Some(PresentRows { present, height, whole: (present == height).then(|| head.strip(height, &rows)) })
}

/// The words that [`prose`] has.
fn damaged() -> Error {
    Error::new("the file is damaged")
}

#[cfg(test)]
mod tests;

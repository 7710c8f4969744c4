//! Reads pictures with an EXIF rotation in strips.
//!
//! The first row of a rotated picture may be the last row of the file, or a column. So the samples are first written to an
//! unnamed temporary file. The system removes the file when it is closed, however the program ends.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use image::metadata::Orientation;

use super::decoder::{DecoderHeader, RowDecoder};
use super::samples::Samples;
use impasto_error::{Error, Result, ResultExt};

/// Rows of the file that are transposed together, so that a strip of columns can be read in few pieces.
const BAND: usize = 64;

/// Rows in the order of the rotated picture.
pub(super) struct Turned {
    rows: Box<dyn RowDecoder>,
    header: DecoderHeader,
    turn: Turn,
    /// Width and height before the rotation, and the bytes per pixel.
    width: usize,
    height: usize,
    pixel: usize,
    /// The temporary file with the samples, once the first row was read.
    spill: Option<File>,
    /// The notice from the end of the file.
    note: Option<String>,
    next: usize,
}

/// A rotation or reflection, in three steps.
#[derive(Debug, Clone, Copy)]
struct Turn {
    /// Columns become rows.
    swap: bool,
    /// Then, the last row becomes the first.
    upside_down: bool,
    /// Then, the last pixel of each row becomes the first.
    mirrored: bool,
}

impl Turn {
    fn of(orientation: Orientation) -> Self {
        use Orientation::{
            FlipHorizontal, FlipVertical, NoTransforms, Rotate90, Rotate90FlipH, Rotate180, Rotate270, Rotate270FlipH,
        };
        Self {
            swap: matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH),
            upside_down: matches!(orientation, Rotate180 | FlipVertical | Rotate270 | Rotate270FlipH),
            mirrored: match orientation {
                Rotate180 | FlipHorizontal | Rotate90 | Rotate270FlipH => true,
                NoTransforms | FlipVertical | Rotate270 | Rotate90FlipH => false,
            },
        }
    }
}

impl Turned {
    pub(super) fn new(rows: Box<dyn RowDecoder>) -> Self {
        let mut header = rows.header();
        let turn = Turn::of(header.orientation);
        let (width, height) = (header.width as usize, header.height as usize);
        let pixel = header.channels * usize::from(header.bits) / 8;
        if turn.swap {
            (header.width, header.height) = (header.height, header.width);
        }
        header.orientation = Orientation::NoTransforms;
        Self { rows, header, turn, width, height, pixel, spill: None, note: None, next: 0 }
    }

    /// Reads all rows into a temporary file, either row by row or, for each [`BAND`] rows, column by column.
    fn spill(&mut self) -> Result<File> {
        let folder = std::env::temp_dir();
        let mut file =
            tempfile::tempfile().context(|| format!("cannot create a temporary file in `{}`", folder.display()))?;
        for first in (0..self.height).step_by(BAND) {
            let rows = BAND.min(self.height - first);
            let mut samples = self.rows.read(rows)?.into_big_endian();
            if self.turn.swap {
                samples = transpose(&samples, self.width, self.pixel);
            }
            file.write_all(&samples)
                .context(|| format!("cannot write a temporary file in `{}`", folder.display()))
                .map_err(|error| error.with_hint("free some space there, or set TMPDIR to another folder"))?;
        }
        self.note = self.rows.end()?;
        Ok(file)
    }

    /// Reads rows or columns of the temporary file.
    fn lines(&mut self, first: usize, count: usize) -> Result<Vec<u8>> {
        let mut file = match self.spill.take() {
            Some(file) => file,
            None => self.spill()?,
        };
        let (width, height, pixel) = (self.width, self.height, self.pixel);
        let mut lines = Vec::new();
        if self.turn.swap {
            lines.resize(count * height * pixel, 0);
            for top in (0..height).step_by(BAND) {
                let rows = BAND.min(height - top);
                let part = read(&mut file, (top * width + first * rows) * pixel, count * rows * pixel)?;
                for (line, part) in lines.chunks_exact_mut(height * pixel).zip(part.chunks_exact(rows * pixel)) {
                    line[top * pixel..][..part.len()].copy_from_slice(part);
                }
            }
        } else {
            lines = read(&mut file, first * width * pixel, count * width * pixel)?;
        }
        self.spill = Some(file);
        Ok(lines)
    }
}

impl RowDecoder for Turned {
    fn header(&self) -> DecoderHeader {
        self.header.clone()
    }

    fn read(&mut self, rows: usize) -> Result<Samples> {
        let end = self.next + rows;
        let first = if self.turn.upside_down { self.header.height as usize - end } else { self.next };
        let lines = self.lines(first, rows)?;
        self.next = end;
        let row = self.header.width as usize * self.pixel;
        let mut samples = Vec::with_capacity(lines.len());
        for i in 0..rows {
            let line = &lines[if self.turn.upside_down { rows - 1 - i } else { i } * row..][..row];
            if self.turn.mirrored {
                line.rchunks_exact(self.pixel).for_each(|pixel| samples.extend_from_slice(pixel));
            } else {
                samples.extend_from_slice(line);
            }
        }
        Ok(Samples::from_big_endian(self.header.bits, samples))
    }

    fn end(&mut self) -> Result<Option<String>> {
        Ok(self.note.take())
    }

    fn rewind(&mut self) -> Result<()> {
        self.next = 0;
        if self.spill.is_none() { self.rows.rewind() } else { Ok(()) }
    }
}

fn read(file: &mut File, at: usize, count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    let read = file.seek(SeekFrom::Start(at as u64)).and_then(|_| file.read_exact(&mut bytes));
    read.map_err(|error| Error::new("cannot read a temporary file").with_source(error))?;
    Ok(bytes)
}

/// Transposes rows of pixels to columns.
fn transpose(rows: &[u8], width: usize, pixel: usize) -> Vec<u8> {
    let mut columns = Vec::with_capacity(rows.len());
    for x in 0..width {
        for row in rows.chunks_exact(width * pixel) {
            columns.extend_from_slice(&row[x * pixel..][..pixel]);
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use image::codecs::png::PngEncoder;
    use image::{ExtendedColorType, ImageEncoder};

    use super::super::StripReader;
    use crate::Picture;

    /// An EXIF block in TIFF form whose only entry is the orientation (EXIF 2.32, 4.6.4).
    fn exif(orientation: u8) -> Vec<u8> {
        let entry = [0x12, 0x01, 3, 0, 1, 0, 0, 0, orientation, 0, 0, 0];
        [b"II*\0\x08\0\0\0\x01\0".as_slice(), &entry, &[0; 4]].concat()
    }

    #[test]
    fn every_turn_of_every_size_is_that_of_the_whole_picture() {
        let path = tempfile::NamedTempFile::new().unwrap();
        for (width, height) in [(1, 1), (7, 3), (5, 150), (150, 5)] {
            let samples: Vec<u16> = (0..3 * width * height).map(|i| (i * i % 65_521) as u16).collect();
            for (color, bytes) in [
                (ExtendedColorType::Rgb16, bytemuck::cast_slice(&samples)),
                (ExtendedColorType::L8, &bytemuck::cast_slice::<u16, u8>(&samples)[..(width * height) as usize]),
            ] {
                for orientation in 2..=8 {
                    let mut file = Vec::new();
                    let mut encoder = PngEncoder::new(&mut file);
                    encoder.set_exif_metadata(exif(orientation)).unwrap();
                    encoder.write_image(bytes, width, height, color).unwrap();
                    std::fs::write(path.path(), &file).unwrap();
                    let whole = Picture::decode(&file).unwrap();
                    let mut reader = StripReader::open(path.path()).unwrap().unwrap();
                    assert_eq!(*reader.info(), whole.info());
                    for rows in [1, 4, 1000] {
                        let mut read = Vec::new();
                        while let Some(strip) = reader.read(rows).unwrap() {
                            read.extend_from_slice(strip.as_image().as_bytes());
                        }
                        assert!(read == whole.as_image().as_bytes(), "{orientation}, {width}x{height}, {rows} rows");
                        reader.rewind().unwrap();
                    }
                }
            }
        }
    }
}

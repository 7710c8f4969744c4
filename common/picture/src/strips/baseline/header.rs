//! Reads the headers of a JPEG file, up to its scan (ITU-T T.81, annex B), and writes those of a strip.

use std::io::{BufReader, ErrorKind, Read};

use super::huffman::{DC_COUNTS, DC_SYMBOLS, Table};
use crate::jpeg::{cut_short, damaged};
use impasto_error::{Error, Result};

/// The most bytes of segments that are kept for the profile and EXIF block. No camera writes a tenth of that.
const MAX_BYTES: usize = 16 << 20;

const START_OF_IMAGE: [u8; 2] = [0xFF, 0xD8];
const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];
const FIRST_RESTART: usize = 0xD0;
const START_OF_SCAN: u8 = 0xDA;
const HUFFMAN_TABLES: u8 = 0xC4;
const RESTART_INTERVAL: u8 = 0xDD;
/// Baseline, and extended sequential, which allows more tables.
const SEQUENTIAL: [u8; 2] = [0xC0, 0xC1];

/// The headers of a file.
#[derive(Debug)]
pub(super) struct JpegHeader {
    /// All headers: a file without pixel data.
    pub(super) bytes: Vec<u8>,
    /// Where in the file the entropy-coded data begins.
    pub(super) scan_at: u64,
    pub(super) frame: FrameHeader,
    /// The segments that affect the pixels and are the same for every strip.
    kept: Vec<u8>,
    /// The segment of the frame header, with its marker.
    start_of_frame: Vec<u8>,
}

/// The frame header, and other data about how the picture is made of blocks.
#[derive(Debug)]
pub(super) struct FrameHeader {
    pub(super) width: u16,
    pub(super) height: u16,
    /// The components, in the order of the scan.
    pub(super) components: Vec<Component>,
    /// Minimum coded units (MCUs) from one restart to the next; 0 without restarts.
    pub(super) restart: usize,
    pub(super) dc: [Option<Table>; 4],
    pub(super) ac: [Option<Table>; 4],
}

/// A colour channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Component {
    id: u8,
    /// Blocks of the component in an MCU, across and down.
    across: usize,
    down: usize,
    pub(super) dc: usize,
    pub(super) ac: usize,
}

impl Component {
    pub(super) fn blocks(&self) -> usize {
        self.across * self.down
    }
}

impl FrameHeader {
    /// Rows of pixels in an MCU.
    pub(super) fn mcu_height(&self) -> usize {
        8 * self.components.iter().map(|component| component.down).max().unwrap_or(1)
    }

    /// Rows of MCUs.
    pub(super) fn mcu_rows(&self) -> usize {
        usize::from(self.height).div_ceil(self.mcu_height())
    }

    /// MCUs in a row.
    pub(super) fn mcus(&self) -> usize {
        let across = self.components.iter().map(|component| component.across).max().unwrap_or(1);
        usize::from(self.width).div_ceil(8 * across)
    }
}

impl JpegHeader {
    /// Reads up to the first scan; `None` if the file cannot be divided into strips.
    pub(super) fn read(file: impl Read) -> Result<Option<Self>> {
        let mut file = BufReader::new(file);
        let mut bytes = START_OF_IMAGE.to_vec();
        read(&mut file, 2)?;
        let mut scan_at = 2;
        let (mut kept, mut start_of_frame) = (Vec::new(), Vec::new());
        let (mut dc, mut ac) = ([const { None }; 4], [const { None }; 4]);
        let mut restart = 0;
        loop {
            let (marker, skipped) = next_marker(&mut file)?;
            let length = read(&mut file, 2)?;
            let length = u16::from_be_bytes([length[0], length[1]]);
            let body = read(&mut file, usize::from(length.saturating_sub(2)))?;
            scan_at += skipped + u64::from(length.max(2));
            let segment = [&[0xFF, marker], &length.to_be_bytes()[..], &body].concat();
            bytes.extend_from_slice(&segment);
            match (marker, &body[..]) {
                (START_OF_SCAN, body) => {
                    bytes.extend_from_slice(&END_OF_IMAGE);
                    let Some(frame) = frame(&start_of_frame, body, restart, (dc, ac)) else { return Ok(None) };
                    return Ok(Some(Self { bytes, scan_at, frame, kept, start_of_frame }));
                }
                (HUFFMAN_TABLES, body) => read_tables(body, &mut dc, &mut ac)?,
                (RESTART_INTERVAL, &[high, low, ..]) => restart = u16::from_be_bytes([high, low]).into(),
                (marker, _) if SEQUENTIAL.contains(&marker) => start_of_frame = segment,
                // JFIF and Adobe, which define the colour components, and the quantisation tables.
                (0xE0 | 0xEE | 0xDB, _) => kept.extend_from_slice(&segment),
                // Arithmetic coding, or not sequential.
                (0xC2..=0xCF, _) => return Ok(None),
                _ => {}
            }
            if bytes.len() > MAX_BYTES {
                return Ok(None);
            }
        }
    }

    /// A file of `height` rows of pixels, made of rows of MCUs that are each coded separately.
    pub(super) fn strip(&self, height: usize, rows: &[Vec<u8>]) -> Vec<u8> {
        let mut file = [&START_OF_IMAGE, &self.kept[..], &self.start_of_frame].concat();
        let at = file.len() - self.start_of_frame.len() + 5;
        file[at..at + 2].copy_from_slice(&(height as u16).to_be_bytes());
        push_table(&mut file, 0, &DC_COUNTS, &DC_SYMBOLS);
        for (id, table) in (0x10..).zip(&self.frame.ac) {
            if let Some(table) = table {
                push_table(&mut file, id, &table.counts, &table.symbols);
            }
        }
        push(&mut file, RESTART_INTERVAL, &(self.frame.mcus() as u16).to_be_bytes());
        let components = self.frame.components.iter().flat_map(|component| [component.id, component.ac as u8]);
        let scan: Vec<_> =
            [self.frame.components.len() as u8].into_iter().chain(components).chain([0, 63, 0]).collect();
        push(&mut file, START_OF_SCAN, &scan);
        for (i, row) in rows.iter().enumerate() {
            if i > 0 {
                file.extend([0xFF, (FIRST_RESTART + (i - 1) % 8) as u8]);
            }
            file.extend_from_slice(row);
        }
        file.extend(END_OF_IMAGE);
        file
    }
}

/// Combines the headers of frame and scan; `None` if there is more than one scan, or if the file is not supported for
/// another reason.
fn frame(
    start_of_frame: &[u8],
    start_of_scan: &[u8],
    restart: usize,
    (dc, ac): ([Option<Table>; 4], [Option<Table>; 4]),
) -> Option<FrameHeader> {
    let &[bits, h0, h1, w0, w1, count, ref components @ ..] = start_of_frame.get(4..)? else { return None };
    let (width, height) = (u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1]));
    let (&scanned, scan) = start_of_scan.split_first()?;
    let components = components.as_chunks::<3>().0.get(..usize::from(count))?;
    let (selectors, spectrum) = scan.split_at_checked(2 * usize::from(scanned))?;
    // A height of 0 means that the height follows after the scan.
    if bits != 8 || width == 0 || height == 0 || count == 0 || scanned != count || *spectrum != [0, 63, 0] {
        return None;
    }
    let find = |&[id, tables]: &[u8; 2]| {
        let &[_, sampling, _] = components.iter().find(|component| component[0] == id)?;
        let [across, down] = [sampling >> 4, sampling & 15].map(usize::from);
        let [dc_table, ac_table] = [tables >> 4, tables & 15].map(usize::from);
        let known = dc.get(dc_table)?.is_some() && ac.get(ac_table)?.is_some();
        // A single component is coded block by block, regardless of its sampling.
        let [across, down] = if count == 1 { [1, 1] } else { [across, down] };
        let valid = known && (1..=4).contains(&across) && (1..=4).contains(&down);
        valid.then_some(Component { id, across, down, dc: dc_table, ac: ac_table })
    };
    let components = selectors.as_chunks::<2>().0.iter().map(find).collect::<Option<Vec<_>>>()?;
    // The decoder of strips gives wrong pixels if another component is finer than the first.
    let widest = components.iter().map(|component| component.across).max()?;
    if components.first()?.across != widest || components.iter().any(|component| component.across == 3) {
        return None;
    }
    Some(FrameHeader { width, height, components, restart, dc, ac })
}

/// Reads the tables of a segment: one byte for kind and number, then the number of codes of each length, then their
/// symbols.
fn read_tables(mut body: &[u8], dc: &mut [Option<Table>; 4], ac: &mut [Option<Table>; 4]) -> Result<()> {
    while let Some((&id, rest)) = body.split_first() {
        let (counts, rest) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
        let count = counts.iter().map(|&count| usize::from(count)).sum();
        let (symbols, rest) = rest.split_at_checked(count).ok_or_else(damaged)?;
        let tables = if id >> 4 == 0 { &mut *dc } else { &mut *ac };
        *tables.get_mut(usize::from(id & 15)).ok_or_else(damaged)? = Some(Table::new(*counts, symbols)?);
        body = rest;
    }
    Ok(())
}

fn push_table(file: &mut Vec<u8>, id: u8, counts: &[u8; 16], symbols: &[u8]) {
    push(file, HUFFMAN_TABLES, &[&[id], &counts[..], symbols].concat());
}

fn push(file: &mut Vec<u8>, marker: u8, body: &[u8]) {
    file.extend([0xFF, marker]);
    file.extend((body.len() as u16 + 2).to_be_bytes());
    file.extend_from_slice(body);
}

/// The next marker, and the bytes up to its end.
fn next_marker(file: &mut impl Read) -> Result<(u8, u64)> {
    let (mut last, mut skipped) = (0, 0);
    loop {
        let byte = read(file, 1)?[0];
        skipped += 1;
        if last == 0xFF && !matches!(byte, 0x00 | 0x01 | 0xFF | 0xD0..=0xD8) {
            return Ok((byte, skipped));
        }
        last = byte;
    }
}

fn read(file: &mut impl Read, count: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; count];
    file.read_exact(&mut bytes).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => cut_short(),
        _ => Error::new("cannot read its header").with_source(error),
    })?;
    Ok(bytes)
}

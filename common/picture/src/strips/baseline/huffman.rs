//! Huffman codes and bits of entropy-coded data (ITU-T T.81, annexes C and F).

use std::io::Read;

use crate::jpeg::{cut_short, damaged};
use impasto_error::{Result, ResultExt};

/// The lengths and symbols of a code that covers every category of DC differences. A file may have codes only for those
/// that occur in it, but the first difference of a strip may be in another category. The codes of symbols 0 to 14 have four
/// bits and equal the symbol; that of 15 has five bits.
pub(super) const DC_COUNTS: [u8; 16] = [0, 0, 0, 15, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
pub(super) const DC_SYMBOLS: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// Bytes read from the file at a time.
const BUFFER: usize = 64 << 10;

/// A table of codes.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) counts: [u8; 16],
    pub(super) symbols: Vec<u8>,
    /// For every value of 16 bits, the length of the code at its beginning, and its symbol. The length is 0 if there is no
    /// code.
    lookup: Vec<(u8, u8)>,
}

impl Table {
    pub(super) fn new(counts: [u8; 16], symbols: &[u8]) -> Result<Self> {
        let mut lookup = vec![(0, 0); 1 << 16];
        let (mut code, mut rest) = (0, symbols);
        for (length, &count) in (1..=16).zip(&counts) {
            let (these, later) = rest.split_at_checked(count.into()).ok_or_else(damaged)?;
            for &symbol in these {
                let span = 1 << (16 - length);
                lookup.get_mut(code..code + span).ok_or_else(damaged)?.fill((length as u8, symbol));
                code += span;
            }
            rest = later;
        }
        Ok(Self { counts, symbols: symbols.into(), lookup })
    }
}

/// The bits of a scan, up to a marker.
pub(super) struct BitReader {
    file: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    at: usize,
    /// The lowest `count` bits are the next ones. The last `made_up` of them do not come from the file.
    bits: u64,
    count: u32,
    made_up: u32,
    /// The marker that ended the bits.
    marker: Option<u8>,
    at_end: bool,
}

impl BitReader {
    pub(super) fn new(file: Box<dyn Read + Send>) -> Self {
        Self { file, buffer: Vec::new(), at: 0, bits: 0, count: 0, made_up: 0, marker: None, at_end: false }
    }

    /// The next code's bits, their number, and its symbol.
    #[inline]
    pub(super) fn code(&mut self, table: &Table) -> Result<(u32, u32, u8)> {
        self.fill()?;
        let next = (self.bits >> (self.count - 16)) as u16;
        let (length, symbol) = table.lookup[usize::from(next)];
        if length == 0 {
            return Err(self.lost());
        }
        self.count -= u32::from(length);
        Ok((u32::from(next) >> (16 - length), length.into(), symbol))
    }

    /// The next `count` bits, at most 16.
    #[inline]
    pub(super) fn take(&mut self, count: u32) -> Result<u32> {
        self.fill()?;
        self.count -= count;
        Ok((self.bits >> self.count) as u32 & ((1 << count) - 1))
    }

    /// Fails if more bits were read than the file has.
    #[inline]
    pub(super) fn check(&self) -> Result<()> {
        if self.count < self.made_up { Err(self.lost()) } else { Ok(()) }
    }

    /// Skips the next marker, which must be a restart.
    pub(super) fn restart(&mut self) -> Result<()> {
        match self.seek_marker()? {
            0xD0..=0xD7 => Ok(()),
            // The picture ends too early.
            _ => Err(damaged()),
        }
    }

    /// Skips the rest of the picture and its end marker.
    pub(super) fn end(&mut self) -> Result<()> {
        loop {
            match self.seek_marker()? {
                0xD9 => return Ok(()),
                0x01 | 0xD0..=0xD8 => {}
                _ => {
                    let length = [self.byte()?, self.byte()?].map(|byte| byte.ok_or_else(cut_short));
                    let [high, low] = length;
                    for _ in 2..u16::from_be_bytes([high?, low?]) {
                        self.byte()?.ok_or_else(cut_short)?;
                    }
                }
            }
        }
    }

    /// Skips the bits before the next marker, and the marker.
    fn seek_marker(&mut self) -> Result<u8> {
        (self.count, self.made_up) = (0, 0);
        while self.marker.is_none() {
            self.data_byte()?;
            if self.at_end {
                return Err(cut_short());
            }
        }
        self.marker.take().ok_or_else(damaged)
    }

    /// The error for invalid bits. If the file ends within its data, it is reported as cut short, regardless of its last
    /// bits.
    pub(super) fn lost(&self) -> impasto_error::Error {
        if self.at_end { cut_short() } else { damaged() }
    }

    /// Loads at least as many bits as a code can have, with zeros after the last one.
    #[inline]
    fn fill(&mut self) -> Result<()> {
        while self.count < 32 {
            let byte = self.data_byte()?;
            self.made_up += if byte.is_none() { 8 } else { 0 };
            self.bits = self.bits << 8 | u64::from(byte.unwrap_or(0));
            self.count += 8;
        }
        Ok(())
    }

    /// The next byte of data, with a stuffed byte after it removed. `None` at a marker and after it.
    #[inline]
    fn data_byte(&mut self) -> Result<Option<u8>> {
        if self.marker.is_some() {
            return Ok(None);
        }
        let Some(byte) = self.byte()? else { return Ok(None) };
        if byte != 0xFF {
            return Ok(Some(byte));
        }
        loop {
            match self.byte()? {
                None => return Ok(None),
                Some(0) => return Ok(Some(0xFF)),
                Some(0xFF) => {}
                Some(marker) => {
                    self.marker = Some(marker);
                    return Ok(None);
                }
            }
        }
    }

    #[inline]
    fn byte(&mut self) -> Result<Option<u8>> {
        if self.at == self.buffer.len() {
            self.buffer.resize(BUFFER, 0);
            let read = self.file.read(&mut self.buffer).context(|| "cannot read its pixels")?;
            self.buffer.truncate(read);
            self.at = 0;
            self.at_end |= read == 0;
        }
        let byte = self.buffer.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        Ok(byte)
    }
}

/// The bits of a row of MCUs.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    bits: u64,
    count: u32,
}

impl BitWriter {
    /// Appends the lowest `count` bits, at most 16, of `bits`. Its other bits must be 0.
    #[inline]
    pub(super) fn put(&mut self, bits: u32, count: u32) {
        self.bits = self.bits << count | u64::from(bits);
        self.count += count;
        while self.count >= 8 {
            self.count -= 8;
            let byte = (self.bits >> self.count) as u8;
            self.bytes.push(byte);
            if byte == 0xFF {
                self.bytes.push(0);
            }
        }
    }

    /// The bytes. The last one is padded with ones.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let missing = (8 - self.count) % 8;
        self.put((1 << missing) - 1, missing);
        self.bytes
    }
}

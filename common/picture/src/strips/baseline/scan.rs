//! Divides entropy-coded data into rows of MCUs that can be decoded separately.
//!
//! A row depends on the previous one in two ways: it begins within a byte, and the DC coefficients are differences from the
//! previous ones. So the codes of the AC coefficients are copied bit by bit, and the differences are coded again, from 0 at
//! the beginning of a row. In the strips, there is a restart marker between rows; the file's own restarts are removed.

use std::io::Read;

use super::header::{Component, FrameHeader};
use super::huffman::{BitReader, BitWriter, Table};
use crate::jpeg::damaged;
use impasto_error::Result;

/// Coefficients of a block.
const COEFFICIENTS: u32 = 64;

/// The last DC coefficient of each component.
type Last = [i32; 4];

/// A scan, read one row of MCUs at a time.
pub(super) struct Scan {
    bits: BitReader,
    last: Last,
    /// MCUs before the next restart; 0 without restarts.
    before_restart: usize,
}

impl Scan {
    /// Starts with a file positioned at the first byte of the data.
    pub(super) fn new(file: Box<dyn Read + Send>, frame: &FrameHeader) -> Self {
        Self { bits: BitReader::new(file), last: Last::default(), before_restart: frame.restart }
    }

    /// The next row of MCUs.
    ///
    /// # Errors
    ///
    /// If the file is cut short or damaged, or has no more rows.
    pub(super) fn next_row(&mut self, frame: &FrameHeader) -> Result<Vec<u8>> {
        let mut row = BitWriter::default();
        let mut written = Last::default();
        for _ in 0..frame.mcus() {
            if frame.restart > 0 && self.before_restart == 0 {
                self.bits.restart()?;
                self.last = Last::default();
                self.before_restart = frame.restart;
            }
            for (i, component) in frame.components.iter().enumerate().take(4) {
                for _ in 0..component.blocks() {
                    self.dc(frame, component, i, &mut row, &mut written)?;
                    self.ac(frame.ac[component.ac].as_ref().ok_or_else(damaged)?, &mut row)?;
                }
            }
            self.bits.check()?;
            self.before_restart = self.before_restart.saturating_sub(1);
        }
        Ok(row.finish())
    }

    /// Reads and checks what follows the last row.
    pub(super) fn end(&mut self) -> Result<()> {
        self.bits.end()
    }

    #[inline]
    fn dc(
        &mut self,
        frame: &FrameHeader,
        component: &Component,
        i: usize,
        row: &mut BitWriter,
        written: &mut Last,
    ) -> Result<()> {
        let table = frame.dc[component.dc].as_ref().ok_or_else(damaged)?;
        let (_, _, category) = self.bits.code(table)?;
        let category = u32::from(category);
        if category > 15 {
            return Err(self.bits.lost());
        }
        let bits = self.bits.take(category)? as i32;
        // Table F.2 of the standard: the lower half of a category is negative.
        let negative = category > 0 && bits < 1 << (category - 1);
        self.last[i] = self.last[i].wrapping_add(if negative { bits - (1 << category) + 1 } else { bits });
        let difference = self.last[i].wrapping_sub(written[i]);
        written[i] = self.last[i];
        let category = 32 - difference.unsigned_abs().leading_zeros();
        match category {
            0..15 => row.put(category, 4),
            15 => row.put(0b11110, 5),
            _ => return Err(self.bits.lost()),
        }
        let bits = if difference < 0 { difference + (1 << category) - 1 } else { difference };
        row.put(bits as u32, category);
        Ok(())
    }

    #[inline]
    fn ac(&mut self, table: &Table, row: &mut BitWriter) -> Result<()> {
        let mut at = 1;
        while at < COEFFICIENTS {
            let (code, length, symbol) = self.bits.code(table)?;
            row.put(code, length);
            let (zeros, size) = (u32::from(symbol >> 4), u32::from(symbol & 15));
            match (zeros, size) {
                (15, 0) => at += 16,
                // The rest of the block is 0.
                (_, 0) => break,
                _ => {
                    at += zeros + 1;
                    row.put(self.bits.take(size)?, size);
                }
            }
        }
        if at > COEFFICIENTS { Err(self.bits.lost()) } else { Ok(()) }
    }
}

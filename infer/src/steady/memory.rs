//! What a stabiliser remembers, as bytes: numbers with their lowest byte first, and lists behind their length.

use std::io::{self, Read, Write};

use impasto_flow::{Flow, FlowFrame, LumaPlane};

/// Numbers that are turned into bytes at a time.
const BLOCK: usize = 4096;

/// The longest side of a frame, pixels: a file can claim any.
const LONGEST_SIDE: u64 = 1 << 16;

/// Writes what a stabiliser remembers.
pub(super) struct MemoryWriter<'a>(pub(super) &'a mut dyn Write);

impl MemoryWriter<'_> {
    pub(super) fn number(&mut self, number: usize) -> io::Result<()> {
        self.0.write_all(&(number as u64).to_le_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.number(bytes.len())?;
        self.0.write_all(bytes)
    }

    pub(super) fn floats(&mut self, floats: &[f32]) -> io::Result<()> {
        self.number(floats.len())?;
        self.values(floats)
    }

    fn values(&mut self, floats: &[f32]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(4 * BLOCK);
        for block in floats.chunks(BLOCK) {
            bytes.clear();
            for value in block {
                bytes.extend(value.to_le_bytes());
            }
            self.0.write_all(&bytes)?;
        }
        Ok(())
    }

    pub(super) fn size(&mut self, (height, width): (usize, usize)) -> io::Result<()> {
        self.number(height)?;
        self.number(width)
    }

    pub(super) fn luma(&mut self, luma: &LumaPlane) -> io::Result<()> {
        self.size(luma.size())?;
        (0..luma.size().0).try_for_each(|y| self.values(luma.row(y)))
    }

    pub(super) fn flow(&mut self, flow: &Flow) -> io::Result<()> {
        self.size(flow.size())?;
        self.values(flow.x())?;
        self.values(flow.y())
    }

    pub(super) fn frame(&mut self, frame: &FlowFrame) -> io::Result<()> {
        self.size(frame.size())?;
        self.values(frame.pixels().as_flattened())
    }

    pub(super) fn statistics(&mut self, layers: &[Vec<[f64; 2]>]) -> io::Result<()> {
        self.number(layers.len())?;
        for layer in layers {
            self.number(layer.len())?;
            layer.as_flattened().iter().try_for_each(|value| self.0.write_all(&value.to_le_bytes()))?;
        }
        Ok(())
    }
}

/// Reads what a stabiliser remembered. Memory is allocated as the bytes come, whatever a length says.
pub(super) struct MemoryReader<'a>(pub(super) &'a mut dyn Read);

impl MemoryReader<'_> {
    pub(super) fn number(&mut self) -> io::Result<usize> {
        self.array().map(|bytes| u64::from_le_bytes(bytes) as usize)
    }

    pub(super) fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let length = self.number()?;
        self.exactly(length as u64)
    }

    pub(super) fn floats(&mut self) -> io::Result<Vec<f32>> {
        let count = self.number()?;
        self.values(count as u64)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn exactly(&mut self, length: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        (&mut *self.0).take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn values(&mut self, count: u64) -> io::Result<Vec<f32>> {
        let bytes = self.exactly(count.saturating_mul(4))?;
        Ok(bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
    }

    /// The size of a plane, and its number of pixels.
    fn size(&mut self) -> io::Result<((usize, usize), u64)> {
        let (height, width) = (self.number()?, self.number()?);
        let [rows, columns] = [height, width].map(|side| side as u64);
        if rows == 0 || columns == 0 || rows.max(columns) > LONGEST_SIDE {
            return Err(invalid("a frame has an impossible size"));
        }
        Ok(((height, width), rows * columns))
    }

    pub(super) fn luma(&mut self) -> io::Result<LumaPlane> {
        let (size, pixels) = self.size()?;
        let values = self.values(pixels)?;
        Ok(LumaPlane::new(size, |y, row| row.copy_from_slice(&values[y * size.1..][..size.1])))
    }

    pub(super) fn flow(&mut self) -> io::Result<Flow> {
        let (size, pixels) = self.size()?;
        Ok(Flow::from_planes(size, self.values(pixels)?, self.values(pixels)?))
    }

    pub(super) fn frame(&mut self) -> io::Result<FlowFrame> {
        let (size, pixels) = self.size()?;
        let values = self.values(4 * pixels)?;
        Ok(FlowFrame::from_pixels(size, values.as_chunks().0.to_vec()))
    }

    pub(super) fn statistics(&mut self) -> io::Result<Vec<Vec<[f64; 2]>>> {
        let mut layers = Vec::new();
        for _ in 0..self.number()? {
            let mut layer = Vec::new();
            for _ in 0..self.number()? {
                layer.push([f64::from_le_bytes(self.array()?), f64::from_le_bytes(self.array()?)]);
            }
            layers.push(layer);
        }
        Ok(layers)
    }

    /// Checks that nothing is left.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.0.read(&mut [0])? == 0 { Ok(()) } else { Err(invalid("there is more than expected")) }
    }
}

/// What is read fits nothing.
pub(super) fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

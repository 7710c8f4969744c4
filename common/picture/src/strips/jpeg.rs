//! Writes JPEG in strips. The encoder requests one row after another.

use std::cell::{Cell, RefCell};
use std::io::{self, Write};

use super::info::PictureInfo;
use super::queue::StripQueue;
use super::samples::Samples;
use crate::jpeg_encode;
use impasto_error::{Error, Result};

/// Writes a JPEG with the encoder of [`crate::Picture::encode`], so the bytes are the same.
pub(super) fn write(writer: &mut impl Write, info: &PictureInfo, quality: u8, strips: &mut StripQueue) -> Result<()> {
    let failure = Cell::new(None);
    let writer = StoppingWriter { writer, failure: &failure };
    let current = RefCell::new(Row { number: u32::MAX, samples: Vec::new() });
    let strips = RefCell::new(strips);
    let row = |number: u32, take: &mut jpeg_encode::TakeRow| {
        let mut row = current.borrow_mut();
        if row.number != number {
            match next_row(&mut strips.borrow_mut()) {
                Ok(samples) => *row = Row { number, samples },
                Err(error) => {
                    // The first failure causes the others. The encoder still needs a row.
                    failure.set(Some(failure.take().unwrap_or(error)));
                    row.samples = vec![0; 3 * info.width as usize];
                }
            }
        }
        take(&row.samples);
    };
    let encoded = jpeg_encode::encode(writer, (info.width, info.height), quality, info.icc.as_deref(), row);
    // A failure to read rows is the cause. The encoder knows only that it was stopped.
    failure.take().map_or(encoded, Err)
}

/// The row that the encoder requested last.
struct Row {
    number: u32,
    samples: Vec<u8>,
}

fn next_row(strips: &mut StripQueue) -> Result<Vec<u8>> {
    match strips.take(1)? {
        Samples::Eight(samples) => Ok(samples),
        Samples::Sixteen(_) => Err(Error::new("found samples of 16 bits where samples of 8 bits were expected")),
    }
}

/// Stops the encoder at its next byte once there are no more rows.
struct StoppingWriter<'a, W> {
    writer: W,
    failure: &'a Cell<Option<Error>>,
}

impl<W: Write> Write for StoppingWriter<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let failure = self.failure.take();
        let stopped = failure.is_some();
        self.failure.set(failure);
        if stopped { Err(io::Error::other("there are no more rows")) } else { self.writer.write(bytes) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

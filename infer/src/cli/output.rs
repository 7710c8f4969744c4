//! Standard output, which only gets data. If its reader closes the pipe, as in `infer styles | head -1`, the run ends
//! quietly and without an error.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use impasto_common::{Result, ResultExt};
use impasto_error::escaped_lines;
use serde::Serialize;

/// Whether a write to [`DataOutput`] found the pipe closed by its reader.
static READER_LEFT: AtomicBool = AtomicBool::new(false);

/// Whether the reader of standard output has closed the pipe. Failures caused by this are not errors.
pub(super) fn reader_left() -> bool {
    READER_LEFT.load(Ordering::Relaxed)
}

/// Standard output. It records when its reader closes the pipe.
pub(super) struct DataOutput;

impl DataOutput {
    fn note<T>(result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            if error.kind() == ErrorKind::BrokenPipe {
                READER_LEFT.store(true, Ordering::Relaxed);
            }
        })
    }
}

impl Write for DataOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::note(io::stdout().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::note(io::stdout().lock().flush())
    }
}

/// A value as readable JSON that ends with a line break.
pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string_pretty(value).context(|| "cannot write JSON")?;
    Ok(json + "\n")
}

/// Prints lines of text, or JSON; control characters other than line breaks are shown escaped.
pub(super) fn print(text: &str) -> Result<()> {
    match write_all(escaped_lines(text).as_bytes()) {
        Err(_) if reader_left() => Ok(()),
        written => written,
    }
}

/// Writes `bytes`, such as those of a picture.
pub(super) fn write_all(bytes: &[u8]) -> Result<()> {
    DataOutput.write_all(bytes).and_then(|()| DataOutput.flush()).context(|| "cannot write to standard output")
}

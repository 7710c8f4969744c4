//! What the program prints on standard output: data, as text or as JSON.

use std::io::{self, Write};

use impasto_common::{Result, ResultExt};
use impasto_error::escaped_lines;
use serde::Serialize;

/// A value as JSON for people and programs, with a line break at its end.
pub(super) fn to_json(value: &impl Serialize) -> Result<String> {
    let json = serde_json::to_string_pretty(value).context(|| "cannot write JSON")?;
    Ok(json + "\n")
}

/// Prints lines of text, or JSON; control characters other than line breaks are shown escaped.
pub(super) fn print(text: &str) -> Result<()> {
    let written = io::stdout().lock().write_all(escaped_lines(text).as_bytes());
    match written {
        // `infer styles | head -1` is no failure.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context(|| "cannot write to standard output"),
    }
}

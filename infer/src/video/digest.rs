//! CRC-32 digests of files: whether they are still what was written.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use crc32fast::Hasher;
use impasto_common::{Result, ResultExt};

/// Bytes that are read at a time.
const BLOCK: usize = 1 << 18;

/// The digest of a file.
pub(super) fn digest_of(path: &Path) -> Result<u32> {
    let action = || format!("cannot read `{}`", path.display());
    let mut file = File::open(path).context(action)?;
    let (mut hasher, mut block) = (Hasher::new(), vec![0; BLOCK]);
    loop {
        match file.read(&mut block).context(action)? {
            0 => return Ok(hasher.finalize()),
            length => hasher.update(&block[..length]),
        }
    }
}

/// Passes on what is written, and computes its digest.
pub(super) struct DigestWriter<W> {
    writer: W,
    hasher: Hasher,
}

impl<W> DigestWriter<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer, hasher: Hasher::new() }
    }

    /// The digest of all that was written.
    pub(super) fn digest(self) -> u32 {
        self.hasher.finalize()
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

//! Floats in an unnamed file, for pictures that have no room in memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use crate::{Result, ResultExt};

/// Floats turned to bytes at a time.
const PART: usize = 1 << 16;

/// A file that the system removes when it is closed, whatever happens to the program.
#[derive(Debug)]
pub(super) struct Spill {
    file: File,
    bytes: Vec<u8>,
}

impl Spill {
    pub(super) fn new() -> Result<Self> {
        let file = tempfile::tempfile()
            .context(|| format!("cannot make a temporary file in `{}`", std::env::temp_dir().display()))?;
        Ok(Self { file, bytes: vec![0; 4 * PART] })
    }

    /// Writes `floats` from the float `at` on.
    pub(super) fn write(&mut self, at: usize, floats: &[f32]) -> Result<()> {
        let written = self.file.seek(SeekFrom::Start(4 * at as u64)).and_then(|_| {
            floats.chunks(PART).try_for_each(|part| {
                for (bytes, float) in self.bytes.as_chunks_mut::<4>().0.iter_mut().zip(part) {
                    *bytes = float.to_ne_bytes();
                }
                self.file.write_all(&self.bytes[..4 * part.len()])
            })
        });
        written
            .context(|| format!("cannot write a temporary file in `{}`", std::env::temp_dir().display()))
            .map_err(|error| error.with_hint("make room there, name another folder with TMPDIR, or allow more memory"))
    }

    /// Reads floats from the float `at` on, where they were written.
    pub(super) fn read(&mut self, at: usize, floats: &mut [f32]) -> Result<()> {
        let read = self.file.seek(SeekFrom::Start(4 * at as u64)).and_then(|_| {
            floats.chunks_mut(PART).try_for_each(|part| {
                let bytes = &mut self.bytes[..4 * part.len()];
                self.file.read_exact(bytes)?;
                for (float, bytes) in part.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *float = f32::from_ne_bytes(*bytes);
                }
                Ok(())
            })
        });
        read.context(|| format!("cannot read a temporary file in `{}`", std::env::temp_dir().display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_come_back_from_anywhere() {
        let mut spill = Spill::new().unwrap();
        let floats: Vec<f32> = (0..3 * PART / 2).map(|i| i as f32 - 7.5).collect();
        spill.write(5, &floats).unwrap();
        let mut read = vec![0.0; PART + 3];
        spill.read(15, &mut read).unwrap();
        assert_eq!(read, floats[10..][..PART + 3]);
        assert!(spill.read(5 + floats.len() - 1, &mut [0.0; 2]).is_err());
    }
}

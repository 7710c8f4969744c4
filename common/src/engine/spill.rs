//! Floats in an unnamed file, for pictures that have no room in memory.
//!
//! The system's cache holds what it can of the file, so most of the work is copying: threads share it.

use std::fs::File;
use std::io;

use rayon::prelude::*;

use crate::{Result, ResultExt};

/// Floats that one thread reads or writes at a time.
const PART: usize = 1 << 16;

/// A file that the system removes when it is closed, whatever happens to the program.
#[derive(Debug)]
pub(super) struct Spill(File);

impl Spill {
    pub(super) fn new() -> Result<Self> {
        let file = tempfile::tempfile()
            .context(|| format!("cannot make a temporary file in `{}`", std::env::temp_dir().display()))?;
        Ok(Self(file))
    }

    /// Writes `floats` from the float `at` on.
    pub(super) fn write(&mut self, at: usize, floats: &[f32]) -> Result<()> {
        let parts = floats.par_chunks(PART).enumerate();
        parts
            .try_for_each(|(i, part)| write_at(&self.0, bytemuck::cast_slice(part), 4 * (at + i * PART) as u64))
            .context(|| format!("cannot write a temporary file in `{}`", std::env::temp_dir().display()))
            .map_err(|error| error.with_hint("make room there, name another folder with TMPDIR, or allow more memory"))
    }

    /// Reads floats from the float `at` on, where they were written.
    pub(super) fn read(&mut self, at: usize, floats: &mut [f32]) -> Result<()> {
        let parts = floats.par_chunks_mut(PART).enumerate();
        parts
            .try_for_each(|(i, part)| read_at(&self.0, bytemuck::cast_slice_mut(part), 4 * (at + i * PART) as u64))
            .context(|| format!("cannot read a temporary file in `{}`", std::env::temp_dir().display()))
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, at)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = &bytes[written..];
        at += written as u64;
    }
    Ok(())
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        at += read as u64;
    }
    Ok(())
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

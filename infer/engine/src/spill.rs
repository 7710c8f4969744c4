//! Floats in unnamed temporary files, for pictures that do not fit in memory.
//!
//! The system caches the files as far as it can, so most of the work is copying, and threads share it. A file admits one
//! writing thread at a time, so the blocks are distributed round robin over several files.

use std::fs::File;
use std::io;

use rayon::prelude::*;

use impasto_error::{Result, ResultExt};

/// Floats that one thread reads or writes at a time.
const BLOCK: usize = 1 << 16;

/// Number of files over which the blocks are distributed.
const FILES: usize = 8;

/// Files that the system removes when they are closed, even if the program crashes.
#[derive(Debug)]
pub(super) struct Spill([File; FILES]);

impl Spill {
    pub(super) fn new() -> Result<Self> {
        let file = || tempfile::tempfile();
        let files = (0..FILES).map(|_| file()).collect::<io::Result<Vec<_>>>();
        let files =
            files.context(|| format!("cannot create a temporary file in `{}`", std::env::temp_dir().display()))?;
        let files = files.try_into().map_err(|_| impasto_error::Error::new("a temporary file is missing"))?;
        Ok(Self(files))
    }

    /// Writes `floats` at offset `at`, in floats.
    pub(super) fn write(&mut self, at: usize, floats: &[f32]) -> Result<()> {
        let (head, rest) = floats.split_at(to_next_block(at).min(floats.len()));
        let put = |at, floats: &[f32]| {
            let (file, byte) = self.place(at);
            write_at(file, bytemuck::cast_slice(floats), byte)
        };
        let blocks = rest.par_chunks(BLOCK).enumerate();
        put(at, head)
            .and_then(|()| blocks.try_for_each(|(i, block)| put(at + head.len() + i * BLOCK, block)))
            .context(|| format!("cannot write a temporary file in `{}`", std::env::temp_dir().display()))
            .map_err(|error| {
                error.with_hint("free some space there, set TMPDIR to another folder, or allow more memory")
            })
    }

    /// Reads floats at offset `at`, in floats, where they were written before.
    pub(super) fn read(&mut self, at: usize, floats: &mut [f32]) -> Result<()> {
        let (head, rest) = floats.split_at_mut(to_next_block(at).min(floats.len()));
        let get = |at, floats: &mut [f32]| {
            let (file, byte) = self.place(at);
            read_at(file, bytemuck::cast_slice_mut(floats), byte)
        };
        let after = at + head.len();
        let blocks = rest.par_chunks_mut(BLOCK).enumerate();
        get(at, head)
            .and_then(|()| blocks.try_for_each(|(i, block)| get(after + i * BLOCK, block)))
            .context(|| format!("cannot read a temporary file in `{}`", std::env::temp_dir().display()))
    }

    /// The file that holds float `at`, and its byte offset there.
    fn place(&self, at: usize) -> (&File, u64) {
        let (block, float) = (at / BLOCK, at % BLOCK);
        (&self.0[block % FILES], 4 * (block / FILES * BLOCK + float) as u64)
    }
}

/// Floats from offset `at` to the start of the next block.
fn to_next_block(at: usize) -> usize {
    at.next_multiple_of(BLOCK) - at
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
    fn floats_are_read_back_from_any_offset() {
        let mut spill = Spill::new().unwrap();
        let floats: Vec<f32> = (0..3 * BLOCK / 2).map(|i| i as f32 - 7.5).collect();
        spill.write(5, &floats).unwrap();
        let mut read = vec![0.0; BLOCK + 3];
        spill.read(15, &mut read).unwrap();
        assert_eq!(read, floats[10..][..BLOCK + 3]);
        assert!(spill.read(5 + floats.len() - 1, &mut [0.0; 2]).is_err());
    }
}

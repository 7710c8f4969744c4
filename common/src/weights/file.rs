//! A weight file of any supported kind: lists its tensors and reads the values of requested ones.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::safetensors_file::SafetensorsFile;
use super::torch::TorchFile;
use super::{Listing, Tensors, unknown};
use crate::{Error, Result, ResultExt};

/// Bytes read at both ends of a file to recognise its kind. The signature of a tar archive is at offset 257.
const ENDS: u64 = 512;

/// A weight file whose tensors are known by name and shape. Values are read when they are asked for.
#[derive(Debug)]
pub(crate) struct WeightFile<R> {
    listing: Listing,
    content: Content<R>,
}

#[derive(Debug)]
enum Content<R> {
    Safetensors(SafetensorsFile),
    Torch(TorchFile<R>),
}

impl WeightFile<File> {
    /// Opens a file of at most `max_bytes` bytes.
    ///
    /// # Errors
    ///
    /// If the file is larger, cannot be read, is damaged, holds no tensors or is of another kind, which is named.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<Self> {
        let file = File::open(path).context(|| "cannot open it")?;
        let metadata = file.metadata().context(|| "cannot open it")?;
        if metadata.is_dir() {
            return Err(Error::new("it is a folder").with_hint("name a file in it"));
        }
        if metadata.len() > max_bytes {
            return Err(Error::new(format!("it has {} megabytes, too many for a style model", metadata.len() >> 20)));
        }
        Self::new(file, &path.file_name().unwrap_or_default().to_string_lossy())
    }
}

impl<R: Read + Seek> WeightFile<R> {
    /// As [`WeightFile::open`], for a file of this name.
    pub(crate) fn new(mut reader: R, name: &str) -> Result<Self> {
        let (length, start, end) = ends(&mut reader).context(|| "cannot read it")?;
        let content = match start[..] {
            [] => {
                return Err(Error::new("the file is empty")
                    .with_hint("the download or copy failed: download or copy the file again"));
            }
            // Safetensors comes first: its first eight bytes, the length of the header, can look like the start of either
            // other kind.
            [_, _, _, _, 0, 0, 0, 0, b'{', ..] => {
                let mut bytes = Vec::with_capacity(length as usize);
                reader.read_to_end(&mut bytes).context(|| "cannot read it")?;
                Content::Safetensors(SafetensorsFile::new(bytes)?)
            }
            [b'P', b'K', ..] => Content::Torch(TorchFile::open_zip(reader, length)?),
            [0x80, ..] => Content::Torch(TorchFile::open_legacy(reader, length)?),
            _ => return Err(unknown::another_file(&start, &end, name)),
        };
        let listing = match &content {
            Content::Safetensors(file) => file.listing(),
            Content::Torch(file) => file.listing(),
        };
        Ok(Self { listing, content })
    }

    /// The tensors of the file.
    pub(crate) fn listing(&self) -> &Listing {
        &self.listing
    }

    /// The metadata text under a key of the header; only safetensors files have metadata.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.content {
            Content::Safetensors(file) => file.text(key),
            Content::Torch(_) => None,
        }
    }

    /// Whether two names stand for the same values of the file.
    pub(crate) fn is_same(&self, a: &str, b: &str) -> bool {
        match &self.content {
            Content::Safetensors(_) => a == b,
            Content::Torch(file) => file.is_same(a, b),
        }
    }

    /// Reads the tensors of these names as f32.
    ///
    /// # Errors
    ///
    /// If a tensor is missing or damaged, or its type cannot hold weights.
    pub(crate) fn read(&mut self, names: &[String]) -> Result<Tensors> {
        match &mut self.content {
            Content::Safetensors(file) => file.read(names),
            Content::Torch(file) => file.read(names),
        }
    }
}

/// The length of a file, and its first and last bytes; leaves the reader at the start.
fn ends(reader: &mut (impl Read + Seek)) -> std::io::Result<(u64, Vec<u8>, Vec<u8>)> {
    let length = reader.seek(SeekFrom::End(0))?;
    let mut part = |from| {
        let mut bytes = Vec::new();
        reader.seek(SeekFrom::Start(from))?;
        reader.by_ref().take(ENDS).read_to_end(&mut bytes)?;
        std::io::Result::Ok(bytes)
    };
    let (end, start) = (part(length.saturating_sub(ENDS))?, part(0)?);
    reader.rewind()?;
    Ok((length, start, end))
}

//! Named tensors from the files people have: `.safetensors`, and PyTorch's `.pth` / `.pt`, zip or legacy.
//!
//! The content decides, not the name.

mod pickle;
mod torch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};

use crate::{Error, Result, ResultExt};

/// Tensors by name, in name order.
pub type Tensors = BTreeMap<String, Tensor>;

/// What wrappers put before every name: `DataParallel` and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// What is said of a file whose parts do not fit together.
pub(crate) const DAMAGED: &str = "the file is damaged or cut short";

/// The content of a weight file.
pub(crate) enum WeightFile {
    /// The bytes of a safetensors file, not parsed: its header may hold more than tensors.
    Safetensors(Vec<u8>),
    /// The tensors of a PyTorch file as f32.
    Torch(Tensors),
}

/// Reads every tensor of a file to the CPU as f32.
///
/// A state dict may lie under a key such as `state_dict`, and its names may all begin with `module.`.
///
/// # Errors
///
/// If the file cannot be read, is cut short, or is of another kind.
pub fn read_tensors(path: &Path) -> Result<Tensors> {
    let tensors = open(path, u64::MAX).and_then(|file| match file {
        WeightFile::Safetensors(bytes) => parse_safetensors(&bytes),
        WeightFile::Torch(tensors) => Ok(tensors),
    });
    tensors.context(|| format!("cannot load weights `{}`", path.display()))
}

/// Reads a file of at most `max_bytes` bytes.
///
/// # Errors
///
/// If the file is larger, cannot be read, or is of another kind.
pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<WeightFile> {
    let mut file = File::open(path).context(|| "cannot open it")?;
    let metadata = file.metadata().context(|| "cannot open it")?;
    if metadata.is_dir() {
        return Err(Error::new("it is a folder"));
    }
    if metadata.len() > max_bytes {
        return Err(Error::new(format!("it has {} megabytes, which is not a style model", metadata.len() >> 20)));
    }
    let mut start = Vec::new();
    file.by_ref().take(9).read_to_end(&mut start).context(|| "cannot read it")?;
    file.rewind().context(|| "cannot read it")?;
    match start[..] {
        [] => Err(Error::new("the file is empty")),
        // First: the length of the header, in the first eight bytes, may begin like either of the other two.
        [_, _, _, _, 0, 0, 0, 0, b'{'] => {
            let mut bytes = Vec::with_capacity(metadata.len() as usize);
            file.read_to_end(&mut bytes).context(|| "cannot read it")?;
            Ok(WeightFile::Safetensors(bytes))
        }
        [b'P', b'K', ..] => Ok(WeightFile::Torch(to_f32(torch::read_zip(file)?)?)),
        [0x80, ..] => Ok(WeightFile::Torch(to_f32(torch::read_legacy(file)?)?)),
        _ => Err(Error::new("it is neither a safetensors file nor a PyTorch file")),
    }
}

/// Reads every tensor of a safetensors file's bytes to the CPU as f32.
///
/// # Errors
///
/// If the bytes are damaged or cut short.
pub(crate) fn parse_safetensors(bytes: &[u8]) -> Result<Tensors> {
    let tensors = safetensors::load_buffer(bytes, &Device::Cpu).context(|| DAMAGED)?;
    to_f32(tensors.into_iter().collect())
}

fn to_f32(tensors: Vec<(String, Tensor)>) -> Result<Tensors> {
    let wrapper = WRAPPERS.into_iter().find(|&wrapper| tensors.iter().all(|(name, _)| name.starts_with(wrapper)));
    tensors
        .into_iter()
        .map(|(name, tensor)| {
            let bare = wrapper.and_then(|wrapper| name.strip_prefix(wrapper)).unwrap_or(&name);
            Ok((bare.to_owned(), tensor.to_dtype(DType::F32)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_header_whose_length_looks_like_another_format_is_no_hindrance() {
        // 0x80 begins a pickle, "PK" a zip file.
        for length in [0x1980, 0x4B50] {
            let mut header = r#"{"weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#.to_owned();
            header.push_str(&" ".repeat(length - header.len()));
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(&(length as u64).to_le_bytes()).unwrap();
            file.write_all(header.as_bytes()).unwrap();
            file.write_all(&2.5f32.to_le_bytes()).unwrap();
            file.flush().unwrap();
            let tensors = read_tensors(file.path()).unwrap();
            assert_eq!(
                tensors["weight"].to_vec1::<f32>().unwrap().first().map(|x| x.to_bits()),
                Some(2.5f32.to_bits())
            );
        }
    }
}

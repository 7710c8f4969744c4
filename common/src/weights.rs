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
        [b'P', b'K', ..] => Ok(WeightFile::Torch(to_f32(torch::read_zip(file)?)?)),
        [0x80, ..] => Ok(WeightFile::Torch(to_f32(torch::read_legacy(file)?)?)),
        [_, _, _, _, _, _, _, _, b'{'] => {
            let mut bytes = Vec::with_capacity(metadata.len() as usize);
            file.read_to_end(&mut bytes).context(|| "cannot read it")?;
            Ok(WeightFile::Safetensors(bytes))
        }
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

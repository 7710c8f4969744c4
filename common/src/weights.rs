//! Named tensors from weight files: `.safetensors`, and PyTorch's `.pth` and `.pt`, zip or legacy.
//!
//! The content of a file decides its format, not its name.

mod pickle;
mod torch;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors, View};

use crate::{Error, Result, ResultExt};

/// Arrays by name, in name order.
pub type Tensors = BTreeMap<String, Array>;

/// Numbers along any number of axes; the last axis varies fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Array {
    /// An array of `shape` with these values.
    ///
    /// # Errors
    ///
    /// If the number of values is not that of `shape`.
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self> {
        let shape = shape.into();
        let count = shape.iter().try_fold(1usize, |count, &axis| count.checked_mul(axis));
        if count != Some(values.len()) {
            return Err(Error::new(format!("{} values do not fill the shape {shape:?}", values.len())));
        }
        Ok(Self { shape, values })
    }

    /// The size along each axis.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values; those along the last axis are next to each other.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values, without the shape.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// The type of numbers that a file stores weights in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
}

/// Numbers of any type in a file, as f32.
fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)).collect()
    }
    Some(match dtype {
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F64 => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Dtype::U8 | Dtype::BOOL => each(bytes, |[byte]| f32::from(byte)),
        Dtype::U32 => each(bytes, |bytes| u32::from_le_bytes(bytes) as f32),
        Dtype::I16 => each(bytes, |bytes| f32::from(i16::from_le_bytes(bytes))),
        Dtype::I32 => each(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
        Dtype::I64 => each(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
        _ => return None,
    })
}

/// An array as safetensors writes it.
struct Stored<'a>(&'a Array, StoredType);

impl View for Stored<'_> {
    fn dtype(&self) -> Dtype {
        match self.1 {
            StoredType::F32 => Dtype::F32,
            StoredType::F16 => Dtype::F16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let values = self.0.values.iter();
        match self.1 {
            StoredType::F32 => values.flat_map(|value| value.to_le_bytes()).collect(),
            StoredType::F16 => values.flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect(),
        }
    }

    fn data_len(&self) -> usize {
        self.0.values.len() * self.dtype().bitsize() / 8
    }
}

/// The bytes of a safetensors file.
pub(crate) fn to_safetensors(
    tensors: &Tensors,
    stored: StoredType,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>> {
    let views = tensors.iter().map(|(name, array)| (name.as_str(), Stored(array, stored)));
    safetensors::serialize(views, Some(metadata)).context(|| "cannot write the weights")
}

/// Prefixes that `DataParallel` and `torch.compile` put before every name.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];

/// The message about an inconsistent file.
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
/// If the file cannot be read, is cut short, or has another format.
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
/// If the file is larger, cannot be read, or has another format.
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
        // Before the other two: the first eight bytes are the length of the header, and may look like either of them.
        [_, _, _, _, 0, 0, 0, 0, b'{'] => {
            let mut bytes = Vec::with_capacity(metadata.len() as usize);
            file.read_to_end(&mut bytes).context(|| "cannot read it")?;
            Ok(WeightFile::Safetensors(bytes))
        }
        [b'P', b'K', ..] => Ok(WeightFile::Torch(without_wrapper(torch::read_zip(file)?))),
        [0x80, ..] => Ok(WeightFile::Torch(without_wrapper(torch::read_legacy(file)?))),
        _ => Err(Error::new("it is neither a safetensors file nor a PyTorch file")),
    }
}

/// Reads every tensor of a safetensors file's bytes as f32.
///
/// # Errors
///
/// If the bytes are damaged or cut short.
pub(crate) fn parse_safetensors(bytes: &[u8]) -> Result<Tensors> {
    let file = SafeTensors::deserialize(bytes).context(|| DAMAGED)?;
    let arrays = file.iter().map(|(name, view)| {
        let values = to_f32(view.data(), view.dtype());
        let values = values.ok_or_else(|| Error::new(format!("tensor `{name}` is of type {:?}", view.dtype())))?;
        Ok((name.to_owned(), Array::new(view.shape(), values)?))
    });
    Ok(without_wrapper(arrays.collect::<Result<_>>()?))
}

fn without_wrapper(tensors: Vec<(String, Array)>) -> Tensors {
    let wrapper = WRAPPERS.into_iter().find(|&wrapper| tensors.iter().all(|(name, _)| name.starts_with(wrapper)));
    let bare = |name: &str| wrapper.and_then(|wrapper| name.strip_prefix(wrapper)).unwrap_or(name).to_owned();
    tensors.into_iter().map(|(name, array)| (bare(&name), array)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_header_whose_length_looks_like_another_format_is_read() {
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
            assert_eq!(tensors["weight"].values().first().map(|x| x.to_bits()), Some(2.5f32.to_bits()));
        }
    }
}

//! Named tensors from `.safetensors` files and PyTorch's `.pth` / `.pt` files, zip or legacy.
//!
//! The format is detected from the content, not the file name. The names and shapes are listed first. Only requested
//! tensors are then read, so other data in a checkpoint costs nothing and may have any type.

mod file;
mod pickle;
mod safetensors_file;
mod state_dict;
mod torch;
pub(crate) mod unique_keys;
mod unknown;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{Cursor, Read, Seek};
use std::path::Path;

use half::{bf16, f16};
use safetensors::{Dtype, View};

pub(crate) use self::file::WeightFile;
use crate::{Error, Result, ResultExt};

/// Arrays by name, in name order.
pub type Tensors = BTreeMap<String, Array>;

/// An n-dimensional array of f32 in row-major order: the last axis varies fastest.
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
    /// If the number of values does not match `shape`.
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

    /// The values in row-major order.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values alone.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// The number type in which a file stores weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredType {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
}

/// Numbers of a file, whatever their type, as f32.
fn to_f32(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    fn each<const N: usize>(bytes: &[u8], value: impl Fn([u8; N]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<N>().0.iter().map(|&bytes| value(bytes)).collect()
    }
    Some(match dtype {
        Dtype::F32 => each(bytes, f32::from_le_bytes),
        Dtype::F64 => each(bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => each(bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
        Dtype::BF16 => each(bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
        Dtype::I8 => each(bytes, |bytes| f32::from(i8::from_le_bytes(bytes))),
        Dtype::U8 | Dtype::BOOL => each(bytes, |[byte]| f32::from(byte)),
        Dtype::U32 => each(bytes, |bytes| u32::from_le_bytes(bytes) as f32),
        Dtype::I16 => each(bytes, |bytes| f32::from(i16::from_le_bytes(bytes))),
        Dtype::I32 => each(bytes, |bytes| i32::from_le_bytes(bytes) as f32),
        Dtype::I64 => each(bytes, |bytes| i64::from_le_bytes(bytes) as f32),
        _ => return None,
    })
}

/// Whether [`to_f32`] reads numbers of this type.
fn can_be_weights(dtype: Dtype) -> bool {
    to_f32(&[], dtype).is_some()
}

/// An array on its way into a safetensors file.
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

/// The error text for a file whose parts do not fit together.
const DAMAGED: &str = "the file is damaged or cut short";

/// The tensors of a file, none of them read yet, in name order. A name begins with the keys that lead to the tensor.
pub(crate) type Listing = BTreeMap<String, Listed>;

/// A tensor's entry in a file.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The size along each axis.
    pub(crate) shape: Vec<usize>,
    /// The length in bytes of the name's prefix: the keys of the enclosing dictionaries, each followed by a dot.
    path: usize,
    /// Whether its type can hold weights.
    readable: bool,
}

/// Reads the tensors of a state dict to the CPU as f32.
///
/// The state dict may be stored under a key such as `state_dict`, or be the only one in the file. Its names may all begin
/// with `module.` and `_orig_mod.`. Tensors whose type cannot hold weights, such as complex numbers, are left out.
///
/// # Errors
///
/// If the file cannot be read, is cut short, or is of another kind.
pub fn read_tensors(path: &Path) -> Result<Tensors> {
    let read = || state_dict_of(WeightFile::open(path, u64::MAX)?);
    read().context(|| format!("cannot load weights `{}`", path.display()))
}

/// Like [`read_tensors`], from the bytes of a file.
///
/// # Errors
///
/// If the bytes are cut short, or are those of another kind of file.
pub fn tensors_of(bytes: &[u8]) -> Result<Tensors> {
    state_dict_of(WeightFile::new(Cursor::new(bytes), "")?)
}

fn state_dict_of<R: Read + Seek>(mut file: WeightFile<R>) -> Result<Tensors> {
    let names = state_dict::names(file.listing())?;
    let full: Vec<_> = names.iter().map(|(full, _)| full.clone()).collect();
    let mut tensors = file.read(&full)?;
    Ok(names.into_iter().filter_map(|(full, bare)| Some((bare, tensors.remove(&full)?))).collect())
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

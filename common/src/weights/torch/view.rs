//! A tensor as described by a PyTorch pickle: a storage, and the offset, shape and strides in it.

use safetensors::Dtype;

use super::super::pickle::{Id, Pickle, Value};
use super::super::{Array, to_f32};
use crate::{Error, Result};

/// The most axes of a tensor, and the longest key of a storage. A file can refer to a shape or key once per byte, so long
/// ones would multiply memory use.
const MAX_AXES: usize = 16;
const MAX_KEY: usize = 64;

/// The position of a tensor in its storage.
#[derive(Debug, PartialEq)]
pub(super) struct View {
    /// The storage's key.
    pub(super) storage: String,
    class: StorageClass,
    /// Offset of the first element, size of each axis, and stride of each axis, in elements.
    offset: usize,
    pub(super) shape: Vec<usize>,
    strides: Vec<usize>,
}

/// The element type that the class of a storage implies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct StorageClass {
    /// Bytes of an element.
    pub(super) size: usize,
    /// The type of an element; `None` if it cannot hold weights.
    dtype: Option<Dtype>,
}

impl StorageClass {
    /// The elements of the class `torch.{name}`; `None` if PyTorch has no such storage class.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (size, dtype) = match name {
            "FloatStorage" => (4, Some(Dtype::F32)),
            "DoubleStorage" => (8, Some(Dtype::F64)),
            "HalfStorage" => (2, Some(Dtype::F16)),
            "BFloat16Storage" => (2, Some(Dtype::BF16)),
            "ByteStorage" | "BoolStorage" => (1, Some(Dtype::U8)),
            "CharStorage" => (1, Some(Dtype::I8)),
            "ShortStorage" => (2, Some(Dtype::I16)),
            "IntStorage" => (4, Some(Dtype::I32)),
            "LongStorage" => (8, Some(Dtype::I64)),
            "UntypedStorage" | "QInt8Storage" | "QUInt8Storage" | "QUInt4x2Storage" | "QUInt2x4Storage" => (1, None),
            "QInt32Storage" => (4, None),
            "ComplexFloatStorage" => (8, None),
            "ComplexDoubleStorage" => (16, None),
            _ => return None,
        };
        Some(Self { size, dtype })
    }

    /// The key and class of the storage named by a persistent reference.
    pub(super) fn find(pickle: &Pickle, reference: &Value) -> Option<(String, Option<Self>)> {
        let Value::Persistent(tuple) = *reference else { return None };
        let [kind, class, key, ..] = *pickle.items(tuple)? else { return None };
        let (Some("storage"), Value::Global(_, class)) = (pickle.text(kind), pickle.get(class)) else { return None };
        let key = pickle.text(key).filter(|key| key.len() <= MAX_KEY)?;
        Some((key.to_owned(), Self::named(class)))
    }
}

impl View {
    /// The tensor that a value describes; `None` if it describes something else.
    pub(super) fn find(pickle: &Pickle, value: Id) -> Option<Result<Self>> {
        let Value::Call(callable, arguments) = *pickle.get(value) else { return None };
        let Value::Global(module, name) = pickle.get(callable) else { return None };
        let arguments = pickle.items(arguments)?;
        match (module.as_str(), name.as_str()) {
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Some(Self::new(pickle, arguments)),
            // A parameter wraps a tensor, never another parameter, so the recursion ends.
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => {
                Self::find_plain(pickle, *arguments.first()?)
            }
            // A tensor of a subclass: function, class, arguments, state.
            ("torch._tensor", "_rebuild_from_type_v2") => Self::find_typed(pickle, arguments),
            _ => None,
        }
    }

    fn find_plain(pickle: &Pickle, value: Id) -> Option<Result<Self>> {
        let Value::Call(_, arguments) = *pickle.get(value) else { return None };
        Some(Self::new(pickle, pickle.items(arguments)?))
    }

    fn find_typed(pickle: &Pickle, arguments: &[Id]) -> Option<Result<Self>> {
        let [function, _, arguments, ..] = *arguments else { return None };
        let Value::Global(_, name) = pickle.get(function) else { return None };
        let arguments = pickle.items(arguments)?;
        match name.as_str() {
            "_rebuild_tensor_v2" => Some(Self::new(pickle, arguments)),
            "_rebuild_parameter" => Self::find_plain(pickle, *arguments.first()?),
            _ => None,
        }
    }

    /// From `(("storage", class, key, device, elements, part), offset, shape, strides, ..)`.
    fn new(pickle: &Pickle, arguments: &[Id]) -> Result<Self> {
        let damaged = || Error::new("its description of a tensor is damaged");
        let [storage, offset, shape, strides, ..] = *arguments else { return Err(damaged()) };
        let (key, class) = StorageClass::find(pickle, pickle.get(storage)).ok_or_else(damaged)?;
        let class = class.unwrap_or(StorageClass { size: 1, dtype: None });
        let offset = pickle.size(offset).and_then(|offset| offset.checked_add(part_offset(pickle, storage)?));
        let sizes = |id: Id| -> Option<Vec<_>> {
            let sizes = pickle.items(id).filter(|sizes| sizes.len() <= MAX_AXES)?;
            sizes.iter().map(|&size| pickle.size(size)).collect()
        };
        let view = Self {
            storage: key,
            class,
            offset: offset.ok_or_else(damaged)?,
            shape: sizes(shape).ok_or_else(damaged)?,
            strides: sizes(strides).ok_or_else(damaged)?,
        };
        if view.shape.len() == view.strides.len() { Ok(view) } else { Err(damaged()) }
    }

    /// Whether its type can hold weights.
    pub(super) fn is_readable(&self) -> bool {
        self.class.dtype.is_some()
    }

    /// The bytes that its values take in the file.
    pub(super) fn bytes(&self) -> u64 {
        let count = self.shape.iter().fold(1, |count: u64, &axis| count.saturating_mul(axis as u64));
        count.saturating_mul(self.class.size as u64)
    }

    /// Copies the tensor out of the bytes of its storage.
    pub(super) fn tensor(&self, storage: &[u8]) -> Result<Array> {
        let dtype = self.class.dtype.ok_or_else(|| Error::new("its number type is not supported for weights"))?;
        let size = self.class.size;
        let available = storage.len() / size;
        let outside = || Error::new(format!("a shape of {:?} does not fit its {available} values", self.shape));
        let count = self.shape.iter().try_fold(1, |count: usize, &axis| count.checked_mul(axis)).ok_or_else(outside)?;
        // A view with more values than are stored would repeat values, which weights never do.
        let end = self.end().ok_or_else(outside)?;
        if count > available || (count > 0 && end > available) {
            return Err(outside());
        }
        let bytes = match count {
            0 => &[],
            _ if self.is_contiguous() => &storage[self.offset * size..(self.offset + count) * size],
            _ => &self.gather(storage, count)[..],
        };
        let values = to_f32(bytes, dtype).ok_or_else(|| Error::new("its number type is not supported for weights"))?;
        Array::new(self.shape.as_slice(), values)
    }

    /// The bytes of `count` non-contiguous values, in the order of the axes.
    fn gather(&self, storage: &[u8], count: usize) -> Vec<u8> {
        let size = self.class.size;
        let mut bytes = Vec::with_capacity(count * size);
        let mut index = vec![0; self.shape.len()];
        for _ in 0..count {
            let at = self.offset + index.iter().zip(&self.strides).map(|(index, stride)| index * stride).sum::<usize>();
            bytes.extend_from_slice(&storage[at * size..(at + 1) * size]);
            for (index, &axis) in index.iter_mut().zip(&self.shape).rev() {
                *index += 1;
                if *index < axis {
                    break;
                }
                *index = 0;
            }
        }
        bytes
    }

    /// Whether the values are contiguous in the order of the axes.
    fn is_contiguous(&self) -> bool {
        let mut expected = 1usize;
        self.shape.iter().zip(&self.strides).rev().all(|(&axis, &stride)| {
            let fits = axis == 1 || stride == expected;
            expected = expected.saturating_mul(axis);
            fits
        })
    }

    /// One past the last element, unless it overflows.
    fn end(&self) -> Option<usize> {
        let last = self.shape.iter().zip(&self.strides).try_fold(self.offset, |last, (&axis, &stride)| {
            axis.saturating_sub(1).checked_mul(stride).and_then(|step| last.checked_add(step))
        });
        last?.checked_add(1)
    }
}

/// Elements before the part of a storage that old versions of PyTorch refer to: `(key, offset, elements)`, or `None`.
fn part_offset(pickle: &Pickle, storage: Id) -> Option<usize> {
    let Value::Persistent(tuple) = *pickle.get(storage) else { return None };
    match *pickle.items(tuple)? {
        [_, _, _, _, _, part, ..] => match pickle.items(part) {
            Some(&[_, offset, ..]) => pickle.size(offset),
            _ => Some(0),
        },
        _ => Some(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_outside_the_storage_are_refused() {
        let view = |offset, shape: &[usize], strides: &[usize]| {
            let (shape, strides) = (shape.to_vec(), strides.to_vec());
            let class = StorageClass::named("FloatStorage").unwrap();
            View { storage: "0".into(), class, offset, shape, strides }.tensor(&[0; 16])
        };
        assert!(view(0, &[2, 2], &[2, 1]).is_ok());
        assert!(view(1, &[2, 2], &[2, 1]).is_err());
        assert!(view(0, &[2], &[4]).is_err());
        assert!(view(0, &[usize::MAX, usize::MAX], &[0, 0]).is_err());
        assert!(view(usize::MAX, &[2], &[usize::MAX]).is_err());
        assert!(view(0, &[1 << 40], &[0]).is_err());
        assert_eq!(view(0, &[0, 7], &[1, 1]).unwrap().values().len(), 0);
    }
}

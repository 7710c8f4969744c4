//! Converts weight arrays from files to tensors, and back.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use impasto_common::weights::{Array, Tensors};
use impasto_error::Result;

/// An array as a tensor on `device`, f32.
///
/// # Errors
///
/// If the device is out of memory.
pub fn to_tensor(array: &Array, device: &Device) -> Result<Tensor> {
    Ok(Tensor::from_slice(array.values(), array.shape(), device)?)
}

/// Arrays as tensors on `device`, f32, by name.
///
/// # Errors
///
/// If the device is out of memory.
pub fn to_tensors(arrays: &Tensors, device: &Device) -> Result<BTreeMap<String, Tensor>> {
    arrays.iter().map(|(name, array)| Ok((name.clone(), to_tensor(array, device)?))).collect()
}

/// A tensor of any type and device as an array.
///
/// # Errors
///
/// If the device fails.
pub fn to_array(tensor: &Tensor) -> Result<Array> {
    Array::new(tensor.dims(), tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// Tensors as arrays, by name.
///
/// # Errors
///
/// If a device fails.
pub fn to_arrays<'a>(tensors: impl IntoIterator<Item = (&'a String, &'a Tensor)>) -> Result<Tensors> {
    tensors.into_iter().map(|(name, tensor)| Ok((name.clone(), to_array(tensor)?))).collect()
}

//! Helpers for the CUDA side of the ops: storage and layout to an address in GPU memory.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result, Storage, Tensor, bail};

use impasto_kernels::gpu::launch::Place;
use impasto_kernels::gpu::{Gpu, Value};

/// The GPU that holds an argument.
pub(super) fn gpu(storage: &CudaStorage) -> Gpu {
    Gpu::of(storage.device())
}

/// The elements of contiguous arguments of the same type.
pub(super) fn places<const N: usize>(
    gpu: &Gpu,
    arguments: [(&CudaStorage, &Layout); N],
) -> Result<(Value, [Place; N])> {
    let (_, value) = gpu.input(arguments[0].0, arguments[0].1)?;
    let mut places = [Place::NONE; N];
    for (place, (storage, layout)) in places.iter_mut().zip(arguments) {
        *place = match gpu.input(storage, layout)? {
            (place, found) if found == value => place,
            _ => bail!("all tensors of an op must have the same type"),
        };
    }
    Ok((value, places))
}

/// The elements of a contiguous f32 argument.
pub(super) fn floats(gpu: &Gpu, storage: &CudaStorage, layout: &Layout) -> Result<Place> {
    match gpu.input(storage, layout)? {
        (place, Value::F32) => Ok(place),
        _ => bail!("weights and statistics must be f32"),
    }
}

/// The elements of a contiguous f32 tensor. The tensor must live until the kernel that gets this address is started.
pub(super) fn floats_of(gpu: &Gpu, tensor: &Tensor) -> Result<Place> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => floats(gpu, storage, layout),
        _ => bail!("the tensor is not on the GPU"),
    }
}

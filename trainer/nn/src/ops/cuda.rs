//! What the CUDA side of every op starts with: storage and layout to a place in the GPU's memory.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result, Storage, Tensor, bail};

use impasto_kernels::gpu::launch::Place;
use impasto_kernels::gpu::{Gpu, Value};

/// The GPU that holds an argument.
pub(super) fn gpu(storage: &CudaStorage) -> Gpu {
    Gpu::of(storage.device())
}

/// The elements of contiguous arguments of one type.
pub(super) fn places<const N: usize>(
    gpu: &Gpu,
    arguments: [(&CudaStorage, &Layout); N],
) -> Result<(Value, [Place; N])> {
    let (_, value) = gpu.input(arguments[0].0, arguments[0].1)?;
    let mut places = [Place::NONE; N];
    for (place, (storage, layout)) in places.iter_mut().zip(arguments) {
        *place = match gpu.input(storage, layout)? {
            (place, found) if found == value => place,
            _ => bail!("an op got tensors of several types"),
        };
    }
    Ok((value, places))
}

/// The elements of a contiguous f32 argument.
pub(super) fn floats(gpu: &Gpu, storage: &CudaStorage, layout: &Layout) -> Result<Place> {
    match gpu.input(storage, layout)? {
        (place, Value::F32) => Ok(place),
        _ => bail!("weights and statistics are f32"),
    }
}

/// The elements of a contiguous f32 tensor, which must live until the kernel that gets the place is started.
pub(super) fn floats_of(gpu: &Gpu, tensor: &Tensor) -> Result<Place> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => floats(gpu, storage, layout),
        _ => bail!("the tensor is not on the GPU"),
    }
}

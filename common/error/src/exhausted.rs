//! Whether a chain of causes ends in a full disk or in too little memory.
//!
//! The types of the causes are checked, not their text. GPU errors are distinguished only with the feature `cuda`; without
//! it no GPU is used.

use std::error::Error as StdError;
use std::io;

/// What ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resource {
    /// Memory: of the machine, of a GPU, or page-locked memory for a GPU.
    Memory,
    /// Room on a disk.
    Storage,
}

/// What ran out, according to the first cause in the chain that is conclusive.
pub(crate) fn exhausted(error: &(dyn StdError + 'static)) -> Option<Resource> {
    let mut link = Some(error);
    while let Some(cause) = link {
        let found = cause.downcast_ref().and_then(of_io);
        #[cfg(feature = "candle")]
        let found = found.or_else(|| cause.downcast_ref().and_then(of_candle));
        #[cfg(feature = "cuda")]
        let found = found.or_else(|| of_gpu(cause));
        if found.is_some() {
            return found;
        }
        link = cause.source();
    }
    None
}

fn of_io(error: &io::Error) -> Option<Resource> {
    match error.kind() {
        io::ErrorKind::OutOfMemory => Some(Resource::Memory),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(Resource::Storage),
        // `io::Error::source` returns the source of the inner error and skips the inner error itself.
        _ => error.get_ref().and_then(|inner| exhausted(inner)),
    }
}

/// candle's errors have no sources: wrapped errors are found by matching.
#[cfg(feature = "candle")]
fn of_candle(error: &candle_core::Error) -> Option<Resource> {
    use candle_core::Error;

    match error {
        Error::WithBacktrace { inner, .. } | Error::Context { inner, .. } | Error::WithPath { inner, .. } => {
            of_candle(inner)
        }
        Error::Io(error) => of_io(error),
        Error::Cuda(error) => exhausted(error.as_ref()),
        Error::WrappedContext { wrapped, .. } => exhausted(wrapped.as_ref()),
        _ => None,
    }
}

/// The codes of the CUDA driver and of its libraries.
#[cfg(feature = "cuda")]
fn of_gpu(error: &(dyn StdError + 'static)) -> Option<Resource> {
    use candle_core::cuda_backend::CudaError;
    use candle_core::cuda_backend::cudarc::cublas::{result::CublasError, sys::cublasStatus_t};
    use candle_core::cuda_backend::cudarc::cudnn::{result::CudnnError, sys::cudnnStatus_t};
    use candle_core::cuda_backend::cudarc::curand::{result::CurandError, sys::curandStatus_t};
    use candle_core::cuda_backend::cudarc::driver::{DriverError, sys::CUresult};

    // `CudaError` is transparent: its source is not the inner error.
    if let Some(error) = error.downcast_ref::<CudaError>() {
        return match error {
            CudaError::Cuda(error) => of_gpu(error),
            CudaError::Cublas(error) => of_gpu(error),
            CudaError::Curand(error) => of_gpu(error),
            CudaError::Load { cuda, .. } => of_gpu(cuda),
            _ => None,
        };
    }
    let driver = error.downcast_ref::<DriverError>().map(|error| error.0 == CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    let cublas = error.downcast_ref::<CublasError>().map(|error| error.0 == cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED);
    let curand =
        error.downcast_ref::<CurandError>().map(|error| error.0 == curandStatus_t::CURAND_STATUS_ALLOCATION_FAILED);
    let cudnn = error.downcast_ref::<CudnnError>().map(|error| {
        [
            cudnnStatus_t::CUDNN_STATUS_ALLOC_FAILED,
            cudnnStatus_t::CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED,
            cudnnStatus_t::CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED,
        ]
        .contains(&error.0)
    });
    driver.or(cublas).or(curand).or(cudnn).filter(|&lacking| lacking).map(|_| Resource::Memory)
}

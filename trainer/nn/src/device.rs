//! Opens the device that computes tensors, and queries its capabilities.

use candle_core::Device;
use impasto_common::device::{DeviceChoice, OpenGpu};
use impasto_error::Result;

/// Opens the device. The text, if any, is a one-line notice for the user: see [`DeviceChoice::open_with`].
///
/// # Errors
///
/// If a CUDA device was requested explicitly and this build or this machine does not have it.
pub fn open(choice: DeviceChoice) -> Result<(Device, Option<String>)> {
    #[cfg(feature = "cuda")]
    let open_gpu: Option<OpenGpu<Device>> = Some(impasto_kernels::gpu::open);
    #[cfg(not(feature = "cuda"))]
    let open_gpu: Option<OpenGpu<Device>> = None;
    let (device, notice) = choice.open_with(open_gpu)?;
    Ok((device.unwrap_or(Device::Cpu), notice))
}

/// Whether the device computes in bf16: NVIDIA GPUs from Ampere on.
#[must_use]
pub fn has_bf16(device: &Device) -> bool {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => {
            let capability = device.cuda_stream().context().compute_capability();
            capability.is_ok_and(|(major, _)| major >= 8)
        }
        _ => false,
    }
}

/// Waits for the device and frees the memory that it caches for later computations of this thread.
///
/// Call it after an [out-of-memory error](impasto_error::Error::is_out_of_memory), before trying a smaller computation.
///
/// # Errors
///
/// If a running computation failed.
pub fn release_memory(device: &Device) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        drop(impasto_kernels::gpu::Gpu::of(device).take_workspace());
    }
    Ok(device.synchronize()?)
}

/// Sets whether GPUs may round the factors of f32 products to TF32. This applies to the whole process. Default: no.
pub fn allow_tf32(allowed: bool) {
    #[cfg(feature = "cuda")]
    impasto_kernels::gpu::allow_tf32(allowed);
    #[cfg(not(feature = "cuda"))]
    let _ = allowed;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_gpu_is_an_error_if_requested_and_otherwise_the_cpu_is_used() {
        let Err(error) = open(DeviceChoice::Cuda(999)) else { return };
        assert!(error.to_string().starts_with("cannot open `--device cuda:999`: "), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--device cpu")));
        let (device, notice) = open(DeviceChoice::Auto).unwrap();
        assert_eq!(notice.is_some(), cfg!(feature = "cuda") && device.is_cpu());
        assert!(notice.is_none_or(|notice| notice.lines().count() == 1));
    }
}

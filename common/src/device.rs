//! Which device the tensors live on, and how many threads the CPU kernels use.

use std::fmt;
use std::str::FromStr;

use candle_core::Device;

use crate::{Error, Result};

/// What the user asked for with `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A CUDA device if this build and this machine have one, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device with this ordinal.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", ordinal)) => {
                ordinal.parse().map(Self::Cuda).map_err(|_| format!("`{ordinal}` is not a device number; try `cuda:0`"))
            }
            _ => Err("expected `auto`, `cpu`, `cuda` or `cuda:N`".into()),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

impl DeviceChoice {
    /// Opens the device, and says in a line what the user should know of it: that `auto` is the CPU because the GPU that this
    /// build is made for cannot be used.
    ///
    /// # Errors
    ///
    /// If a CUDA device was asked for by name and this build or this machine has none.
    pub fn open(self) -> Result<(Device, Option<String>)> {
        match self {
            Self::Cpu => Ok((Device::Cpu, None)),
            Self::Auto if !cfg!(feature = "cuda") => Ok((Device::Cpu, None)),
            Self::Auto => Ok(open_cuda(0).map_or_else(
                |error| (Device::Cpu, Some(format!("computing on the CPU: {error}"))),
                |device| (device, None),
            )),
            Self::Cuda(ordinal) => open_cuda(ordinal)
                .map(|device| (device, None))
                .map_err(|error| Error::new(format!("cannot open `--device cuda:{ordinal}`: {error}")))
                .map_err(|error| error.with_hint("use `--device cpu`, or a build with CUDA on a machine that has it")),
        }
    }
}

/// Opens a GPU with a stream of its own: the default one cannot be captured as a graph.
fn open_cuda(ordinal: usize) -> Result<Device, String> {
    let opened = Device::new_cuda_with_stream(ordinal);
    #[cfg(feature = "cuda")]
    let opened = opened.and_then(|device| {
        crate::kernels::cuda::Gpu::set_up(device.as_cuda_device()?)?;
        Ok(device)
    });
    opened.map_err(|error| cause(&error.to_string()))
}

/// A driver's error in words that a user knows, without the backtrace that candle may append.
fn cause(text: &str) -> String {
    const KNOWN: [(&str, &str); 5] = [
        ("CUDA_ERROR_STUB_LIBRARY", "there is no NVIDIA driver on this machine"),
        ("CUDA_ERROR_NO_DEVICE", "there is no NVIDIA GPU in this machine"),
        ("CUDA_ERROR_INVALID_DEVICE", "there is no GPU of this number"),
        ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "the parts of the NVIDIA driver are of different versions"),
        ("CUDA_ERROR_INSUFFICIENT_DRIVER", "the NVIDIA driver is older than this build needs"),
    ];
    let known = KNOWN.iter().find(|(name, _)| text.contains(name)).map(|&(_, words)| words);
    known.unwrap_or_else(|| text.lines().next().unwrap_or_default().trim()).to_owned()
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

/// Whether a failure is one of memory: of the device's, or of page-locked memory for it.
///
/// It is told by the text: driver and libraries each have an error type of their own, which candle wraps without its kind, and
/// which a build without them does not know.
#[must_use]
pub fn is_out_of_memory(error: &Error) -> bool {
    let text = error.to_string();
    ["OUT_OF_MEMORY", "out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED"].iter().any(|sign| text.contains(sign))
}

/// Waits for the device, and gives back what it keeps for later computations of this thread: to be called before trying with less
/// after [`is_out_of_memory`].
///
/// # Errors
///
/// If a computation that was under way failed.
pub fn release_memory(device: &Device) -> Result<()> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        drop(crate::kernels::cuda::Gpu::of(device).take_workspace());
    }
    Ok(device.synchronize()?)
}

/// Lets GPUs round the factors of f32 products to TF32 from now on, in this process. They do not unless told.
pub fn allow_tf32(allowed: bool) {
    #[cfg(feature = "cuda")]
    crate::kernels::cuda::Gpu::allow_tf32(allowed);
    #[cfg(not(feature = "cuda"))]
    let _ = allowed;
}

/// Sets the number of CPU threads of every kernel, candle's own included. `0` keeps one per core.
///
/// Call it once, before the first tensor is made.
///
/// # Errors
///
/// If the thread pool exists already.
pub fn set_threads(threads: usize) -> Result<()> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|error| Error::new(format!("cannot start {threads} threads")).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_that_is_not_there_is_an_error_by_name_and_the_cpu_by_itself() {
        let Err(error) = DeviceChoice::Cuda(999).open() else { return };
        assert!(error.to_string().starts_with("cannot open `--device cuda:999`: "), "{error}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--device cpu")));
        let (device, notice) = DeviceChoice::Auto.open().unwrap();
        assert_eq!(notice.is_some(), cfg!(feature = "cuda") && device.is_cpu());
        assert!(notice.is_none_or(|notice| notice.lines().count() == 1));
    }

    #[test]
    fn a_missing_driver_is_told_in_words_and_anything_else_in_one_line() {
        let text = "DriverError(CUDA_ERROR_STUB_LIBRARY, \"<Failure when calling cuGetErrorString()>\")\n   0: frame";
        assert_eq!(cause(text), "there is no NVIDIA driver on this machine");
        assert_eq!(cause("something else\n   0: frame"), "something else");
    }

    #[test]
    fn a_lack_of_memory_is_known_by_what_driver_and_libraries_say() {
        let wrapped = |text: &str| Error::from(candle_core::Error::Msg(text.to_owned()).bt());
        for text in [
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "CublasError(CUBLAS_STATUS_ALLOC_FAILED)",
            "cuDNN cannot start: CudnnError(CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)",
        ] {
            assert!(is_out_of_memory(&wrapped(text)), "{text}");
        }
        assert!(!is_out_of_memory(&wrapped("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access\")")));
        release_memory(&Device::Cpu).unwrap();
    }

    #[test]
    fn every_device_parses_back_from_its_name() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("gpu".parse::<DeviceChoice>().is_err());
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
    }
}

//! Opens a GPU.

use candle_core::Device;

use super::driver::Gpu;

/// Opens the GPU with this ordinal, from 0, with its own stream: work in the default stream cannot be captured as a graph.
///
/// # Errors
///
/// If there is no such GPU, or no driver. The error is the cause as text.
pub fn open(ordinal: usize) -> Result<Device, String> {
    let opened = Device::new_cuda_with_stream(ordinal).and_then(|device| {
        Gpu::set_up(device.as_cuda_device()?)?;
        Ok(device)
    });
    opened.map_err(|error| cause(&error.to_string()))
}

/// A driver's error in plain words, without the backtrace that candle may append.
fn cause(text: &str) -> String {
    const KNOWN: [(&str, &str); 5] = [
        ("CUDA_ERROR_STUB_LIBRARY", "there is no NVIDIA driver on this machine"),
        ("CUDA_ERROR_NO_DEVICE", "there is no NVIDIA GPU in this machine"),
        ("CUDA_ERROR_INVALID_DEVICE", "there is no GPU with this number"),
        ("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "the components of the NVIDIA driver have different versions"),
        ("CUDA_ERROR_INSUFFICIENT_DRIVER", "the NVIDIA driver is older than this build needs"),
    ];
    let known = KNOWN.iter().find(|(name, _)| text.contains(name)).map(|&(_, words)| words);
    known.unwrap_or_else(|| text.lines().next().unwrap_or_default().trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_driver_is_explained_and_any_other_error_shortened_to_a_line() {
        let text = "DriverError(CUDA_ERROR_STUB_LIBRARY, \"<Failure when calling cuGetErrorString()>\")\n   0: frame";
        assert_eq!(cause(text), "there is no NVIDIA driver on this machine");
        assert_eq!(cause("something else\n   0: frame"), "something else");
    }
}

//! Which device computes, and how many threads the CPU kernels use.

use std::fmt;
use std::str::FromStr;

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

/// Opens the GPU with an ordinal; the error is the cause as text.
pub type OpenGpu<D> = fn(usize) -> Result<D, String>;

impl DeviceChoice {
    /// Opens the chosen GPU; the result is `None` for the CPU. `open_gpu` is `None` in a build without CUDA.
    ///
    /// The text, if any, is a one-line notice for the user: why `auto` fell back to the CPU.
    ///
    /// # Errors
    ///
    /// If a GPU was asked for by name and this build or this machine has none.
    pub fn open_with<D>(self, open_gpu: Option<OpenGpu<D>>) -> Result<(Option<D>, Option<String>)> {
        match (self, open_gpu) {
            (Self::Cpu, _) | (Self::Auto, None) => Ok((None, None)),
            (Self::Auto, Some(open)) => Ok(open(0).map_or_else(
                |cause| (None, Some(format!("computing on the CPU: {cause}"))),
                |device| (Some(device), None),
            )),
            (Self::Cuda(ordinal), open) => open
                .map_or_else(|| Err("this program was built without CUDA".to_owned()), |open| open(ordinal))
                .map(|device| (Some(device), None))
                .map_err(|cause| Error::new(format!("cannot open `--device cuda:{ordinal}`: {cause}")))
                .map_err(|error| {
                    error.with_hint("use `--device cpu`, or a build with CUDA on a machine with an NVIDIA GPU")
                }),
        }
    }
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

/// The largest number of threads accepted on a command line: four per core, but at least 64.
#[must_use]
pub fn max_threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (4 * cores).max(64)
}

/// Checks a number of threads that was given with `flag`.
///
/// # Errors
///
/// If it is above [`max_threads`].
pub fn check_threads(flag: &str, threads: usize) -> Result<()> {
    let most = max_threads();
    if threads <= most {
        return Ok(());
    }
    Err(Error::usage(format!("`{flag} {threads}` is too many: the maximum on this machine is {most}"))
        .with_hint("more threads than cores do not make it faster"))
}

/// Sets the number of CPU threads (`--threads`) of every kernel, including those of tensor libraries. `0` is one per core.
///
/// Call it once, before the first tensor is made.
///
/// # Errors
///
/// If there are more than [`max_threads`], or the thread pool exists already.
pub fn set_threads(threads: usize) -> Result<()> {
    check_threads("--threads", threads)?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|error| Error::new(format!("cannot start {threads} threads")).with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_device_parses_back_from_its_name() {
        for choice in [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(3)] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("gpu".parse::<DeviceChoice>().is_err());
        assert!("cuda:x".parse::<DeviceChoice>().is_err());
    }

    #[test]
    fn too_many_threads_are_refused_with_the_maximum() {
        check_threads("--threads", max_threads()).unwrap();
        let error = set_threads(1_000_000).unwrap_err();
        let most = max_threads();
        assert_eq!(
            error.to_string(),
            format!("`--threads 1000000` is too many: the maximum on this machine is {most}")
        );
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_missing_gpu_is_an_error_if_requested_and_auto_uses_the_cpu_with_a_notice() {
        let none: OpenGpu<()> = |_| Err("there is no NVIDIA driver on this machine".into());
        let notice = "computing on the CPU: there is no NVIDIA driver on this machine";
        assert_eq!(DeviceChoice::Auto.open_with(Some(none)).unwrap(), (None, Some(notice.into())));
        assert_eq!(DeviceChoice::Auto.open_with(None::<OpenGpu<()>>).unwrap(), (None, None));
        let error = DeviceChoice::Cuda(1).open_with(Some(none)).unwrap_err();
        assert_eq!(error.to_string(), "cannot open `--device cuda:1`: there is no NVIDIA driver on this machine");
        assert!(error.hint().is_some_and(|hint| hint.contains("--device cpu")));
        assert!(
            DeviceChoice::Cuda(1)
                .open_with(None::<OpenGpu<()>>)
                .unwrap_err()
                .to_string()
                .ends_with("built without CUDA")
        );
    }
}

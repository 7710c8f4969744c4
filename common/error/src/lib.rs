//! The one error type: what was being done, on which file or flag, why it failed, and a hint at what to do.
//!
//! A command line prints it as `error: {error}` and, on the next line, `hint: {hint}`, both through [`escaped`].

#![forbid(unsafe_code)]

mod escape;
mod exhausted;

use std::error::Error as StdError;
use std::fmt;

pub use escape::{escaped, escaped_lines};
use exhausted::{Resource, exhausted};

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a run should end because of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The user asked for something impossible: exit code 2.
    Usage,
    /// The work failed: exit code 1.
    Failed,
    /// The user stopped the run: exit code 130.
    Interrupted,
}

/// What went wrong, with its cause and a hint.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// A failure described by `message` (lower case, no full stop, literals in backticks).
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Failed, message: message.into(), hint: None, source: None }
    }

    /// An error in what the user asked for; the process ends with exit code 2.
    pub fn usage(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Usage, ..Self::new(message) }
    }

    /// The user stopped the run; nothing is lost.
    pub fn interrupted(message: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Interrupted, ..Self::new(message) }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the underlying cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// How the run should end.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the cause is a lack of memory: of the machine, of a GPU, or of page-locked memory for a GPU.
    #[must_use]
    pub fn is_out_of_memory(&self) -> bool {
        exhausted(self) == Some(Resource::Memory)
    }

    /// Whether the cause is a full disk, or a used-up quota on it.
    #[must_use]
    pub fn is_storage_full(&self) -> bool {
        exhausted(self) == Some(Resource::Storage)
    }

    /// The innermost hint, which is the most specific.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        let inner = self.source.as_deref().and_then(|source| source.downcast_ref::<Error>()).and_then(Error::hint);
        inner.or(self.hint.as_deref())
    }

    /// The exit code of a process that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Usage => 2,
            ErrorKind::Failed => 1,
            ErrorKind::Interrupted => 130,
        }
    }
}

impl fmt::Display for Error {
    /// The message followed by its causes, separated by colons.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut source = self.source.as_deref().map(|source| source as &(dyn StdError + 'static));
        while let Some(cause) = source {
            if let Some(inner) = cause.downcast_ref::<Error>() {
                return write!(f, ": {inner}");
            }
            let cause = without_backtrace(cause);
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

/// candle appends a long backtrace to its message if `RUST_BACKTRACE` is set. It is left out.
#[cfg(feature = "candle")]
fn without_backtrace<'a>(mut cause: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    while let Some(candle_core::Error::WithBacktrace { inner, .. }) = cause.downcast_ref() {
        cause = inner.as_ref();
    }
    cause
}

#[cfg(not(feature = "candle"))]
fn without_backtrace<'a>(cause: &'a (dyn StdError + 'static)) -> &'a (dyn StdError + 'static) {
    cause
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

#[cfg(feature = "candle")]
impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Self::new("tensor computation failed").with_source(error)
    }
}

/// Adds a message about the failed action to an error of another type.
pub trait ResultExt<T> {
    /// Wraps the error with `message`, evaluated only on failure.
    ///
    /// # Errors
    ///
    /// The wrapped error.
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T, E: Into<Box<dyn StdError + Send + Sync>>> ResultExt<T> for Result<T, E> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| {
            let source = error.into();
            let kind = source.downcast_ref::<Error>().map_or(ErrorKind::Failed, Error::kind);
            Error { kind, message: message().into(), hint: None, source: Some(source) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_reads_from_the_action_to_the_cause_and_keeps_the_inner_hint() {
        let inner: Result<()> = Err(Error::usage("tensor `conv1` is missing").with_hint("drop `--preset`"));
        let error = inner.context(|| "cannot load `a.safetensors`").unwrap_err();
        assert_eq!(error.to_string(), "cannot load `a.safetensors`: tensor `conv1` is missing");
        assert_eq!(error.hint(), Some("drop `--preset`"));
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    #[cfg(feature = "candle")]
    fn the_backtrace_of_a_computation_is_left_out() {
        let inner = Box::new(candle_core::Error::Msg("shapes differ".into()));
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let error = Error::from(candle_core::Error::WithBacktrace { inner, backtrace });
        assert_eq!(error.to_string(), "tensor computation failed: shapes differ");
    }

    #[test]
    fn a_foreign_cause_is_printed_once() {
        let io: Result<(), _> = Err(std::io::Error::other("disk full"));
        assert_eq!(io.context(|| "cannot write `x`").unwrap_err().to_string(), "cannot write `x`: disk full");
    }

    #[test]
    fn a_full_disk_and_a_lack_of_memory_are_recognised_by_the_kind_of_the_innermost_cause() {
        let wrapped = |kind: std::io::ErrorKind| {
            let io: Result<(), _> = Err(std::io::Error::from(kind));
            let written: Result<()> = io.context(|| "cannot flush").context(|| "cannot write `x`");
            written.unwrap_err()
        };
        let (disk, memory) = (wrapped(std::io::ErrorKind::StorageFull), wrapped(std::io::ErrorKind::OutOfMemory));
        assert_eq!((disk.is_storage_full(), disk.is_out_of_memory()), (true, false));
        assert_eq!((memory.is_storage_full(), memory.is_out_of_memory()), (false, true));
        let other = wrapped(std::io::ErrorKind::PermissionDenied);
        assert!(!other.is_storage_full() && !other.is_out_of_memory());
        let words = Error::new("out of memory: No space left on device");
        assert!(!words.is_storage_full() && !words.is_out_of_memory(), "words alone say nothing");
        let inside = std::io::Error::other(wrapped(std::io::ErrorKind::StorageFull));
        assert!(Error::new("cannot encode").with_source(inside).is_storage_full());
    }

    #[test]
    #[cfg(feature = "candle")]
    fn errors_wrapped_by_a_tensor_library_are_recognised() {
        let full = || candle_core::Error::Io(std::io::Error::from(std::io::ErrorKind::StorageFull));
        let backtrace = Box::new(std::backtrace::Backtrace::force_capture());
        let traced = candle_core::Error::WithBacktrace { inner: Box::new(full()), backtrace };
        assert!(Error::from(full()).is_storage_full() && Error::from(traced).is_storage_full());
        let gpu = Box::new(std::io::Error::from(std::io::ErrorKind::OutOfMemory));
        assert!(Error::from(candle_core::Error::Cuda(gpu)).is_out_of_memory());
    }

    #[test]
    #[cfg(feature = "cuda")]
    fn codes_of_the_driver_and_its_libraries_are_recognised() {
        use candle_core::cuda_backend::{CudaError, cudarc};
        use cudarc::cublas::{result::CublasError, sys::cublasStatus_t};
        use cudarc::cudnn::{result::CudnnError, sys::cudnnStatus_t};
        use cudarc::driver::{DriverError, sys::CUresult};

        let driver = |code| Error::from(candle_core::Error::from(CudaError::Cuda(DriverError(code))));
        assert!(driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY).is_out_of_memory());
        assert!(!driver(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS).is_out_of_memory());
        let blas = CublasError(cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED);
        assert!(Error::from(candle_core::Error::from(CudaError::Cublas(blas))).is_out_of_memory());
        let dnn = CudnnError(cudnnStatus_t::CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED);
        assert!(Error::from(candle_core::Error::Cuda(Box::new(dnn))).is_out_of_memory());
    }
}

//! The sources of the kernels. NVRTC compiles each file when one of its kernels is first launched.

use super::value::Value;

const PRELUDE: &str = include_str!("prelude.cuh");

/// Every kernel is declared as `KERNEL name(type argument, ..)` at the beginning of a line.
const MARK: &str = "\nKERNEL ";

/// A file of kernels.
///
/// Each is compiled once for each [`Value`] that it is used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KernelSource {
    /// The steps around cuDNN's convolution: padding, upsampling, bias, ReLU and the order of axes.
    Conv,
    /// Instance normalisation and its gradient.
    Norm,
    /// 2x2 maximum pooling and its gradient.
    Pool,
    /// Mean squared differences, total variation, and their gradients.
    Difference,
    /// Bicubic sampling of pictures at arbitrary positions, and the adjoint.
    Warp,
    /// Adam's update and the norm of the gradient.
    Adam,
    /// The steps of a painting other than its convolutions.
    Paint,
}

impl KernelSource {
    /// All files.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 7] =
        [Self::Conv, Self::Norm, Self::Pool, Self::Difference, Self::Warp, Self::Adam, Self::Paint];

    /// Its file name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv => "conv.cu",
            Self::Norm => "norm.cu",
            Self::Pool => "pool.cu",
            Self::Difference => "difference.cu",
            Self::Warp => "warp.cu",
            Self::Adam => "adam.cu",
            Self::Paint => "paint.cu",
        }
    }

    /// The file itself.
    fn body(self) -> &'static str {
        match self {
            Self::Conv => include_str!("conv.cu"),
            Self::Norm => include_str!("norm.cu"),
            Self::Pool => include_str!("pool.cu"),
            Self::Difference => include_str!("difference.cu"),
            Self::Warp => include_str!("warp.cu"),
            Self::Adam => include_str!("adam.cu"),
            Self::Paint => include_str!("paint.cu"),
        }
    }

    /// The text for the compiler: the definition of `VALUE`, the prelude, and the file.
    pub(crate) fn text(self, value: Value) -> String {
        format!("#define VALUE {}\n{PRELUDE}\n{}", value.code(), self.body())
    }

    /// The names of its kernels.
    pub(crate) fn kernels(self) -> impl Iterator<Item = &'static str> {
        self.body().split(MARK).skip(1).filter_map(|rest| rest.split_once('(')).map(|(name, _)| name)
    }

    /// The arguments that a kernel declares, a letter each: `P` for a pointer, `I` for an `int`, `F` for a `float`. `None` if
    /// there is no such kernel.
    pub(crate) fn signature(self, kernel: &str) -> Option<String> {
        let (_, rest) = self.body().split_once(&format!("{MARK}{kernel}("))?;
        let (arguments, _) = rest.split_once(')')?;
        let kind = |argument: &str| match argument.trim() {
            argument if argument.contains('*') => 'P',
            argument if argument.starts_with("float ") => 'F',
            argument if argument.starts_with("int ") => 'I',
            _ => '?',
        };
        Some(arguments.split(',').map(kind).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_found_with_arguments_of_known_kinds() {
        for source in KernelSource::ALL {
            assert!(source.kernels().count() > 0, "{}", source.name());
            assert_eq!(source.kernels().count(), source.body().matches("KERNEL ").count(), "{}", source.name());
            for kernel in source.kernels() {
                let signature = source.signature(kernel).unwrap();
                assert!(signature.chars().all(|kind| "PIF".contains(kind)), "{kernel}: {signature}");
            }
        }
    }
}

//! The sources of the kernels, which NVRTC compiles when they are first used.

use candle_core::{Result, bail};

use super::launch::{Argument, Launch, Value};

const PRELUDE: &str = include_str!("prelude.cuh");

/// Every kernel starts so: `KERNEL name(type argument, ..)`.
const MARK: &str = "\nKERNEL ";

/// A file of kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    Conv,
    Norm,
    Pool,
    Difference,
    Warp,
    Adam,
    Paint,
}

impl Source {
    /// All of them.
    #[cfg(test)]
    pub const ALL: [Self; 7] =
        [Self::Conv, Self::Norm, Self::Pool, Self::Difference, Self::Warp, Self::Adam, Self::Paint];

    /// Its file name.
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

    /// What the compiler gets.
    pub fn text(self, value: Value) -> String {
        format!("#define VALUE {}\n{PRELUDE}\n{}", value.code(), self.body())
    }

    /// The names of its kernels.
    pub fn kernels(self) -> impl Iterator<Item = &'static str> {
        self.body().split(MARK).skip(1).filter_map(|rest| rest.split_once('(')).map(|(name, _)| name)
    }

    /// The arguments that a kernel declares, each as `P`lace, `I`nt or `F`loat.
    pub fn signature(self, kernel: &str) -> Option<String> {
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

impl Launch<'_> {
    /// Checks that the kernel takes arguments of these kinds.
    pub fn check(&self) -> Result<()> {
        let given = self.arguments.iter().map(|argument| match argument {
            Argument::Place(_) => 'P',
            Argument::Int(_) => 'I',
            Argument::Float(_) => 'F',
        });
        let given: String = given.collect();
        match self.source.signature(self.kernel) {
            Some(taken) if taken == given => Ok(()),
            Some(taken) => bail!("kernel `{}` takes {taken}, not {given}", self.kernel),
            None => bail!("`{}` has no kernel `{}`", self.source.name(), self.kernel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_found_with_arguments_of_known_kinds() {
        for source in Source::ALL {
            assert!(source.kernels().count() > 0, "{}", source.name());
            assert_eq!(source.kernels().count(), source.body().matches("KERNEL ").count(), "{}", source.name());
            for kernel in source.kernels() {
                let signature = source.signature(kernel).unwrap();
                assert!(signature.chars().all(|kind| "PIF".contains(kind)), "{kernel}: {signature}");
            }
        }
    }

    #[test]
    fn arguments_of_another_kind_are_refused() {
        let launch =
            |kernel, arguments| Launch { source: Source::Pool, value: Value::F32, kernel, grid: [1; 3], arguments };
        let error = |launch: Launch| launch.check().unwrap_err().to_string();
        assert!(error(launch("pool", &[])).starts_with("kernel `pool` takes PPII, not "));
        assert!(error(launch("pond", &[])).starts_with("`pool.cu` has no kernel `pond`"));
    }
}

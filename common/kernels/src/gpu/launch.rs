//! A kernel launch: the kernel, its grid and arguments, and a check that they fit.

use candle_core::{Result, bail};

use super::source::KernelSource;
use super::value::Value;

/// Threads of a block, in every kernel: `THREADS` of `prelude.cuh`.
pub(crate) const THREADS: usize = 256;

/// CUDA's limits of blocks along the three axes of a grid.
const GRID_LIMITS: [usize; 3] = [i32::MAX as usize, 65_535, 65_535];

/// An address in a machine's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(pub u64);

impl Place {
    /// The null address of an omitted argument.
    pub const NONE: Self = Self(0);

    /// The address `bytes` after this one.
    #[must_use]
    pub fn after(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }

    /// Whether the address is a multiple of `bytes`; true for an omitted argument.
    pub(crate) fn is_aligned(self, bytes: usize) -> bool {
        self.0.is_multiple_of(bytes as u64)
    }
}

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Argument {
    /// A pointer.
    Place(Place),
    /// A size, index or flag: never negative.
    Int(i32),
    /// A number.
    Float(f32),
}

impl Argument {
    /// The letter of its kind in [`KernelSource::signature`].
    fn kind(self) -> char {
        match self {
            Self::Place(_) => 'P',
            Self::Int(_) => 'I',
            Self::Float(_) => 'F',
        }
    }
}

impl From<Place> for Argument {
    fn from(place: Place) -> Self {
        Self::Place(place)
    }
}

impl From<Option<Place>> for Argument {
    fn from(place: Option<Place>) -> Self {
        Self::Place(place.unwrap_or(Place::NONE))
    }
}

impl From<usize> for Argument {
    /// A size that does not fit becomes -1, which [`Launch::check`] refuses.
    fn from(number: usize) -> Self {
        Self::Int(i32::try_from(number).unwrap_or(-1))
    }
}

impl From<bool> for Argument {
    fn from(flag: bool) -> Self {
        Self::Int(flag.into())
    }
}

impl From<f32> for Argument {
    fn from(number: f32) -> Self {
        Self::Float(number)
    }
}

/// A kernel to be launched, with 256 threads per block.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The file that holds the kernel.
    pub source: KernelSource,
    /// The number type that the file is compiled for.
    pub value: Value,
    /// The kernel's name.
    pub kernel: &'static str,
    /// Blocks along x, y and z.
    pub grid: [usize; 3],
    /// The arguments in the order of the kernel's declaration.
    pub arguments: &'a [Argument],
}

impl Launch<'_> {
    /// Checks the arguments' number and kinds against the kernel's [`signature`](KernelSource::signature), and that sizes and
    /// grid are within CUDA's limits. Both the GPU and the emulator call this before every launch.
    ///
    /// # Errors
    ///
    /// If anything does not fit, with the kernel's name.
    pub(crate) fn check(&self, signature: &str) -> Result<()> {
        if !self.arguments.iter().map(|argument| argument.kind()).eq(signature.chars()) {
            let given: String = self.arguments.iter().map(|argument| argument.kind()).collect();
            bail!("kernel `{}` has the arguments {signature}, but was given {given}", self.kernel)
        }
        if self.arguments.iter().any(|argument| matches!(argument, Argument::Int(..0))) {
            bail!("kernel `{}` was given a size of more than 31 bits", self.kernel)
        }
        if self.grid.iter().zip(GRID_LIMITS).any(|(&blocks, limit)| blocks > limit) {
            bail!("kernel `{}` cannot run on a grid of {:?} blocks", self.kernel, self.grid)
        }
        Ok(())
    }

    /// The signature of the kernel.
    ///
    /// # Errors
    ///
    /// If the file has no such kernel.
    pub(crate) fn signature(&self) -> Result<String> {
        match self.source.signature(self.kernel) {
            Some(signature) => Ok(signature),
            None => bail!("`{}` has no kernel `{}`", self.source.name(), self.kernel),
        }
    }
}

/// Blocks for `count` values, one value per thread.
pub(crate) fn blocks(count: usize) -> usize {
    count.div_ceil(THREADS)
}

/// Refuses tensors with more values than a kernel's `int` can index.
pub(crate) fn fits(counts: &[usize]) -> Result<()> {
    match counts.iter().find(|&&count| count > i32::MAX as usize - THREADS) {
        Some(count) => {
            bail!("a tensor of {count} values is too large for one kernel; use smaller pictures or batches")
        }
        None => Ok(()),
    }
}

/// How a sum over `count` values is split: the number of partial sums, and the values of each. Depends only on the count.
///
/// A partial sum has at least `least` values, unless that would make more than `most` of them.
pub(crate) fn chunks(count: usize, least: usize, most: usize) -> (usize, usize) {
    let chunks = count.div_ceil(least).clamp(1, most);
    let span = count.div_ceil(chunks).max(1);
    (count.div_ceil(span).max(1), span)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch<'a>(kernel: &'static str, grid: [usize; 3], arguments: &'a [Argument]) -> Launch<'a> {
        Launch { source: KernelSource::Pool, value: Value::F32, kernel, grid, arguments }
    }

    fn error(launch: Launch) -> String {
        launch.signature().and_then(|signature| launch.check(&signature)).unwrap_err().to_string()
    }

    #[test]
    fn arguments_of_another_kind_are_refused() {
        assert!(error(launch("pool", [1; 3], &[])).starts_with("kernel `pool` has the arguments PPII, but was given "));
        assert!(error(launch("pond", [1; 3], &[])).starts_with("`pool.cu` has no kernel `pond`"));
    }

    #[test]
    fn sizes_and_grids_beyond_the_limits_are_refused() {
        let place = Argument::Place(Place(16));
        let with = |height: usize| [place, place, height.into(), 4.into()];
        assert!(error(launch("pool", [1; 3], &with(1 << 31))).contains("a size of more than 31 bits"));
        assert!(error(launch("pool", [1; 3], &with((1 << 32) + 4))).contains("a size of more than 31 bits"));
        assert!(error(launch("pool", [1, 1 << 16, 1], &with(4))).contains("cannot run on a grid"));
        let good = with(4);
        let good = launch("pool", [1 << 20, 65_535, 0], &good);
        assert!(good.check(&good.signature().unwrap()).is_ok());
    }
}

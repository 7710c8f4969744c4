//! One portable loop, compiled once for each generation of vector instructions and chosen at run time.
//!
//! The loops are plain safe Rust that LLVM vectorises. They never contract a product and a sum into one rounding, and they
//! sum in a fixed number of lanes, so that all versions return the same bytes.

#[cfg(any(test, target_arch = "x86_64"))]
use super::simd::Level;

/// The best level of this CPU (std caches the detection).
#[cfg(target_arch = "x86_64")]
pub(crate) fn level() -> Level {
    #[cfg(test)]
    if let Some(level) = tests::OVERRIDE.get() {
        return level;
    }
    Level::detect()
}

/// Defines a function whose body is compiled for every [`Level`]; calling it runs the best one.
macro_rules! multiversion {
    (
        $(#[$meta:meta])*
        $visibility:vis fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)? $body:block
    ) => {
        $(#[$meta])*
        $visibility fn $name($($argument: $type),*) $(-> $result)? {
            // Each version below must compile its own copy.
            #[inline(always)]
            fn portable($($argument: $type),*) $(-> $result)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($argument: $type),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq")]
            fn avx512($($argument: $type),*) $(-> $result)? {
                portable($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            match $crate::multiversion::level() {
                // SAFETY: `level` returns this only on a CPU with AVX-512F, VL and DQ.
                $crate::simd::Level::Avx512 => return unsafe { avx512($($argument),*) },
                // SAFETY: `level` returns this only on a CPU with AVX2.
                $crate::simd::Level::Avx2 => return unsafe { avx2($($argument),*) },
                $crate::simd::Level::Portable | $crate::simd::Level::Neon => {}
            }
            portable($($argument),*)
        }
    };
}

pub(crate) use multiversion;

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        /// Lets a test run the slower versions on this thread.
        pub(super) static OVERRIDE: Cell<Option<Level>> = const { Cell::new(None) };
    }

    /// Asserts that `run` returns the same value at every level that this CPU has.
    pub(crate) fn assert_levels_agree<T: PartialEq + std::fmt::Debug>(run: impl Fn() -> T) {
        let best = run();
        for level in Level::all() {
            OVERRIDE.set(Some(level));
            let value = run();
            OVERRIDE.set(None);
            assert_eq!(value, best, "{level:?}");
        }
    }
}

//! The number types of tensors in a GPU's memory.

/// Bytes that a kernel loads or stores at once, and the alignment that this takes: `pack` of `prelude.cuh`.
pub(crate) const PACK_BYTES: usize = 16;

/// The number type of a tensor that an op reads or writes. Kernels compute in f32 whatever the type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Value {
    /// Single precision: 8 bits of exponent, 23 of fraction.
    F32,
    /// bfloat16: 8 bits of exponent, 7 of fraction.
    Bf16,
    /// Half precision (IEEE 754 binary16): 5 bits of exponent, 10 of fraction.
    F16,
}

impl Value {
    /// The definition of `VALUE` in the kernels' sources.
    pub(crate) fn code(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::Bf16 => 1,
            Self::F16 => 2,
        }
    }

    /// Bytes of one number.
    #[must_use]
    pub fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// How many numbers a kernel loads or stores at once, 16 bytes: `PACK` of `prelude.cuh`.
    pub(crate) fn pack(self) -> usize {
        PACK_BYTES / self.bytes()
    }
}

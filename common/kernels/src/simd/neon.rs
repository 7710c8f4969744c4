//! The registers of NEON, Arm's vector instructions.

use std::arch::aarch64::{
    float32x4_t, vadd_f32, vaddq_f32, vandq_u32, vbslq_f32, vcgtq_f32, vcltq_u32, vdupq_n_f32, vdupq_n_u32, vfmaq_f32,
    vget_high_f32, vget_low_f32, vgetq_lane_f32, vld1q_f32, vld1q_u32, vpadds_f32, vreinterpretq_f32_u32,
    vreinterpretq_u32_f32, vst1_f32, vst1q_f32, vst1q_lane_f32, vsubq_f32,
};

use super::Simd;

/// See [`super::Level::Neon`].
pub(crate) struct Neon;

impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;
    const WIDE: bool = true;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { vdupq_n_f32(value) }
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        // SAFETY: the caller has enabled NEON and vouches for a register of readable floats, which need not be aligned.
        unsafe { vld1q_f32(from) }
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        // SAFETY: the caller has enabled NEON and vouches for a register of writable floats, which need not be aligned.
        unsafe { vst1q_f32(to, v) }
    }

    #[inline(always)]
    unsafe fn store_part(to: *mut f32, v: Self::V, len: usize) {
        // SAFETY: the caller has enabled NEON and vouches for `len` writable floats; no more are written.
        unsafe {
            match len {
                0 => {}
                1 => vst1q_lane_f32::<0>(to, v),
                2 => vst1_f32(to, vget_low_f32(v)),
                3 => {
                    vst1_f32(to, vget_low_f32(v));
                    vst1q_lane_f32::<2>(to.add(2), v);
                }
                _ => vst1q_f32(to, v),
            }
        }
    }

    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { vaddq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { vsubq_f32(a, b) }
    }

    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { vfmaq_f32(c, a, b) }
    }

    /// `b` where either is NaN, as on x86: no instruction of NEON's own does that.
    #[inline(always)]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }

    #[inline(always)]
    unsafe fn keep_first(v: Self::V, len: usize) -> Self::V {
        const LANE: [u32; 4] = [0, 1, 2, 3];
        // SAFETY: the caller has enabled NEON; `LANE` is a register.
        unsafe {
            let mask = vcltq_u32(vld1q_u32(LANE.as_ptr()), vdupq_n_u32(len as u32));
            vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), mask))
        }
    }

    #[inline(always)]
    unsafe fn first(v: Self::V) -> f32 {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { vgetq_lane_f32::<0>(v) }
    }

    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        // SAFETY: register arithmetic; the caller has enabled NEON.
        unsafe { vpadds_f32(vadd_f32(vget_low_f32(v), vget_high_f32(v))) }
    }
}

//! cuDNN's descriptors of a convolution, and the algorithms that it can be computed with.

use std::ffi::c_int;

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};

use super::super::machine::{Convolution, Direction};
use super::super::value::Value;

/// The algorithm of a direction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Input(sys::cudnnConvolutionBwdDataAlgo_t),
    Weight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

impl Algorithm {
    /// The deterministic algorithms with the fewest requirements, the faster one first. Used if cuDNN proposes no
    /// acceptable algorithm.
    pub(super) fn plain(direction: Direction) -> &'static [Self] {
        use sys::cudnnConvolutionBwdDataAlgo_t::CUDNN_CONVOLUTION_BWD_DATA_ALGO_1;
        use sys::cudnnConvolutionBwdFilterAlgo_t::CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1;
        use sys::cudnnConvolutionFwdAlgo_t::{
            CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM, CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
        };
        match direction {
            Direction::Forward => &[
                Self::Forward(CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM),
                Self::Forward(CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM),
            ],
            Direction::Input => &[Self::Input(CUDNN_CONVOLUTION_BWD_DATA_ALGO_1)],
            Direction::Weight => &[Self::Weight(CUDNN_CONVOLUTION_BWD_FILTER_ALGO_1)],
        }
    }
}

/// cuDNN's descriptors of picture, weight, result and convolution.
pub(super) struct Descriptors {
    pub(super) picture: sys::cudnnTensorDescriptor_t,
    pub(super) weight: sys::cudnnFilterDescriptor_t,
    pub(super) result: sys::cudnnTensorDescriptor_t,
    pub(super) convolution: sys::cudnnConvolutionDescriptor_t,
}

impl Descriptors {
    pub(super) fn new(c: &Convolution) -> Result<Self, CudnnError> {
        let mut all = Self {
            picture: std::ptr::null_mut(),
            weight: std::ptr::null_mut(),
            result: std::ptr::null_mut(),
            convolution: std::ptr::null_mut(),
        };
        // Made one by one, so that an error drops the earlier ones.
        all.picture = result::create_tensor_descriptor()?;
        all.weight = result::create_filter_descriptor()?;
        all.result = result::create_tensor_descriptor()?;
        all.convolution = result::create_convolution_descriptor()?;
        all.describe(c)?;
        Ok(all)
    }

    /// Sets the sizes. They are in the order batch, channels, height, width, whatever the format.
    fn describe(&self, c: &Convolution) -> Result<(), CudnnError> {
        let format = if c.last {
            sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC
        } else {
            sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW
        };
        let value = match c.value {
            Value::F32 => sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            Value::Bf16 => sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16,
            Value::F16 => sys::cudnnDataType_t::CUDNN_DATA_HALF,
        };
        let int = |sizes: [usize; 4]| sizes.map(|size| size as c_int);
        let (height, width) = c.out_size();
        let picture = int([c.batch, c.inputs, c.height, c.width]);
        let weight = int([c.outputs, c.inputs, c.kernel, c.kernel]);
        let output = int([c.batch, c.outputs, height, width]);
        let (pad, stride) = (c.pad as c_int, c.stride as c_int);
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        let sums = sys::cudnnDataType_t::CUDNN_DATA_FLOAT;
        // SAFETY: `new` made all four descriptors, and nothing else uses them yet.
        unsafe {
            result::set_tensor4d_descriptor(self.picture, format, value, picture)?;
            result::set_filter4d_descriptor(self.weight, value, format, weight)?;
            result::set_tensor4d_descriptor(self.result, format, value, output)?;
            result::set_convolution2d_descriptor(self.convolution, pad, pad, stride, stride, 1, 1, mode, sums)
        }
    }

    /// Sets the arithmetic that algorithms may use.
    pub(super) fn set_math(&self, math: sys::cudnnMathType_t) -> Result<(), CudnnError> {
        // SAFETY: `new` made the descriptor.
        unsafe { result::set_convolution_math_type(self.convolution, math) }
    }

    /// Bytes of workspace that an algorithm takes with the current arithmetic. An error if it does not support the
    /// convolution.
    pub(super) fn workspace(&self, handle: sys::cudnnHandle_t, algorithm: Algorithm) -> Result<usize, CudnnError> {
        let &Self { picture, weight, result: output, convolution: conv } = self;
        // SAFETY: the handle is live, and `new` made and described all descriptors.
        unsafe {
            match algorithm {
                Algorithm::Forward(algorithm) => {
                    result::get_convolution_forward_workspace_size(handle, picture, weight, conv, output, algorithm)
                }
                Algorithm::Input(algorithm) => result::get_convolution_backward_data_workspace_size(
                    handle, weight, output, conv, picture, algorithm,
                ),
                Algorithm::Weight(algorithm) => result::get_convolution_backward_filter_workspace_size(
                    handle, picture, output, conv, weight, algorithm,
                ),
            }
        }
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        let Self { picture, weight, result: output, convolution } = *self;
        // There is nowhere to report an error.
        if !picture.is_null() {
            // SAFETY: `new` made it, and it is destroyed once.
            let _ = unsafe { result::destroy_tensor_descriptor(picture) };
        }
        if !weight.is_null() {
            // SAFETY: `new` made it, and it is destroyed once.
            let _ = unsafe { result::destroy_filter_descriptor(weight) };
        }
        if !output.is_null() {
            // SAFETY: `new` made it, and it is destroyed once.
            let _ = unsafe { result::destroy_tensor_descriptor(output) };
        }
        if !convolution.is_null() {
            // SAFETY: `new` made it, and it is destroyed once.
            let _ = unsafe { result::destroy_convolution_descriptor(convolution) };
        }
    }
}

//! The algorithms that cuDNN proposes for a convolution.

use std::ffi::c_int;

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};

use super::super::algorithm::{Arithmetic, Proposal};
use super::super::machine::Direction;
use super::descriptors::{Algorithm, Descriptors};

/// An algorithm and its arithmetic, as proposed by cuDNN or as tried.
pub(super) type Candidate = (Algorithm, sys::cudnnMathType_t);

/// All proposals of cuDNN for one direction, in the order of expected speed.
///
/// An algorithm is listed once for each arithmetic that it has, so there can be more proposals than algorithms: cuDNN
/// reports the maximum.
macro_rules! propose {
    ($count:path, $call:path, $algorithm:ident, $handle:expr, $($descriptor:expr),+) => {{
        let mut most: c_int = 0;
        // SAFETY: the handle is live, and the count is written before the call returns.
        unsafe { $count($handle, &raw mut most) }.result()?;
        // SAFETY: a proposal is plain data, and all of its enums have a value of zero.
        let mut found = vec![unsafe { std::mem::zeroed() }; most.max(1) as usize];
        let mut count: c_int = 0;
        // SAFETY: the descriptors are those of `Descriptors::new`, and `found` has room for as many proposals as are asked for.
        unsafe { $call($handle, $($descriptor),+, found.len() as c_int, &raw mut count, found.as_mut_ptr()) }?;
        found.truncate(count as usize);
        let proposals = found.iter().map(|found| Proposal {
            name: format!("{:?}", found.algo),
            status: if found.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS {
                Ok(())
            } else {
                Err(format!("{:?}", found.status))
            },
            deterministic: found.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC,
            arithmetic: arithmetic(found.mathType),
            memory: found.memory,
        });
        let candidates = found.iter().map(|found| (Algorithm::$algorithm(found.algo), found.mathType));
        (proposals.collect(), candidates.collect())
    }};
}

/// What cuDNN's `mathType` means for the results.
pub(super) fn arithmetic(math: sys::cudnnMathType_t) -> Arithmetic {
    match math {
        sys::cudnnMathType_t::CUDNN_DEFAULT_MATH | sys::cudnnMathType_t::CUDNN_FMA_MATH => Arithmetic::Plain,
        _ => Arithmetic::TensorCores,
    }
}

/// All that cuDNN proposes for any direction, and the algorithm and arithmetic of each.
pub(super) fn proposals(
    handle: sys::cudnnHandle_t,
    direction: Direction,
    descriptors: &Descriptors,
) -> Result<(Vec<Proposal>, Vec<Candidate>), CudnnError> {
    let &Descriptors { picture, weight, result: output, convolution } = descriptors;
    Ok(match direction {
        Direction::Forward => propose!(
            sys::cudnnGetConvolutionForwardAlgorithmMaxCount,
            result::get_convolution_forward_algorithm,
            Forward,
            handle,
            picture,
            weight,
            convolution,
            output
        ),
        Direction::Input => propose!(
            sys::cudnnGetConvolutionBackwardDataAlgorithmMaxCount,
            result::get_convolution_backward_data_algorithm,
            Input,
            handle,
            weight,
            output,
            convolution,
            picture
        ),
        Direction::Weight => propose!(
            sys::cudnnGetConvolutionBackwardFilterAlgorithmMaxCount,
            result::get_convolution_backward_filter_algorithm,
            Weight,
            handle,
            picture,
            output,
            convolution,
            weight
        ),
    })
}

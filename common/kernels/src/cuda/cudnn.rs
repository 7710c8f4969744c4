//! cuDNN's convolutions: descriptors and algorithm are chosen once for every geometry and kept, with one workspace for all.
//!
//! Only algorithms that give the same bytes every time are taken. f32 stays f32 unless TF32 was allowed; sums are f32 always.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{c_int, c_void};
use std::ptr::from_ref;

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{CudaDevice, Error};

use super::gpu::Gpu;
use super::launch::{Convolution, Direction, Place, Value};

type Result<T, E = Error> = std::result::Result<T, E>;

/// Geometries kept; at one more all are forgotten and made again as they are needed.
const KEPT: usize = 512;

/// The largest workspace that an algorithm may ask for, bytes.
const WORKSPACE: usize = 1 << 30;

thread_local! {
    // A handle belongs to a thread.
    static CONTEXTS: RefCell<HashMap<DeviceId, Context>> = RefCell::default();
}

/// What a geometry is kept under.
type Key = (Direction, Convolution, bool);

/// cuDNN on one device.
struct Context {
    handle: sys::cudnnHandle_t,
    device: CudaDevice,
    plans: HashMap<Key, Plan>,
    workspace: Option<CudaSlice<u8>>,
}

/// Convolves in one direction; see [`super::launch::Machine::convolve`].
pub(super) fn convolve(
    device: &CudaDevice,
    direction: Direction,
    convolution: &Convolution,
    arguments: [Place; 2],
    result: Place,
) -> Result<()> {
    CONTEXTS.with_borrow_mut(|contexts| {
        let context = match contexts.entry(device.id()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(Context::new(device)?),
        };
        context.convolve((direction, *convolution, Gpu::tf32()), arguments, result)
    })
}

/// Takes away the workspace of this thread's convolutions, for a graph that knows its address: the next ones get another.
pub(super) fn take_workspace(device: &CudaDevice) -> Option<CudaSlice<u8>> {
    CONTEXTS.with_borrow_mut(|contexts| contexts.get_mut(&device.id()).and_then(|context| context.workspace.take()))
}

fn failed(action: &str, error: CudnnError) -> Error {
    Error::Cuda(Box::new(CudnnFailure { action: action.into(), error }))
}

/// What cuDNN could not do; the error stays typed, so that a lack of memory is known by its code.
#[derive(Debug)]
struct CudnnFailure {
    action: String,
    error: CudnnError,
}

impl std::fmt::Display for CudnnFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cuDNN cannot {}: {:?}", self.action, self.error)
    }
}

impl std::error::Error for CudnnFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl Context {
    fn new(device: &CudaDevice) -> Result<Self> {
        let stream = device.cuda_stream();
        stream.context().bind_to_thread().w()?;
        let handle = result::create_handle().map_err(|error| failed("start", error))?;
        let context = Self { handle, device: device.clone(), plans: HashMap::new(), workspace: None };
        // SAFETY: the handle is new, and the stream lives as long as the device kept beside it.
        unsafe { result::set_stream(handle, stream.cu_stream().cast()) }.map_err(|error| failed("start", error))?;
        Ok(context)
    }

    fn convolve(&mut self, key: Key, arguments: [Place; 2], result: Place) -> Result<()> {
        if !self.plans.contains_key(&key) {
            if self.plans.len() >= KEPT {
                self.plans.clear();
            }
            let plan = Plan::new(self.handle, key).map_err(|error| failed(&format!("convolve {:?}", key.1), error))?;
            self.plans.insert(key, plan);
        }
        let needed = self.plans[&key].workspace;
        if needed > self.workspace.as_ref().map_or(0, CudaSlice::len) {
            self.workspace = None;
            // SAFETY: cuDNN writes what it reads of it.
            self.workspace = Some(unsafe { self.device.alloc::<u8>(needed)? });
        }
        let workspace = self.workspace.as_ref().map_or(0, |memory| memory.device_ptr(memory.stream()).0);
        let run = self.plans[&key].run(self.handle, arguments, result, workspace);
        run.map_err(|error| failed(&format!("convolve {:?}", key.1), error))
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: made by `new`, destroyed once. There is nobody left to tell of an error.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// The algorithm of a direction.
#[derive(Debug, Clone, Copy)]
enum Algorithm {
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    Input(sys::cudnnConvolutionBwdDataAlgo_t),
    Weight(sys::cudnnConvolutionBwdFilterAlgo_t),
}

/// Descriptors and algorithm of one convolution in one direction.
struct Plan {
    descriptors: Descriptors,
    algorithm: Algorithm,
    workspace: usize,
}

/// Picture, weight, result and convolution, as cuDNN knows them.
struct Descriptors {
    picture: sys::cudnnTensorDescriptor_t,
    weight: sys::cudnnFilterDescriptor_t,
    result: sys::cudnnTensorDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
}

impl Descriptors {
    fn new(c: &Convolution, math: sys::cudnnMathType_t) -> Result<Self, CudnnError> {
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
        let mut all = Self {
            picture: std::ptr::null_mut(),
            weight: std::ptr::null_mut(),
            result: std::ptr::null_mut(),
            convolution: std::ptr::null_mut(),
        };
        all.picture = result::create_tensor_descriptor()?;
        all.weight = result::create_filter_descriptor()?;
        all.result = result::create_tensor_descriptor()?;
        all.convolution = result::create_convolution_descriptor()?;
        let (pad, stride) = (c.pad as c_int, c.stride as c_int);
        let (mode, sums) =
            (sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION, sys::cudnnDataType_t::CUDNN_DATA_FLOAT);
        // SAFETY: the descriptors have just been made. Sizes are in the order batch, channels, height, width in any format.
        unsafe {
            result::set_tensor4d_descriptor(all.picture, format, value, int([c.batch, c.inputs, c.height, c.width]))?;
            result::set_filter4d_descriptor(all.weight, value, format, int([c.outputs, c.inputs, c.kernel, c.kernel]))?;
            result::set_tensor4d_descriptor(all.result, format, value, int([c.batch, c.outputs, height, width]))?;
            result::set_convolution2d_descriptor(all.convolution, pad, pad, stride, stride, 1, 1, mode, sums)?;
            result::set_convolution_math_type(all.convolution, math)?;
        }
        Ok(all)
    }
}

impl Drop for Descriptors {
    fn drop(&mut self) {
        // SAFETY: each was made by `new` or is null, and is destroyed once. There is nobody to tell of an error.
        unsafe {
            if !self.picture.is_null() {
                let _ = result::destroy_tensor_descriptor(self.picture);
            }
            if !self.weight.is_null() {
                let _ = result::destroy_filter_descriptor(self.weight);
            }
            if !self.result.is_null() {
                let _ = result::destroy_tensor_descriptor(self.result);
            }
            if !self.convolution.is_null() {
                let _ = result::destroy_convolution_descriptor(self.convolution);
            }
        }
    }
}

/// The first of the algorithms that cuDNN proposes, fastest first, which may be taken, with its kind of arithmetic.
macro_rules! propose {
    ($call:path, $algorithm:ident, $strict:expr, $handle:expr, $($descriptor:expr),+) => {{
        const MOST: usize = 8;
        // SAFETY: plain data, for which zeros are a value.
        let mut found = [unsafe { std::mem::zeroed() }; MOST];
        let mut count: c_int = 0;
        // SAFETY: the descriptors are whole, and there is room for as many proposals as are asked for.
        unsafe { $call($handle, $($descriptor),+, MOST as c_int, &raw mut count, found.as_mut_ptr()) }?;
        let fma = sys::cudnnMathType_t::CUDNN_FMA_MATH;
        let proposals = found.iter().take(count as usize);
        let usable = proposals.filter(|proposal| {
            proposal.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && proposal.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
                && proposal.memory <= WORKSPACE
                && !($strict && proposal.mathType != fma && proposal.mathType != sys::cudnnMathType_t::CUDNN_DEFAULT_MATH)
        });
        let first = usable.map(|proposal| (Algorithm::$algorithm(proposal.algo), proposal.mathType)).next();
        first.ok_or(CudnnError(sys::cudnnStatus_t::CUDNN_STATUS_NOT_SUPPORTED))?
    }};
}

impl Plan {
    fn new(handle: sys::cudnnHandle_t, (direction, convolution, tf32): Key) -> Result<Self, CudnnError> {
        let strict = convolution.value == Value::F32 && !tf32;
        let math =
            if strict { sys::cudnnMathType_t::CUDNN_FMA_MATH } else { sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH };
        let descriptors = Descriptors::new(&convolution, math)?;
        let Descriptors { picture, weight, result: output, convolution: conv } = descriptors;
        let (algorithm, proposed) = match direction {
            Direction::Forward => propose!(
                result::get_convolution_forward_algorithm,
                Forward,
                strict,
                handle,
                picture,
                weight,
                conv,
                output
            ),
            Direction::Input => propose!(
                result::get_convolution_backward_data_algorithm,
                Input,
                strict,
                handle,
                weight,
                output,
                conv,
                picture
            ),
            Direction::Weight => propose!(
                result::get_convolution_backward_filter_algorithm,
                Weight,
                strict,
                handle,
                picture,
                output,
                conv,
                weight
            ),
        };
        // SAFETY: the descriptors are whole.
        let workspace = unsafe {
            result::set_convolution_math_type(conv, if strict { math } else { proposed })?;
            match algorithm {
                Algorithm::Forward(algorithm) => {
                    result::get_convolution_forward_workspace_size(handle, picture, weight, conv, output, algorithm)?
                }
                Algorithm::Input(algorithm) => result::get_convolution_backward_data_workspace_size(
                    handle, weight, output, conv, picture, algorithm,
                )?,
                Algorithm::Weight(algorithm) => result::get_convolution_backward_filter_workspace_size(
                    handle, picture, output, conv, weight, algorithm,
                )?,
            }
        };
        Ok(Self { descriptors, algorithm, workspace })
    }

    fn run(
        &self,
        handle: sys::cudnnHandle_t,
        [a, b]: [Place; 2],
        Place(to): Place,
        workspace: u64,
    ) -> Result<(), CudnnError> {
        let Descriptors { picture, weight, result: output, convolution } = self.descriptors;
        let (one, zero) = (1f32, 0f32);
        let (one, zero) = (from_ref(&one).cast::<c_void>(), from_ref(&zero).cast::<c_void>());
        let (a, b, to) = (a.0 as *const c_void, b.0 as *const c_void, to as *mut c_void);
        let (memory, size) = (workspace as *mut c_void, self.workspace);
        // SAFETY: the descriptors are whole; the places hold tensors of their sizes, and the workspace is as large as asked.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    handle,
                    one,
                    picture,
                    a,
                    weight,
                    b,
                    convolution,
                    algorithm,
                    memory,
                    size,
                    zero,
                    output,
                    to,
                ),
                Algorithm::Input(algorithm) => result::convolution_backward_data(
                    handle,
                    one,
                    weight,
                    b,
                    output,
                    a,
                    convolution,
                    algorithm,
                    memory,
                    size,
                    zero,
                    picture,
                    to,
                ),
                Algorithm::Weight(algorithm) => result::convolution_backward_filter(
                    handle,
                    one,
                    picture,
                    b,
                    output,
                    a,
                    convolution,
                    algorithm,
                    memory,
                    size,
                    zero,
                    weight,
                    to,
                ),
            }
        }
    }
}

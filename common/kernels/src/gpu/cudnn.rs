//! cuDNN's convolutions. Descriptors and algorithm are chosen once per geometry and cached; all share one workspace.
//!
//! Only deterministic algorithms are used, see [`algorithm`](super::algorithm). f32 stays f32 unless TF32 was allowed; sums
//! are always f32.

mod descriptors;
mod proposals;

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::ptr::from_ref;

use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr};
use candle_core::cuda_backend::{DeviceId, WrapErr};
use candle_core::{CudaDevice, Error};

use super::algorithm::{LARGEST_WORKSPACE, Proposal, Wanted, choose, table};
use super::launch::Place;
use super::machine::{Convolution, Direction};
use super::tf32::is_tf32_allowed;
use super::value::Value;
use descriptors::{Algorithm, Descriptors};
use proposals::{Candidate, arithmetic, proposals};

type Result<T, E = Error> = std::result::Result<T, E>;

/// Size of the cache of geometries. When it is full, all entries are dropped and remade as needed.
const KEPT: usize = 512;

thread_local! {
    // A handle belongs to a thread.
    static CONTEXTS: RefCell<HashMap<DeviceId, Context>> = RefCell::default();
}

/// The cache key of a geometry: direction, sizes, and whether TF32 is allowed.
type Key = (Direction, Convolution, bool);

/// cuDNN on one device.
struct Context {
    handle: sys::cudnnHandle_t,
    device: CudaDevice,
    plans: HashMap<Key, ConvolutionPlan>,
    workspace: Option<CudaSlice<u8>>,
}

/// Convolves in one direction; see [`super::machine::GpuMachine::convolve`].
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
        context.convolve((direction, *convolution, is_tf32_allowed()), arguments, result)
    })
}

/// Transfers ownership of the workspace of this thread's convolutions to a graph that holds its address. Later convolutions
/// get a new one.
pub(super) fn take_workspace(device: &CudaDevice) -> Option<CudaSlice<u8>> {
    CONTEXTS.with_borrow_mut(|contexts| contexts.get_mut(&device.id()).and_then(|context| context.workspace.take()))
}

fn failed(action: &str, error: CudnnError) -> Error {
    Error::Cuda(Box::new(CudnnFailure { action: action.into(), error }))
}

/// Describes what cuDNN could not do. The source error keeps its type, so that a lack of memory is recognised by its code.
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
            self.plans.insert(key, ConvolutionPlan::new(self.handle, key)?);
        }
        let needed = self.plans[&key].workspace;
        if needed > self.workspace.as_ref().map_or(0, CudaSlice::len) {
            self.workspace = None;
            // SAFETY: any bytes are u8, and cuDNN reads nothing of a workspace that it has not written.
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
        // SAFETY: the handle was made by `new` and is destroyed once. There is nowhere to report an error.
        let _ = unsafe { result::destroy_handle(self.handle) };
    }
}

/// Descriptors and algorithm of one convolution in one direction.
struct ConvolutionPlan {
    descriptors: Descriptors,
    algorithm: Algorithm,
    /// Bytes.
    workspace: usize,
}

impl ConvolutionPlan {
    fn new(handle: sys::cudnnHandle_t, (direction, convolution, tf32): Key) -> Result<Self> {
        let action = format!("convolve {convolution:?} ({direction:?})");
        let wanted = match (convolution.value, tf32) {
            (Value::F32, false) => Wanted::OnlyPlain,
            (Value::F32, true) => Wanted::Fastest,
            _ => Wanted::RatherTensorCores,
        };
        let plan = || {
            let descriptors = Descriptors::new(&convolution)?;
            descriptors.set_math(math(wanted))?;
            let (proposals, candidates) = proposals(handle, direction, &descriptors)?;
            let chosen = choose(&proposals, wanted).and_then(|index| candidates.get(index)).copied();
            let mut tried = Vec::new();
            for candidate in chosen.into_iter().chain(plain(direction, wanted)) {
                match query(handle, &descriptors, candidate, wanted) {
                    Ok(workspace) if workspace <= LARGEST_WORKSPACE => {
                        return Ok(Ok(Self { descriptors, algorithm: candidate.0, workspace }));
                    }
                    answer => tried.push(outcome(candidate, answer)),
                }
            }
            Ok(Err([table(&proposals), "\ntried:".into(), table(&tried)].concat()))
        };
        plan().map_err(|error| failed(&action, error))?.map_err(|proposals| {
            Error::msg(format!("cuDNN has no deterministic algorithm to {action}; it proposes{proposals}"))
        })
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
        // SAFETY: the handle is live, and `Descriptors::new` made and described all descriptors. By the contract of `GpuMachine`
        // the places hold tensors of those sizes. The workspace has at least `size` bytes, and the stream's order keeps
        // convolutions that share it apart. The factors are f32, as for all of these types, and are read before the call returns.
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

/// The arithmetic passed to cuDNN when it is asked for proposals.
fn math(wanted: Wanted) -> sys::cudnnMathType_t {
    match wanted {
        Wanted::OnlyPlain => sys::cudnnMathType_t::CUDNN_FMA_MATH,
        Wanted::Fastest | Wanted::RatherTensorCores => sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH,
    }
}

/// The algorithms to try if no proposal is acceptable.
fn plain(direction: Direction, wanted: Wanted) -> impl Iterator<Item = Candidate> {
    let fma = sys::cudnnMathType_t::CUDNN_FMA_MATH;
    let kinds = if wanted == Wanted::OnlyPlain { vec![fma] } else { vec![math(wanted), fma] };
    kinds.into_iter().flat_map(move |math| Algorithm::plain(direction).iter().map(move |&algorithm| (algorithm, math)))
}

/// Bytes of workspace that a candidate needs, or why cuDNN refuses it. Leaves the candidate's arithmetic set.
fn query(
    handle: sys::cudnnHandle_t,
    descriptors: &Descriptors,
    (algorithm, proposed): Candidate,
    wanted: Wanted,
) -> Result<usize, CudnnError> {
    // A plain proposal may be called `DEFAULT`, which would let cuDNN use TF32.
    let math = if wanted == Wanted::OnlyPlain { math(wanted) } else { proposed };
    descriptors.set_math(math)?;
    descriptors.workspace(handle, algorithm)
}

/// A candidate that was tried in vain, for the table in the error.
fn outcome((algorithm, math): Candidate, workspace: Result<usize, CudnnError>) -> Proposal {
    Proposal {
        name: format!("{algorithm:?}"),
        status: workspace.map(|_| ()).map_err(|error| format!("{error:?}")),
        deterministic: true,
        arithmetic: arithmetic(math),
        memory: workspace.unwrap_or(0),
    }
}

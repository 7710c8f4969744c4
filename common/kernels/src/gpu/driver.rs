//! A real GPU as a [`GpuMachine`]: kernels compiled at their first launch and kept, memory from the stream's pool.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::cublas::{result as cublas, sys as blas};
use candle_core::cuda_backend::cudarc::driver::{
    self, CudaFunction, CudaModule, CudaSlice, DevicePtr, LaunchConfig, PushKernelArg, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDType, CudaStorageSlice, DeviceId, WrapErr};
use candle_core::{CudaDevice, CudaStorage, Error, Layout, Result, bail};
use half::{bf16, f16};

use super::cudnn;
use super::launch::{Argument, Launch, Place, THREADS};
use super::machine::{Buffer, Convolution, Direction, GpuMachine, Product};
use super::source::KernelSource;
use super::tf32::is_tf32_allowed;
use super::value::Value;

/// A compiled kernel and its [`KernelSource::signature`]; every launch is checked against it.
#[derive(Clone)]
struct CompiledKernel {
    function: CudaFunction,
    signature: String,
}

/// Kernels by GPU, source, type and name.
type Kernels = HashMap<(DeviceId, KernelSource, Value, &'static str), CompiledKernel>;

/// Kernels compiled so far, for the life of the process.
static KERNELS: OnceLock<Mutex<Kernels>> = OnceLock::new();

/// A GPU and the stream that everything runs in.
#[derive(Debug, Clone)]
pub struct Gpu {
    device: CudaDevice,
}

/// Memory of a [`Gpu`], returned to the pool in the order of the stream.
#[derive(Debug)]
pub struct GpuMemory(CudaSlice<u8>);

impl Gpu {
    /// The GPU of candle's `device`.
    #[must_use]
    pub fn of(device: &CudaDevice) -> Self {
        Self { device: device.clone() }
    }

    /// Prepares a newly opened device whose tensors are used in only one stream.
    pub(super) fn set_up(device: &CudaDevice) -> Result<()> {
        // Two events for each tensor cost time, and a captured graph would contain them.
        // SAFETY: events order work between streams. Tensors of this device are used in its one stream, which runs everything in
        // the order in which it was started; `canvas` orders its other streams by events of its own.
        unsafe { device.disable_event_tracking() };
        let mut keep = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        let context = device.cuda_stream().context().clone();
        context.bind_to_thread().w()?;
        // SAFETY: the device is that of a live context.
        let pool = unsafe { driver::result::device::get_default_mem_pool(context.cu_device()) }.w()?;
        let keep = std::ptr::from_mut(&mut keep).cast::<c_void>();
        // Without a threshold every synchronisation returns the pool's free memory to the system. SAFETY: the pool is the
        // device's own and lives as long; this attribute is a u64, which is read before the call returns.
        unsafe { sys::cuMemPoolSetAttribute(pool, attribute, keep) }.result().w()
    }

    /// The address of a contiguous tensor's first element, and the number type. The tensor may be a view, so it is aligned
    /// only to one element.
    ///
    /// # Errors
    ///
    /// If the tensor is not contiguous, or not of f32, bf16 or f16.
    pub fn input(&self, storage: &CudaStorage, layout: &Layout) -> Result<(Place, Value)> {
        let Some((start, _)) = layout.contiguous_offsets() else { bail!("the kernels need contiguous tensors") };
        let stream = self.device.cuda_stream();
        let (address, value) = match &storage.slice {
            CudaStorageSlice::F32(slice) => (slice.device_ptr(&stream).0, Value::F32),
            CudaStorageSlice::BF16(slice) => (slice.device_ptr(&stream).0, Value::Bf16),
            CudaStorageSlice::F16(slice) => (slice.device_ptr(&stream).0, Value::F16),
            _ => bail!("the kernels support only f32, bf16 and f16"),
        };
        Ok((Place(address).after(start * value.bytes()), value))
    }

    /// Storage for `len` elements of a result, and its address. Its content is undefined: a kernel must write all of it.
    ///
    /// # Errors
    ///
    /// If there is not enough memory.
    pub fn output(&self, len: usize, value: Value) -> Result<(CudaStorage, Place)> {
        match value {
            Value::F32 => self.room::<f32>(len),
            Value::Bf16 => self.room::<bf16>(len),
            Value::F16 => self.room::<f16>(len),
        }
    }

    fn room<T: CudaDType + driver::DeviceRepr>(&self, len: usize) -> Result<(CudaStorage, Place)> {
        // SAFETY: any bytes are floats, and the op that asked for the storage launches a kernel that writes every element before
        // a later one in the stream reads it.
        let slice = unsafe { self.device.alloc::<T>(len)? };
        let place = Place(slice.device_ptr(&self.device.cuda_stream()).0);
        Ok((CudaStorage::wrap_cuda_slice(slice, self.device.clone()), place))
    }

    /// Transfers ownership of the workspace of this thread's cuDNN convolutions to the caller; later ones allocate a new
    /// one. A graph that was captured with the workspace holds its address: keep the workspace as long as the graph.
    pub fn take_workspace(&self) -> Option<GpuMemory> {
        cudnn::take_workspace(&self.device).map(GpuMemory)
    }

    /// The kernel of a launch. The first launch from a file compiles all its kernels.
    fn kernel(&self, launch: &Launch) -> Result<CompiledKernel> {
        let mut kernels = KERNELS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.device.id(), launch.source, launch.value, launch.kernel);
        if let Some(kernel) = kernels.get(&key) {
            return Ok(kernel.clone());
        }
        // An unknown name is an error before anything is compiled.
        launch.signature()?;
        let module = self.compile(launch.source, launch.value)?;
        for name in launch.source.kernels() {
            let function = module.load_function(name).w()?;
            let signature = Launch { kernel: name, ..*launch }.signature()?;
            let key = (self.device.id(), launch.source, launch.value, name);
            kernels.insert(key, CompiledKernel { function, signature });
        }
        kernels.get(&key).cloned().ok_or_else(|| Error::msg("the compiled module does not have the kernel"))
    }

    fn compile(&self, source: KernelSource, value: Value) -> Result<Arc<CudaModule>> {
        let context = self.device.cuda_stream().context().clone();
        let (major, minor) = context.compute_capability().w()?;
        let options = CompileOptions {
            options: vec![format!("--gpu-architecture=compute_{major}{minor}")],
            name: Some(source.name().into()),
            ..CompileOptions::default()
        };
        let compiled = compile_ptx_with_opts(source.text(value), options);
        let ptx = compiled.map_err(|error| Error::msg(compiler_text(source, &error)))?;
        context.load_module(ptx).w()
    }
}

fn compiler_text(source: KernelSource, error: &CompileError) -> String {
    let cause = match error {
        CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
        other => format!("{other} (can the dynamic loader find NVRTC, `libnvrtc`?)"),
    };
    format!("cannot compile `{}` for this GPU: {cause}", source.name())
}

impl GpuMemory {
    /// Bytes that were allocated.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl Buffer for GpuMemory {
    fn place(&self) -> Place {
        Place(self.0.device_ptr(self.0.stream()).0)
    }
}

impl GpuMachine for Gpu {
    type Buffer = GpuMemory;

    fn buffer(&self, bytes: usize) -> Result<GpuMemory> {
        // SAFETY: any bit pattern is a u8; callers of `buffer` know that the content is undefined.
        Ok(GpuMemory(unsafe { self.device.alloc::<u8>(bytes.max(1))? }))
    }

    fn upload(&self, words: &[u64]) -> Result<GpuMemory> {
        Ok(GpuMemory(self.device.clone_htod(bytemuck::cast_slice::<u64, u8>(words))?))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let CompiledKernel { function, signature } = self.kernel(launch)?;
        launch.check(&signature)?;
        if launch.grid.contains(&0) {
            return Ok(());
        }
        let stream = self.device.cuda_stream();
        let mut builder = stream.launch_builder(&function);
        for argument in launch.arguments {
            match argument {
                Argument::Place(Place(address)) => builder.arg(address),
                Argument::Int(number) => builder.arg(number),
                Argument::Float(number) => builder.arg(number),
            };
        }
        let [x, y, z] = launch.grid.map(|blocks| blocks as u32);
        let config = LaunchConfig { grid_dim: (x, y, z), block_dim: (THREADS as u32, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: `check` compared this launch's arguments with the kernel's declaration, and `THREADS` is the block size that all
        // kernels are written for. Places are as large as the sizes say by the contract of `GpuMachine`; the emulator runs the
        // same callers and watches the ends of all buffers.
        unsafe { builder.launch(config) }.w()?;
        Ok(())
    }

    fn convolve(
        &self,
        direction: Direction,
        convolution: &Convolution,
        arguments: [Place; 2],
        result: Place,
    ) -> Result<()> {
        cudnn::convolve(&self.device, direction, convolution, arguments, result)
    }

    fn multiply(&self, product: &Product, [a, b]: [Place; 2], Place(c): Place) -> Result<()> {
        let &Product { value, result, transposed, batch, rows, columns, inner } = product;
        let kind = |value| match value {
            Value::F32 => blas::cudaDataType::CUDA_R_32F,
            Value::Bf16 => blas::cudaDataType::CUDA_R_16BF,
            Value::F16 => blas::cudaDataType::CUDA_R_16F,
        };
        let (taken, lead) = if transposed {
            (blas::cublasOperation_t::CUBLAS_OP_T, inner)
        } else {
            (blas::cublasOperation_t::CUBLAS_OP_N, rows)
        };
        let compute = match (value, is_tf32_allowed()) {
            (Value::F32, true) => blas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            _ => blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let (one, zero) = (1f32, 0f32);
        let handle = self.device.cublas_handle();
        // SAFETY: the handle belongs to this device's stream. The places hold matrices of these sizes by the contract of
        // `GpuMachine`, one directly after another as the strides say. The two factors are f32, as the compute type asks for,
        // and are read before the call returns.
        unsafe {
            cublas::gemm_strided_batched_ex(
                *handle.handle(),
                taken,
                blas::cublasOperation_t::CUBLAS_OP_N,
                rows as i32,
                columns as i32,
                inner as i32,
                std::ptr::from_ref(&one).cast(),
                a.0 as *const c_void,
                kind(value),
                lead as i32,
                (rows * inner) as i64,
                b.0 as *const c_void,
                kind(value),
                inner as i32,
                (inner * columns) as i64,
                std::ptr::from_ref(&zero).cast(),
                c as *mut c_void,
                kind(result),
                rows as i32,
                (rows * columns) as i64,
                batch as i32,
                compute,
                blas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .w()
    }
}

//! A real GPU as a [`Machine`]: kernels compiled when they are first used and kept, memory from the stream's pool.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::cuda_backend::cudarc::cublas::{result as cublas, sys as blas};
use candle_core::cuda_backend::cudarc::driver::{
    self, CudaFunction, CudaSlice, DevicePtr, LaunchConfig, PushKernelArg, sys,
};
use candle_core::cuda_backend::cudarc::nvrtc::{CompileError, CompileOptions, compile_ptx_with_opts};
use candle_core::cuda_backend::{CudaDType, CudaStorageSlice, DeviceId, WrapErr};
use candle_core::{CudaDevice, CudaStorage, Error, Layout, Result, bail};
use half::{bf16, f16};

use super::cudnn;
use super::launch::{Argument, Buffer, Convolution, Direction, Launch, Machine, Place, Product, THREADS, Value};
use super::source::Source;

/// Kernels by GPU, source, type and name.
type Functions = HashMap<(DeviceId, Source, Value, &'static str), CudaFunction>;

/// Kernels compiled so far, for the life of the process.
static FUNCTIONS: OnceLock<Mutex<Functions>> = OnceLock::new();

/// Whether products of f32 may round their factors to TF32: 10 bits of fraction, on tensor cores.
static TF32: AtomicBool = AtomicBool::new(false);

/// A GPU and its stream.
#[derive(Debug, Clone)]
pub struct Gpu {
    device: CudaDevice,
}

/// Memory of a [`Gpu`], given back to the pool in the order of the stream.
#[derive(Debug)]
pub struct Memory(CudaSlice<u8>);

impl Gpu {
    pub fn of(device: &CudaDevice) -> Self {
        Self { device: device.clone() }
    }

    /// Prepares a device just opened, whose tensors only one stream uses.
    pub fn set_up(device: &CudaDevice) -> Result<()> {
        // SAFETY: with one stream everything happens in the order in which it was started; two events a tensor are then waste.
        unsafe { device.disable_event_tracking() };
        let mut keep = u64::MAX;
        let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        let context = device.cuda_stream().context().clone();
        context.bind_to_thread().w()?;
        // Without a threshold every synchronisation gives the pool's free memory back to the system.
        // SAFETY: the pool is the device's own, and the attribute is read as a u64 before the call returns.
        unsafe {
            let pool = driver::result::device::get_default_mem_pool(context.cu_device()).w()?;
            sys::cuMemPoolSetAttribute(pool, attribute, std::ptr::from_mut(&mut keep).cast::<c_void>()).result().w()
        }
    }

    /// Allows TF32 in convolutions and products of f32 from now on, in this process.
    pub fn allow_tf32(allowed: bool) {
        TF32.store(allowed, Ordering::Relaxed);
    }

    pub fn tf32() -> bool {
        TF32.load(Ordering::Relaxed)
    }

    /// Where the elements of a contiguous argument lie, and what they are.
    pub fn input(&self, storage: &CudaStorage, layout: &Layout) -> Result<(Place, Value)> {
        let Some((start, _)) = layout.contiguous_offsets() else { bail!("the kernels take contiguous tensors") };
        let stream = self.device.cuda_stream();
        let (address, value) = match &storage.slice {
            CudaStorageSlice::F32(slice) => (slice.device_ptr(&stream).0, Value::F32),
            CudaStorageSlice::BF16(slice) => (slice.device_ptr(&stream).0, Value::Bf16),
            CudaStorageSlice::F16(slice) => (slice.device_ptr(&stream).0, Value::F16),
            _ => bail!("the kernels take f32, bf16 and f16"),
        };
        Ok((Place(address).after(start * value.bytes()), value))
    }

    /// Room for the elements of a result.
    pub fn output(&self, len: usize, value: Value) -> Result<(CudaStorage, Place)> {
        match value {
            Value::F32 => self.room::<f32>(len),
            Value::Bf16 => self.room::<bf16>(len),
            Value::F16 => self.room::<f16>(len),
        }
    }

    fn room<T: CudaDType + driver::DeviceRepr>(&self, len: usize) -> Result<(CudaStorage, Place)> {
        // SAFETY: the kernels that get the place write every element.
        let slice = unsafe { self.device.alloc::<T>(len)? };
        let place = Place(slice.device_ptr(&self.device.cuda_stream()).0);
        Ok((CudaStorage::wrap_cuda_slice(slice, self.device.clone()), place))
    }

    /// Takes away cuDNN's workspace, for a graph that was captured with it: whoever frees it must have dropped the graph.
    pub fn take_workspace(&self) -> Option<Memory> {
        cudnn::take_workspace(&self.device).map(Memory)
    }

    fn function(&self, launch: &Launch) -> Result<CudaFunction> {
        let mut functions = FUNCTIONS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let key = (self.device.id(), launch.source, launch.value, launch.kernel);
        if let Some(function) = functions.get(&key) {
            return Ok(function.clone());
        }
        launch.check()?;
        let context = self.device.cuda_stream().context().clone();
        let (major, minor) = context.compute_capability().w()?;
        let options = CompileOptions {
            options: vec![format!("--gpu-architecture=compute_{major}{minor}")],
            name: Some(launch.source.name().into()),
            ..CompileOptions::default()
        };
        let compiled = compile_ptx_with_opts(launch.source.text(launch.value), options);
        let ptx = compiled.map_err(|error| Error::msg(compiler_text(launch.source, &error)))?;
        let module = context.load_module(ptx).w()?;
        for kernel in launch.source.kernels() {
            let key = (self.device.id(), launch.source, launch.value, kernel);
            functions.insert(key, module.load_function(kernel).w()?);
        }
        functions.get(&key).cloned().ok_or_else(|| Error::msg("the compiled kernels lack one"))
    }
}

fn compiler_text(source: Source, error: &CompileError) -> String {
    let cause = match error {
        CompileError::CompileError { log, .. } => log.to_string_lossy().into_owned(),
        other => format!("{other} (is NVRTC, `libnvrtc`, where the loader finds it?)"),
    };
    format!("cannot compile `{}` for this GPU: {cause}", source.name())
}

impl Memory {
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

impl Buffer for Memory {
    fn place(&self) -> Place {
        Place(self.0.device_ptr(self.0.stream()).0)
    }
}

impl Machine for Gpu {
    type Buffer = Memory;

    fn buffer(&self, bytes: usize) -> Result<Memory> {
        // SAFETY: nobody reads it before a kernel has written it.
        Ok(Memory(unsafe { self.device.alloc::<u8>(bytes.max(1))? }))
    }

    fn upload(&self, words: &[u64]) -> Result<Memory> {
        Ok(Memory(self.device.clone_htod(bytemuck::cast_slice::<u64, u8>(words))?))
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        if launch.grid.contains(&0) {
            return Ok(());
        }
        let (function, stream) = (self.function(launch)?, self.device.cuda_stream());
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
        // SAFETY: kinds and number of the arguments were checked against the source, and the emulator runs the same
        // planners, which see to it that places are large enough.
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
        let compute = match (value, Self::tf32()) {
            (Value::F32, true) => blas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
            _ => blas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
        };
        let (one, zero) = (1f32, 0f32);
        let handle = self.device.cublas_handle();
        // SAFETY: the places hold matrices of these sizes; the factors are f32, as the compute type asks for.
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

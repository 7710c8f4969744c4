//! The CPU as a [`Machine`]: the sources compiled as C++ against `emulator.hpp`, convolutions and products by their definition.
//!
//! What it proves: that kernels, grids, arguments and scratch memory compute what the CPU kernels do, that no thread waits at a
//! barrier for one that never comes, and that nothing is written beyond a buffer. What it cannot: speed, and what a GPU does
//! otherwise (memory order between threads that forgot a barrier, cuDNN itself).

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{Result, bail};
use half::{bf16, f16};

use super::launch::{Argument, Buffer, Convolution, Direction, Launch, Machine, Place, Product, THREADS, Value};
use super::source::Source;

/// Bytes after each buffer that must stay as they are.
const GUARD: usize = 256;

/// What memory holds before anything is written: as every kind of number, not a number.
const FRESH: u8 = 0xff;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

type Entry = extern "C" fn(*const c_uint, c_uint, *mut *mut c_void) -> c_int;

/// Kernels by source, type and name.
type Entries = HashMap<(Source, Value, &'static str), Entry>;

/// Entries of the kernels compiled so far. Held while one runs: the emulated block is a global of its library.
static ENTRIES: OnceLock<Mutex<Entries>> = OnceLock::new();

/// The CPU, pretending.
#[derive(Debug)]
pub struct Emulator;

/// Memory of the [`Emulator`].
#[derive(Debug)]
pub struct Memory {
    words: Vec<u128>,
    bytes: usize,
}

impl Emulator {
    /// An emulator; none, said on standard error, where there is no C++ compiler.
    pub fn new() -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        let there = || Command::new(compiler()).arg("--version").stdout(Stdio::null()).status().is_ok();
        let found = *FOUND.get_or_init(there);
        if !found {
            let name = compiler();
            let line = format!("skipped: there is no C++ compiler `{name}` to run the GPU's kernels with");
            // Nobody is left to tell where even this fails.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        found.then_some(Self)
    }

    /// Memory with these numbers in it.
    #[expect(clippy::unused_self, reason = "memory of one's own machine, as on a GPU")]
    pub fn values(&self, numbers: &[f32], value: Value) -> Memory {
        let mut memory = Memory::new(numbers.len() * value.bytes());
        let bytes: Vec<u8> = match value {
            Value::F32 => numbers.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Value::Bf16 => numbers.iter().flat_map(|&x| bf16::from_f32(x).to_ne_bytes()).collect(),
            Value::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_ne_bytes()).collect(),
        };
        memory.as_mut()[..bytes.len()].copy_from_slice(&bytes);
        memory
    }

    /// Memory for so many numbers.
    #[expect(clippy::unused_self, reason = "memory of one's own machine, as on a GPU")]
    pub fn room(&self, count: usize, value: Value) -> Memory {
        Memory::new(count * value.bytes())
    }
}

impl Memory {
    fn new(bytes: usize) -> Self {
        let words = vec![u128::from_ne_bytes([FRESH; 16]); (bytes + GUARD).div_ceil(16)];
        Self { words, bytes }
    }

    fn as_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words)
    }

    /// All numbers in it.
    pub fn read(&self, value: Value) -> Vec<f32> {
        numbers(self.bytes(), value)
    }

    /// All bytes of it.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }
}

fn numbers(bytes: &[u8], value: Value) -> Vec<f32> {
    match value {
        Value::F32 => bytes.as_chunks().0.iter().map(|&x| f32::from_ne_bytes(x)).collect(),
        Value::Bf16 => bytes.as_chunks().0.iter().map(|&x| bf16::from_ne_bytes(x).to_f32()).collect(),
        Value::F16 => bytes.as_chunks().0.iter().map(|&x| f16::from_ne_bytes(x).to_f32()).collect(),
    }
}

impl Buffer for Memory {
    fn place(&self) -> Place {
        Place(self.words.as_ptr().expose_provenance() as u64)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let guard = &bytemuck::cast_slice::<u128, u8>(&self.words)[self.bytes..];
        assert!(std::thread::panicking() || guard.iter().all(|&byte| byte == FRESH), "a kernel wrote beyond a buffer");
    }
}

impl Machine for Emulator {
    type Buffer = Memory;

    fn buffer(&self, bytes: usize) -> Result<Memory> {
        Ok(Memory::new(bytes))
    }

    fn upload(&self, words: &[u64]) -> Result<Memory> {
        let mut memory = Memory::new(8 * words.len());
        memory.as_mut()[..8 * words.len()].copy_from_slice(bytemuck::cast_slice(words));
        Ok(memory)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        launch.check()?;
        let mut entries = ENTRIES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let key = (launch.source, launch.value, launch.kernel);
        if !entries.contains_key(&key) {
            let library = compile(launch.source, launch.value)?;
            for kernel in launch.source.kernels() {
                entries.insert((launch.source, launch.value, kernel), entry(library, kernel)?);
            }
        }
        let mut words: Vec<u64> = launch.arguments.iter().map(|argument| word(*argument)).collect();
        let mut arguments: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let grid = launch.grid.map(|blocks| blocks as c_uint);
        match entries[&key](grid.as_ptr(), THREADS as c_uint, arguments.as_mut_ptr()) {
            0 => Ok(()),
            _ => bail!("kernel `{}`: threads of a block do not meet at their barriers", launch.kernel),
        }
    }

    fn convolve(
        &self,
        direction: Direction,
        convolution: &Convolution,
        arguments: [Place; 2],
        result: Place,
    ) -> Result<()> {
        let [picture, weight, output] = convolution.bytes().map(|bytes| bytes / convolution.value.bytes());
        let (first, second, count) = match direction {
            Direction::Forward => (picture, weight, output),
            Direction::Input => (output, weight, picture),
            Direction::Weight => (output, picture, weight),
        };
        let (a, b) = (load(arguments[0], first, convolution.value), load(arguments[1], second, convolution.value));
        let mut sums = vec![0f64; count];
        each_product(convolution, |picture, weight, output| {
            let (to, a_at, b_at) = match direction {
                Direction::Forward => (output, picture, weight),
                Direction::Input => (picture, output, weight),
                Direction::Weight => (weight, output, picture),
            };
            sums[to] += f64::from(a[a_at]) * f64::from(b[b_at]);
        });
        store(result, &sums, convolution.value);
        Ok(())
    }

    fn multiply(&self, product: &Product, arguments: [Place; 2], result: Place) -> Result<()> {
        let &Product { value, transposed, batch, rows, columns, inner, .. } = product;
        let (a, b) =
            (load(arguments[0], batch * rows * inner, value), load(arguments[1], batch * inner * columns, value));
        let mut sums = vec![0f64; batch * rows * columns];
        for (at, sum) in sums.iter_mut().enumerate() {
            let (picture, column, row) = (at / (rows * columns), at / rows % columns, at % rows);
            for k in 0..inner {
                let place = if transposed { row * inner + k } else { k * rows + row };
                let other = b[(picture * columns + column) * inner + k];
                *sum += f64::from(a[picture * rows * inner + place]) * f64::from(other);
            }
        }
        store(result, &sums, product.result);
        Ok(())
    }
}

/// Calls `each` with the places of picture, weight and result of every product in a convolution.
fn each_product(c: &Convolution, mut each: impl FnMut(usize, usize, usize)) {
    let (out_height, out_width) = c.out_size();
    let place = |n: usize, channel: usize, y: usize, x: usize, (channels, height, width): (usize, usize, usize)| {
        if c.last {
            ((n * height + y) * width + x) * channels + channel
        } else {
            ((n * channels + channel) * height + y) * width + x
        }
    };
    let (picture, result) = ((c.inputs, c.height, c.width), (c.outputs, out_height, out_width));
    let kernel = (c.inputs, c.kernel, c.kernel);
    for at in 0..c.batch * c.outputs * out_height * out_width {
        let (x, y) = (at % out_width, at / out_width % out_height);
        let (output, n) = (at / (out_width * out_height) % c.outputs, at / (out_width * out_height * c.outputs));
        for tap in 0..c.inputs * c.kernel * c.kernel {
            let (i, j, input) = (tap / c.kernel % c.kernel, tap % c.kernel, tap / (c.kernel * c.kernel));
            let (row, column) = ((y * c.stride + i).wrapping_sub(c.pad), (x * c.stride + j).wrapping_sub(c.pad));
            if row < c.height && column < c.width {
                let from = place(n, input, row, column, picture);
                each(from, place(output, input, i, j, kernel), place(n, output, y, x, result));
            }
        }
    }
}

fn load(place: Place, count: usize, value: Value) -> Vec<f32> {
    // SAFETY: the place is that of a live `Memory`, which callers made as large as they say.
    let bytes = unsafe { std::slice::from_raw_parts(pointer(place), count * value.bytes()) };
    numbers(bytes, value)
}

fn store(place: Place, numbers: &[f64], value: Value) {
    let numbers: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
    let memory = Emulator.values(&numbers, value);
    // SAFETY: as in `load`; the source has just been made with as many numbers.
    unsafe { std::ptr::copy_nonoverlapping(pointer(memory.place()), pointer(place), numbers.len() * value.bytes()) };
}

fn pointer(place: Place) -> *mut u8 {
    std::ptr::with_exposed_provenance_mut(place.0 as usize)
}

fn word(argument: Argument) -> u64 {
    match argument {
        Argument::Place(place) => place.0,
        Argument::Int(number) => u64::from(number.cast_unsigned()),
        Argument::Float(number) => u64::from(number.to_bits()),
    }
}

fn compiler() -> String {
    std::env::var("CXX").unwrap_or_else(|_| "c++".into())
}

/// Compiles a source to a library, and loads it for good.
fn compile(source: Source, value: Value) -> Result<*mut c_void> {
    let entries = source.kernels().map(|kernel| {
        format!(
            "extern \"C\" int run_{kernel}(const unsigned* grid, unsigned threads, void** arguments) \
             {{ return emulator::run({kernel}, grid, threads, arguments); }}\n"
        )
    });
    let text = format!("{}\n{}\n{}", include_str!("emulator.hpp"), source.text(value), entries.collect::<String>());
    let folder = tempfile::tempdir()?;
    let library = folder.path().join("kernels.so");
    let mut command = Command::new(compiler());
    command.args(["-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-x", "c++", "-o"]).arg(&library).arg("-");
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    child.stdin.take().map_or(Ok(()), |mut input| input.write_all(text.as_bytes()))?;
    if !child.wait()?.success() {
        bail!("`{}` does not compile as C++", source.name())
    }
    open(&library)
}

fn open(library: &Path) -> Result<*mut c_void> {
    const NOW: c_int = 2;
    let path = CString::new(library.as_os_str().as_encoded_bytes()).map_err(candle_core::Error::wrap)?;
    // SAFETY: a path that ends with zero; the library has no constructors.
    let handle = unsafe { dlopen(path.as_ptr(), NOW) };
    if handle.is_null() {
        // SAFETY: after a failure there is a text, which stays until the next call.
        let reason = unsafe { CStr::from_ptr(dlerror()) };
        bail!("cannot load the compiled kernels: {}", reason.to_string_lossy())
    }
    Ok(handle)
}

fn entry(library: *mut c_void, kernel: &str) -> Result<Entry> {
    let name = CString::new(format!("run_{kernel}")).map_err(candle_core::Error::wrap)?;
    // SAFETY: the library is never closed.
    let address = unsafe { dlsym(library, name.as_ptr()) };
    if address.is_null() {
        bail!("the compiled kernels lack `{kernel}`")
    }
    // SAFETY: `compile` gave every such function this type.
    Ok(unsafe { std::mem::transmute::<*mut c_void, Entry>(address) })
}

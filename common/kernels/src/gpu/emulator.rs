//! The CPU as a [`GpuMachine`]: kernels compiled as C++ against `emulator.hpp`, convolutions and products by their definition.
//!
//! It shows that kernels, grids, arguments and scratch memory compute what the CPU kernels compute, that the threads of a block
//! meet at their barriers, that nothing is written beyond the end of a buffer, and that every launch passes the same checks as
//! on a GPU. It cannot show speed, races between threads that lack a barrier, or anything about cuDNN.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{Result, bail};
use half::{bf16, f16};

use super::launch::{Argument, Launch, Place, THREADS};
use super::machine::{Buffer, Convolution, Direction, GpuMachine, Product};
use super::source::KernelSource;
use super::value::Value;

/// Bytes after each buffer that must stay as they are.
const GUARD: usize = 256;

/// The bytes of memory before anything is written. They read as not-a-number in every type.
const FRESH: u8 = 0xff;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

type Entry = extern "C" fn(*const c_uint, c_uint, *mut *mut c_void) -> c_int;

/// Kernels by source, type and name, each with its [`KernelSource::signature`].
type Entries = HashMap<(KernelSource, Value, &'static str), (Entry, String)>;

/// The kernels compiled so far. Locked while one runs: the emulated block is a global variable of its library.
static ENTRIES: OnceLock<Mutex<Entries>> = OnceLock::new();

/// The CPU that emulates a GPU.
#[derive(Debug)]
pub struct Emulator;

/// Memory of the [`Emulator`], aligned to 16 bytes. Dropping it checks that no kernel wrote beyond its end.
#[derive(Debug)]
pub struct EmulatedMemory {
    words: Vec<u128>,
    bytes: usize,
}

impl Emulator {
    /// An emulator, or `None` and a line on standard error if there is no C++ compiler (`c++`, or the one named by `CXX`).
    #[must_use]
    pub fn new() -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        let there = || Command::new(compiler()).arg("--version").stdout(Stdio::null()).status().is_ok();
        let found = *FOUND.get_or_init(there);
        if !found {
            let name = compiler();
            let line = format!("skipped: the GPU kernels cannot be run without the C++ compiler `{name}`");
            // A failure to write this line cannot be reported anywhere.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
        found.then_some(Self)
    }

    /// Memory that holds these numbers, rounded to `value`.
    #[must_use]
    pub fn values(&self, numbers: &[f32], value: Value) -> EmulatedMemory {
        let mut memory = EmulatedMemory::new(numbers.len() * value.bytes());
        let bytes: Vec<u8> = match value {
            Value::F32 => numbers.iter().flat_map(|x| x.to_ne_bytes()).collect(),
            Value::Bf16 => numbers.iter().flat_map(|&x| bf16::from_f32(x).to_ne_bytes()).collect(),
            Value::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_ne_bytes()).collect(),
        };
        memory.as_mut()[..bytes.len()].copy_from_slice(&bytes);
        memory
    }

    /// Uninitialised memory for `count` numbers.
    #[must_use]
    pub fn room(&self, count: usize, value: Value) -> EmulatedMemory {
        EmulatedMemory::new(count * value.bytes())
    }
}

impl EmulatedMemory {
    fn new(bytes: usize) -> Self {
        let words = vec![u128::from_ne_bytes([FRESH; 16]); (bytes + GUARD).div_ceil(16)];
        Self { words, bytes }
    }

    fn as_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.words)
    }

    /// All numbers in it, if it holds numbers of type `value`.
    #[must_use]
    pub fn read(&self, value: Value) -> Vec<f32> {
        numbers(self.bytes(), value)
    }

    /// All bytes of it.
    #[must_use]
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

impl Buffer for EmulatedMemory {
    fn place(&self) -> Place {
        Place(self.words.as_ptr().expose_provenance() as u64)
    }
}

impl Drop for EmulatedMemory {
    fn drop(&mut self) {
        let guard = &bytemuck::cast_slice::<u128, u8>(&self.words)[self.bytes..];
        assert!(
            std::thread::panicking() || guard.iter().all(|&byte| byte == FRESH),
            "a kernel wrote past the end of a buffer"
        );
    }
}

impl GpuMachine for Emulator {
    type Buffer = EmulatedMemory;

    fn buffer(&self, bytes: usize) -> Result<EmulatedMemory> {
        Ok(EmulatedMemory::new(bytes))
    }

    fn upload(&self, words: &[u64]) -> Result<EmulatedMemory> {
        let mut memory = EmulatedMemory::new(8 * words.len());
        memory.as_mut()[..8 * words.len()].copy_from_slice(bytemuck::cast_slice(words));
        Ok(memory)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        let mut entries = ENTRIES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        let key = (launch.source, launch.value, launch.kernel);
        if !entries.contains_key(&key) {
            // An unknown name is an error before anything is compiled.
            launch.signature()?;
            let library = compile(launch.source, launch.value)?;
            for kernel in launch.source.kernels() {
                let signature = Launch { kernel, ..*launch }.signature()?;
                entries.insert((launch.source, launch.value, kernel), (entry(library, kernel)?, signature));
            }
        }
        let (run, signature) = &entries[&key];
        launch.check(signature)?;
        let mut words: Vec<u64> = launch.arguments.iter().map(|argument| word(*argument)).collect();
        let mut arguments: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let grid = launch.grid.map(|blocks| blocks as c_uint);
        match run(grid.as_ptr(), THREADS as c_uint, arguments.as_mut_ptr()) {
            0 => Ok(()),
            _ => bail!("kernel `{}`: the threads of a block do not all reach the same barriers", launch.kernel),
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
    // SAFETY: by the contract of `GpuMachine` the place is that of a live `EmulatedMemory` with so many numbers, whose address was
    // exposed by `place`. Nothing writes it while one call runs.
    let bytes = unsafe { std::slice::from_raw_parts(pointer(place), count * value.bytes()) };
    numbers(bytes, value)
}

fn store(place: Place, numbers: &[f64], value: Value) {
    let numbers: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
    let memory = Emulator.values(&numbers, value);
    // SAFETY: the source was made above with as many numbers. By the contract of `GpuMachine` the target is that of another live
    // `EmulatedMemory` with room for them, whose address was exposed by `place`.
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

/// Compiles a source to a library, and loads it for the life of the process.
fn compile(source: KernelSource, value: Value) -> Result<*mut c_void> {
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
    // SAFETY: the path ends with a zero. Loading runs no code of ours: the kernels' library has no constructors with effects.
    let handle = unsafe { dlopen(path.as_ptr(), NOW) };
    if handle.is_null() {
        // SAFETY: after a failed `dlopen` this is a text that ends with a zero; it stays until the next call from this thread.
        let reason = unsafe { CStr::from_ptr(dlerror()) };
        bail!("cannot load the compiled kernels: {}", reason.to_string_lossy())
    }
    Ok(handle)
}

fn entry(library: *mut c_void, kernel: &str) -> Result<Entry> {
    let name = CString::new(format!("run_{kernel}")).map_err(candle_core::Error::wrap)?;
    // SAFETY: the handle is that of a loaded library, which is never closed; the name ends with a zero.
    let address = unsafe { dlsym(library, name.as_ptr()) };
    if address.is_null() {
        bail!("the compiled kernels do not have `{kernel}`")
    }
    // SAFETY: the address is not null, and `compile` defined every `run_..` function with this type. The library is never closed,
    // so the function stays.
    Ok(unsafe { std::mem::transmute::<*mut c_void, Entry>(address) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_launch_is_checked_and_not_only_the_first_of_a_file() {
        let Some(machine) = Emulator::new() else { return };
        let (xs, ys) = (machine.values(&[1.0, 2.0, 3.0, 4.0], Value::F32), machine.room(1, Value::F32));
        let launch = |kernel, arguments: &[Argument]| {
            let (source, value) = (KernelSource::Pool, Value::F32);
            machine.launch(&Launch { source, value, kernel, grid: [1; 3], arguments })
        };
        let places = [xs.place(), ys.place()].map(Argument::from);
        launch("pool", &[&places[..], &[2.into(), 2.into()]].concat()).unwrap();
        assert_eq!(ys.read(Value::F32), [4.0]);
        let kinds = launch("pool", &[&places[..], &[2.into(), 2f32.into()]].concat()).unwrap_err().to_string();
        assert!(kinds.starts_with("kernel `pool` has the arguments PPII, but was given PPIF"), "{kinds}");
        let count = launch("pool_gradient", &places).unwrap_err().to_string();
        assert!(count.starts_with("kernel `pool_gradient` has the arguments PPPII, but was given PP"), "{count}");
        let size = launch("pool", &[&places[..], &[2.into(), Argument::from(1_usize << 40)]].concat())
            .unwrap_err()
            .to_string();
        assert!(size.starts_with("kernel `pool` was given a size of more than 31 bits"), "{size}");
    }
}

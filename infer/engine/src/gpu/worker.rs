//! The thread that owns a GPU.
//!
//! Two threads must not use cuDNN's handles or captured graphs at once, and a GPU paints one picture after another anyway.
//! So one thread owns the GPU for all styles of the process, and other threads send it pictures. The thread copies one
//! frame while the GPU paints another: up to [`MAX_IN_FLIGHT`] frames are in flight.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use super::super::gpu_painter::{GpuAnswer, GpuTimes};
use impasto_common::device::{DeviceChoice, OpenGpu};
use impasto_error::{Error, Result, ResultExt};
use impasto_kernels::gpu::Value;
use impasto_kernels::gpu::canvas::{Canvas, PaintingGpu};
use impasto_kernels::gpu::paint::{Loaded, Paint, Pixels};
use impasto_kernels::steps::{Program, Weights};

/// Frames in flight: one is copied in, one painted, one copied out.
pub(super) const MAX_IN_FLIGHT: usize = 3;

/// How many canvases (pairs of a network and a size) are kept ready, over all styles. Without a limit, changing sizes would
/// fill the GPU's memory.
const MAX_CANVASES: usize = 4;

/// A picture's levels. The painting takes their place.
#[derive(Debug)]
pub(super) enum PixelData {
    Bytes(Vec<u8>),
    Levels(Vec<f32>),
}

impl PixelData {
    fn as_bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Levels(levels) => bytemuck::cast_slice_mut(levels),
        }
    }
}

/// What is to be painted, and how.
#[derive(Debug)]
pub(super) struct PaintOrder {
    pub(super) network: usize,
    pub(super) program: Program,
    pub(super) pixels: Pixels,
    /// Controls, and the statistics of earlier frames.
    pub(super) before: Vec<f64>,
}

/// A painting; or the picture itself if the GPU refused it.
#[derive(Debug)]
pub(super) struct PaintAnswer {
    pub(super) data: PixelData,
    /// The statistics that the painting was normalised by.
    pub(super) after: Vec<f64>,
    pub(super) answer: GpuAnswer,
}

/// A request to the GPU's thread, with the channel for its answer.
enum GpuRequest {
    Load(Weights, Value, Sender<Result<usize>>),
    Unload(usize),
    Release(usize),
    Paint(PaintOrder, PixelData, Sender<Result<PaintAnswer>>),
    Time(PaintOrder, usize, Sender<Result<GpuTimes>>),
}

/// A handle through which other threads send requests to a GPU's thread.
pub(super) struct GpuHandle {
    ordinal: usize,
    name: String,
    /// `None` only while the handle is dropped.
    requests: Option<Sender<GpuRequest>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for GpuHandle {
    /// Waits until the thread has released the GPU: the driver must not end before its last user.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl GpuHandle {
    /// The thread of the GPU with this ordinal, started if it is not running yet.
    pub(super) fn of(ordinal: usize) -> Result<Arc<Self>> {
        static HANDLES: OnceLock<Mutex<HashMap<usize, Weak<GpuHandle>>>> = OnceLock::new();
        let mut handles = HANDLES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = handles.get(&ordinal).and_then(Weak::upgrade) {
            return Ok(handle);
        }
        let handle = Arc::new(Self::start(ordinal)?);
        handles.insert(ordinal, Arc::downgrade(&handle));
        Ok(handle)
    }

    fn start(ordinal: usize) -> Result<Self> {
        let (requests, incoming) = channel();
        let (opened, gpu) = channel();
        // The GPU is opened by the thread that uses it.
        let run = move || match open(ordinal) {
            Ok(gpu) => {
                // The caller waits for it.
                let _ = opened.send(Ok(gpu.name()));
                GpuThread {
                    gpu,
                    networks: HashMap::new(),
                    last: 0,
                    canvases: Vec::new(),
                    in_flight: VecDeque::new(),
                    told: false,
                }
                .run(&incoming);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = thread::Builder::new().name(format!("cuda:{ordinal}")).spawn(run);
        let thread = thread.context(|| "cannot start the GPU thread")?;
        let name = gpu.recv().map_err(|_| lost())??;
        Ok(Self { ordinal, name, requests: Some(requests), thread: Some(thread) })
    }

    pub(super) fn ordinal(&self) -> usize {
        self.ordinal
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn load(&self, weights: Weights, value: Value) -> Result<usize> {
        self.ask(|reply| GpuRequest::Load(weights, value, reply)).recv().map_err(|_| lost())?
    }

    pub(super) fn unload(&self, network: usize) {
        self.send(GpuRequest::Unload(network));
    }

    pub(super) fn release(&self, network: usize) {
        self.send(GpuRequest::Release(network));
    }

    /// Requests a painting. If the thread has ended, receiving the answer fails.
    pub(super) fn begin_painting(&self, order: PaintOrder, data: PixelData) -> Receiver<Result<PaintAnswer>> {
        self.ask(|reply| GpuRequest::Paint(order, data, reply))
    }

    pub(super) fn time(&self, order: PaintOrder, runs: usize) -> Result<GpuTimes> {
        self.ask(|reply| GpuRequest::Time(order, runs, reply)).recv().map_err(|_| lost())?
    }

    fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> GpuRequest) -> Receiver<T> {
        let (reply, answer) = channel();
        self.send(request(reply));
        answer
    }

    /// If the thread has ended, receiving its answer fails.
    fn send(&self, request: GpuRequest) {
        if let Some(requests) = &self.requests {
            let _ = requests.send(request);
        }
    }
}

fn open(ordinal: usize) -> Result<PaintingGpu> {
    let (device, _) = DeviceChoice::Cuda(ordinal).open_with(Some(impasto_kernels::gpu::open as OpenGpu<_>))?;
    Ok(PaintingGpu::open(&device.ok_or_else(lost)?)?)
}

/// The error if the GPU's thread has ended, which happens only if it panicked.
pub(super) fn lost() -> Error {
    Error::new("the GPU thread has stopped unexpectedly").with_hint("use `--device cpu`")
}

/// A network on the GPU.
struct LoadedNetwork {
    weights: Weights,
    value: Value,
    loaded: Loaded<impasto_kernels::gpu::Gpu>,
}

/// The key of a canvas.
#[derive(Debug, Clone, Copy, PartialEq)]
struct CanvasKey {
    network: usize,
    /// Height and width in pixels.
    size: (usize, usize),
    pixels: Pixels,
}

/// A frame in flight on the GPU.
struct PaintingInFlight {
    key: CanvasKey,
    slot: usize,
    data: PixelData,
    /// A notice for the user.
    note: Option<String>,
    reply: Sender<Result<PaintAnswer>>,
}

/// The state of the thread.
struct GpuThread {
    gpu: PaintingGpu,
    networks: HashMap<usize, LoadedNetwork>,
    /// The index of the network that was loaded last.
    last: usize,
    /// In order of use; the last was used most recently.
    canvases: Vec<(CanvasKey, Canvas)>,
    in_flight: VecDeque<PaintingInFlight>,
    /// Whether a user was told that there is no CUDA graph.
    told: bool,
}

impl GpuThread {
    fn run(mut self, requests: &Receiver<GpuRequest>) {
        loop {
            let request = match requests.try_recv() {
                Ok(request) => Some(request),
                Err(TryRecvError::Disconnected) => None,
                // No request is waiting, so a finished painting is returned.
                Err(TryRecvError::Empty) if !self.in_flight.is_empty() => {
                    self.finish_oldest();
                    continue;
                }
                Err(TryRecvError::Empty) => requests.recv().ok(),
            };
            match request {
                Some(request) => self.answer(request),
                None => break,
            }
        }
        self.finish_all();
    }

    /// An answer without a receiver is dropped.
    fn answer(&mut self, request: GpuRequest) {
        match request {
            GpuRequest::Load(weights, value, reply) => {
                let _ = reply.send(self.load(weights, value));
            }
            GpuRequest::Unload(network) => {
                self.release(network);
                self.networks.remove(&network);
            }
            GpuRequest::Release(network) => self.release(network),
            GpuRequest::Paint(order, data, reply) => self.begin_painting(&order, data, reply),
            GpuRequest::Time(order, runs, reply) => {
                let _ = reply.send(self.time(&order, runs));
            }
        }
    }

    fn load(&mut self, weights: Weights, value: Value) -> Result<usize> {
        let loaded = self.gpu.load(&weights, value).context(|| "cannot copy the weights to the GPU")?;
        self.last += 1;
        self.networks.insert(self.last, LoadedNetwork { weights, value, loaded });
        Ok(self.last)
    }

    fn release(&mut self, network: usize) {
        self.finish_all();
        self.canvases.retain(|(key, _)| key.network != network);
    }

    fn begin_painting(&mut self, order: &PaintOrder, mut data: PixelData, reply: Sender<Result<PaintAnswer>>) {
        let begun = self.prepare(order).and_then(|key| {
            if self.in_flight.len() >= MAX_IN_FLIGHT {
                self.finish_oldest();
            }
            let slot =
                (0..MAX_IN_FLIGHT).find(|&slot| !self.in_flight.iter().any(|one| (one.key, one.slot) == (key, slot)));
            let slot = slot.unwrap_or_default();
            let begun = self.begin(slot, &mut data, order);
            match begun {
                // Painting one frame at a time needs less memory.
                Err(error) if slot > 0 && error.is_out_of_memory() => {
                    self.finish_all();
                    self.begin(0, &mut data, order).map(|()| (key, 0))
                }
                begun => begun.map(|()| (key, slot)),
            }
        });
        match begun {
            Ok((key, slot)) => {
                let note = self.note();
                self.in_flight.push_back(PaintingInFlight { key, slot, data, note, reply });
            }
            Err(error) if error.is_out_of_memory() => {
                let answer = GpuAnswer::Refused("there is not enough GPU memory".into());
                let _ = reply.send(Ok(PaintAnswer { data, after: Vec::new(), answer }));
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn begin(&mut self, slot: usize, data: &mut PixelData, order: &PaintOrder) -> Result<()> {
        let (_, canvas) = self.canvases.last_mut().ok_or_else(lost)?;
        Ok(canvas.begin(slot, data.as_bytes(), &order.before)?)
    }

    /// A notice for the user if the canvas that was used last has no CUDA graph. Only once.
    fn note(&mut self) -> Option<String> {
        let (_, canvas) = self.canvases.last()?;
        let reason = canvas.graph_failure().filter(|_| !self.told)?;
        self.told = true;
        Some(format!("the GPU paints without a CUDA graph, which takes longer: {reason}"))
    }

    /// Moves the canvas for the order to the end of the list; makes it if it does not exist.
    fn prepare(&mut self, order: &PaintOrder) -> Result<CanvasKey> {
        let key = CanvasKey { network: order.network, size: order.program.size, pixels: order.pixels };
        if let Some(at) = self.canvases.iter().position(|(other, _)| *other == key) {
            let canvas = self.canvases.remove(at);
            self.canvases.push(canvas);
            return Ok(key);
        }
        self.finish_all();
        if self.canvases.len() >= MAX_CANVASES {
            self.canvases.remove(0);
        }
        let canvas = match self.canvas(order) {
            // Freeing the canvases of other sizes may give enough memory.
            Err(error) if error.is_out_of_memory() => {
                self.canvases.clear();
                self.canvas(order)?
            }
            canvas => canvas?,
        };
        self.canvases.push((key, canvas));
        Ok(key)
    }

    fn canvas(&self, order: &PaintOrder) -> Result<Canvas> {
        let network =
            self.networks.get(&order.network).ok_or_else(|| Error::new("the style is not loaded on the GPU"))?;
        let paint =
            Paint { program: &order.program, weights: &network.weights, value: network.value, pixels: order.pixels };
        Ok(Canvas::new(&self.gpu, &paint, &network.loaded, MAX_IN_FLIGHT)?)
    }

    fn finish_oldest(&mut self) {
        let Some(PaintingInFlight { key, slot, mut data, note, reply }) = self.in_flight.pop_front() else { return };
        let canvas = self.canvases.iter_mut().find(|(other, _)| *other == key);
        let after = canvas.ok_or_else(lost).and_then(|(_, canvas)| Ok(canvas.finish(slot, data.as_bytes())?));
        let answer = GpuAnswer::Painted(note);
        let _ = reply.send(after.map(|after| PaintAnswer { data, after, answer }));
    }

    fn finish_all(&mut self) {
        while !self.in_flight.is_empty() {
            self.finish_oldest();
        }
    }

    fn time(&mut self, order: &PaintOrder, runs: usize) -> Result<GpuTimes> {
        self.finish_all();
        self.prepare(order)?;
        let (_, canvas) = self.canvases.last_mut().ok_or_else(lost)?;
        Ok(GpuTimes {
            milliseconds: canvas.times(&order.before, runs)?,
            graph_failure: canvas.graph_failure().map(str::to_owned),
            memory: canvas.memory(),
        })
    }
}

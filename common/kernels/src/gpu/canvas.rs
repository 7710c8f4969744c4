//! A painting of one network and size on a GPU: its memory, its CUDA graph, and the frames in flight.
//!
//! Everything is allocated once. The first painting lets cuDNN choose its algorithms and NVRTC compile the kernels; the
//! second is captured as a graph, which launches about sixty kernels in one call. The graph reads and writes one frame in
//! the GPU's memory. Frames wait in slots before and after it, each with page-locked memory of the host. Copies in, the
//! graph and copies out run at the same time, in three streams.

use std::sync::Arc;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::{
    self, CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaGraph, CudaStream, PinnedHostSlice, result};
use candle_core::{Device, Error, Result, bail};

use super::driver::{Gpu, GpuMemory};
use super::launch::Place;
use super::machine::{Buffer, GpuMachine};
use super::paint::{CONTROLS, Loaded, Paint, Places, Room};
use super::value::Value;
use crate::steps::{Program, Weights};

/// A GPU for painting, used by one thread.
pub struct PaintingGpu {
    streams: GpuStreams,
    name: String,
}

/// A GPU and its three streams. Memory is used in one stream at a time, or after an event that marks the end of its use in
/// another stream.
#[derive(Clone)]
struct GpuStreams {
    gpu: Gpu,
    /// Where kernels run.
    compute: Arc<CudaStream>,
    /// Where frames are copied to the GPU.
    upload: Arc<CudaStream>,
    /// Where paintings are copied back.
    download: Arc<CudaStream>,
}

impl PaintingGpu {
    /// Makes the streams of a GPU that [`open`](super::open) opened. cudarc's per-buffer events are off, because they would
    /// be captured in the graph.
    ///
    /// # Errors
    ///
    /// If `device` is the CPU, or the driver fails.
    pub fn open(device: &Device) -> Result<Self> {
        let device = device.as_cuda_device()?;
        let compute = device.cuda_stream();
        let context = compute.context().clone();
        let (upload, download) = (context.new_stream().w()?, context.new_stream().w()?);
        let name = context.name().w()?;
        Ok(Self { streams: GpuStreams { gpu: Gpu::of(device), compute, upload, download }, name })
    }

    /// The name that the driver gives the GPU.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// Copies a network's weights to the GPU, filters rounded to `value`.
    ///
    /// # Errors
    ///
    /// If there is not enough memory.
    pub fn load(&self, weights: &Weights, value: Value) -> Result<Loaded<Gpu>> {
        Loaded::new(&self.streams.gpu, weights, value)
    }
}

/// A painting of one network and size, ready to be started.
pub struct Canvas {
    program: Program,
    weights: Weights,
    value: Value,
    pixels: super::paint::Pixels,
    places: Places,
    room: Room<Gpu>,
    /// Bytes of a frame, and of the statistics with and without controls.
    frame_bytes: usize,
    before_bytes: usize,
    after_bytes: usize,
    /// The captured painting, or why there is none.
    graph: std::result::Result<CudaGraph, String>,
    /// cuDNN's workspace, whose address the graph holds. Declared, and so dropped, after the graph.
    workspace: Option<GpuMemory>,
    streams: GpuStreams,
    slots: Vec<Option<Slot>>,
}

/// A frame in flight.
struct Slot {
    host_in: PinnedHostSlice<u8>,
    host_out: PinnedHostSlice<u8>,
    frame: GpuMemory,
    painting: GpuMemory,
    uploaded: CudaEvent,
    painted: CudaEvent,
    downloaded: CudaEvent,
}

impl Canvas {
    /// Allocates the memory of a painting with up to `slots` frames in flight, paints a black frame, and captures the
    /// graph.
    ///
    /// A graph that cannot be captured is not an error: see [`Self::graph_failure`].
    ///
    /// # Errors
    ///
    /// If there is not enough memory, cuDNN has no algorithm for one of the convolutions, or the GPU fails.
    pub fn new(gpu: &PaintingGpu, paint: &Paint, loaded: &Loaded<Gpu>, slots: usize) -> Result<Self> {
        let room = Room::new(&gpu.streams.gpu, paint)?;
        let places = room.places(loaded);
        let channels = paint.weights.channels_before(paint.weights.filters.len());
        let after_bytes = 2 * channels * size_of::<f64>();
        let mut canvas = Self {
            program: paint.program.clone(),
            weights: paint.weights.clone(),
            value: paint.value,
            pixels: paint.pixels,
            places,
            room,
            frame_bytes: paint.pixels.bytes(paint.program.size),
            before_bytes: after_bytes + CONTROLS * size_of::<f64>(),
            after_bytes,
            graph: Err("no capture was attempted".into()),
            workspace: None,
            streams: gpu.streams.clone(),
            slots: (0..slots).map(|_| None).collect(),
        };
        canvas.prepare()?;
        Ok(canvas)
    }

    /// Paints a black frame once, then captures the graph.
    fn prepare(&mut self) -> Result<()> {
        let compute = &self.streams.compute;
        for (place, bytes) in
            [(self.room.frame.place(), self.frame_bytes), (self.room.before.place(), self.before_bytes)]
        {
            // SAFETY: `Room::new` allocated so many bytes at that place, in the stream that all users of the buffer run in.
            unsafe { result::memset_d8_async(place.0, 0, bytes, compute.cu_stream()) }.w()?;
        }
        self.start()?;
        compute.synchronize().w()?;
        // Without a graph, kernels are launched one by one, which is slower but correct.
        self.graph = self.capture().map_err(|error| error.to_string());
        self.workspace = self.streams.gpu.take_workspace();
        Ok(())
    }

    fn capture(&self) -> Result<CudaGraph> {
        let compute = &self.streams.compute;
        compute.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).w()?;
        let started = self.start();
        // A capture must be ended even after an error in it.
        let captured = compute.end_capture(CUgraphInstantiate_flags(0)).w();
        started?;
        let graph = captured?.ok_or_else(|| Error::msg("the capture is empty"))?;
        graph.upload().w()?;
        Ok(graph)
    }

    fn start(&self) -> Result<()> {
        let Self { program, weights, value, pixels, .. } = self;
        let paint = Paint { program, weights, value: *value, pixels: *pixels };
        paint.start(&self.streams.gpu, &self.places)
    }

    fn run(&self) -> Result<()> {
        match &self.graph {
            Ok(graph) => graph.launch().w(),
            Err(_) => self.start(),
        }
    }

    /// Why the painting could not be captured as a graph, if so. Its kernels are then launched one by one, which takes
    /// longer.
    #[must_use]
    pub fn graph_failure(&self) -> Option<&str> {
        self.graph.as_ref().err().map(String::as_str)
    }

    /// Bytes of the GPU's memory that the painting takes, besides the weights.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let slots = self.slots.iter().flatten().count();
        let frames = (2 + 2 * slots) * self.frame_bytes;
        let arena = self.program.arena * self.value.bytes();
        let workspace = self.workspace.as_ref().map_or(0, GpuMemory::bytes);
        (arena + frames + workspace + self.program.partials * size_of::<f32>() + 2 * self.before_bytes) as u64
    }

    /// Begins to paint `frame` in a free slot, and returns before it is painted.
    ///
    /// `frame` has the layout of the canvas's [`Pixels`](super::paint::Pixels). `before` holds [`CONTROLS`] numbers, then
    /// mean and variance of each normalised channel from the earlier frames.
    ///
    /// # Errors
    ///
    /// If either has another length, there is not enough memory for the slot, or the GPU fails.
    ///
    /// # Panics
    ///
    /// If there is no such slot.
    pub fn begin(&mut self, slot: usize, frame: &[u8], before: &[f64]) -> Result<()> {
        let before: &[u8] = bytemuck::cast_slice(before);
        if (frame.len(), before.len()) != (self.frame_bytes, self.before_bytes) {
            bail!("the canvas was made for frames of a different size")
        }
        let mut own = match self.slots[slot].take() {
            Some(own) => own,
            None => self.slot()?,
        };
        let begun = self.enqueue(&mut own, frame, before);
        self.slots[slot] = Some(own);
        begun
    }

    fn enqueue(&self, slot: &mut Slot, frame: &[u8], before: &[u8]) -> Result<()> {
        let GpuStreams { compute, upload, download, .. } = &self.streams;
        let copy = |to: Place, from: Place, bytes: usize| {
            // SAFETY: the callers below pass buffers of the room and of the slot that have so many bytes. `drop` waits for all
            // streams before any of them is given back.
            unsafe { result::memcpy_dtod_async(to.0, from.0, bytes, compute.cu_stream()) }.w()
        };
        let host = slot.host_in.as_mut_slice().w()?;
        host[..frame.len()].copy_from_slice(frame);
        host[frame.len()..].copy_from_slice(before);
        let (frame, painting) = (slot.frame.place(), slot.painting.place());

        // SAFETY: the slot is free, so no stream uses its memory. `frame` was allocated with as many bytes as `host` has. The host's
        // memory is page-locked and stays in place until `finish` or `drop` has waited for the copy.
        unsafe { result::memcpy_htod_async(frame.0, host, upload.cu_stream()) }.w()?;
        slot.uploaded.record(upload).w()?;
        compute.wait(&slot.uploaded).w()?;
        copy(self.room.frame.place(), frame, self.frame_bytes)?;
        copy(self.room.before.place(), frame.after(self.frame_bytes), self.before_bytes)?;
        self.run()?;
        copy(painting, self.room.painting.place(), self.frame_bytes)?;
        copy(painting.after(self.frame_bytes), self.room.after.place(), self.after_bytes)?;
        slot.painted.record(compute).w()?;

        download.wait(&slot.painted).w()?;
        let host = slot.host_out.as_mut_slice().w()?;
        // SAFETY: `painting` was allocated with as many bytes as `host` has. The copy waits for the event above, and the host's
        // page-locked memory is not touched until `finish` or `drop` has waited for the copy.
        unsafe { result::memcpy_dtoh_async(host, painting.0, download.cu_stream()) }.w()?;
        slot.downloaded.record(download).w()
    }

    /// Waits for the slot's painting, copies it to `painting`, and returns mean and variance of each normalised channel.
    ///
    /// # Errors
    ///
    /// If nothing was begun in the slot, or the GPU failed.
    ///
    /// # Panics
    ///
    /// If there is no such slot, or `painting` does not have the size of a frame.
    pub fn finish(&mut self, slot: usize, painting: &mut [u8]) -> Result<Vec<f64>> {
        let slot = self.slots[slot].as_mut().ok_or_else(|| Error::msg("no painting was started in this slot"))?;
        slot.downloaded.synchronize().w()?;
        let (levels, after) = slot.host_out.as_slice().w()?.split_at(painting.len());
        painting.copy_from_slice(levels);
        Ok(after.as_chunks().0.iter().map(|&number| f64::from_ne_bytes(number)).collect())
    }

    /// Milliseconds of each of `runs` paintings of a frame in GPU memory, after one warm-up run.
    ///
    /// # Errors
    ///
    /// As [`Self::begin`] and [`Self::finish`].
    ///
    /// # Panics
    ///
    /// If the canvas has no slots.
    pub fn times(&mut self, before: &[f64], runs: usize) -> Result<Vec<f32>> {
        let mut frame: Vec<u8> = (0..self.frame_bytes).map(|i| (i * 7919 % 256) as u8).collect();
        self.begin(0, &frame, before)?;
        self.finish(0, &mut frame)?;
        let compute = self.streams.compute.clone();
        let event = || compute.context().new_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).w();
        let mut marks = vec![event()?];
        marks[0].record(&compute).w()?;
        for _ in 0..runs {
            self.run()?;
            let mark = event()?;
            mark.record(&compute).w()?;
            marks.push(mark);
        }
        compute.synchronize().w()?;
        let times = marks.windows(2).map(|pair| pair[0].elapsed_ms(&pair[1]).w());
        times.collect()
    }

    fn slot(&self) -> Result<Slot> {
        let context = self.streams.compute.context();
        let bytes = (self.frame_bytes + self.before_bytes, self.frame_bytes + self.after_bytes);
        // Write-combined memory is faster to copy from, and is only written here.
        // SAFETY: any bytes are u8. `enqueue` writes all of them before they are copied.
        let host_in = unsafe { context.alloc_pinned_with_flags(bytes.0, sys::CU_MEMHOSTALLOC_WRITECOMBINED) }.w()?;
        // SAFETY: any bytes are u8. `finish` reads them after the copy to them.
        let host_out = unsafe { context.alloc_pinned_with_flags(bytes.1, 0) }.w()?;
        let event = || context.new_event(Some(CUevent_flags::CU_EVENT_DISABLE_TIMING)).w();
        let slot = Slot {
            host_in,
            host_out,
            frame: self.streams.gpu.buffer(bytes.0)?,
            painting: self.streams.gpu.buffer(bytes.1)?,
            uploaded: event()?,
            painted: event()?,
            downloaded: event()?,
        };
        // Memory is allocated in the stream of the kernels, but first written in another stream.
        self.streams.compute.synchronize().w()?;
        Ok(slot)
    }
}

impl Drop for Canvas {
    /// Copies in flight use memory that is about to be freed.
    fn drop(&mut self) {
        for stream in [&self.streams.upload, &self.streams.compute, &self.streams.download] {
            // A GPU failure here was already reported by an earlier call.
            let _ = stream.synchronize();
        }
    }
}

//! A painting of one network and size on a card: its memory, its graph, and the frames on their way there and back.
//!
//! Everything is allocated once. The first painting lets cuDNN choose its algorithms and NVRTC compile; the second is captured
//! as a graph, which starts some sixty kernels at the price of one. The graph reads and writes one frame in the card's memory;
//! frames wait in slots before and after it, each with page-locked memory of the host, so that copies in, the graph and copies
//! out run beside one another, in three streams.

use std::sync::Arc;

use candle_core::Device;
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::sys::{
    self, CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaGraph, CudaStream, PinnedHostSlice, result};

use super::Gpu;
use super::launch::{Buffer, Machine, Place, Value};
use super::paint::{CONTROLS, Loaded, Paint, Places, Room};
use crate::steps::{Program, Weights};
use crate::{Error, Result, ResultExt};

type Memory = <Gpu as Machine>::Buffer;

/// A card, for the one thread that uses it.
pub struct Card {
    gpu: Gpu,
    /// Where kernels run, and where copies do.
    compute: Arc<CudaStream>,
    upload: Arc<CudaStream>,
    download: Arc<CudaStream>,
    name: String,
}

impl Card {
    /// A card that [`Gpu::set_up`] has prepared: without cudarc's events for every buffer, which would end up in the graph. Memory
    /// is used in one stream at a time, or behind an event of ours that says when another is done with it.
    pub fn open(device: &Device) -> Result<Self> {
        let device = device.as_cuda_device()?;
        let compute = device.cuda_stream();
        let context = compute.context().clone();
        let (upload, download) = (context.new_stream().w()?, context.new_stream().w()?);
        let name = context.name().w()?;
        Ok(Self { gpu: Gpu::of(device), compute, upload, download, name })
    }

    pub fn name(&self) -> String {
        self.name.clone()
    }

    pub fn load(&self, weights: &Weights, value: Value) -> Result<Loaded<Gpu>> {
        Ok(Loaded::new(&self.gpu, weights, value)?)
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
    /// None where the driver could not capture one.
    graph: Option<CudaGraph>,
    /// What cuDNN works in while the graph runs, which knows its address: nobody else may have it, or free it.
    workspace: Option<Memory>,
    card: CardStreams,
    slots: Vec<Option<Slot>>,
}

/// What a canvas needs of its card.
struct CardStreams {
    gpu: Gpu,
    compute: Arc<CudaStream>,
    upload: Arc<CudaStream>,
    download: Arc<CudaStream>,
}

/// A frame on its way.
struct Slot {
    host_in: PinnedHostSlice<u8>,
    host_out: PinnedHostSlice<u8>,
    frame: Memory,
    painting: Memory,
    uploaded: CudaEvent,
    painted: CudaEvent,
    downloaded: CudaEvent,
}

impl Canvas {
    /// Prepares a painting with `slots` frames under way at most, and paints once.
    pub fn new(card: &Card, paint: &Paint, loaded: &Loaded<Gpu>, slots: usize) -> Result<Self> {
        let room = Room::new(&card.gpu, paint)?;
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
            graph: None,
            workspace: None,
            card: CardStreams {
                gpu: card.gpu.clone(),
                compute: card.compute.clone(),
                upload: card.upload.clone(),
                download: card.download.clone(),
            },
            slots: (0..slots).map(|_| None).collect(),
        };
        canvas.prepare(card)?;
        Ok(canvas)
    }

    /// Paints nothing once, then captures the graph.
    fn prepare(&mut self, card: &Card) -> Result<()> {
        for (place, bytes) in
            [(self.room.frame.place(), self.frame_bytes), (self.room.before.place(), self.before_bytes)]
        {
            // SAFETY: the buffer has so many bytes; the stream is the one that all its users run in.
            unsafe { result::memset_d8_async(place.0, 0, bytes, card.compute.cu_stream()) }.w()?;
        }
        self.start()?;
        card.compute.synchronize().w()?;
        card.compute.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).w()?;
        let started = self.start();
        // A capture must end, whatever happened in it.
        let graph = card.compute.end_capture(CUgraphInstantiate_flags(0));
        match (started, graph) {
            (Ok(()), Ok(Some(graph))) => {
                graph.upload().w()?;
                self.graph = Some(graph);
            }
            // Kernels one by one are slower, not wrong.
            _ => self.graph = None,
        }
        self.workspace = card.gpu.take_workspace();
        Ok(())
    }

    fn start(&self) -> Result<()> {
        let Self { program, weights, value, pixels, .. } = self;
        let paint = Paint { program, weights, value: *value, pixels: *pixels };
        Ok(paint.start(&self.card.gpu, &self.places)?)
    }

    fn run(&self) -> Result<()> {
        match &self.graph {
            Some(graph) => Ok(graph.launch().w()?),
            None => self.start(),
        }
    }

    /// Whether a painting is one graph.
    pub fn is_graph(&self) -> bool {
        self.graph.is_some()
    }

    /// Bytes on the card, besides the weights.
    pub fn memory(&self) -> u64 {
        let slots = self.slots.iter().flatten().count();
        let frames = (2 + 2 * slots) * self.frame_bytes;
        let arena = self.program.arena * self.value.bytes();
        let workspace = self.workspace.as_ref().map_or(0, Memory::bytes);
        (arena + frames + workspace + self.program.parts * size_of::<f32>() + 2 * self.before_bytes) as u64
    }

    /// Begins to paint `frame` in a slot that is free.
    pub fn begin(&mut self, slot: usize, frame: &[u8], before: &[f64]) -> Result<()> {
        let before: &[u8] = bytemuck::cast_slice(before);
        if (frame.len(), before.len()) != (self.frame_bytes, self.before_bytes) {
            return Err(Error::new("a frame of another size is on the card"));
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
        let CardStreams { compute, upload, download, .. } = &self.card;
        let copy = |to: Place, from: Place, bytes: usize| {
            // SAFETY: both buffers have so many bytes, and live until all streams are done with them.
            unsafe { result::memcpy_dtod_async(to.0, from.0, bytes, compute.cu_stream()) }.w()
        };
        let host = slot.host_in.as_mut_slice().w()?;
        host[..frame.len()].copy_from_slice(frame);
        host[frame.len()..].copy_from_slice(before);
        let (frame, painting) = (slot.frame.place(), slot.painting.place());

        // SAFETY: the slot is free, so no stream uses its memory; it stays in place until `finish` has waited, or `drop`.
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
        // SAFETY: as above.
        unsafe { result::memcpy_dtoh_async(host, painting.0, download.cu_stream()) }.w()?;
        Ok(slot.downloaded.record(download).w()?)
    }

    /// Waits for the slot's painting, and returns what it was normalised by.
    pub fn finish(&mut self, slot: usize, painting: &mut [u8]) -> Result<Vec<f64>> {
        let slot = self.slots[slot].as_mut().ok_or_else(|| Error::new("a frame has no slot"))?;
        slot.downloaded.synchronize().w().map_err(Error::from).context(|| "the card failed")?;
        let (levels, after) = slot.host_out.as_slice().w()?.split_at(painting.len());
        painting.copy_from_slice(levels);
        Ok(after.as_chunks().0.iter().map(|&number| f64::from_ne_bytes(number)).collect())
    }

    /// Milliseconds of each of `runs` paintings of what lies on the card, after one that does not count.
    pub fn times(&mut self, before: &[f64], runs: usize) -> Result<Vec<f32>> {
        let mut frame: Vec<u8> = (0..self.frame_bytes).map(|i| (i * 7919 % 256) as u8).collect();
        self.begin(0, &frame, before)?;
        self.finish(0, &mut frame)?;
        let compute = self.card.compute.clone();
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
        Ok(times.collect::<candle_core::Result<_>>()?)
    }

    fn slot(&self) -> Result<Slot> {
        let context = self.card.compute.context();
        let bytes = (self.frame_bytes + self.before_bytes, self.frame_bytes + self.after_bytes);
        // SAFETY: bytes of any value are bytes; they are written before they are read.
        let (host_in, host_out) = unsafe {
            (
                context.alloc_pinned_with_flags(bytes.0, sys::CU_MEMHOSTALLOC_WRITECOMBINED).w()?,
                context.alloc_pinned_with_flags(bytes.1, 0).w()?,
            )
        };
        let event = || context.new_event(Some(CUevent_flags::CU_EVENT_DISABLE_TIMING)).w();
        let slot = Slot {
            host_in,
            host_out,
            frame: self.card.gpu.buffer(bytes.0)?,
            painting: self.card.gpu.buffer(bytes.1)?,
            uploaded: event()?,
            painted: event()?,
            downloaded: event()?,
        };
        // Memory is given out in the stream of the kernels, and written first in another.
        self.card.compute.synchronize().w()?;
        Ok(slot)
    }
}

impl Drop for Canvas {
    /// Copies that are under way use memory that is about to be given back.
    fn drop(&mut self) {
        for stream in [&self.card.upload, &self.card.compute, &self.card.download] {
            // A card that fails here has failed before, where it was reported.
            let _ = stream.synchronize();
        }
    }
}

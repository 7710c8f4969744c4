//! The thread that a card belongs to.
//!
//! Neither cuDNN's handles nor captured graphs may be used by two threads at once, and a card paints one picture after another
//! anyway: so one thread owns it, for all styles of the process, and others send it pictures. While it copies one frame, the
//! card paints another: up to [`UNDER_WAY`] are under way.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, JoinHandle};

use super::card::{GpuTimes, lost};
use impasto_common::device::{DeviceChoice, is_out_of_memory};
use impasto_error::{Error, Result, ResultExt};
use impasto_kernels::cuda::canvas::{Canvas, Card};
use impasto_kernels::cuda::launch::Value;
use impasto_kernels::cuda::paint::{Loaded, Paint, Pixels};
use impasto_kernels::steps::{Program, Weights};

/// Frames under way: one is copied in, one painted, one copied out.
pub(super) const UNDER_WAY: usize = 3;

/// Networks at sizes that are kept ready, of all styles: sizes that change from picture to picture must not fill the card.
const CANVASES: usize = 4;

/// A picture's numbers; the painting takes their place.
#[derive(Debug)]
pub(super) enum Data {
    Bytes(Vec<u8>),
    Levels(Vec<f32>),
}

impl Data {
    fn as_bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Levels(levels) => bytemuck::cast_slice_mut(levels),
        }
    }
}

/// What is to be painted, and how.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) network: usize,
    pub(super) program: Program,
    pub(super) pixels: Pixels,
    /// Controls, and the statistics of the frames before.
    pub(super) before: Vec<f64>,
}

/// A painting, or the picture itself and the reason why it is not painted.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) data: Data,
    /// What it was normalised by.
    pub(super) after: Vec<f64>,
    pub(super) refused: Option<String>,
}

enum Job {
    Load(Weights, Value, Sender<Result<usize>>),
    Unload(usize),
    Release(usize),
    Paint(Order, Data, Sender<Result<Done>>),
    Time(Order, usize, Sender<Result<GpuTimes>>),
}

/// A card's thread, as others see it.
pub(super) struct Worker {
    ordinal: usize,
    name: String,
    /// None only while it is dropped.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Worker {
    /// Waits until the card is given back: the driver must not end before its last user.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Worker {
    /// The thread of this card, started if there is none.
    pub(super) fn of(ordinal: usize) -> Result<Arc<Self>> {
        static WORKERS: OnceLock<Mutex<HashMap<usize, Weak<Worker>>>> = OnceLock::new();
        let mut workers = WORKERS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = workers.get(&ordinal).and_then(Weak::upgrade) {
            return Ok(worker);
        }
        let worker = Arc::new(Self::start(ordinal)?);
        workers.insert(ordinal, Arc::downgrade(&worker));
        Ok(worker)
    }

    fn start(ordinal: usize) -> Result<Self> {
        let (jobs, orders) = channel();
        let (opened, card) = channel();
        // The card is opened by the thread that uses it.
        let open = move || {
            let (device, _) = DeviceChoice::Cuda(ordinal).open()?;
            Card::open(&device)
        };
        let run = move || match open() {
            Ok(card) => {
                // Whoever asked waits for it.
                let _ = opened.send(Ok(card.name()));
                Shop { card, networks: HashMap::new(), next: 0, canvases: Vec::new(), under_way: VecDeque::new() }
                    .run(&orders);
            }
            Err(error) => {
                let _ = opened.send(Err(error));
            }
        };
        let thread = thread::Builder::new().name(format!("cuda:{ordinal}")).spawn(run);
        let thread = thread.context(|| "cannot start the card's thread")?;
        let name = card.recv().map_err(|_| lost())??;
        Ok(Self { ordinal, name, jobs: Some(jobs), thread: Some(thread) })
    }

    pub(super) fn ordinal(&self) -> usize {
        self.ordinal
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn load(&self, weights: Weights, value: Value) -> Result<usize> {
        self.ask(|reply| Job::Load(weights, value, reply)).recv().map_err(|_| lost())?
    }

    pub(super) fn unload(&self, network: usize) {
        self.send(Job::Unload(network));
    }

    pub(super) fn release(&self, network: usize) {
        self.send(Job::Release(network));
    }

    /// Begins to paint; a thread that is gone leaves the answer without a sender.
    pub(super) fn paint(&self, order: Order, data: Data) -> Receiver<Result<Done>> {
        self.ask(|reply| Job::Paint(order, data, reply))
    }

    pub(super) fn time(&self, order: Order, runs: usize) -> Result<GpuTimes> {
        self.ask(|reply| Job::Time(order, runs, reply)).recv().map_err(|_| lost())?
    }

    fn ask<T>(&self, job: impl FnOnce(Sender<T>) -> Job) -> Receiver<T> {
        let (reply, answer) = channel();
        self.send(job(reply));
        answer
    }

    /// A thread that is gone shows when its answer does not come.
    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            let _ = jobs.send(job);
        }
    }
}

/// A network on the card.
struct Network {
    weights: Weights,
    value: Value,
    loaded: Loaded<impasto_kernels::cuda::Gpu>,
}

/// What a canvas is for: network, height, width, and how its pixels lie.
type Key = (usize, (usize, usize), Pixels);

/// A frame that the card has.
struct UnderWay {
    key: Key,
    slot: usize,
    data: Data,
    reply: Sender<Result<Done>>,
}

/// What the thread owns.
struct Shop {
    card: Card,
    networks: HashMap<usize, Rc<Network>>,
    next: usize,
    /// That of the last painting is the last.
    canvases: Vec<(Key, Canvas)>,
    under_way: VecDeque<UnderWay>,
}

impl Shop {
    fn run(mut self, orders: &Receiver<Job>) {
        loop {
            let job = match orders.try_recv() {
                Ok(job) => Some(job),
                Err(TryRecvError::Disconnected) => None,
                // Nobody asks for more meanwhile: time to hand something out.
                Err(TryRecvError::Empty) if !self.under_way.is_empty() => {
                    self.finish_oldest();
                    continue;
                }
                Err(TryRecvError::Empty) => orders.recv().ok(),
            };
            match job {
                Some(job) => self.take(job),
                None => break,
            }
        }
        self.finish_all();
    }

    /// Whoever does not wait for the answer any more does not get it.
    fn take(&mut self, job: Job) {
        match job {
            Job::Load(weights, value, reply) => {
                let _ = reply.send(self.load(weights, value));
            }
            Job::Unload(network) => {
                self.release(network);
                self.networks.remove(&network);
            }
            Job::Release(network) => self.release(network),
            Job::Paint(order, data, reply) => self.paint(&order, data, reply),
            Job::Time(order, runs, reply) => {
                let _ = reply.send(self.time(&order, runs));
            }
        }
    }

    fn load(&mut self, weights: Weights, value: Value) -> Result<usize> {
        let loaded = self.card.load(&weights, value).context(|| "cannot put the weights on the card")?;
        self.next += 1;
        self.networks.insert(self.next, Rc::new(Network { weights, value, loaded }));
        Ok(self.next)
    }

    fn release(&mut self, network: usize) {
        self.finish_all();
        self.canvases.retain(|((owner, ..), _)| *owner != network);
    }

    fn paint(&mut self, order: &Order, mut data: Data, reply: Sender<Result<Done>>) {
        let begun = self.prepare(order).and_then(|key| {
            if self.under_way.len() >= UNDER_WAY {
                self.finish_oldest();
            }
            let slot =
                (0..UNDER_WAY).find(|&slot| !self.under_way.iter().any(|one| (one.key, one.slot) == (key, slot)));
            let slot = slot.unwrap_or_default();
            let begun = self.begin(slot, &mut data, order);
            match begun {
                // One frame at a time takes less.
                Err(error) if slot > 0 && is_out_of_memory(&error) => {
                    self.finish_all();
                    self.begin(0, &mut data, order).map(|()| (key, 0))
                }
                begun => begun.map(|()| (key, slot)),
            }
        });
        match begun {
            Ok((key, slot)) => self.under_way.push_back(UnderWay { key, slot, data, reply }),
            Err(error) if is_out_of_memory(&error) => {
                let refused = Some("the card's memory does not suffice".into());
                let _ = reply.send(Ok(Done { data, after: Vec::new(), refused }));
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        }
    }

    fn begin(&mut self, slot: usize, data: &mut Data, order: &Order) -> Result<()> {
        let (_, canvas) = self.canvases.last_mut().ok_or_else(lost)?;
        canvas.begin(slot, data.as_bytes(), &order.before)
    }

    /// Makes the canvas that the order is painted on the last one.
    fn prepare(&mut self, order: &Order) -> Result<Key> {
        let key = (order.network, order.program.size, order.pixels);
        if let Some(at) = self.canvases.iter().position(|(other, _)| *other == key) {
            let canvas = self.canvases.remove(at);
            self.canvases.push(canvas);
            return Ok(key);
        }
        self.finish_all();
        if self.canvases.len() >= CANVASES {
            self.canvases.remove(0);
        }
        let canvas = match self.canvas(order) {
            // What other sizes take may be what is missing.
            Err(error) if is_out_of_memory(&error) => {
                self.canvases.clear();
                self.canvas(order)?
            }
            canvas => canvas?,
        };
        self.canvases.push((key, canvas));
        Ok(key)
    }

    fn canvas(&self, order: &Order) -> Result<Canvas> {
        let network = self.networks.get(&order.network).ok_or_else(|| Error::new("the style is not on the card"))?;
        let paint =
            Paint { program: &order.program, weights: &network.weights, value: network.value, pixels: order.pixels };
        Canvas::new(&self.card, &paint, &network.loaded, UNDER_WAY)
    }

    fn finish_oldest(&mut self) {
        let Some(UnderWay { key, slot, mut data, reply }) = self.under_way.pop_front() else { return };
        let canvas = self.canvases.iter_mut().find(|(other, _)| *other == key);
        let after = canvas.ok_or_else(lost).and_then(|(_, canvas)| canvas.finish(slot, data.as_bytes()));
        let _ = reply.send(after.map(|after| Done { data, after, refused: None }));
    }

    fn finish_all(&mut self) {
        while !self.under_way.is_empty() {
            self.finish_oldest();
        }
    }

    fn time(&mut self, order: &Order, runs: usize) -> Result<GpuTimes> {
        self.finish_all();
        self.prepare(order)?;
        let (_, canvas) = self.canvases.last_mut().ok_or_else(lost)?;
        Ok(GpuTimes {
            milliseconds: canvas.times(&order.before, runs)?,
            as_graph: canvas.is_graph(),
            memory: canvas.memory(),
        })
    }
}

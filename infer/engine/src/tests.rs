mod family;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use impasto_nn::StyleNet;

use super::memory::{MemoryPlan, Place};
use super::schedule::Schedule;
use super::store::Pool;
use super::*;
use impasto_common::network::{Network, Preset, StyleNetConfig};
use impasto_common::weights::{Array, Tensors};
use impasto_error::{Error, Result};
use impasto_kernels::reference::noise;
use impasto_kernels::simd::Level;

/// Random weights whose results neither vanish nor explode. The last layer reaches levels of order 100.
pub(super) fn weights(network: &Network) -> Tensors {
    let mut tensors = Tensors::new();
    for (seed, layer) in network.layers.iter().enumerate() {
        let last = seed + 1 == network.layers.len();
        let fan_in = (layer.convolution.inputs * layer.convolution.kernel.pow(2)) as f32;
        // The convolution's weight and bias, then the normalization's.
        let scale = (3.0 / fan_in).sqrt();
        let convolution = if last { [(100.0 * scale, 0.0), (1.0, 128.0)] } else { [(scale, 0.0), (1.0, 0.0)] };
        let ranges = convolution.into_iter().chain([(0.3, 1.0), (0.3, 0.0)]);
        for ((name, shape), (scale, shift)) in layer.tensors().into_iter().zip(ranges) {
            let numbers = noise(shape.iter().product(), (7 * seed + name.len()) as u32);
            let values = numbers.iter().map(|x| x * scale + shift).collect();
            tensors.insert(name, Array::new(shape, values).unwrap());
        }
    }
    tensors
}

pub(super) struct Photo {
    height: usize,
    width: usize,
    /// `(3, height, width)`.
    pub(super) planes: Vec<f32>,
    next: usize,
}

impl Photo {
    pub(super) fn new(height: usize, width: usize) -> Self {
        let planes = noise(3 * height * width, 9).iter().map(|x| 127.5 + 127.5 * x).collect();
        Self { height, width, planes, next: 0 }
    }
}

impl Rows for Photo {
    fn size(&self) -> (usize, usize) {
        (self.height, self.width)
    }

    fn read(&mut self, first: usize, rows: &mut [[&mut [f32]; 3]]) -> Result<()> {
        assert!(first == 0 || first == self.next, "rows are read from top to bottom");
        for (i, row) in rows.iter_mut().enumerate() {
            for (channel, line) in row.iter_mut().enumerate() {
                line.copy_from_slice(&self.planes[(channel * self.height + first + i) * self.width..][..self.width]);
            }
        }
        self.next = first + rows.len();
        Ok(())
    }
}

/// What `plan` paints, `(3, height, width)`.
pub(super) fn paint(engine: &Engine, photo: &mut Photo, plan: &MemoryPlan) -> Vec<f32> {
    paint_in(&mut Pool::default(), engine, photo, plan)
}

/// The same, with buffers from `pool`.
fn paint_in(pool: &mut Pool, engine: &Engine, photo: &mut Photo, plan: &MemoryPlan) -> Vec<f32> {
    let (height, width) = photo.size();
    let mut planes = vec![f32::NAN; 3 * height * width];
    let mut next = 0;
    engine
        .paint_planned(photo, plan, pool, &mut Statistics::own(), &mut |first, band| {
            assert_eq!(first, next);
            for (i, line) in band.chunks_exact(width).enumerate() {
                planes[(i % 3 * height + first + i / 3) * width..][..width].copy_from_slice(line);
            }
            next += band.len() / 3 / width;
            Ok(())
        })
        .unwrap();
    assert_eq!(next, height);
    planes
}

/// What the trainable network paints, `(3, height, width)`.
pub(super) fn trained(network: &Network, tensors: &Tensors, photo: &Photo) -> Vec<f32> {
    let tensors = impasto_nn::arrays::to_tensors(tensors, &Device::Cpu).unwrap().into_iter().collect();
    let network = StyleNet::new(network, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap();
    let shape = (1, 3, photo.height, photo.width);
    let photo = Tensor::from_slice(&photo.planes, shape, &Device::Cpu).unwrap();
    network.forward(&photo).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |largest, x| if x <= largest { largest } else { x })
}

pub(super) fn plan(network: &Network, size: (usize, usize), places: &[Place], band: usize) -> MemoryPlan {
    MemoryPlan::with(network, &Schedule::new(network), size, places, band).unwrap()
}

const WHOLE: [Place; 3] = [Place::Whole; 3];

#[test]
fn the_painting_equals_the_networks_for_every_instruction_set_and_size() {
    let sizes = [(5, 5), (5, 16), (6, 7), (9, 8), (13, 70), (31, 33), (40, 21), (64, 96)];
    // Three channels, as many as colours: they must not be confused with colours.
    for channels in [32, 16, 8, 4, 3] {
        let network = StyleNetConfig { channels, blocks: 2 }.network();
        let tensors = weights(&network);
        for level in Level::all() {
            let engine = Engine::with_level(&network, &tensors, PaintPrecision::F32, level).unwrap();
            for size in sizes {
                let mut photo = Photo::new(size.0, size.1);
                let painted = paint(&engine, &mut photo, &plan(&network, size, &WHOLE, 4));
                let off = largest_difference(&painted, &trained(&network, &tensors, &photo));
                assert!(off < 0.05, "{channels} channels, {level:?}, {size:?}: {off} levels");
            }
        }
    }
}

#[test]
fn bf16_paints_nearly_the_same_with_every_instruction_set() {
    // An odd number of channels leaves one without a partner.
    for channels in [3, 8] {
        let network = StyleNetConfig { channels, blocks: 2 }.network();
        let tensors = weights(&network);
        for level in Level::all().into_iter().filter(|level| *level != Level::Avx512 || level.has_pairs()) {
            let engine = Engine::with_level(&network, &tensors, PaintPrecision::Bf16, level).unwrap();
            let mut photo = Photo::new(40, 53);
            let painted = paint(&engine, &mut photo, &plan(&network, (40, 53), &WHOLE, 4));
            let expected = trained(&network, &tensors, &photo);
            let mean = expected.iter().sum::<f32>() / expected.len() as f32;
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
            let off = square(&mut painted.iter().zip(&expected).map(|(a, b)| a - b));
            let off = (off / square(&mut expected.iter().map(|x| x - mean))).sqrt();
            assert!(off > 1e-4 && off < 0.1, "{channels} channels, {level:?}: off by {off} of the deviation");
        }
    }
}

#[test]
fn the_memory_plan_does_not_change_the_painting() {
    let network = StyleNetConfig { blocks: 2, ..Preset::S.into() }.network();
    let engine = Engine::new(&network, &weights(&network), PaintPrecision::F32).unwrap();
    for size in [(83, 57), (64, 40), (7, 130)] {
        let mut photo = Photo::new(size.0, size.1);
        let whole = paint(&engine, &mut photo, &plan(&network, size, &WHOLE, 4));
        for places in [
            [Place::Window, Place::Whole, Place::Whole],
            [Place::Window, Place::Window, Place::Whole],
            [Place::Window, Place::Window, Place::File],
            [Place::File; 3],
        ] {
            for band in [1, 2, 4, 8, 16] {
                let painted = paint(&engine, &mut photo, &plan(&network, size, &places, band));
                let off = largest_difference(&painted, &whole);
                assert!(off < 0.02, "{places:?} by {band} rows, {size:?}: {off} levels");
            }
        }
    }
}

#[test]
fn a_plan_takes_no_more_memory_than_it_says_and_not_much_less() {
    for preset in [Preset::S, Preset::Xs] {
        let network = StyleNetConfig { blocks: 2, ..preset.into() }.network();
        let engine = Engine::new(&network, &weights(&network), PaintPrecision::F32).unwrap();
        for size in [(83, 157), (301, 40), (200, 250)] {
            let mut photo = Photo::new(size.0, size.1);
            for (places, frugal, bands) in [
                (WHOLE, false, &[16][..]),
                ([Place::Window, Place::Whole, Place::Whole], false, &[16]),
                ([Place::Window, Place::Window, Place::Whole], false, &[16]),
                ([Place::Window, Place::Window, Place::File], true, &[16, 8, 4, 2, 1]),
            ] {
                for &band in bands {
                    let plan = plan(&network, size, &places, band);
                    assert_eq!(plan.is_frugal(), frugal);
                    let mut pool = if frugal { Pool::frugal() } else { Pool::default() };
                    paint_in(&mut pool, &engine, &mut photo, &plan);
                    let (taken, said) = (4 * pool.most_floats() as u64, plan.bytes());
                    let what = format!("{preset:?}, {places:?} by {band} rows, {size:?}: {taken} of {said} bytes");
                    assert!(taken <= said, "{what}");
                    // The others round the memory for bands up: there is enough of it.
                    assert!(!frugal || 2 * taken > said, "{what}");
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let network = StyleNetConfig { blocks: 1, ..Preset::S.into() }.network();
    let engine = Engine::new(&network, &weights(&network), PaintPrecision::F32).unwrap();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut photo = Photo::new(90, 75);
        pool.install(|| paint(&engine, &mut photo, &plan(&network, (90, 75), &WHOLE, 4)))
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn statistics_over_frames_leave_equal_frames_alone_and_follow_others() {
    let network = StyleNetConfig { blocks: 1, ..Preset::Xs.into() }.network();
    let engine = Engine::new(&network, &weights(&network), PaintPrecision::F32).unwrap();
    let frame = |statistics: &mut Statistics, contrast: f32| {
        let mut photo = Photo::new(24, 32);
        photo.planes.iter_mut().for_each(|level| *level = 128.0 + contrast * (*level - 128.0));
        let mut painting = Vec::new();
        let mut keep = |_: usize, band: &mut [f32]| {
            painting.extend_from_slice(band);
            Ok(())
        };
        engine.paint_steadily(&mut photo, 1 << 30, statistics, &mut keep).unwrap();
        painting
    };
    let own = |contrast| frame(&mut Statistics::own(), contrast);
    let mut statistics = Statistics::over_frames(0.75);
    for _ in 0..3 {
        assert!(largest_difference(&frame(&mut statistics, 1.0), &own(1.0)) < 0.01);
    }
    // The lower contrast shows at first, because earlier statistics apply, and then fades. The frame's own statistics would
    // hide it.
    let off: Vec<_> = (0..12).map(|_| largest_difference(&frame(&mut statistics, 0.6), &own(0.6))).collect();
    assert!(off[0] > 5.0 && off[11] < 0.2 * off[0] && off[4] < off[0], "{off:?}");
    statistics.reset();
    assert!(frame(&mut statistics, 0.6) == own(0.6));
}

#[test]
fn a_flat_picture_is_painted_flat() {
    let network = StyleNetConfig { blocks: 1, ..Preset::Xs.into() }.network();
    let engine = Engine::new(&network, &weights(&network), PaintPrecision::F32).unwrap();
    let mut photo = Photo::new(24, 24);
    photo.planes.fill(200.0);
    let painted = paint(&engine, &mut photo, &plan(&network, (24, 24), &WHOLE, 4));
    let plane = &painted[..24 * 24];
    assert!(largest_difference(plane, &vec![plane[0]; plane.len()]) < 0.05, "{:?}", &plane[..8]);
}

#[test]
fn too_small_a_picture_and_a_failing_sink_are_errors() {
    let network = StyleNetConfig { blocks: 0, ..Preset::Xs.into() }.network();
    let engine = Engine::new(&network, &weights(&network), PaintPrecision::F32).unwrap();
    let mut keep = |_: usize, _: &mut [f32]| Ok(());
    let error = engine
        .paint_steadily(&mut Photo::new(4, 9), 1 << 30, &mut Statistics::own(), &mut keep)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "a picture of 9x4 pixels is too small: both sides need at least 5");
    let mut fail = |_: usize, _: &mut [f32]| Err(Error::new("the disk is full"));
    let error = engine.paint_steadily(&mut Photo::new(9, 9), 1 << 30, &mut Statistics::own(), &mut fail).unwrap_err();
    assert_eq!(error.to_string(), "the disk is full");
    let mut tensors = weights(&network);
    tensors.remove("in3.bias");
    assert_eq!(
        Engine::new(&network, &tensors, PaintPrecision::F32).unwrap_err().to_string(),
        "tensor `in3.bias` is missing"
    );
}

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use impasto_nn::StyleNet;

use super::memory::Place;
use super::*;
use impasto_common::network::Preset;
use impasto_kernels::reference::noise;

/// Random weights whose results neither vanish nor explode, under a network's names.
pub(super) fn weights(config: &StyleNetConfig) -> Tensors {
    let c = config.channels;
    let mut shapes = vec![
        ("conv1", "in1", [c, 3, 9]),
        ("conv2", "in2", [2 * c, c, 3]),
        ("conv3", "in3", [4 * c, 2 * c, 3]),
        ("deconv1", "in4", [2 * c, 4 * c, 3]),
        ("deconv2", "in5", [c, 2 * c, 3]),
        ("deconv3", "", [3, c, 9]),
    ];
    let blocks: Vec<_> = (1..=config.blocks)
        .flat_map(|i| [1, 2].map(|j| (format!("res{i}.conv{j}"), format!("res{i}.in{j}"))))
        .collect();
    shapes.extend(blocks.iter().map(|(conv, norm)| (conv.as_str(), norm.as_str(), [4 * c, 4 * c, 3])));
    let mut tensors = Tensors::new();
    for (seed, (conv, norm, [outputs, inputs, kernel])) in shapes.into_iter().enumerate() {
        let fan_in = (inputs * kernel * kernel) as f32;
        let mut add = |name: String, shape: &[usize], scale: f32, shift: f32| {
            let len = shape.iter().product();
            let values: Vec<_> = noise(len, (7 * seed + name.len()) as u32).iter().map(|x| x * scale + shift).collect();
            tensors.insert(name, impasto_common::weights::Array::new(shape, values).unwrap());
        };
        let scale = if conv == "deconv3" { 100.0 } else { 1.0 };
        add(format!("{conv}.conv2d.weight"), &[outputs, inputs, kernel, kernel], scale * (3.0 / fan_in).sqrt(), 0.0);
        add(format!("{conv}.conv2d.bias"), &[outputs], 1.0, if scale > 1.0 { 128.0 } else { 0.0 });
        if !norm.is_empty() {
            add(format!("{norm}.weight"), &[outputs], 0.3, 1.0);
            add(format!("{norm}.bias"), &[outputs], 0.3, 0.0);
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

/// `(3, height, width)`.
fn paint(engine: &Engine, photo: &mut Photo, plan: &Plan) -> Vec<f32> {
    let (height, width) = photo.size();
    let mut planes = vec![f32::NAN; 3 * height * width];
    let mut next = 0;
    engine
        .paint_planned(photo, plan, &mut Pool::default(), &mut Statistics::own(), &mut |first, band| {
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

fn expected(config: &StyleNetConfig, tensors: &Tensors, photo: &Photo) -> Vec<f32> {
    let tensors = impasto_nn::arrays::to_tensors(tensors, &Device::Cpu).unwrap().into_iter().collect();
    let network = StyleNet::new(config, VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)).unwrap();
    let shape = (1, 3, photo.height, photo.width);
    let photo = Tensor::from_slice(&photo.planes, shape, &Device::Cpu).unwrap();
    network.forward(&photo).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

pub(super) fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, |largest, x| if x <= largest { largest } else { x })
}

fn plan(config: &StyleNetConfig, size: (usize, usize), places: [Place; 3], band: usize) -> Plan {
    Plan::with(config, size, places, band)
}

const WHOLE: [Place; 3] = [Place::Whole; 3];

#[test]
fn the_painting_is_the_networks_on_every_level_and_at_any_size() {
    let sizes = [(5, 5), (5, 16), (6, 7), (9, 8), (13, 70), (31, 33), (40, 21), (64, 96)];
    // Three channels: as many as colours, which must not be taken for them.
    for channels in [32, 16, 8, 4, 3] {
        let config = StyleNetConfig { channels, blocks: 2 };
        let tensors = weights(&config);
        for level in Level::all() {
            let engine = Engine::with_level(&config, &tensors, PaintPrecision::F32, level).unwrap();
            for size in sizes {
                let mut photo = Photo::new(size.0, size.1);
                let painted = paint(&engine, &mut photo, &plan(&config, size, WHOLE, 4));
                let off = largest_difference(&painted, &expected(&config, &tensors, &photo));
                assert!(off < 0.05, "{channels} channels, {level:?}, {size:?}: {off} levels");
            }
        }
    }
}

#[test]
fn half_the_precision_paints_nearly_the_same_on_every_level() {
    // An odd number of channels leaves one without a partner.
    for channels in [3, 8] {
        let config = StyleNetConfig { channels, blocks: 2 };
        let tensors = weights(&config);
        for level in Level::all().into_iter().filter(|level| *level != Level::Avx512 || level.has_pairs()) {
            let engine = Engine::with_level(&config, &tensors, PaintPrecision::Bf16, level).unwrap();
            let mut photo = Photo::new(40, 53);
            let painted = paint(&engine, &mut photo, &plan(&config, (40, 53), WHOLE, 4));
            let expected = expected(&config, &tensors, &photo);
            let mean = expected.iter().sum::<f32>() / expected.len() as f32;
            let square = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>();
            let off = square(&mut painted.iter().zip(&expected).map(|(a, b)| a - b));
            let off = (off / square(&mut expected.iter().map(|x| x - mean))).sqrt();
            assert!(off > 1e-4 && off < 0.1, "{channels} channels, {level:?}: off by {off} of the deviation");
        }
    }
}

#[test]
fn what_is_kept_where_does_not_change_the_painting() {
    let config = StyleNetConfig { blocks: 2, ..Preset::S.into() };
    let engine = Engine::new(&config, &weights(&config), PaintPrecision::F32).unwrap();
    for size in [(83, 57), (64, 40), (7, 130)] {
        let mut photo = Photo::new(size.0, size.1);
        let whole = paint(&engine, &mut photo, &plan(&config, size, WHOLE, 4));
        for places in [
            [Place::Window, Place::Whole, Place::Whole],
            [Place::Window, Place::Window, Place::Whole],
            [Place::Window, Place::Window, Place::File],
            [Place::File; 3],
        ] {
            for band in [4, 8, 16] {
                let painted = paint(&engine, &mut photo, &plan(&config, size, places, band));
                let off = largest_difference(&painted, &whole);
                assert!(off < 0.02, "{places:?} by {band} rows, {size:?}: {off} levels");
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bytes() {
    let config = StyleNetConfig { blocks: 1, ..Preset::S.into() };
    let engine = Engine::new(&config, &weights(&config), PaintPrecision::F32).unwrap();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut photo = Photo::new(90, 75);
        pool.install(|| paint(&engine, &mut photo, &plan(&config, (90, 75), WHOLE, 4)))
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn statistics_over_frames_leave_equal_frames_alone_and_follow_others() {
    let config = StyleNetConfig { blocks: 1, ..Preset::Xs.into() };
    let engine = Engine::new(&config, &weights(&config), PaintPrecision::F32).unwrap();
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
    // The lower contrast shows at first, where the frame's own statistics would hide it, and fades.
    let off: Vec<_> = (0..12).map(|_| largest_difference(&frame(&mut statistics, 0.6), &own(0.6))).collect();
    assert!(off[0] > 5.0 && off[11] < 0.2 * off[0] && off[4] < off[0], "{off:?}");
    statistics.reset();
    assert!(frame(&mut statistics, 0.6) == own(0.6));
}

#[test]
fn a_flat_picture_is_painted_flat() {
    let config = StyleNetConfig { blocks: 1, ..Preset::Xs.into() };
    let engine = Engine::new(&config, &weights(&config), PaintPrecision::F32).unwrap();
    let mut photo = Photo::new(24, 24);
    photo.planes.fill(200.0);
    let painted = paint(&engine, &mut photo, &plan(&config, (24, 24), WHOLE, 4));
    let plane = &painted[..24 * 24];
    assert!(largest_difference(plane, &vec![plane[0]; plane.len()]) < 0.05, "{:?}", &plane[..8]);
}

#[test]
fn too_small_a_picture_and_a_failing_sink_are_errors() {
    let config = StyleNetConfig { blocks: 0, ..Preset::Xs.into() };
    let engine = Engine::new(&config, &weights(&config), PaintPrecision::F32).unwrap();
    let mut keep = |_: usize, _: &mut [f32]| Ok(());
    let error = engine.paint(&mut Photo::new(4, 9), 1 << 30, &mut keep).unwrap_err().to_string();
    assert_eq!(error, "a picture of 9x4 pixels is too small: both sides need at least 5");
    let mut fail = |_: usize, _: &mut [f32]| Err(Error::new("the disk is full"));
    assert_eq!(engine.paint(&mut Photo::new(9, 9), 1 << 30, &mut fail).unwrap_err().to_string(), "the disk is full");
    let mut tensors = weights(&config);
    tensors.remove("in3.bias");
    assert_eq!(
        Engine::new(&config, &tensors, PaintPrecision::F32).unwrap_err().to_string(),
        "tensor `in3.bias` is missing"
    );
}

//! Networks made up for these tests, painted by every implementation: the trainable network, the CPU engine with every
//! plan, and the GPU's program, run by plain loops and by the GPU's kernels emulated on the CPU.

use super::super::gpu::interpret::{Interpreter, Numbers};
use super::super::gpu::tests::{alone, emulated, interpreted};
use super::super::gpu::{fold, program};
use super::super::memory::RowsFacts;
use super::*;
use impasto_common::network::{
    Activation, Convolution, InstanceNormalization, Layer, OutputMap, Padding, PixelRange, Resampling, Residual,
};
use impasto_kernels::gpu::Value;
use impasto_kernels::gpu::emulator::Emulator;
use impasto_kernels::gpu::paint::Pixels;

/// A layer with normalization and ReLU.
fn layer(name: &str, channels: (usize, usize), kernel: usize, resampling: Resampling, padding: Padding) -> Layer {
    let (inputs, outputs) = channels;
    Layer {
        convolution: Convolution { name: format!("{name}.conv"), inputs, outputs, kernel, resampling, padding },
        normalization: Some(InstanceNormalization { name: format!("{name}.norm"), epsilon: 1e-3 }),
        residual: None,
        activation: Activation::Relu,
    }
}

fn last(inputs: usize, kernel: usize, padding: Padding) -> Layer {
    let layer = layer("out", (inputs, 3), kernel, Resampling::None, padding);
    Layer { normalization: None, activation: Activation::None, ..layer }
}

/// A residual block: two convolutions, and the addition of the block's input.
fn block(name: &str, channels: usize, padding: Padding, crop: usize, activation: Activation) -> [Layer; 2] {
    let part = |i: usize| layer(&format!("{name}.{i}"), (channels, channels), 3, Resampling::None, padding);
    [part(1), Layer { residual: Some(Residual { layers: 2, crop }), activation, ..part(2) }]
}

const UP: Resampling = Resampling::Transposed { stride: 2, output_padding: 1 };
const DOWN: Resampling = Resampling::Stride(2);

/// Zero padding everywhere, a block without padding whose addend is cropped, a ReLU after the sum, a transposed
/// convolution, a 5x5 kernel, `tanh x 150`, BGR order, a mean.
fn unusual() -> Network {
    let (same, zero) = (Resampling::None, Padding::Zero);
    let mut layers = vec![layer("in", (3, 6), 9, same, zero(8)), layer("down", (6, 10), 3, DOWN, zero(1))];
    layers.extend(block("a", 10, zero(1), 0, Activation::Relu));
    layers.extend(block("b", 10, zero(0), 2, Activation::None));
    layers.push(layer("up", (10, 5), 3, UP, zero(1)));
    layers.push(layer("mix", (5, 9), 5, same, Padding::Reflect(2)));
    layers.push(last(9, 9, zero(4)));
    let pixels = PixelRange { white: 255.0, mean: [103.939, 116.779, 123.68], bgr: true };
    Network { layers, pixels, output: OutputMap::Tanh { scale: 150.0 } }
}

/// Blocks of the picture's size, 3x3 kernels at both ends, levels from 0 to 1.
fn flat() -> Network {
    let (same, mirror) = (Resampling::None, Padding::Reflect(1));
    let mut layers = vec![layer("in", (3, 4), 3, same, mirror)];
    layers.extend(block("a", 4, mirror, 0, Activation::None));
    layers.extend(block("b", 4, Padding::Zero(1), 0, Activation::Relu));
    layers.push(last(4, 3, mirror));
    let pixels = PixelRange { white: 1.0, mean: [0.485, 0.456, 0.406], bgr: false };
    Network { layers, pixels, output: OutputMap::Tanh { scale: 1.5 } }
}

/// A 4x4 transposed convolution right before the specialized 9x9 one, nearest upsampling with zero padding, a result that
/// is added twice.
fn mixed() -> Network {
    let (same, mirror) = (Resampling::None, Padding::Reflect);
    let mut layers = vec![
        layer("in", (3, 5), 9, same, mirror(4)),
        layer("down1", (5, 6), 3, DOWN, mirror(1)),
        layer("down2", (6, 7), 3, DOWN, Padding::Zero(1)),
    ];
    layers.extend(block("a", 7, mirror(1), 0, Activation::None));
    let [first, mut second] = block("b", 7, mirror(1), 0, Activation::None);
    // The first block's addend, too.
    second.residual = Some(Residual { layers: 4, crop: 0 });
    layers.extend([first, second]);
    layers.push(layer("up1", (7, 6), 3, Resampling::Nearest(2), Padding::Zero(1)));
    layers.push(layer("up2", (6, 5), 4, Resampling::Transposed { stride: 2, output_padding: 0 }, Padding::Zero(1)));
    layers.push(last(5, 9, mirror(4)));
    Network { layers, pixels: PixelRange::default(), output: OutputMap::Linear }
}

/// A layer that is not normalized, and one that enlarges with a 5x5 kernel.
fn for_the_processor_alone() -> Network {
    let mut network = mixed();
    network.layers[1].normalization = None;
    network.layers[5].normalization = None;
    network.layers[7].convolution.kernel = 5;
    network.layers[7].convolution.padding = Padding::Reflect(2);
    network
}

const SIZES: [(usize, usize); 5] = [(23, 18), (17, 31), (24, 24), (19, 16), (40, 27)];

/// Tolerance of a painting, in levels: it consists of sums of thousands of products that reach a few hundred levels.
const LEVELS: f32 = 0.02;

fn networks() -> [(&'static str, Network); 4] {
    [
        ("unusual", unusual()),
        ("flat", flat()),
        ("mixed", mixed()),
        ("for the processor alone", for_the_processor_alone()),
    ]
}

/// Weights small enough that the output map does not saturate.
fn weights_of(network: &Network) -> Tensors {
    let mut tensors = weights(network);
    if network.output != OutputMap::Linear {
        for (name, array) in &mut tensors {
            if name.starts_with("out.") {
                let values = array.values().iter().map(|x| x / 200.0).collect();
                *array = Array::new(array.shape(), values).unwrap();
            }
        }
    }
    tensors
}

fn spread(levels: &[f32]) -> f32 {
    levels.iter().fold(f32::MIN, |most, &x| most.max(x)) - levels.iter().fold(f32::MAX, |least, &x| least.min(x))
}

#[test]
fn the_cpu_paints_the_same_as_the_trainable_network_with_every_instruction_set_and_plan() {
    use Place::{File, Whole, Window};
    for (name, network) in networks() {
        let tensors = weights_of(&network);
        let schedule = Schedule::new(&network);
        for size in SIZES {
            let mut photo = Photo::new(size.0, size.1);
            let expected = trained(&network, &tensors, &photo);
            assert!(spread(&expected) > 20.0, "{name} at {size:?}: there is something to see");
            for level in Level::all() {
                let engine = Engine::with_level(&network, &tensors, PaintPrecision::F32, level).unwrap();
                let coarsest = schedule.coarsest;
                let all = |place| vec![place; coarsest + 1];
                let mut plans = vec![all(Whole), all(File)];
                for windows in 1..=coarsest {
                    let of = |rest| (0..=coarsest).map(|at| if at < windows { Window } else { rest }).collect();
                    plans.extend([of(Whole), of(File)]);
                }
                for (places, band) in plans.iter().flat_map(|places| [(places, 1), (places, 4), (places, 8)]) {
                    let painted = paint(&engine, &mut photo, &plan(&network, size, places, band));
                    let off = largest_difference(&painted, &expected);
                    assert!(off < LEVELS, "{name} at {size:?}, {level:?}, {places:?} by {band}: {off} levels");
                }
            }
        }
    }
}

#[test]
fn the_gpu_program_and_kernels_paint_the_same_as_the_trainable_network() {
    let machine = Emulator::new();
    for (name, network) in &networks()[..3] {
        let tensors = weights_of(network);
        let folded = fold::weights(network, &tensors, Numbers::F32.digits()).unwrap();
        for size in SIZES {
            let photo = Photo::new(size.0, size.1);
            let expected = trained(network, &tensors, &photo);
            let off = largest_difference(&interpreted(network, &folded, Numbers::F32, &photo), &expected);
            assert!(off < LEVELS, "{name} at {size:?}: the program is {off} levels off");
            let Some(machine) = &machine else { continue };
            let levels: Vec<u8> = bytemuck::cast_slice(&photo.planes).to_vec();
            let before = alone(&folded, 1.0, 0.0);
            let (found, _) = emulated(machine, network, &folded, Value::F32, (Pixels::Levels, size), &levels, &before);
            let off = largest_difference(&found, &expected);
            assert!(off < LEVELS, "{name} at {size:?}: the kernels are {off} levels off");
        }
    }
}

#[test]
fn statistics_over_frames_equal_those_of_the_cpu_for_any_pixel_range() {
    let network = unusual();
    let tensors = weights_of(&network);
    let engine = Engine::new(&network, &tensors, PaintPrecision::F32).unwrap();
    let folded = fold::weights(&network, &tensors, Numbers::F32.digits()).unwrap();
    let size = (23, 18);
    let mut interpreter = Interpreter::new(&folded, Numbers::F32);
    let (mut statistics, program) = (Statistics::over_frames(0.75), program::program(&network, size).unwrap());
    for (frame, contrast) in [1.0, 0.6, 0.9].into_iter().enumerate() {
        let mut photo = Photo::new(size.0, size.1);
        photo.planes.iter_mut().for_each(|level| *level = 100.0 + contrast * (*level - 128.0));
        interpreter.keep = if frame == 0 { 0.0 } else { 0.75 };
        let found = interpreter.paint(&program, &photo.planes);
        let mut expected = vec![0.0; found.len()];
        let mut keep = |first: usize, band: &mut [f32]| {
            for (i, line) in band.chunks_exact(size.1).enumerate() {
                expected[(i % 3 * size.0 + first + i / 3) * size.1..][..size.1].copy_from_slice(line);
            }
            Ok(())
        };
        engine.paint_steadily(&mut photo, 1 << 30, &mut statistics, &mut keep).unwrap();
        let off = largest_difference(&found, &expected);
        assert!(off < LEVELS, "frame {frame}: {off} levels");
    }
}

#[test]
fn a_network_that_the_gpu_cannot_paint_is_refused_with_the_layer_and_the_reason() {
    let network = for_the_processor_alone();
    let reason = program::program(&network, (32, 32)).unwrap_err();
    assert_eq!(reason, "the GPU kernels do not support layer `down1.conv`, which has no normalization");
    let error = fold::weights(&network, &weights(&network), 24).unwrap_err().to_string();
    assert!(error.starts_with("a GPU cannot paint with this style: ") && error.ends_with(&reason), "{error}");
}

#[test]
fn memory_is_planned_for_any_list_of_layers() {
    for (name, network) in networks() {
        let schedule = Schedule::new(&network);
        let generous =
            MemoryPlan::new(&network, &schedule, (301, 402), RowsFacts { own_size: (301, 402), own_bytes: 0 }, 1 << 30)
                .unwrap();
        assert!(generous.bands.iter().all(|&rows| rows.is_multiple_of(4)), "{name}: {:?}", generous.bands);
        let error =
            MemoryPlan::new(&network, &schedule, (301, 402), RowsFacts { own_size: (301, 402), own_bytes: 0 }, 1 << 10)
                .unwrap_err();
        assert!(error.hint().is_some_and(|hint| hint.starts_with("painting it needs at least")), "{name}: {error}");
    }
}

#[test]
fn a_picture_below_the_networks_smallest_is_refused() {
    let network = unusual();
    let engine = Engine::new(&network, &weights(&network), PaintPrecision::F32).unwrap();
    let smallest = network.smallest_side();
    let paint = |side: usize| {
        let mut keep = |_: usize, _: &mut [f32]| Ok(());
        engine.paint_steadily(&mut Photo::new(side, side), 1 << 30, &mut Statistics::own(), &mut keep)
    };
    paint(smallest).unwrap();
    let error = paint(smallest - 1).unwrap_err().to_string();
    assert!(error.ends_with(&format!("both sides need at least {smallest}")), "{error}");
}

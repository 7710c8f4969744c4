//! Tests the GPU's program against the CPU engine, without a GPU.

use std::path::Path;

use super::super::tests::{Photo, largest_difference, weights};
use super::super::{Engine, PaintPrecision, Rows, Statistics};
use super::interpret::{Interpreter, Numbers};
use super::{fold, program};
use impasto_common::model_file::StyleModel;
use impasto_common::network::{Network, Preset, StyleNetConfig};
use impasto_common::weights::{Array, Tensors};
use impasto_kernels::gpu::Value;
use impasto_kernels::gpu::emulator::Emulator;
use impasto_kernels::gpu::machine::{Buffer, GpuMachine};
use impasto_kernels::gpu::paint::{CONTROLS, Loaded, Paint, Pixels, Places, Room};
use impasto_kernels::steps::Weights;

/// The painting of the CPU engine, `(3, height, width)`.
fn expected(engine: &Engine, photo: &mut Photo, statistics: &mut Statistics) -> Vec<f32> {
    let (height, width) = photo.size();
    let mut planes = vec![0.0; 3 * height * width];
    let mut keep = |first: usize, band: &mut [f32]| {
        for (i, line) in band.chunks_exact(width).enumerate() {
            planes[(i % 3 * height + first + i / 3) * width..][..width].copy_from_slice(line);
        }
        Ok(())
    };
    engine.paint_steadily(photo, 1 << 30, statistics, &mut keep).unwrap();
    planes
}

pub(crate) fn interpreted(network: &Network, weights: &Weights, numbers: Numbers, photo: &Photo) -> Vec<f32> {
    let program = program::program(network, photo.size()).unwrap();
    Interpreter::new(weights, numbers).paint(&program, &photo.planes)
}

pub(crate) fn mean_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / a.len() as f32
}

#[test]
fn the_program_paints_the_same_as_the_cpu_in_every_preset_and_at_odd_sizes() {
    let sizes = [(5, 5), (5, 16), (6, 7), (9, 8), (13, 30), (31, 33)];
    let without = [0, 1].map(|blocks| StyleNetConfig { channels: 3, blocks });
    let presets = Preset::ALL.map(StyleNetConfig::from).map(|config| StyleNetConfig { blocks: 2, ..config });
    for config in presets.into_iter().chain(without) {
        let network = config.network();
        let tensors = weights(&network);
        let (engine, folded) =
            (Engine::new(&network, &tensors, PaintPrecision::F32).unwrap(), fold::weights(&network, &tensors, 24));
        for size in sizes {
            if config.channels > 16 && size.0 > 9 {
                continue;
            }
            let mut photo = Photo::new(size.0, size.1);
            let found = interpreted(&network, folded.as_ref().unwrap(), Numbers::F32, &photo);
            let off = largest_difference(&found, &expected(&engine, &mut photo, &mut Statistics::own()));
            assert!(off < 0.05, "{config:?}, {size:?}: {off} levels");
        }
    }
}

#[test]
fn half_precision_is_a_few_levels_off_and_never_overflows() {
    let network = StyleNetConfig { blocks: 5, ..Preset::S.into() }.network();
    let tensors = weights(&network);
    let engine = Engine::new(&network, &tensors, PaintPrecision::F32).unwrap();
    // Weights and levels that would overflow f16 in each layer without scaling.
    let large: Tensors = tensors
        .iter()
        .map(|(name, tensor)| {
            let scaled = name.contains("conv2d.weight") && !name.starts_with("deconv3");
            let factor = if scaled { 3000.0 } else { 1.0 };
            let values = tensor.values().iter().map(|value| factor * value).collect();
            (name.clone(), Array::new(tensor.shape(), values).unwrap())
        })
        .collect();
    let mut photo = Photo::new(40, 53);
    let expected = expected(&engine, &mut photo, &mut Statistics::own());
    for tensors in [&tensors, &large] {
        for (numbers, limit) in [(Numbers::F16, 0.6), (Numbers::Bf16, 5.0)] {
            let folded = fold::weights(&network, tensors, numbers.digits()).unwrap();
            let found = interpreted(&network, &folded, numbers, &photo);
            let off = mean_difference(&found, &expected);
            assert!(off < limit && off > 0.0, "{numbers:?}: {off} levels");
        }
    }
}

#[test]
fn statistics_over_frames_equal_those_of_the_cpu() {
    let network = StyleNetConfig { blocks: 1, ..Preset::Xs.into() }.network();
    let tensors = weights(&network);
    let engine = Engine::new(&network, &tensors, PaintPrecision::F32).unwrap();
    let folded = fold::weights(&network, &tensors, 24).unwrap();
    let mut interpreter = Interpreter::new(&folded, Numbers::F32);
    let mut statistics = Statistics::over_frames(0.75);
    let program = program::program(&network, (17, 22)).unwrap();
    for (frame, contrast) in [1.0, 0.6, 0.6, 0.9].into_iter().enumerate() {
        let mut photo = Photo::new(17, 22);
        photo.planes.iter_mut().for_each(|level| *level = 128.0 + contrast * (*level - 128.0));
        interpreter.keep = if frame == 0 { 0.0 } else { 0.75 };
        let found = interpreter.paint(&program, &photo.planes);
        let off = largest_difference(&found, &expected(&engine, &mut photo, &mut statistics));
        assert!(off < 0.05, "frame {frame}: {off} levels");
    }
}

#[test]
fn a_flat_picture_is_painted_flat_in_every_precision() {
    let network = StyleNetConfig { blocks: 1, ..Preset::Xs.into() }.network();
    let tensors = weights(&network);
    let mut photo = Photo::new(24, 24);
    photo.planes.fill(200.0);
    for numbers in [Numbers::F32, Numbers::F16, Numbers::Bf16] {
        let folded = fold::weights(&network, &tensors, numbers.digits()).unwrap();
        let painted = interpreted(&network, &folded, numbers, &photo);
        let plane = &painted[..24 * 24];
        assert!(largest_difference(plane, &vec![plane[0]; plane.len()]) < 0.5, "{numbers:?}: {:?}", &plane[..8]);
    }
}

/// Trained weights have a larger spread than random ones; the files are those of `tests/suite/pytorch_reference.rs`.
#[test]
fn a_trained_style_in_half_precision_is_within_two_levels_on_average() {
    let style = impasto_common::styles::BundledStyle::named("starry_night").unwrap().model().unwrap();
    let folder = std::env::var("IMPASTO_DATA").unwrap_or_else(|_| "../../shared/data".into());
    let candy = Path::new(&folder).join("stylenets/candy.safetensors");
    let mut models = vec![("starry_night", style)];
    models.extend(StyleModel::open(&candy).ok().map(|model| ("candy", model)));
    for (name, StyleModel { card, tensors }) in models {
        let network = card.network.network();
        let engine = Engine::new(&network, &tensors, PaintPrecision::F32).unwrap();
        let mut photo = smooth_photo(60, 84);
        let expected: Vec<_> =
            expected(&engine, &mut photo, &mut Statistics::own()).iter().map(|x| x.clamp(0.0, 255.0)).collect();
        for (numbers, limit) in [(Numbers::F32, 0.02), (Numbers::F16, 0.5), (Numbers::Bf16, 2.0)] {
            let folded = fold::weights(&network, &tensors, numbers.digits()).unwrap();
            let found: Vec<_> =
                interpreted(&network, &folded, numbers, &photo).iter().map(|x| x.clamp(0.0, 255.0)).collect();
            let (mean, most) = (mean_difference(&found, &expected), largest_difference(&found, &expected));
            assert!(mean < limit, "{name} in {numbers:?}: {mean} levels on average, {most} at most");
        }
    }
}

/// Shapes and shades in 8 bits, as photos have.
fn smooth_photo(height: usize, width: usize) -> Photo {
    let mut photo = Photo::new(height, width);
    for (i, level) in photo.planes.iter_mut().enumerate() {
        let (y, x) = ((i / width % height) as f32, (i % width) as f32);
        let edge = if (x - 40.0).hypot(y - 25.0) < 18.0 { 90.0 } else { 0.0 };
        *level = (90.0 + 50.0 * (x / 11.0 + i as f32 / (height * width) as f32).sin() + 0.8 * y + edge)
            .clamp(0.0, 255.0)
            .round();
    }
    photo
}

/// Paints on the emulated GPU: runs the GPU's kernels, grids and arguments on the CPU.
pub(crate) fn emulated(
    machine: &Emulator,
    network: &Network,
    weights: &Weights,
    value: Value,
    (pixels, size): (Pixels, (usize, usize)),
    frame: &[u8],
    before: &[f64],
) -> (Vec<f32>, Vec<f64>) {
    let program = program::program(network, size).unwrap();
    let paint = Paint { program: &program, weights, value, pixels };
    let (loaded, room) = (Loaded::new(machine, weights, value).unwrap(), Room::new(machine, &paint).unwrap());
    let mut bytes = frame.to_vec();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    let words: Vec<_> = bytes.as_chunks().0.iter().map(|&word| u64::from_ne_bytes(word)).collect();
    let frame = machine.upload(&words).unwrap();
    let before = machine.upload(&before.iter().map(|number| number.to_bits()).collect::<Vec<_>>()).unwrap();
    let places = Places { frame: frame.place(), before: before.place(), ..room.places(&loaded) };
    paint.start(machine, &places).unwrap();
    let painting = match pixels {
        Pixels::Levels => room.painting.read(Value::F32),
        Pixels::Bytes(_) => room.painting.bytes().iter().copied().map(f32::from).collect(),
    };
    let after = room.after.bytes().as_chunks().0.iter().map(|&number| f64::from_ne_bytes(number)).collect();
    (painting, after)
}

/// Controls and statistics without earlier frames.
pub(crate) fn alone(weights: &Weights, strength: f64, keep_colors: f64) -> Vec<f64> {
    let mut before = vec![0.0, strength, keep_colors];
    // Statistics with weight 0 must not be read.
    before.resize(CONTROLS + 2 * weights.channels_before(weights.filters.len()), f64::NAN);
    before
}

#[test]
fn the_gpu_kernels_paint_the_same_as_the_program() {
    let Some(machine) = Emulator::new() else { return };
    let cases = [(Preset::Xs, (13, 30)), (Preset::Xs, (5, 5)), (Preset::S, (18, 11)), (Preset::L, (6, 9))];
    let values = [(Value::F32, Numbers::F32, 0.05), (Value::F16, Numbers::F16, 0.5), (Value::Bf16, Numbers::Bf16, 4.0)];
    for ((preset, size), (value, numbers, limit)) in cases.into_iter().flat_map(|case| values.map(|v| (case, v))) {
        let network = StyleNetConfig { blocks: 1, ..preset.into() }.network();
        let folded = fold::weights(&network, &weights(&network), numbers.digits()).unwrap();
        let photo = Photo::new(size.0, size.1);
        let levels: Vec<u8> = bytemuck::cast_slice(&photo.planes).to_vec();
        let before = alone(&folded, 1.0, 0.0);
        let (found, _) = emulated(&machine, &network, &folded, value, (Pixels::Levels, size), &levels, &before);
        let off = mean_difference(&found, &interpreted(&network, &folded, numbers, &photo));
        assert!(off < limit, "{preset} at {size:?} in {value:?}: {off} levels");
    }
}

#[test]
fn the_gpu_kernels_keep_alpha_and_round_as_the_cpu_does() {
    let Some(machine) = Emulator::new() else { return };
    let network = StyleNetConfig { blocks: 0, ..Preset::Xs.into() }.network();
    let tensors = weights(&network);
    let engine = Engine::new(&network, &tensors, PaintPrecision::F32).unwrap();
    let folded = fold::weights(&network, &tensors, 24).unwrap();
    let size = (9, 14);
    let mut photo = Photo::new(size.0, size.1);
    photo.planes.iter_mut().for_each(|level| *level = level.round().clamp(0.0, 255.0));
    let pixels = size.0 * size.1;
    let painted = expected(&engine, &mut photo, &mut Statistics::own());
    for channels in [3, 4] {
        let bytes: Vec<_> = (0..pixels * channels)
            .map(|i| if i % channels < 3 { photo.planes[i % channels * pixels + i / channels] as u8 } else { i as u8 })
            .collect();
        for (strength, keep) in [(1.0, 0.0), (0.4, 0.0), (1.0, 1.0)] {
            let before = alone(&folded, strength, keep);
            let (found, _) =
                emulated(&machine, &network, &folded, Value::F32, (Pixels::Bytes(channels), size), &bytes, &before);
            for (i, &found) in found.iter().enumerate() {
                let (pixel, channel) = (i / channels, i % channels);
                let at = |planes: &[f32]| [0, 1, 2].map(|colour| planes[colour * pixels + pixel]);
                let expected = if channel < 3 {
                    blended(at(&painted), at(&photo.planes), strength as f32, keep > 0.0)[channel]
                } else {
                    f32::from(bytes[i])
                };
                assert!((found - expected).abs() <= 0.55, "byte {i} of {channels}: {found}, not {expected}");
            }
        }
    }
}

/// The blend that `infer` makes of a painted pixel and the photo's pixel, clamped.
fn blended(painted: [f32; 3], photo: [f32; 3], strength: f32, keep_colors: bool) -> [f32; 3] {
    let luma = |levels: [f32; 3]| 0.299 * levels[0] + 0.587 * levels[1] + 0.114 * levels[2];
    let cut = painted.map(|level| level.clamp(0.0, 255.0));
    if !keep_colors {
        return [0, 1, 2].map(|i| photo[i] + strength * (cut[i] - photo[i]));
    }
    let chroma = photo.map(|level| level - luma(photo));
    let room = |chroma: f32| if chroma > 0.0 { 255.0 - luma(cut) } else { luma(cut) };
    let saturation = chroma.iter().fold(1f32, |least, &chroma| least.min(room(chroma) / chroma.abs()));
    chroma.map(|chroma| (luma(cut) + saturation * chroma).clamp(0.0, 255.0))
}

#[test]
fn the_gpu_kernels_use_statistics_of_earlier_frames() {
    let Some(machine) = Emulator::new() else { return };
    let network = StyleNetConfig { blocks: 0, ..Preset::Xs.into() }.network();
    let tensors = weights(&network);
    let engine = Engine::new(&network, &tensors, PaintPrecision::F32).unwrap();
    let folded = fold::weights(&network, &tensors, 24).unwrap();
    let (size, mut statistics) = ((12, 10), Statistics::over_frames(0.75));
    let mut before = alone(&folded, 1.0, 0.0);
    for contrast in [1.0, 0.6, 0.9] {
        let mut photo = Photo::new(size.0, size.1);
        photo.planes.iter_mut().for_each(|level| *level = 128.0 + contrast * (*level - 128.0));
        let levels: Vec<u8> = bytemuck::cast_slice(&photo.planes).to_vec();
        let (found, after) =
            emulated(&machine, &network, &folded, Value::F32, (Pixels::Levels, size), &levels, &before);
        let off = largest_difference(&found, &expected(&engine, &mut photo, &mut statistics));
        assert!(off < 0.05, "contrast {contrast}: {off} levels");
        before[0] = 0.75;
        before[CONTROLS..].copy_from_slice(&after);
    }
}

/// Tests that need a GPU; without one they are skipped, and say so.
#[cfg(feature = "cuda")]
mod on_a_gpu {
    use std::io::Write;

    use super::super::super::{AnyEngine, Begun, Blend, Outcome, PixelFrame};
    use super::*;
    use impasto_common::device::DeviceChoice;

    const BLEND: Blend = Blend { strength: 1.0, keep_colors: false };

    fn engine(network: &Network, tensors: &Tensors, precision: PaintPrecision) -> Option<AnyEngine> {
        match AnyEngine::new(network, tensors, DeviceChoice::Cuda(0), Some(precision)) {
            Ok(engine) => Some(engine),
            Err(error) => {
                // Reports on standard error that the test was skipped; a closed stream is no failure.
                let _ = writeln!(std::io::stderr(), "skipped: {error}");
                None
            }
        }
    }

    /// Fails too if the CPU had to paint.
    fn painted(engine: &AnyEngine, photo: &mut Photo, statistics: &mut Statistics) -> Result<Vec<f32>, String> {
        let (height, width) = photo.size();
        let mut planes = vec![0.0; 3 * height * width];
        let mut keep = |first: usize, band: &mut [f32]| {
            for (i, line) in band.chunks_exact(width).enumerate() {
                planes[(i % 3 * height + first + i / 3) * width..][..width].copy_from_slice(line);
            }
            Ok(())
        };
        match engine.paint_steadily(photo, 1 << 30, statistics, &mut keep) {
            Ok(None) => {}
            Ok(Some(note)) if note.contains("is painted on the CPU") => return Err(note),
            // It painted without a CUDA graph, for example. A closed stream is no failure.
            Ok(Some(note)) => {
                let _ = writeln!(std::io::stderr(), "note: {note}");
            }
            Err(error) => return Err(error.to_string()),
        }
        Ok(planes)
    }

    /// A distance of two paintings.
    type Difference = fn(&[f32], &[f32]) -> f32;

    /// Compares paintings of a GPU with one of the CPU: f16 first, which is the default. Returns what differs.
    fn differences(
        network: &Network,
        tensors: &Tensors,
        photo: &mut Photo,
        levels: fn(f32) -> f32,
        limits: &[(PaintPrecision, Difference, f32)],
    ) -> Vec<String> {
        let cpu = Engine::new(network, tensors, PaintPrecision::F32).unwrap();
        let level = |painting: Vec<f32>| painting.into_iter().map(levels).collect::<Vec<_>>();
        let expected = level(expected(&cpu, photo, &mut Statistics::own()));
        let compare = |&(precision, difference, limit): &(PaintPrecision, Difference, f32)| {
            let engine = engine(network, tensors, precision)?;
            let found = painted(&engine, photo, &mut Statistics::own()).map(level);
            let off = found.map(|found| difference(&found, &expected));
            match off {
                Ok(off) if off <= limit => None,
                Ok(off) => Some(format!("{precision}: {off} levels, {limit} allowed")),
                Err(error) => Some(format!("{precision}: {error}")),
            }
        };
        limits.iter().filter_map(compare).collect()
    }

    #[test]
    fn a_gpu_paints_the_same_as_the_cpu() {
        let mut found = Vec::new();
        for (preset, size) in
            [(Preset::L, (270, 481)), (Preset::M, (65, 90)), (Preset::S, (33, 5)), (Preset::Xs, (41, 64))]
        {
            let network = StyleNetConfig::from(preset).network();
            let (tensors, mut photo) = (weights(&network), Photo::new(size.0, size.1));
            let cpu = Engine::new(&network, &tensors, PaintPrecision::F32).unwrap();
            let painting = expected(&cpu, &mut photo, &mut Statistics::own());
            let largest = painting.iter().fold(0f32, |largest, x| largest.max(x.abs()));
            // In 16 bits a few pixels may change strokes, so only the mean is checked.
            let limits: [(_, Difference, _); 3] = [
                (PaintPrecision::F16, mean_difference, 2e-2 * largest),
                (PaintPrecision::Bf16, mean_difference, 2e-2 * largest),
                (PaintPrecision::F32, largest_difference, 1e-4 * largest),
            ];
            let differences = differences(&network, &tensors, &mut photo, |level| level, &limits);
            found.extend(differences.iter().map(|difference| format!("{preset} at {size:?} in {difference}")));
        }
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_trained_style_is_close_to_the_cpu() {
        let StyleModel { card, tensors } =
            impasto_common::styles::BundledStyle::named("starry_night").unwrap().model().unwrap();
        // Simulated, f16 is 0.31 levels off on average. In saturated areas single levels are up to 5 off, so only the mean is
        // checked.
        let limits: [(_, Difference, _); 2] =
            [(PaintPrecision::F16, mean_difference, 0.6), (PaintPrecision::F32, largest_difference, 1.0)];
        let cut = |level: f32| level.clamp(0.0, 255.0);
        let found = differences(&card.network.network(), &tensors, &mut smooth_photo(180, 240), cut, &limits);
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn frames_in_flight_come_back_in_order_whatever_their_size() {
        let network = StyleNetConfig { blocks: 1, ..Preset::Xs.into() }.network();
        let Some(engine) = engine(&network, &weights(&network), PaintPrecision::F16) else { return };
        let frame = |i: usize, size: (usize, usize)| {
            let bytes = (0..size.0 * size.1 * 3).map(|at| (at * (7 + i) % 251) as u8).collect();
            PixelFrame { bytes, channels: 3, size }
        };
        let begin = |frame: PixelFrame| match engine.begin(frame, BLEND, &Statistics::own()).unwrap() {
            Begun::Ticket(ticket) => ticket,
            Begun::Refused(_) => panic!("small frames are painted"),
        };
        let finish = |ticket| match engine.finish(ticket, &mut Statistics::own()).unwrap() {
            Outcome::Painted(frame, _) => frame,
            Outcome::Refused(_) => panic!("small frames are painted"),
        };
        // More sizes than are kept ready, twice.
        let sizes = [(20, 30), (31, 17), (8, 8), (40, 12), (25, 25), (9, 60)];
        let frames: Vec<_> = (0..24).map(|i| frame(i, sizes[i % 6 / 2 * 2 + usize::from(i % 5 == 0)])).collect();
        let alone: Vec<_> = frames.iter().map(|frame| finish(begin(frame.clone()))).collect();
        let in_flight: Vec<_> = frames.iter().map(|frame| begin(frame.clone())).collect();
        let together: Vec<_> = in_flight.into_iter().map(finish).collect();
        assert!(alone == together, "the same frame gives the same bytes, whatever else is in flight");
    }

    #[test]
    fn statistics_over_frames_equal_those_of_the_cpu() {
        let network = StyleNetConfig { blocks: 1, ..Preset::Xs.into() }.network();
        let tensors = weights(&network);
        let cpu = Engine::new(&network, &tensors, PaintPrecision::F32).unwrap();
        let Some(gpu) = engine(&network, &tensors, PaintPrecision::F32) else { return };
        let [mut on_cpu, mut on_gpu] = [0, 1].map(|_| Statistics::over_frames(0.75));
        for contrast in [1.0, 0.6, 0.6, 0.9] {
            let mut photo = Photo::new(17, 22);
            photo.planes.iter_mut().for_each(|level| *level = 128.0 + contrast * (*level - 128.0));
            let found = painted(&gpu, &mut photo, &mut on_gpu).unwrap();
            let off = largest_difference(&found, &expected(&cpu, &mut photo, &mut on_cpu));
            assert!(off < 0.05, "contrast {contrast}: {off} levels");
        }
    }
}

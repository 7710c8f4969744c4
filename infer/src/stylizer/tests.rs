use std::sync::Barrier;
use std::thread;

use impasto_common::network::StyleNetConfig;
use impasto_common::weights::{Array, Tensors};
use impasto_engine::{Blend, FrameInFlight, GpuAnswer, GpuPainter, GpuTimes, PaintPrecision, PixelFrame, Rows, Sink};

use super::*;

/// The smallest network.
const CONFIG: StyleNetConfig = StyleNetConfig { channels: 2, blocks: 0 };

/// The weights of an untrained network: every weight is a small constant. Enough to see what happens around it.
fn tensors() -> Tensors {
    let constant = |(name, shape): (String, Vec<usize>)| {
        let value = if name.contains("conv") { 0.02 } else { 1.0 };
        let values = vec![value; shape.iter().product()];
        (name, Array::new(shape, values).unwrap())
    };
    CONFIG.network().tensors().into_iter().map(constant).collect()
}

pub(super) fn stylizer() -> Stylizer {
    let card = ModelCard::new("constant", CONFIG);
    Stylizer::new(&StyleModel { card, tensors: tensors() }).unwrap()
}

/// The same, marked as made by `trainer`.
pub(super) fn trained() -> Stylizer {
    let mut stylizer = stylizer();
    stylizer.card.training = Some(serde_json::Value::default());
    stylizer
}

#[test]
fn options_out_of_range_are_refused() {
    for strength in [-0.1, 1.1, f32::NAN] {
        let options = StylizeOptions { strength, ..StylizeOptions::default() };
        assert_eq!(stylizer().with_options(options).unwrap_err().exit_code(), 2);
    }
    let options = StylizeOptions { max_size: Some(0), ..StylizeOptions::default() };
    assert!(stylizer().with_options(options).is_err());
    for pixels in [10, 260] {
        let options = StylizeOptions { margin: PaintMargin::Pixels(pixels), ..StylizeOptions::default() };
        assert_eq!(stylizer().with_options(options).unwrap_err().exit_code(), 2);
    }
}

#[test]
fn too_little_memory_is_said_with_the_size_that_the_picture_has() {
    let picture = Picture::from(image::RgbImage::new(1000, 60));
    for stylizer in [stylizer(), trained()] {
        let tight = |memory| {
            let options = StylizeOptions { memory: Some(memory), ..StylizeOptions::default() };
            Stylizer { options, ..stylizer.clone() }.stylize(&picture)
        };
        let error = tight(64 << 10).unwrap_err();
        assert_eq!(error.to_string(), "64 KiB of memory are not enough for a picture of 1000x60 pixels");
        let needed =
            error.hint().unwrap().strip_prefix("painting it needs at least ").unwrap().strip_suffix(" MiB").unwrap();
        tight(needed.parse::<u64>().unwrap() << 20).unwrap();
    }
}

#[test]
fn a_bundled_style_of_an_unknown_name_is_a_usage_error() {
    let error = Stylizer::bundled("no such style").unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.hint().unwrap().starts_with("bundled styles: "));
}

#[test]
fn the_colours_of_transparent_pixels_do_not_change_the_painting() {
    let stylizer = Stylizer::bundled("starry_night").unwrap();
    let visible = |hidden: [u8; 3]| {
        let image = image::RgbaImage::from_fn(40, 32, |x, y| {
            let [red, green, blue] = if x < 20 { [x as u8 * 9, y as u8 * 7, 90] } else { hidden };
            image::Rgba([red, green, blue, if x < 20 { 255 } else { 0 }])
        });
        let painting = stylizer.stylize(&Picture::from(image::DynamicImage::from(image))).unwrap().picture;
        painting.as_image().crop_imm(0, 0, 20, 32)
    };
    assert!(visible([0; 3]) == visible([255; 3]));
}

/// A GPU that refuses every picture, two at a time.
#[derive(Debug)]
struct RefusingGpu(Barrier);

impl GpuPainter for RefusingGpu {
    fn name(&self) -> &'static str {
        "a GPU that paints nothing"
    }

    fn precision(&self) -> PaintPrecision {
        PaintPrecision::F16
    }

    fn begin(
        &self,
        frame: PixelFrame,
        _: Blend,
        _: &Statistics,
    ) -> Result<Box<dyn FrameInFlight>, (PixelFrame, String)> {
        self.0.wait();
        Err((frame, "it has too many pixels for the GPU kernels".into()))
    }

    fn paint_steadily(&self, picture: &mut dyn Rows, _: u64, _: &mut Statistics, _: &mut Sink) -> Result<GpuAnswer> {
        self.0.wait();
        Ok(GpuAnswer::Refused(format!("no room for {} pixels", picture.size().0 * picture.size().1)))
    }

    fn times(&self, _: (usize, usize), _: usize) -> Result<GpuTimes> {
        Err(Error::new("it paints nothing"))
    }

    fn peak_flops(&self) -> Result<f64> {
        Err(Error::new("it multiplies nothing"))
    }

    fn release(&self) {}
}

#[test]
fn two_paintings_at_once_do_not_see_each_others_notes() {
    let by_cpu = stylizer();
    let gpu = Box::new(RefusingGpu(Barrier::new(2)));
    let engine = Arc::new(AnyEngine::with_gpu(&by_cpu.card.network.network(), &tensors(), gpu));
    let by_gpu = Stylizer { engine, ..by_cpu.clone() };
    let paint = |picture: Picture| {
        let (by_cpu, by_gpu, picture) = (&by_cpu, by_gpu.clone(), picture);
        move || {
            let painted = by_gpu.stylize(&picture).unwrap();
            assert_eq!(painted.picture, by_cpu.stylize(&picture).unwrap().picture);
            painted.notes.join("; ")
        }
    };
    let both = |pictures: [Picture; 2]| {
        thread::scope(|scope| pictures.map(|picture| scope.spawn(paint(picture))).map(|one| one.join().unwrap()))
    };
    // Pictures of 8 bits go to a GPU as bytes, others as levels.
    let bytes = [(9, 8), (7, 6)].map(|(width, height)| image::RgbImage::new(width, height).into());
    let notes = [(9, 8), (7, 6)].map(|(width, height)| {
        format!(
            "a picture of {width}x{height} pixels is painted on the CPU: it has too many pixels for the GPU kernels"
        )
    });
    assert_eq!(both(bytes), notes);
    let levels = [(11, 10), (5, 12)].map(|(width, height)| image::DynamicImage::new_rgb16(width, height).into());
    let notes = [(11, 10), (5, 12)].map(|(width, height)| {
        format!("a picture of {width}x{height} pixels is painted on the CPU: no room for {} pixels", width * height)
    });
    assert_eq!(both(levels), notes);
}

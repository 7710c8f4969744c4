use std::sync::Barrier;
use std::thread;

use super::super::GpuTimes;
use super::super::tests::{Photo, weights};
use super::*;
use impasto_common::network::{Preset, StyleNetConfig};

const BLEND: Blend = Blend { strength: 1.0, keep_colors: false };

fn network() -> Network {
    StyleNetConfig { blocks: 0, ..Preset::Xs.into() }.network()
}

fn frame(size: (usize, usize)) -> PixelFrame {
    PixelFrame { bytes: vec![0; 3 * size.0 * size.1], channels: 3, size }
}

/// A GPU without memory: it refuses every picture when two are in flight.
#[derive(Debug)]
struct FullGpu(&'static Barrier);

#[derive(Debug)]
struct DoomedFrame(PixelFrame, &'static Barrier);

fn full((height, width): (usize, usize)) -> String {
    format!("no room for {}", height * width)
}

impl FrameInFlight for DoomedFrame {
    fn finish(self: Box<Self>, _: &mut Statistics) -> Result<(PixelFrame, Option<String>)> {
        let Self(frame, both) = *self;
        let reason = full(frame.size);
        both.wait();
        Ok((frame, Some(reason)))
    }
}

impl GpuPainter for FullGpu {
    fn name(&self) -> &'static str {
        "a full GPU"
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
        Ok(Box::new(DoomedFrame(frame, self.0)))
    }

    fn paint_steadily(
        &self,
        picture: &mut dyn Rows,
        _: u64,
        _: &mut Statistics,
        _: &mut Sink,
    ) -> Result<Option<String>> {
        self.0.wait();
        Ok(Some(full(picture.size())))
    }

    fn times(&self, size: (usize, usize), _: usize) -> Result<GpuTimes> {
        Err(impasto_error::Error::new(full(size)))
    }

    fn peak_flops(&self) -> Result<f64> {
        Ok(1.0)
    }

    fn release(&self) {}
}

fn engine_with_full_gpu() -> AnyEngine {
    static BOTH: Barrier = Barrier::new(2);
    let config = network();
    AnyEngine::with_gpu(&config, &weights(&config), Box::new(FullGpu(&BOTH)))
}

#[test]
fn the_cpu_paints_if_no_gpu_was_requested() {
    let config = network();
    let engine = AnyEngine::new(&config, &weights(&config), DeviceChoice::Cpu, None).unwrap();
    assert_eq!((engine.precision(), engine.fallback_reason()), (PaintPrecision::F32, None));
    assert!(engine.gpu().is_none());
    match engine.begin(frame((5, 5)), BLEND, &Statistics::own()).unwrap() {
        Begun::Refused(refused) => assert_eq!(refused, RefusedFrame { frame: frame((5, 5)), note: None }),
        Begun::Ticket(_) => panic!("there is no GPU"),
    }
}

#[test]
fn the_cpu_does_not_paint_in_f16() {
    let error = AnyEngine::check(DeviceChoice::Cpu, Some(PaintPrecision::F16)).unwrap_err();
    assert_eq!((error.exit_code(), error.hint()), (2, Some("use `f32`, or `bf16`")));
}

#[test]
fn two_paintings_at_once_do_not_see_each_others_notes() {
    let engine = engine_with_full_gpu();
    let steadily = |(height, width): (usize, usize)| {
        let (mut statistics, mut picture) = (Statistics::own(), Photo::new(height, width));
        engine.paint_steadily(&mut picture, 1 << 30, &mut statistics, &mut |_, _| Ok(())).unwrap()
    };
    let as_frame = |size: (usize, usize)| {
        let Begun::Ticket(ticket) = engine.begin(frame(size), BLEND, &Statistics::own()).unwrap() else {
            panic!("the frame is taken")
        };
        match engine.finish(ticket, &mut Statistics::own()).unwrap() {
            Outcome::Refused(refused) => {
                assert_eq!(refused.frame, frame(size));
                refused.note
            }
            Outcome::Painted(_) => panic!("there is no room"),
        }
    };
    let both = |paint: &(dyn Fn((usize, usize)) -> Option<String> + Sync), sizes: [(usize, usize); 2]| {
        thread::scope(|scope| sizes.map(|size| scope.spawn(move || paint(size))).map(|one| one.join().unwrap()))
    };
    let note = |text: &str| Some(format!("a picture of {text}"));
    let expected = [
        note("9x8 pixels is painted on the CPU: no room for 72"),
        note("7x6 pixels is painted on the CPU: no room for 42"),
    ];
    assert_eq!(both(&steadily, [(8, 9), (6, 7)]), expected);
    let expected = [
        note("11x10 pixels is painted on the CPU: no room for 110"),
        note("5x12 pixels is painted on the CPU: no room for 60"),
    ];
    assert_eq!(both(&as_frame, [(10, 11), (12, 5)]), expected);
    // A refused size goes to the CPU at once, without a second notice.
    assert_eq!(steadily((8, 9)), None);
    assert!(matches!(
        engine.begin(frame((10, 11)), BLEND, &Statistics::own()).unwrap(),
        Begun::Refused(RefusedFrame { note: None, .. })
    ));
}

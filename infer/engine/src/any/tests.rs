use std::sync::Barrier;
use std::thread;

use super::super::tests::{Photo, weights};
use super::super::{GpuAnswer, GpuTimes};
use super::*;
use impasto_common::network::{Preset, StyleNetConfig};

const BLEND: Blend = Blend { strength: 1.0, keep_colors: false };

fn network() -> Network {
    StyleNetConfig { blocks: 0, ..Preset::Xs.into() }.network()
}

fn frame(size: (usize, usize)) -> PixelFrame {
    PixelFrame { bytes: vec![0; 3 * size.0 * size.1], channels: 3, size }
}

/// A GPU that answers when as many pictures are in flight as the barrier says.
#[derive(Debug)]
struct FakeGpu(fn((usize, usize)) -> GpuAnswer, &'static Barrier);

#[derive(Debug)]
struct FakeFrame(PixelFrame, GpuAnswer, &'static Barrier);

/// The answer of a GPU without memory.
fn full((height, width): (usize, usize)) -> GpuAnswer {
    GpuAnswer::Refused(format!("no room for {}", height * width))
}

/// The answer of a GPU that paints slowly.
fn slow((height, width): (usize, usize)) -> GpuAnswer {
    GpuAnswer::Painted(Some(format!("{} pixels take long", height * width)))
}

impl FrameInFlight for FakeFrame {
    fn finish(self: Box<Self>, _: &mut Statistics) -> Result<(PixelFrame, GpuAnswer)> {
        let Self(frame, answer, all) = *self;
        all.wait();
        Ok((frame, answer))
    }
}

impl GpuPainter for FakeGpu {
    fn name(&self) -> &'static str {
        "a fake GPU"
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
        let answer = self.0(frame.size);
        Ok(Box::new(FakeFrame(frame, answer, self.1)))
    }

    fn paint_steadily(&self, picture: &mut dyn Rows, _: u64, _: &mut Statistics, _: &mut Sink) -> Result<GpuAnswer> {
        self.1.wait();
        Ok(self.0(picture.size()))
    }

    fn times(&self, size: (usize, usize), _: usize) -> Result<GpuTimes> {
        Err(impasto_error::Error::new(format!("{:?}", self.0(size))))
    }

    fn peak_flops(&self) -> Result<f64> {
        Ok(1.0)
    }

    fn release(&self) {}
}

fn engine_with_full_gpu() -> AnyEngine {
    static BOTH: Barrier = Barrier::new(2);
    let config = network();
    AnyEngine::with_gpu(&config, &weights(&config), Box::new(FakeGpu(full, &BOTH)))
}

#[test]
fn what_a_gpu_notes_about_a_painting_comes_with_the_painting() {
    static ONE: Barrier = Barrier::new(1);
    let config = network();
    let engine = AnyEngine::with_gpu(&config, &weights(&config), Box::new(FakeGpu(slow, &ONE)));
    let (mut statistics, mut picture) = (Statistics::own(), Photo::new(6, 7));
    let note = engine.paint_steadily(&mut picture, 1 << 30, &mut statistics, &mut |_, _| Ok(())).unwrap();
    assert_eq!(note.as_deref(), Some("42 pixels take long"));
    let Begun::Ticket(ticket) = engine.begin(frame((8, 9)), BLEND, &statistics).unwrap() else {
        panic!("the frame is taken")
    };
    let Outcome::Painted(painted, note) = engine.finish(ticket, &mut statistics).unwrap() else {
        panic!("the frame is painted")
    };
    assert_eq!((painted, note.as_deref()), (frame((8, 9)), Some("72 pixels take long")));
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
    assert_eq!((error.exit_code(), error.hint()), (2, Some("use `f32` or `bf16`")));
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
            Outcome::Painted(..) => panic!("there is no room"),
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

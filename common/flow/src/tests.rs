use super::*;

/// A smooth picture with detail at many sizes, the larger the stronger, seen at any position.
fn texture(y: f32, x: f32) -> f32 {
    let wave = |i: i32| {
        // Wavelengths from 100 pixels to 8, each in another direction; the golden angle spreads them.
        let (frequency, angle) = (0.06 * 1.2f32.powi(i), 2.4 * i as f32);
        (frequency * (angle.cos() * x + angle.sin() * y) + angle * angle).sin() / 1.1f32.powi(i)
    };
    128.0 + 24.0 * (0..15).map(wave).sum::<f32>()
}

fn frame((height, width): (usize, usize), level: impl Fn(f32, f32) -> f32) -> FlowFrame {
    let pixels = (0..height * width).map(|i| [level((i / width) as f32, (i % width) as f32); 4]).collect();
    FlowFrame::from_pixels((height, width), pixels)
}

const SIZE: (usize, usize) = (150, 203);
/// Pixels at the border that do not count.
const BORDER: usize = 16;

/// The mean distance of the flow from the true one away from borders, pixels; the second frame shows at `place(y, x)` what
/// the first shows at `(y, x)`, and `back` is the inverse of `place`.
fn error(options: &FlowOptions, place: impl Fn(f32, f32) -> (f32, f32), back: impl Fn(f32, f32) -> (f32, f32)) -> f32 {
    let first = Pyramid::new(&frame(SIZE, texture));
    let second = Pyramid::new(&frame(SIZE, |y, x| {
        let (y, x) = back(y, x);
        texture(y, x)
    }));
    let flow = Flow::between(&first, &second, options);
    let (mut sum, mut count) = (0.0, 0);
    for row in BORDER..SIZE.0 - BORDER {
        for column in BORDER..SIZE.1 - BORDER {
            let (y, x) = place(row as f32, column as f32);
            let at = row * SIZE.1 + column;
            let (u, v) = (flow.x()[at] - (x - column as f32), flow.y()[at] - (y - row as f32));
            sum += (u * u + v * v).sqrt();
            count += 1;
        }
    }
    sum / count as f32
}

/// Turned by an angle and made larger around the middle.
fn turned(angle: f32, scale: f32) -> impl Fn(f32, f32) -> (f32, f32) {
    let (middle_y, middle_x) = (SIZE.0 as f32 / 2.0, SIZE.1 as f32 / 2.0);
    move |y, x| {
        let (y, x) = (y - middle_y, x - middle_x);
        let (sin, cos) = angle.sin_cos();
        (middle_y + scale * (sin * x + cos * y), middle_x + scale * (cos * x - sin * y))
    }
}

#[test]
fn a_translation_is_recovered_to_a_fraction_of_a_pixel() {
    for (options, bound) in [(FlowOptions::fast(), 0.2), (FlowOptions::fine(), 0.1)] {
        for (dy, dx) in [(0.3, -0.45), (2.25, 3.5), (-7.6, 11.3)] {
            let off = error(&options, |y, x| (y + dy, x + dx), |y, x| (y - dy, x - dx));
            assert!(off < bound, "{options:?}, {dy}, {dx}: {off} pixels");
        }
    }
}

#[test]
fn zoom_and_rotation_are_recovered_to_a_fraction_of_a_pixel() {
    for (options, bound) in [(FlowOptions::fast(), 0.2), (FlowOptions::fine(), 0.1)] {
        for (angle, scale) in [(0.03, 1.0), (0.0, 1.04), (-0.02, 0.97)] {
            let off = error(&options, turned(angle, scale), turned(-angle, 1.0 / scale));
            // Turning back is turning by the opposite angle and the inverse scale, about the same middle.
            assert!(off < bound, "{options:?}, turned by {angle}, scaled by {scale}: {off} pixels");
        }
    }
}

#[test]
fn a_square_that_moves_over_the_background_masks_what_it_covers() {
    let square = |left: f32| {
        move |y: f32, x: f32| {
            let inside = (50.0..98.0).contains(&y) && (left..left + 48.0).contains(&x);
            if inside { 255.0 - texture(1.7 * (y + 300.0), 1.7 * (x - left)) } else { texture(y, x) }
        }
    };
    let (first, second) = (Pyramid::new(&frame(SIZE, square(60.0))), Pyramid::new(&frame(SIZE, square(72.0))));
    for options in [FlowOptions::fast(), FlowOptions::fine()] {
        let (flow, back) = (Flow::between(&first, &second, &options), Flow::between(&second, &first, &options));
        let mask = flow.agrees(&back, Trust::Seen);
        let share = |rows: std::ops::Range<usize>, columns: std::ops::Range<usize>| {
            let all = rows.len() * columns.len();
            let trusted =
                rows.flat_map(|y| columns.clone().map(move |x| y * SIZE.1 + x)).filter(|&at| mask[at]).count();
            trusted as f32 / all as f32
        };
        // The square covers columns 108 to 120 of the background; it and what lies far from it stay in sight.
        assert!(share(54..94, 109..119) < 0.2, "{options:?}: covered {}", share(54..94, 109..119));
        assert!(share(58..90, 68..100) > 0.95, "{options:?}: the square {}", share(58..90, 68..100));
        assert!(share(16..134, 150..187) > 0.98, "{options:?}: background {}", share(16..134, 150..187));
        let inside = flow.agrees(&back, Trust::SeenInside);
        assert!(inside.iter().zip(&mask).all(|(inside, seen)| *seen || !inside));
        let edge = (56..64).filter(|x| !inside[74 * SIZE.1 + x]).count();
        assert!(edge > 0, "{options:?}: the square's left edge is a boundary");
    }
}

#[test]
fn flat_pictures_do_not_move() {
    for (before, after) in [(0.0, 0.0), (200.0, 200.0), (100.0, 130.0)] {
        let (first, second) = (frame((70, 90), |_, _| before), frame((70, 90), |_, _| after));
        for options in [FlowOptions::fast(), FlowOptions::fine()] {
            let flow = Flow::between(&Pyramid::new(&first), &Pyramid::new(&second), &options);
            assert!(flow.x().iter().chain(flow.y()).all(|&pixels| pixels.abs() < 1e-3));
        }
    }
}

#[test]
fn the_same_frame_twice_does_not_move() {
    let pyramid = Pyramid::new(&frame(SIZE, texture));
    let flow = Flow::between(&pyramid, &pyramid, &FlowOptions::fast());
    assert!(flow.x().iter().chain(flow.y()).all(|&pixels| pixels.abs() < 0.01));
    assert!(flow.agrees(&flow, Trust::SeenInside).iter().all(|&trusted| trusted));
}

#[test]
fn any_number_of_threads_gives_the_same_flow() {
    let (first, second) =
        (Pyramid::new(&frame(SIZE, texture)), Pyramid::new(&frame(SIZE, |y, x| texture(y + 1.5, x - 3.2))));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| Flow::between(&first, &second, &FlowOptions::fast()))
    };
    let one = run(1);
    assert!(one == run(2) && one == run(3));
}

#[test]
fn frames_of_any_size_have_a_flow() {
    for size in [(1, 1), (1, 9), (5, 3), (8, 8), (23, 51), (48, 48), (49, 97)] {
        let (first, second) = (frame(size, texture), frame(size, |y, x| texture(y, x + 1.0)));
        for options in [FlowOptions::fast(), FlowOptions::fine()] {
            let flow = Flow::between(&Pyramid::new(&first), &Pyramid::new(&second), &options);
            assert_eq!(flow.size(), size);
            assert!(flow.x().iter().chain(flow.y()).all(|pixels| pixels.is_finite()));
        }
    }
}

#[test]
fn a_frame_moves_along_a_flow() {
    let frame = frame((4, 6), |y, x| 10.0 * y + x);
    let flow = Flow { height: 4, width: 6, x: vec![1.5; 24], y: vec![1.0; 24] };
    let moved = frame.along(&flow);
    // A ramp is interpolated exactly away from the border; beyond the border lies the border.
    assert!((moved.pixels()[6 + 2][0] - 23.5).abs() < 1e-4);
    assert!((moved.pixels()[3 * 6 + 5][3] - 35.0).abs() < 1e-4);
    assert_eq!(frame.along(&Flow::still((4, 6))), frame, "nothing moves, nothing changes");
}

#[test]
fn two_flows_in_sequence_compose() {
    let flow = |x: f32, y: f32| Flow { x: vec![x; 60], y: vec![y; 60], ..Flow::still((6, 10)) };
    assert_eq!(flow(1.5, -1.0).then(&flow(0.25, 3.0)), flow(1.75, 2.0));
    // A flow that grows to the right, looked up where the first leads to.
    let grows = Flow { x: (0..60).map(|at| (at % 10) as f32).collect(), ..Flow::still((6, 10)) };
    let both = flow(2.5, 0.0).then(&grows);
    assert_eq!((both.x[23], both.x[29]), (3.0 + 2.5 + 2.5, 2.5 + 9.0), "beyond the border lies the border");
}

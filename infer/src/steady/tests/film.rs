//! Synthetic scenes.

use impasto_flow::FlowFrame;

/// A smooth picture with detail at many sizes, the larger the stronger, seen at any position.
pub(in crate::steady) fn texture(y: f32, x: f32) -> f32 {
    let wave = |i: i32| {
        // Wavelengths from 100 pixels to 8, each in another direction; the golden angle spreads them.
        let (frequency, angle) = (0.06 * 1.2f32.powi(i), 2.4 * i as f32);
        (frequency * (angle.cos() * x + angle.sin() * y) + angle * angle).sin() / 1.1f32.powi(i)
    };
    128.0 + 24.0 * (0..15).map(wave).sum::<f32>()
}

pub(in crate::steady) fn frame((height, width): (usize, usize), level: impl Fn(f32, f32) -> f32) -> FlowFrame {
    let pixels = (0..height * width).map(|i| [level((i / width) as f32, (i % width) as f32); 4]).collect();
    FlowFrame::from_pixels((height, width), pixels)
}

//! Variational refinement of a flow (Brox et al., 2004, as Kroeger et al., 2016, section 2.3, use it): minimises changes of
//! brightness and gradient along the flow, and the roughness of the flow, all three in a robust norm.
//!
//! The linearised system is relaxed by Jacobi's method in blocks of two: this is slower by half than successive
//! over-relaxation, but it runs at the speed of the vector units and in any order.

use crate::multiversion::multiversion;

/// Weights of brightness, gradient and smoothness, from the authors' program.
const BRIGHTNESS: f32 = 5.0;
const SLOPES: f32 = 10.0;
const SMOOTHNESS: f32 = 20.0;
/// Residuals, pixels, below which the norms of data and of smoothness are quadratic.
const DATA_SOFT: f32 = 0.03;
const SMOOTH_SOFT: f32 = 0.02;
/// Keeps the normalisation of the data terms finite where the gradient is zero; squared levels per pixel.
const FLAT: f32 = 0.5;

/// Three rows of a plane with one more pixel on both sides: above, here, below.
pub type Band<'a> = [&'a [f32]; 3];

/// One row of the system: `[xx + w, xy; xy, yy + w] flow = [x, y] + w * neighbours`, and the smoothness from which the
/// weights `w` follow.
#[derive(Debug)]
pub struct System<'a> {
    /// Upper left coefficient of the 2x2 matrix at each pixel.
    pub xx: &'a mut [f32],
    /// The two equal off-diagonal coefficients.
    pub xy: &'a mut [f32],
    /// Lower right coefficient.
    pub yy: &'a mut [f32],
    /// Right-hand side for the horizontal flow.
    pub x: &'a mut [f32],
    /// Right-hand side for the vertical flow.
    pub y: &'a mut [f32],
    /// Smoothness, with one more value at both ends.
    pub smooth: &'a mut [f32],
}

/// `levels` are the means of both frames' levels along the flow `(start_x, start_y)`, `change` is their difference, and
/// `flow_x` and `flow_y` are the current iterate. All have one more pixel on each side.
#[inline(always)]
fn system(levels: Band<'_>, change: Band<'_>, start: [&[f32]; 2], flow: [Band<'_>; 2], out: &mut System<'_>) {
    let width = out.xx.len();
    let [la, lh, lb] = levels.map(|row| &row[..width + 2]);
    let [ca, ch, cb] = change.map(|row| &row[..width + 2]);
    let [sx, sy] = start.map(|row| &row[..width + 2]);
    let [[xa, xh, xb], [ya, yh, yb]] = flow.map(|band| band.map(|row| &row[..width + 2]));
    let (xx, xy, yy) = (&mut out.xx[..width], &mut out.xy[..width], &mut out.yy[..width]);
    let (rx, ry, smooth) = (&mut out.x[..width], &mut out.y[..width], &mut out.smooth[1..=width]);
    for i in 0..width {
        let j = i + 1;
        let (dx, dy) = (xh[j] - sx[j], yh[j] - sy[j]);
        // First and second derivatives of the levels, and first derivatives of the change.
        let (gx, gy) = (0.5 * (lh[j + 1] - lh[i]), 0.5 * (lb[j] - la[j]));
        let gxx = lh[j + 1] - 2.0 * lh[j] + lh[i];
        let gyy = lb[j] - 2.0 * lh[j] + la[j];
        let gxy = 0.25 * ((lb[j + 1] - lb[i]) - (la[j + 1] - la[i]));
        let (tx, ty) = (0.5 * (ch[j + 1] - ch[i]), 0.5 * (cb[j] - ca[j]));
        // Normalised: residuals are distances in pixels.
        let norm = 1.0 / (gx * gx + gy * gy + FLAT);
        let residual = ch[j] + gx * dx + gy * dy;
        let b = BRIGHTNESS * norm / (norm * residual * residual + DATA_SOFT * DATA_SOFT).sqrt();
        let norm_x = 1.0 / (gxx * gxx + gxy * gxy + FLAT);
        let norm_y = 1.0 / (gxy * gxy + gyy * gyy + FLAT);
        let (residual_x, residual_y) = (tx + gxx * dx + gxy * dy, ty + gxy * dx + gyy * dy);
        let s = SLOPES
            / (norm_x * residual_x * residual_x + norm_y * residual_y * residual_y + DATA_SOFT * DATA_SOFT).sqrt();
        let (s_x, s_y) = (s * norm_x, s * norm_y);
        let a = b * gx * gx + s_x * gxx * gxx + s_y * gxy * gxy;
        let c = b * gx * gy + s_x * gxx * gxy + s_y * gxy * gyy;
        let d = b * gy * gy + s_x * gxy * gxy + s_y * gyy * gyy;
        xx[i] = a;
        xy[i] = c;
        yy[i] = d;
        rx[i] = a * sx[j] + c * sy[j] - (b * gx * ch[j] + s_x * gxx * tx + s_y * gxy * ty);
        ry[i] = c * sx[j] + d * sy[j] - (b * gy * ch[j] + s_x * gxy * tx + s_y * gyy * ty);
        let (ux, uy) = (0.5 * (xh[j + 1] - xh[i]), 0.5 * (xb[j] - xa[j]));
        let (vx, vy) = (0.5 * (yh[j + 1] - yh[i]), 0.5 * (yb[j] - ya[j]));
        smooth[i] = SMOOTHNESS / (ux * ux + uy * uy + vx * vx + vy * vy + SMOOTH_SOFT * SMOOTH_SOFT).sqrt();
    }
}

multiversion! {
    /// Sets up one row of the system.
    pub fn system_row(
        levels: Band<'_>,
        change: Band<'_>,
        start: [&[f32]; 2],
        flow: [Band<'_>; 2],
        out: &mut System<'_>,
    ) {
        system(levels, change, start, flow, out);
        let width = out.xx.len();
        out.smooth[0] = out.smooth[1];
        out.smooth[width + 1] = out.smooth[width];
    }
}

/// Read access to one row of the system.
#[derive(Debug, Clone, Copy)]
pub struct Relaxation<'a> {
    /// See [`System::xx`].
    pub xx: &'a [f32],
    /// See [`System::xy`].
    pub xy: &'a [f32],
    /// See [`System::yy`].
    pub yy: &'a [f32],
    /// See [`System::x`].
    pub x: &'a [f32],
    /// See [`System::y`].
    pub y: &'a [f32],
    /// Smoothness of this row and of those above and below.
    pub smooth: Band<'a>,
}

multiversion! {
    /// One step of the relaxation: the row's new flow from that of itself and its neighbours.
    pub fn relax_row(system: Relaxation<'_>, flow: [Band<'_>; 2], x: &mut [f32], y: &mut [f32]) {
        let width = system.xx.len();
        let [sa, sh, sb] = system.smooth.map(|row| &row[..width + 2]);
        let [[xa, xh, xb], [ya, yh, yb]] = flow.map(|band| band.map(|row| &row[..width + 2]));
        let [xx, xy, yy] = [system.xx, system.xy, system.yy].map(|row| &row[..width]);
        let [rx, ry] = [system.x, system.y].map(|row| &row[..width]);
        let (x, y) = (&mut x[..width + 2], &mut y[..width + 2]);
        for i in 0..width {
            let j = i + 1;
            let left = 0.5 * (sh[i] + sh[j]);
            let right = 0.5 * (sh[j + 1] + sh[j]);
            let up = 0.5 * (sa[j] + sh[j]);
            let down = 0.5 * (sb[j] + sh[j]);
            let all = (left + right) + (up + down);
            let bx = rx[i] + (left * xh[i] + right * xh[j + 1]) + (up * xa[j] + down * xb[j]);
            let by = ry[i] + (left * yh[i] + right * yh[j + 1]) + (up * ya[j] + down * yb[j]);
            let (a, b, c) = (xx[i] + all, xy[i], yy[i] + all);
            let scale = 1.0 / (a * c - b * b);
            x[j] = (c * bx - b * by) * scale;
            y[j] = (a * by - b * bx) * scale;
        }
        x[0] = x[1];
        y[0] = y[1];
        x[width + 1] = x[width];
        y[width + 1] = y[width];
    }
}

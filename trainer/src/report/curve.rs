//! A column of the metrics as an inline SVG drawing with a logarithmic axis.

use std::fs;
use std::path::Path;

use impasto_common::{Error, Result, ResultExt};

/// Size of a drawing, and of the margin for its labels, in its own units.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 200.0;
const MARGIN: f64 = 52.0;

/// The largest number of points: more cannot be distinguished on a screen.
const POINTS: usize = 500;

/// The number of points on each side that the smooth line is averaged over.
const NEIGHBOURS: usize = 10;

/// One measured quantity over the steps.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    name: String,
    /// Steps and values, averaged over intervals of equal length.
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// Every column of a table of metrics except the step.
    pub(super) fn read_all(path: &Path) -> Result<Vec<Self>> {
        let action = || format!("cannot read `{}`", path.display());
        let text = fs::read_to_string(path).context(action)?;
        let mut lines = text.lines();
        let Some(header) = lines.next() else { return Ok(Vec::new()) };
        let rows: Vec<Vec<f64>> = lines
            .map(|line| line.split(',').map(str::parse).collect::<std::result::Result<_, _>>().context(action))
            .collect::<Result<_>>()?;
        let names: Vec<_> = header.split(',').collect();
        if rows.iter().any(|row| row.len() != names.len()) {
            return Err(Error::new("a row is cut short")).context(action);
        }
        let curve = |(column, name): (usize, &&str)| {
            Self::new(name, &rows.iter().map(|row| (row[0], row[column])).collect::<Vec<_>>())
        };
        Ok(names.iter().enumerate().skip(1).map(curve).collect())
    }

    /// The curve through steps with their values.
    pub(crate) fn new(name: &str, points: &[(f64, f64)]) -> Self {
        Self { name: name.to_owned(), points: averaged(points) }
    }

    /// The drawing: every value as a faint line, their running mean as a bold one.
    pub(crate) fn svg(&self) -> String {
        let positive = self.points.iter().filter(|point| point.1 > 0.0);
        let points: Vec<_> = positive.map(|&(step, value)| (step, value.log10())).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
        let low = points.iter().map(|point| point.1).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|point| point.1).fold(f64::NEG_INFINITY, f64::max);
        let area = PlotArea { steps: (first.0, last.0), logs: (low - 0.02, high + 0.02) };
        let lines = [area.line("values", &points), area.line("mean", &smooth(&points))].concat();
        format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">\
             <text x=\"{MARGIN}\" y=\"14\">{0}</text>{1}{lines}</svg>\n",
            self.name,
            area.labels()
        )
    }
}

/// Maps steps and logarithms of values to positions in the drawing.
struct PlotArea {
    steps: (f64, f64),
    logs: (f64, f64),
}

impl PlotArea {
    fn x(&self, step: f64) -> f64 {
        MARGIN + (WIDTH - MARGIN) * (step - self.steps.0) / (self.steps.1 - self.steps.0).max(1.0)
    }

    fn y(&self, log: f64) -> f64 {
        let (top, bottom) = (22.0, HEIGHT - 16.0);
        bottom - (bottom - top) * (log - self.logs.0) / (self.logs.1 - self.logs.0)
    }

    /// Labels: three values beside the drawing, and the first and last step below it.
    fn labels(&self) -> String {
        let value = |fraction: f64| {
            let log = self.logs.0 + (self.logs.1 - self.logs.0) * fraction;
            let (y, value) = (self.y(log), short(10f64.powf(log)));
            format!(
                "<line class=\"grid\" x1=\"{MARGIN}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text x=\"0\" y=\"{:.1}\">{value}</text>",
                y + 4.0
            )
        };
        let step = |step: f64, anchor: &str| {
            // Slightly above the lower edge, so that the letters are not cut off.
            let (x, y, step) = (self.x(step), HEIGHT - 3.0, step.round());
            format!("<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"{anchor}\">{step}</text>")
        };
        [value(0.0), value(0.5), value(1.0), step(self.steps.0, "start"), step(self.steps.1, "end")].concat()
    }

    fn line(&self, class: &str, points: &[(f64, f64)]) -> String {
        let point = |&(step, log): &(f64, f64)| format!("{:.1},{:.1}", self.x(step), self.y(log));
        let points: Vec<_> = points.iter().map(point).collect();
        format!("<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "))
    }
}

/// The means over at most [`POINTS`] intervals of equal length.
fn averaged(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(POINTS).max(1);
    points.chunks(stretch).map(mean).collect()
}

fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let around = |index: usize| {
        let reach = NEIGHBOURS.min(index).min(points.len() - 1 - index);
        mean(&points[index - reach..=index + reach])
    };
    (0..points.len()).map(around).collect()
}

fn mean(points: &[(f64, f64)]) -> (f64, f64) {
    let sum = points.iter().fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    (sum.0 / points.len() as f64, sum.1 / points.len() as f64)
}

/// Formats a value with three significant digits.
fn short(value: f64) -> String {
    if (0.01..1000.0).contains(&value) {
        let digits = 2 - (value.log10().floor() as i32).clamp(-2, 2);
        format!("{value:.*}", digits as usize)
    } else {
        format!("{value:.2e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let shorts = [0.0123, 0.5, 7.25, 42.0, 987.6, 12_345.0, 1e-9].map(short);
        assert_eq!(shorts, ["0.0123", "0.500", "7.25", "42.0", "988", "1.23e4", "1.00e-9"]);
    }

    #[test]
    fn a_long_run_is_drawn_with_few_points_and_the_same_mean() {
        let points: Vec<_> = (0..10_000).map(|step| (f64::from(step), f64::from(step % 7))).collect();
        let fewer = averaged(&points);
        assert_eq!(fewer.len(), POINTS);
        assert!((mean(&fewer).1 - mean(&points).1).abs() < 1e-9);
    }

    #[test]
    fn a_smooth_line_keeps_both_ends_and_straight_lines() {
        let line: Vec<_> = (0..50).map(|step| (f64::from(step), 2.0 * f64::from(step))).collect();
        assert_eq!(smooth(&line), line);
    }

    #[test]
    fn every_column_becomes_a_drawing_within_its_area() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "step,total,tv\n1,100,0\n2,10,0\n3,1,0\n").unwrap();
        let curves = Curve::read_all(file.path()).unwrap();
        assert_eq!(curves.iter().map(|curve| curve.name.as_str()).collect::<Vec<_>>(), ["total", "tv"]);
        // The logarithms 2, 1 and 0, a hundredth of the height inside the area from 22 to 184.
        assert!(curves[0].svg().contains("points=\"52.0,23.6 306.0,103.0 560.0,182.4\""), "{}", curves[0].svg());
        assert_eq!(curves[1].svg(), "", "zeros have no logarithm");
    }
}

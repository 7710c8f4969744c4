//! The memory layout of pictures, and the transformation of values as a convolution reads them.

/// Strides, in floats: row `y` of channel `c` of picture `n` begins at `n * picture + c * plane + (y - first) * row`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// From one picture to the next.
    pub picture: usize,
    /// From one channel to the next.
    pub plane: usize,
    /// From one row of a channel to the next.
    pub row: usize,
    /// The first row that is stored.
    pub first: usize,
}

impl Layout {
    /// `(batch, channels, height, width)`, as candle's tensors are.
    #[must_use]
    pub fn planar(channels: usize, height: usize, width: usize) -> Self {
        Self { picture: channels * height * width, plane: height * width, row: width, first: 0 }
    }

    /// `(height, channels, width)` of one picture, from row `first` on: consecutive rows are one slice, as needed to paint
    /// a picture in bands.
    #[must_use]
    pub fn by_row(channels: usize, width: usize, first: usize) -> Self {
        Self { picture: 0, plane: width, row: channels * width, first }
    }

    /// Where row `y` of a channel begins.
    #[must_use]
    #[inline(always)]
    pub fn at(&self, picture: usize, channel: usize, y: usize) -> usize {
        debug_assert!(y >= self.first, "row {y} is not stored");
        picture * self.picture + channel * self.plane + (y - self.first) * self.row
    }
}

/// Instance normalisation of one channel as a convolution applies it to what it reads:
/// `max((x - mean) * factor + bias, floor)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normal {
    /// Subtracted first.
    pub mean: f32,
    /// The reciprocal standard deviation times the weight.
    pub factor: f32,
    /// Added after the product.
    pub bias: f32,
    /// 0 with a ReLU, otherwise minus infinity.
    pub floor: f32,
}

impl Normal {
    /// The normalised value. A NaN passes through.
    #[must_use]
    #[inline(always)]
    pub fn of(&self, x: f32) -> f32 {
        let y = (x - self.mean) * self.factor + self.bias;
        if y < self.floor { self.floor } else { y }
    }
}

/// The transformation of a value before it is used.
#[derive(Debug, Clone, Copy)]
pub enum Before<'a> {
    /// Nothing.
    Nothing,
    /// Values count as 0 where this slice, of the same layout, is not positive: the gradient of a ReLU.
    Gate(&'a [f32]),
    /// Normalised, by a [`Normal`] for each channel.
    Normalise(&'a [Normal]),
}

/// Count, mean and sum of squared distances from the mean of a set of values.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Moments {
    /// How many values.
    pub count: f64,
    /// Their mean.
    pub mean: f64,
    /// The sum of their squared distances from the mean: the biased variance times the count.
    pub squares: f64,
}

impl Moments {
    /// Of `count` values whose distances from `pivot` have this sum and this sum of squares.
    ///
    /// With a value of the set as pivot, large numbers do not cancel even where the mean is far from zero.
    #[must_use]
    pub fn around(pivot: f32, count: usize, sum: f64, squares: f64) -> Self {
        if count == 0 {
            return Self::default();
        }
        let count = count as f64;
        let shift = sum / count;
        Self { count, mean: f64::from(pivot) + shift, squares: (squares - sum * shift).max(0.0) }
    }

    /// Of both sets together (Chan et al., 1979).
    #[must_use]
    pub fn merged(self, other: Self) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let delta = other.mean - self.mean;
        Self {
            count,
            mean: self.mean + delta * other.count / count,
            squares: self.squares + other.squares + delta * delta * self.count * other.count / count,
        }
    }

    /// Of each of `channels` channels, from the moments of several parts of a picture one after another, each with all channels.
    /// They are merged in this order.
    ///
    /// # Panics
    ///
    /// If there are no channels.
    #[must_use]
    pub fn by_channel(parts: &[Self], channels: usize) -> Vec<Self> {
        let mut totals = vec![Self::default(); channels];
        for part in parts.chunks_exact(channels) {
            for (total, part) in totals.iter_mut().zip(part) {
                *total = total.merged(*part);
            }
        }
        totals
    }

    /// The instance normalisation by these moments (biased variance plus `epsilon`), followed by `weight` and `bias` and,
    /// with `relu`, a ReLU.
    #[must_use]
    pub fn normal(&self, weight: f32, bias: f32, epsilon: f64, relu: bool) -> Normal {
        let scale = (self.squares / self.count.max(1.0) + epsilon).sqrt().recip() as f32;
        let floor = if relu { 0.0 } else { f32::NEG_INFINITY };
        Normal { mean: self.mean as f32, factor: scale * weight, bias, floor }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_moments_of_chunks_equal_those_of_the_whole() {
        let values = [1000.0f32, 1001.0, 1003.0, 998.0, 1010.0];
        let of = |part: &[f32]| {
            let pivot = part[0];
            let distance = |&x: &f32| f64::from(x - pivot);
            Moments::around(
                pivot,
                part.len(),
                part.iter().map(distance).sum(),
                part.iter().map(|x| distance(x).powi(2)).sum(),
            )
        };
        let (whole, parts) = (of(&values), of(&values[..2]).merged(of(&values[2..])));
        // By hand: the mean is 1002.4, the squared distances sum to 85.2.
        for found in [whole, parts] {
            assert!((found.count - 5.0).abs() < 1e-9);
            assert!((found.mean - 1002.4).abs() < 1e-9 && (found.squares - 85.2).abs() < 1e-9, "{found:?}");
        }
        assert_eq!(Moments::default().merged(whole), whole);
    }

    #[test]
    fn rows_of_a_band_are_counted_from_its_first() {
        assert_eq!(Layout::planar(3, 5, 7).at(2, 1, 4), 2 * 105 + 35 + 28);
        assert_eq!(Layout::by_row(3, 7, 2).at(0, 1, 4), 2 * 21 + 7);
    }
}

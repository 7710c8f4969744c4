//! Says what a painting loses where it is written.

use std::io::{Read, Write};

use impasto_common::Result;
use impasto_picture::Picture;

use super::painter::FramePainter;
use crate::Painted;

/// Paints like another painter, and adds a note to the first painting that loses something.
pub struct LossNotes<'a, F> {
    painter: &'a mut dyn FramePainter,
    loss: Option<F>,
}

impl<'a, F: Fn(&Picture) -> Option<String> + Send> LossNotes<'a, F> {
    /// Asks `loss` what a painting loses, until it says something.
    pub fn new(painter: &'a mut dyn FramePainter, loss: F) -> Self {
        Self { painter, loss: Some(loss) }
    }

    fn noted(&mut self, mut painted: Painted) -> Painted {
        if let Some(note) = self.loss.as_ref().and_then(|loss| loss(&painted.picture)) {
            painted.notes.push(note);
            self.loss = None;
        }
        painted
    }
}

impl<F: Fn(&Picture) -> Option<String> + Send> FramePainter for LossNotes<'_, F> {
    fn paint(&mut self, frame: Picture) -> Result<Painted> {
        let painted = self.painter.paint(frame)?;
        Ok(self.noted(painted))
    }

    fn push(&mut self, frame: Option<Picture>) -> Result<Option<Painted>> {
        let painted = self.painter.push(frame)?;
        Ok(painted.map(|painted| self.noted(painted)))
    }

    fn reset(&mut self) {
        self.painter.reset();
    }

    fn has_memory(&self) -> bool {
        self.painter.has_memory()
    }

    fn save(&self, writer: &mut dyn Write) -> Result<()> {
        self.painter.save(writer)
    }

    fn restore(&mut self, reader: &mut dyn Read) -> Result<()> {
        self.painter.restore(reader)
    }
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    #[test]
    fn a_loss_is_told_once_with_the_first_frame_that_has_it() {
        let mut painter = |picture: Picture| Ok(picture);
        let loss = |picture: &Picture| picture.is_transparent().then(|| "lost".to_owned());
        let mut noted = LossNotes::new(&mut painter, loss);
        let notes: Vec<_> = [255, 9, 9]
            .into_iter()
            .map(|alpha| {
                let image = image::DynamicImage::from(RgbaImage::from_pixel(1, 1, Rgba([0, 0, 0, alpha])));
                noted.push(Some(image.into())).unwrap().unwrap().notes
            })
            .collect();
        assert_eq!(notes, [vec![], vec!["lost".to_owned()], vec![]]);
        assert!(noted.push(None).unwrap().is_none());
    }
}

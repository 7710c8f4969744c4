//! Paintings with notices for the user about how they were made.
//!
//! Notices are returned with their painting, so that concurrent paintings do not see each other's. There is one kind so
//! far: the GPU could not paint a picture, so the CPU did. It is given for the first picture of a size.

use impasto_picture::{Loss, Picture};

/// A painted picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Painted {
    /// The painting.
    pub picture: Picture,
    /// What the user should know, a line each. Usually empty.
    pub notes: Vec<String>,
}

/// The planes of a painted picture.
#[derive(Debug, Clone, PartialEq)]
pub struct PaintedPlanes {
    /// `(3, height, width)`, RGB nominally in `[0, 255]`, not clamped.
    pub levels: Vec<f32>,
    /// What the user should know, a line each. Usually empty.
    pub notes: Vec<String>,
}

/// A painted picture that was written to its file.
#[derive(Debug, Clone, PartialEq)]
pub struct PaintedFile {
    /// What the file's format could not hold.
    pub losses: Vec<Loss>,
    /// What the user should know, a line each. Usually empty.
    pub notes: Vec<String>,
}

impl From<Picture> for Painted {
    /// A painting without notes.
    fn from(picture: Picture) -> Self {
        Self { picture, notes: Vec::new() }
    }
}

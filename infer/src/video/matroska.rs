//! Raw frames with exact timestamps, for the standard input of an encoder.
//!
//! A pipe of raw pixels has a constant frame rate, and so has `yuv4mpegpipe`. A minimal Matroska stream (RFC 9559) supports
//! variable rates. It has one cluster per frame, timestamps in nanoseconds and uncompressed pixels. Nanoseconds are precise
//! enough to be rounded back to the exact ticks of any time base that clips use.

use std::io::{self, Write};

use impasto_video::Ratio;

/// One nanosecond.
const TICK: Ratio = Ratio { numerator: 1, denominator: 1_000_000_000 };

/// The layout of raw pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RawFormat {
    /// Planes of Y, Cb and Cr. Cb and Cr have half the width and height.
    Yuv420,
    /// Interleaved red, green and blue bytes.
    Rgb,
    /// The same with alpha.
    Rgba,
}

impl RawFormat {
    /// The four-byte code in ffmpeg's list of raw formats.
    fn code(self) -> [u8; 4] {
        match self {
            Self::Yuv420 => *b"I420",
            Self::Rgb => *b"RGB\x18",
            Self::Rgba => *b"RGBA",
        }
    }
}

/// The properties of all frames of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawTrack {
    pub(super) size: (u32, u32),
    pub(super) format: RawFormat,
    pub(super) time_base: Ratio,
    /// The rate for the encoder's rate control. Timestamps do not depend on it.
    pub(super) frame_rate: Option<Ratio>,
}

/// Writes a stream of raw frames.
pub(super) struct MatroskaWriter<W> {
    writer: W,
    time_base: Ratio,
}

impl<W: Write> MatroskaWriter<W> {
    /// Writes the header.
    pub(super) fn new(mut writer: W, track: &RawTrack) -> io::Result<Self> {
        let (width, height) = track.size;
        let head = [
            number(&[0x42, 0x86], 1),
            number(&[0x42, 0xF7], 1),
            number(&[0x42, 0xF2], 4),
            number(&[0x42, 0xF3], 8),
            element(&[0x42, 0x82], b"matroska"),
            number(&[0x42, 0x87], 4),
            number(&[0x42, 0x85], 2),
        ];
        let info = [number(&[0x2A, 0xD7, 0xB1], 1), element(&[0x4D, 0x80], b"infer"), element(&[0x57, 0x41], b"infer")];
        let video = [
            number(&[0xB0], width.into()),
            number(&[0xBA], height.into()),
            element(&[0x2E, 0xB5, 0x24], &track.format.code()),
        ];
        let mut entry = vec![
            number(&[0xD7], 1),
            number(&[0x73, 0xC5], 1),
            number(&[0x83], 1),
            number(&[0x9C], 0),
            element(&[0x86], b"V_UNCOMPRESSED"),
            element(&[0xE0], &video.concat()),
        ];
        if let Some(rate) = track.frame_rate {
            entry.push(number(&[0x23, 0xE3, 0x83], rate.inverse().rescale(1, TICK).max(1) as u64));
        }
        writer.write_all(&element(&[0x1A, 0x45, 0xDF, 0xA3], &head.concat()))?;
        // A Matroska segment of unknown length, which ends with the stream.
        writer.write_all(&[0x18, 0x53, 0x80, 0x67, 0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF])?;
        writer.write_all(&element(&[0x15, 0x49, 0xA9, 0x66], &info.concat()))?;
        writer.write_all(&element(&[0x16, 0x54, 0xAE, 0x6B], &element(&[0xAE], &entry.concat())))?;
        Ok(Self { writer, time_base: track.time_base })
    }

    /// Writes a frame that is shown at `pts` for `duration`, in the track's time base. `pts` must not be negative.
    pub(super) fn write(&mut self, pixels: &[u8], pts: i64, duration: i64) -> io::Result<()> {
        let nanoseconds = |ticks: i64| self.time_base.rescale(ticks, TICK).max(0) as u64;
        let timestamp = number(&[0xE7], nanoseconds(pts));
        let duration = number(&[0x9B], nanoseconds(pts + duration).saturating_sub(nanoseconds(pts)));
        // Track 1, no offset from the cluster's timestamp, no flags.
        let block_head = [0x81, 0, 0, 0];
        let mut block = vec![0xA1];
        block.extend(length(block_head.len() + pixels.len()));
        block.extend(block_head);
        let mut group = vec![0xA0];
        group.extend(length(block.len() + pixels.len() + duration.len()));
        let mut cluster = vec![0x1F, 0x43, 0xB6, 0x75];
        cluster.extend(length(timestamp.len() + group.len() + block.len() + pixels.len() + duration.len()));
        self.writer.write_all(&[cluster, timestamp, group, block].concat())?;
        self.writer.write_all(pixels)?;
        self.writer.write_all(&duration)
    }

    /// The writer, to flush and close it.
    pub(super) fn into_inner(self) -> W {
        self.writer
    }
}

fn element(id: &[u8], content: &[u8]) -> Vec<u8> {
    [id, &length(content.len()), content].concat()
}

fn number(id: &[u8], value: u64) -> Vec<u8> {
    element(id, &value.to_be_bytes())
}

/// A length as eight bytes, which is enough for any length.
fn length(bytes: usize) -> [u8; 8] {
    (bytes as u64 | 1 << 56).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_a_cluster_with_its_moment_and_its_pixels() {
        let time_base = Ratio { numerator: 1, denominator: 30000 };
        let track = RawTrack { size: (2, 2), format: RawFormat::Yuv420, time_base, frame_rate: None };
        let mut writer = MatroskaWriter::new(Vec::new(), &track).unwrap();
        let head = writer.writer.len();
        writer.write(b"pixels", 1001, 1001).unwrap();
        let bytes = writer.into_inner();
        assert_eq!(bytes[..4], [0x1A, 0x45, 0xDF, 0xA3]);
        let cluster = &bytes[head..];
        assert_eq!(cluster[..4], [0x1F, 0x43, 0xB6, 0x75]);
        // All that follows the cluster's identifier and its length of eight bytes.
        assert_eq!(cluster[11] as usize, cluster.len() - 12);
        let moment = u64::from_be_bytes(cluster[21..29].try_into().unwrap());
        assert_eq!(moment, 33_366_667);
        assert!(cluster.windows(6).any(|window| window == b"pixels"));
    }
}

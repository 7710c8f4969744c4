//! The picture formats that we know but do not read, by content and by the ending of the name.
//!
//! A user whose photo is left out wants to know its format and how to convert it.

use std::fmt;
use std::path::Path;

use impasto_error::Error;
use impasto_files::has_extension;

use super::folder::TELLING_BYTES;
use super::format::PictureFormat;

/// A format of pictures that is known and cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForeignFormat {
    /// HEVC in HEIF: photos of phones.
    Heic,
    /// AV1 in HEIF.
    Avif,
    /// JPEG XL.
    JpegXl,
    /// JPEG 2000.
    Jpeg2000,
    /// JPEG XR.
    JpegXr,
    /// Any camera's raw format, DNG among them.
    CameraRaw,
    /// Photoshop.
    Psd,
    /// GIMP.
    Xcf,
    /// Drawings in XML.
    Svg,
    /// `OpenEXR`.
    OpenExr,
    /// Radiance.
    RadianceHdr,
    /// PBM, PGM, PPM, PAM and PFM.
    Netpbm,
    /// Targa.
    Targa,
    /// Icons and cursors of Windows and macOS.
    Icon,
    /// Textures.
    Dds,
    /// PCX.
    Pcx,
    /// QOI.
    Qoi,
    /// farbfeld.
    Farbfeld,
    /// FLIF.
    Flif,
    /// BPG.
    Bpg,
    /// What macOS keeps beside a file on a foreign disk: no picture, though its name ends like one.
    AppleDouble,
}

use ForeignFormat::{
    AppleDouble, Avif, Bpg, CameraRaw, Dds, Farbfeld, Flif, Heic, Icon, Jpeg2000, JpegXl, JpegXr, Netpbm, OpenExr, Pcx,
    Psd, Qoi, RadianceHdr, Svg, Targa, Xcf,
};

/// How files begin. Two or three bytes are not enough: other files begin with them too.
const MAGICS: [(&[u8], ForeignFormat); 25] = [
    (b"\0\0\0\x0cJXL \r\n\x87\n", JpegXl),
    (b"\0\0\0\x0cjP  \r\n\x87\n", Jpeg2000),
    (b"\xff\x4f\xff\x51", Jpeg2000),
    (b"II\xbc\x01", JpegXr),
    (b"II*\0\x10\0\0\0CR", CameraRaw),
    (b"IIRO", CameraRaw),
    (b"IIRS", CameraRaw),
    (b"MMOR", CameraRaw),
    (b"IIU\0", CameraRaw),
    (b"FUJIFILMCCD-RAW", CameraRaw),
    (b"II\x1a\0\0\0HEAPCCDR", CameraRaw),
    (b"\0MRM", CameraRaw),
    (b"FOVb", CameraRaw),
    (b"8BPS", Psd),
    (b"gimp xcf", Xcf),
    (b"<svg", Svg),
    (b"v/1\x01", OpenExr),
    (b"#?RADIANCE", RadianceHdr),
    (b"#?RGBE", RadianceHdr),
    (b"DDS ", Dds),
    (b"qoif", Qoi),
    (b"farbfeld", Farbfeld),
    (b"FLIF", Flif),
    (b"BPG\xfb", Bpg),
    (b"\0\x05\x16\x07", AppleDouble),
];

/// Major brands of files in the container of MP4 (ISO/IEC 14496-12), and what they hold.
const BRANDS: [(&[u8], ForeignFormat); 13] = [
    (b"heic", Heic),
    (b"heix", Heic),
    (b"heim", Heic),
    (b"heis", Heic),
    (b"hevc", Heic),
    (b"hevx", Heic),
    (b"avif", Avif),
    (b"avis", Avif),
    (b"crx ", CameraRaw),
    (b"jxl ", JpegXl),
    (b"j2ki", Jpeg2000),
    (b"mif1", Heic),
    (b"msf1", Heic),
];

/// Brands that only say that a file holds pictures; the compatible brands say of which kind.
const GENERIC_BRANDS: [&[u8]; 2] = [b"mif1", b"msf1"];

impl ForeignFormat {
    const ALL: [Self; 21] = [
        Heic,
        Avif,
        JpegXl,
        Jpeg2000,
        JpegXr,
        CameraRaw,
        Psd,
        Xcf,
        Svg,
        OpenExr,
        RadianceHdr,
        Netpbm,
        Targa,
        Icon,
        Dds,
        Pcx,
        Qoi,
        Farbfeld,
        Flif,
        Bpg,
        AppleDouble,
    ];

    /// The format of a file with this name and these first bytes, of which some hundred are enough. `None` if it can be read, or
    /// is nothing we know.
    ///
    /// The content decides where it is known: a JPEG may be called `.HEIC`. A raw file that begins like a TIFF is known by its
    /// ending.
    #[must_use]
    pub fn of_file(path: &Path, beginning: &[u8]) -> Option<Self> {
        let by_name = Self::of_name(path);
        match PictureFormat::of_content(beginning) {
            _ if Self::of_bytes(beginning).is_some() => Self::of_bytes(beginning),
            Some(PictureFormat::Tiff) => by_name.filter(|&format| format == CameraRaw),
            Some(_) => None,
            None => by_name,
        }
    }

    /// The format of a file with these first bytes.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let beginning = &bytes[..bytes.len().min(TELLING_BYTES as usize)];
        if beginning.get(4..8) == Some(b"ftyp") {
            return of_brands(beginning);
        }
        if beginning.starts_with(b"<?xml") && beginning.windows(4).any(|word| word == b"<svg") {
            return Some(Svg);
        }
        MAGICS.iter().find(|(magic, _)| beginning.starts_with(magic)).map(|&(_, format)| format)
    }

    /// The format that a file's name ends like.
    fn of_name(path: &Path) -> Option<Self> {
        Self::ALL.into_iter().find(|format| has_extension(path, format.extensions()))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Heic => "HEIC",
            Avif => "AVIF",
            JpegXl => "JPEG XL",
            Jpeg2000 => "JPEG 2000",
            JpegXr => "JPEG XR",
            CameraRaw => "camera raw",
            Psd => "PSD",
            Xcf => "XCF",
            Svg => "SVG",
            OpenExr => "OpenEXR",
            RadianceHdr => "Radiance HDR",
            Netpbm => "Netpbm",
            Targa => "TGA",
            Icon => "icon",
            Dds => "DDS",
            Pcx => "PCX",
            Qoi => "QOI",
            Farbfeld => "farbfeld",
            Flif => "FLIF",
            Bpg => "BPG",
            AppleDouble => "AppleDouble",
        }
    }

    /// The endings of its files' names in lower case.
    fn extensions(self) -> &'static [&'static str] {
        match self {
            Heic => &["heic", "heif", "heics", "heifs", "hif"],
            Avif => &["avif", "avifs"],
            JpegXl => &["jxl"],
            Jpeg2000 => &["jp2", "j2k", "j2c", "jpf", "jpx", "jpm", "jpc"],
            JpegXr => &["jxr", "wdp", "hdp"],
            CameraRaw => &[
                "3fr", "arw", "cr2", "cr3", "crw", "dcr", "dng", "erf", "fff", "gpr", "iiq", "k25", "kdc", "mef",
                "mos", "mrw", "nef", "nrw", "orf", "pef", "raf", "rw2", "rwl", "sr2", "srf", "srw", "x3f",
            ],
            Psd => &["psd", "psb"],
            Xcf => &["xcf"],
            Svg => &["svg", "svgz"],
            OpenExr => &["exr"],
            RadianceHdr => &["hdr"],
            Netpbm => &["pbm", "pgm", "ppm", "pnm", "pam", "pfm"],
            Targa => &["tga"],
            Icon => &["ico", "cur", "icns"],
            Dds => &["dds"],
            Pcx => &["pcx"],
            Qoi => &["qoi"],
            Farbfeld => &["ff"],
            Flif => &["flif"],
            Bpg => &["bpg"],
            AppleDouble => &[],
        }
    }

    /// How to make a picture of it that can be read.
    #[must_use]
    pub fn hint(self) -> &'static str {
        match self {
            Heic => "convert it first, for example with libheif: `heif-convert photo.heic photo.png`",
            Avif => "convert it first, for example with libavif: `avifdec photo.avif photo.png`",
            JpegXl => "convert it first, for example with libjxl: `djxl photo.jxl photo.png`",
            Jpeg2000 => "convert it first, for example with OpenJPEG: `opj_decompress -i photo.jp2 -o photo.png`",
            JpegXr => "convert it first, for example with `JxrDecApp -i photo.jxr -o photo.tif`",
            CameraRaw => {
                "develop it first, for example with darktable or RawTherapee, and save it as TIFF, PNG or JPEG"
            }
            Psd | Xcf => "export it as PNG from the program that it was made with",
            Svg => "convert it first, for example with librsvg: `rsvg-convert drawing.svg -o drawing.png`",
            OpenExr | RadianceHdr => "map its tones first, and save it as PNG or TIFF",
            AppleDouble => "the picture is the file of the same name without `._` at its beginning",
            _ => "convert it first, for example with ImageMagick: `magick IN out.png`",
        }
    }

    /// The error for a file of this format.
    #[must_use]
    pub fn error(self) -> Error {
        let message = match self {
            AppleDouble => "the file holds metadata of macOS, not a picture".to_owned(),
            format => format!("the picture's format, {format}, is not supported"),
        };
        Error::new(message).with_hint(self.hint())
    }
}

impl fmt::Display for ForeignFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The format of a file that begins with a file type box: length, `ftyp`, major brand, version, compatible brands.
fn of_brands(beginning: &[u8]) -> Option<ForeignFormat> {
    let of = |brand: &[u8]| BRANDS.iter().find(|(known, _)| *known == brand).map(|&(_, format)| format);
    let major = beginning.get(8..12)?;
    if !GENERIC_BRANDS.contains(&major) {
        return of(major);
    }
    let length = u32::from_be_bytes(*beginning.first_chunk()?) as usize;
    let compatible = beginning.get(16..length.min(beginning.len())).unwrap_or_default().as_chunks::<4>().0;
    let specific = compatible.iter().filter(|brand| !GENERIC_BRANDS.contains(&brand.as_slice()));
    specific.copied().find_map(|brand| of(&brand)).or_else(|| of(major))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, beginning: &[u8]) -> Option<ForeignFormat> {
        ForeignFormat::of_file(Path::new(name), beginning)
    }

    #[test]
    fn formats_are_known_by_their_content_whatever_the_name() {
        for (beginning, format) in [
            (b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf".as_slice(), Heic),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", Avif),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", Heic),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", Heic),
            (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf", Avif),
            (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", CameraRaw),
            (b"\0\0\0\x0cjP  \r\n\x87\n\0\0", Jpeg2000),
            (b"\0\0\0\x0cJXL \r\n\x87\n\0\0", JpegXl),
            (b"II*\0\x10\0\0\0CR\x02\0", CameraRaw),
            (b"8BPS\0\x01", Psd),
            (b"<?xml version=\"1.0\"?>\n<svg xmlns=", Svg),
        ] {
            for name in ["photo", "photo.jpg", "photo.heic", "photo.txt"] {
                assert_eq!(of(name, beginning), Some(format), "{name}: {beginning:?}");
            }
        }
        for clip in [b"\0\0\0\x18ftypisom\0\0\0\0avc1".as_slice(), b"\0\0\0\x18ftyp", b"<?xml version=\"1.0\"?><html>"]
        {
            assert_eq!(of("clip", clip), None);
        }
    }

    #[test]
    fn endings_tell_the_format_only_of_content_that_is_unknown() {
        let (jpeg, tiff) = (b"\xff\xd8\xff\xe0\0\x10JFIF".as_slice(), b"II*\0\x08\0\0\0".as_slice());
        assert_eq!(of("IMG_1.HEIC", jpeg), None);
        assert_eq!(of("IMG_1.HEIC", b"something else"), Some(Heic));
        assert_eq!(of("scan.tif", tiff), None);
        assert_eq!(of("scan.heic", tiff), None);
        for name in ["DSC_1.NEF", "x.dng", "x.arw"] {
            assert_eq!(of(name, tiff), Some(CameraRaw), "{name}");
            assert_eq!(of(name, jpeg), None, "{name}");
        }
        assert_eq!(of("x.jxl", b"\xff\x0a\0\0"), Some(JpegXl));
        for name in ["README.txt", "x.xmp", "Thumbs.db", ".DS_Store", "x", "heic"] {
            assert_eq!(of(name, b"BMW and P6 are no pictures"), None, "{name}");
        }
    }

    #[test]
    fn every_format_says_what_to_do() {
        for format in ForeignFormat::ALL {
            assert!(format.error().hint().is_some_and(|hint| hint.len() > 30));
            assert!(format.error().to_string().contains(format.name()) || format == AppleDouble);
        }
        assert_eq!(Heic.error().to_string(), "the picture's format, HEIC, is not supported");
    }
}

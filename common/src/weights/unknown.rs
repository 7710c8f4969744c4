//! Identifies a file that holds no readable weights, and suggests how to get the right file.

use std::path::Path;

use crate::Error;

/// Another kind of file: its description, and a hint for the user.
type Kind = (&'static str, &'static str);

const READABLE: &str = "supported files are `.safetensors`, and `.pth`, `.pt` and `.ckpt` of PyTorch";
const DOWNLOAD: &str = "download the file itself: this may be a page that asks for a confirmation or a login";
const PICTURE: &str = "a picture is not a style model: `trainer train --style PICTURE` makes a model from it";
const UNPACK: &str = "unpack it and use the model in it";
const LFS: &str = "run `git lfs pull` in its repository, or download it from the repository's page";
const NUMPY: &str =
    "rename its arrays to the names of the PyTorch network, and save them with `safetensors.numpy.save_file`";
const LUA: &str = "load it with a Torch7 reader for Python, rename its weights to the names of the PyTorch network, and save them with `torch.save`";
const ONNX: &str = "use the checkpoint that it was exported from: a `.pth` or `.safetensors` file";
const TENSORFLOW: &str =
    "TensorFlow networks cannot be loaded: use a PyTorch network, or train the style with `trainer train`";

/// File kinds by their first bytes.
const BEGINNINGS: [(&[u8], Kind); 25] = [
    (b"version https://git-lfs", ("a Git LFS pointer, which only says where the file is", LFS)),
    (b"\x89PNG", ("a PNG picture", PICTURE)),
    (b"\xFF\xD8\xFF", ("a JPEG picture", PICTURE)),
    (b"GIF8", ("a GIF picture", PICTURE)),
    (b"II*\0", ("a TIFF picture", PICTURE)),
    (b"MM\0*", ("a TIFF picture", PICTURE)),
    (b"%PDF", ("a PDF document", READABLE)),
    (b"\x93NUMPY", ("a NumPy array", NUMPY)),
    (b"\x89HDF", ("an HDF5 file, as written by Keras", TENSORFLOW)),
    (b"GGUF", ("a GGUF file", READABLE)),
    (b"\x1F\x8B", ("a gzip archive", UNPACK)),
    (b"BZh", ("a bzip2 archive", UNPACK)),
    (b"\xFD7zXZ\0", ("an xz archive", UNPACK)),
    (b"\x28\xB5\x2F\xFD", ("a zstd archive", UNPACK)),
    (b"7z\xBC\xAF\x27\x1C", ("a 7z archive", UNPACK)),
    (b"Rar!", ("a RAR archive", UNPACK)),
    (b"\x7FELF", ("a program", READABLE)),
    (b"MZ\x90\0", ("a program", READABLE)),
    (b"model_checkpoint_path:", ("the index of a TensorFlow checkpoint", TENSORFLOW)),
    // Torch7 writes a type as a 32-bit number: 3 is a table, 4 an object, which begins with its number and version.
    (b"\x03\0\0\0\x01\0\0\0", ("a Torch7 (Lua) file", LUA)),
    (b"\x04\0\0\0\x01\0\0\0", ("a Torch7 (Lua) file", LUA)),
    (b"3\n1\n", ("a Torch7 (Lua) file", LUA)),
    (b"4\n1\n3\nV 1\n", ("a Torch7 (Lua) file", LUA)),
    (b"\xFF\xFE", ("UTF-16 text", READABLE)),
    (b"\xFE\xFF", ("UTF-16 text", READABLE)),
];

/// The last bytes of a TensorFlow checkpoint's index, as of every `LevelDB` table.
const LEVELDB_END: [u8; 8] = [0x57, 0xFB, 0x80, 0x8B, 0x24, 0x75, 0x47, 0xDB];

/// Identifies a file by its first and last bytes. The file name is used only if they are inconclusive.
pub(super) fn another_file(start: &[u8], end: &[u8], name: &str) -> Error {
    // The values alone, with nothing around them.
    let is_data = name.contains(".data-") && name.contains("-of-");
    let named = if is_data { ("the data of a TensorFlow checkpoint", TENSORFLOW) } else { ("another file", READABLE) };
    let (what, hint) = kind(start, end).unwrap_or(named);
    Error::new(format!("it is neither a safetensors file nor a PyTorch file, but {what}")).with_hint(hint)
}

/// Identifies a zip file by the names of its entries.
pub(super) fn another_zip(names: &[String]) -> Error {
    const NOT_TORCH: &str = "it is a zip file, but not one that PyTorch wrote";
    let has_ending =
        |name: &str, ending: &str| Path::new(name).extension().is_some_and(|end| end.eq_ignore_ascii_case(ending));
    if names.iter().any(|name| has_ending(name, "npy")) {
        return Error::new(format!("{NOT_TORCH}: it contains NumPy arrays (`.npz`)")).with_hint(NUMPY);
    }
    let is_model = |name: &&String| ["safetensors", "pth", "pt", "ckpt"].iter().any(|ending| has_ending(name, ending));
    match names.iter().find(is_model) {
        Some(model) => Error::new(NOT_TORCH).with_hint(format!("unpack it and use the file `{model}` in it")),
        None => Error::new(NOT_TORCH).with_hint(READABLE),
    }
}

fn kind(start: &[u8], end: &[u8]) -> Option<Kind> {
    let beginning = BEGINNINGS.iter().find(|(beginning, _)| start.starts_with(beginning)).map(|(_, kind)| *kind);
    beginning.or_else(|| kind_inside(start, end)).or_else(|| kind_of_text(start))
}

/// File kinds without a fixed signature.
fn kind_inside(start: &[u8], end: &[u8]) -> Option<Kind> {
    let at = |place: usize, bytes: &[u8]| start.get(place..).is_some_and(|rest| rest.starts_with(bytes));
    match start {
        _ if at(0, b"RIFF") && at(8, b"WEBP") => Some(("a WebP picture", PICTURE)),
        _ if at(4, b"ftypavif") => Some(("an AVIF picture", PICTURE)),
        _ if at(4, b"ftypheic") || at(4, b"ftypmif1") => Some(("a HEIC picture", PICTURE)),
        _ if at(4, b"ftyp") => Some(("a film", READABLE)),
        _ if at(4, b"TFL3") => Some(("a TensorFlow Lite network", TENSORFLOW)),
        // PyTorch before 0.1.12 wrote tar archives; their contents differ from those of later versions.
        _ if at(257, b"ustar") => Some(("a tar archive", UNPACK)),
        _ if end.ends_with(&LEVELDB_END) => Some(("the index of a TensorFlow checkpoint", TENSORFLOW)),
        _ if at(0, b"BM") && at(6, &[0; 4]) => Some(("a BMP picture", PICTURE)),
        // Field 1 of an ONNX file is the version of the format; the producer's name or the graph follows.
        [0x08, 1..=31, 0x12 | 0x1A | 0x22 | 0x2A | 0x32 | 0x3A | 0x42, ..] => Some(("an ONNX network", ONNX)),
        // A graph of TensorFlow: a message whose first field is a node, or the notes on a checkpoint's graph.
        _ if start.first() == Some(&0x0A) && is_tensorflow(start) => Some(("a TensorFlow graph", TENSORFLOW)),
        _ => None,
    }
}

/// Whether the names of TensorFlow's operations are in the first bytes.
fn is_tensorflow(start: &[u8]) -> bool {
    let has = |word: &[u8]| start.windows(word.len()).any(|window| window == word);
    [&b"Placeholder"[..], b"Const", b"saved_model", b"tensorflow", b"VariableV2"].into_iter().any(has)
}

fn kind_of_text(start: &[u8]) -> Option<Kind> {
    let text = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character may be cut.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&start[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if text.is_empty() || text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}')) {
        return None;
    }
    let text = text.trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    let begins = |words: &[&str]| words.iter().any(|word| text.starts_with(word));
    Some(if begins(&["<!doctype html", "<html", "<head", "<body", "<script", "<meta", "<!--"]) {
        ("an HTML page", DOWNLOAD)
    } else if begins(&["<?xml", "<svg", "<"]) {
        ("an XML document", DOWNLOAD)
    } else if begins(&["version https://git-lfs"]) {
        ("a Git LFS pointer, which only says where the file is", LFS)
    } else if begins(&["{", "["]) {
        ("a JSON document", READABLE)
    } else {
        ("plain text", READABLE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_other_kinds_are_named_by_their_kind() {
        let mut tar = vec![b'a'; 257];
        tar.extend(b"ustar\0");
        let mut index = vec![0, 0, 5, 1];
        index.extend(LEVELDB_END);
        let cases: [(&[u8], &str, &str); 21] = [
            (b"\n <!DOCTYPE html>\n<html>", "an HTML page", "download the file itself"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer", "git lfs pull"),
            (b"\x89PNG\r\n\x1a\n\0\0", "a PNG picture", "trainer train"),
            (b"\xff\xd8\xff\xe0\0", "a JPEG picture", "trainer train"),
            (b"RIFF\x10\0\0\0WEBPVP8 ", "a WebP picture", "trainer train"),
            (b"GIF89a", "a GIF picture", "trainer train"),
            (b"\x93NUMPY\x01\0", "a NumPy array", "save_file"),
            (b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "a Torch7 (Lua) file", "torch.save"),
            (b"\x03\0\0\0\x01\0\0\0\x02\0\0\0", "a Torch7 (Lua) file", "torch.save"),
            (b"\x08\x07\x12\x07pytorch\x1a\x03", "an ONNX network", "exported from"),
            (b"\x0a\x1d\x0a\x05input\x12\x0bPlaceholder", "a TensorFlow graph", "trainer train"),
            (&index, "the index of a TensorFlow checkpoint", "trainer train"),
            (b"\x1f\x8b\x08\0", "a gzip archive", "unpack"),
            (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive", "unpack"),
            (&tar, "a tar archive", "unpack"),
            (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "trainer train"),
            (b"{\"a\": 1}", "a JSON document", ".safetensors"),
            (b"no weights at all", "plain text", ".safetensors"),
            ("Gemälde".as_bytes(), "plain text", ".safetensors"),
            (b"<?xml version='1.0'?>", "an XML document", "download"),
            (b"\x01\x02\x03\xff\xff", "another file", ".safetensors"),
        ];
        for (bytes, what, hint) in cases {
            let error = another_file(bytes, bytes, "x.ckpt");
            let expected = format!("it is neither a safetensors file nor a PyTorch file, but {what}");
            assert!(error.to_string().starts_with(&expected), "{error}, expected {what}");
            assert!(error.hint().is_some_and(|text| text.contains(hint)), "{error}: {:?}", error.hint());
        }
    }

    #[test]
    fn values_of_a_tensorflow_checkpoint_are_recognised_by_their_name() {
        let error = another_file(&[0, 0, 128, 63], &[0, 0, 128, 63], "fns.ckpt.data-00000-of-00001");
        assert!(error.to_string().ends_with("but the data of a TensorFlow checkpoint"), "{error}");
    }

    #[test]
    fn the_error_for_a_zip_file_says_whether_it_contains_arrays_or_a_model() {
        let error = |names: &[&str]| another_zip(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        assert!(error(&["arr_0.npy"]).to_string().contains("NumPy"));
        let model = error(&["read me.txt", "styles/candy.pth"]);
        assert!(model.hint().is_some_and(|hint| hint.contains("`styles/candy.pth`")), "{:?}", model.hint());
        assert!(error(&["a.txt"]).hint().is_some());
    }
}

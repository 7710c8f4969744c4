//! Which style-model files are accepted, and which are refused.

use super::*;
use crate::weights::Array;

const TINY: StyleNetConfig = StyleNetConfig { channels: 2, blocks: 1 };

fn add(tensors: &mut Tensors, name: &str, shape: &[usize]) {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|i| ((i * 37 + name.len()) % 101) as f32 / 101.0 - 0.5).collect();
    tensors.insert(name.into(), Array::new(shape, values).unwrap());
}

fn tiny() -> Tensors {
    let mut tensors = Tensors::new();
    TINY.network().tensors().iter().for_each(|(name, shape)| add(&mut tensors, name, shape));
    tensors
}

fn bytes_of(tensors: Tensors) -> Vec<u8> {
    StyleModel { card: ModelCard::new("tiny", TINY), tensors }.to_bytes(StoredType::F32).unwrap()
}

fn error_of(bytes: &[u8]) -> Error {
    StyleModel::from_bytes(bytes, "x").unwrap_err()
}

#[test]
fn a_model_is_restored_from_its_bytes_and_writes_the_same_bytes_again() {
    let bytes = bytes_of(tiny());
    assert_eq!(bytes, bytes_of(tiny()));
    let model = StyleModel::from_bytes(&bytes, "x").unwrap();
    assert_eq!(model.card, ModelCard::new("tiny", TINY));
    assert_eq!(model.tensors.keys().collect::<Vec<_>>(), tiny().keys().collect::<Vec<_>>());
}

#[test]
fn half_precision_weights_without_a_card_and_old_statistics_are_imported() {
    let mut tensors = tiny();
    tensors.insert("in1.running_mean".into(), Array::new([2], vec![0.0; 2]).unwrap());
    let bytes = weights::to_safetensors(&tensors, StoredType::F16, HashMap::new()).unwrap();
    let model = StyleModel::from_bytes(&bytes, "mine").unwrap();
    assert_eq!(model.card, ModelCard::new("mine", TINY));
    assert!(!model.tensors.contains_key("in1.running_mean"));
    let value = |tensors: &Tensors| tensors["in1.bias"].values()[1];
    assert!((value(&model.tensors) - value(&tiny())).abs() < 1e-3);
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both_shapes() {
    let mut tensors = tiny();
    add(&mut tensors, "res1.conv2.conv2d.weight", &[4, 8, 3, 3]);
    let expected = "tensor `res1.conv2.conv2d.weight` is (4, 8, 3, 3), expected (8, 8, 3, 3)";
    assert_eq!(error_of(&bytes_of(tensors)).to_string(), expected);
}

#[test]
fn a_missing_tensor_is_named() {
    let mut tensors = tiny();
    tensors.remove("deconv2.conv2d.bias");
    assert_eq!(error_of(&bytes_of(tensors)).to_string(), "tensor `deconv2.conv2d.bias` is missing");
}

#[test]
fn weights_that_are_nan_or_infinite_are_refused() {
    let mut tensors = tiny();
    tensors.insert("in1.bias".into(), Array::new([2], vec![0.0, f32::NAN]).unwrap());
    assert_eq!(error_of(&bytes_of(tensors)).to_string(), "tensor `in1.bias` has values that are NaN or infinite");
}

#[test]
fn another_network_is_described() {
    let mut tensors = Tensors::new();
    add(&mut tensors, "features.0.weight", &[1]);
    let error = error_of(&weights::to_safetensors(&tensors, StoredType::F32, HashMap::new()).unwrap());
    let expected =
        "it is a different network: expected `conv1.conv2d.weight`, found `features.0.weight` .. (1 tensors)";
    assert_eq!(error.to_string(), expected);
    assert!(error.hint().is_some());
}

#[test]
fn a_newer_format_and_unreasonable_sizes_are_refused() {
    let card = ModelCard { format: FORMAT + 1, ..ModelCard::new("x", TINY) };
    let bytes = StyleModel { card, tensors: tiny() }.to_bytes(StoredType::F32).unwrap();
    assert_eq!(error_of(&bytes).to_string(), "it has format version 2, but this program supports versions up to 1");
    let card = ModelCard::new("x", StyleNetConfig { channels: usize::MAX / 2, blocks: 1 });
    let bytes = StyleModel { card, tensors: tiny() }.to_bytes(StoredType::F32).unwrap();
    assert!(error_of(&bytes).to_string().contains("a style network cannot have"));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = bytes_of(tiny());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.safetensors");
    for length in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = StyleModel::open(&path).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot load style `{}`: ", path.display())), "{error}");
    }
}

/// Checkpoints of one network, made by `weights/testdata/make.py`: under keys, beside an optimiser and numbers of other
/// types; with the prefixes of two wrappers.
const CHECKPOINTS: [&[u8]; 2] =
    [include_bytes!("../weights/testdata/checkpoint.ckpt"), include_bytes!("../weights/testdata/compiled.pth")];

/// In a list, beside a copy of the same values, with the same prefixes the other way round.
const BEST_AND_LAST: &[u8] = include_bytes!("../weights/testdata/best.pth");

#[test]
fn the_network_of_a_checkpoint_is_found_under_any_key() {
    let models = CHECKPOINTS.map(|bytes| StyleModel::from_bytes(bytes, "x").unwrap());
    for model in &models {
        assert_eq!(model.card.network, StyleNetConfig { channels: 1, blocks: 1 });
        assert_eq!(model.tensors, models[0].tensors);
        let names: Vec<_> = model.card.network.network().tensors().into_iter().map(|(name, _)| name).collect();
        assert_eq!(model.tensors.keys().cloned().collect::<BTreeSet<_>>(), names.into_iter().collect());
    }
    let values = models[0].tensors["conv1.conv2d.weight"].values();
    assert!((values[96] - (96.0 / 97.0 - 0.5)).abs() < 1e-3 && (values[97] + 0.5).abs() < 1e-3);
}

#[test]
fn a_damaged_checkpoint_is_read_or_refused_without_a_panic() {
    for bytes in [CHECKPOINTS[0], CHECKPOINTS[1], BEST_AND_LAST] {
        for at in 0..bytes.len().min(5000) {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 0xFF;
            drop(StyleModel::from_bytes(&damaged, "x"));
        }
    }
}

#[test]
fn two_copies_of_a_network_are_one() {
    let model = StyleModel::from_bytes(BEST_AND_LAST, "x").unwrap();
    assert_eq!(model.card.network, StyleNetConfig { channels: 1, blocks: 0 });
    assert_eq!(model.tensors.len(), 22);
}

#[test]
fn two_different_networks_in_a_file_are_listed() {
    let error = error_of(include_bytes!("../weights/testdata/pair.pth"));
    assert_eq!(error.to_string(), "it contains 2 different networks: `netG_A`, `netG_B`");
    assert!(error.hint().unwrap().contains("torch.load(FILE)[KEY]"), "{:?}", error.hint());
}

fn without_card(tensors: &Tensors) -> Vec<u8> {
    weights::to_safetensors(tensors, StoredType::F32, HashMap::new()).unwrap()
}

#[test]
fn prefixes_are_removed_and_foreign_tensors_are_left_out() {
    let mut tensors: Tensors = tiny().into_iter().map(|(name, array)| (format!("a.b.{name}"), array)).collect();
    add(&mut tensors, "a.b.res9.conv1.conv2d.weight", &[1]);
    add(&mut tensors, "optimizer.step", &[1]);
    let model = StyleModel::from_bytes(&without_card(&tensors), "x").unwrap();
    assert_eq!(model.card.network, TINY);
    assert_eq!(model.tensors, tiny());
}

#[test]
fn an_incomplete_network_beside_a_complete_one_is_ignored() {
    let mut tensors = tiny();
    add(&mut tensors, "gradients.conv1.conv2d.weight", &[2, 3, 9, 9]);
    assert_eq!(StyleModel::from_bytes(&without_card(&tensors), "x").unwrap().tensors, tiny());
}

#[test]
fn a_card_that_contradicts_the_tensors_is_refused() {
    let refused = |network: StyleNetConfig, tensors: Tensors, expected: &str| {
        let bytes = StyleModel { card: ModelCard::new("x", network), tensors }.to_bytes(StoredType::F32).unwrap();
        let error = error_of(&bytes).to_string();
        assert!(error.contains(expected), "{error}");
    };
    let none = "its card describes a network of 2 channels and 0 blocks, which has no tensor `res1.conv1.conv2d.bias`";
    refused(StyleNetConfig { blocks: 0, ..TINY }, tiny(), none);
    refused(StyleNetConfig { blocks: 2, ..TINY }, tiny(), "tensor `res2.conv1.conv2d.weight` is missing");
    refused(StyleNetConfig { channels: 3, ..TINY }, tiny(), "tensor `conv1.conv2d.weight` is (2, 3, 9, 9), expected");
    let mut gap = tiny();
    add(&mut gap, "res3.in1.bias", &[8]);
    refused(TINY, gap, "which has no tensor `res3.in1.bias`");
    refused(StyleNetConfig { channels: 0, ..TINY }, tiny(), "a style network cannot have");
    refused(StyleNetConfig { blocks: usize::MAX, ..TINY }, tiny(), "a style network cannot have");
}

/// A safetensors file with this header and some bytes behind it.
fn with_header(header: &str, bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &vec![0; bytes]].concat()
}

#[test]
fn a_name_that_occurs_twice_in_a_header_or_card_is_refused() {
    let tensor = r#""conv1.conv2d.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    let error = error_of(&with_header(&format!("{{{tensor},{tensor}}}"), 4)).to_string();
    assert!(error.contains("its header is ambiguous: the key `conv1.conv2d.weight` occurs twice"), "{error}");
    let card = r#"{\"format\":1,\"name\":\"a\",\"name\":\"b\"}"#;
    let error =
        error_of(&with_header(&format!(r#"{{"__metadata__":{{"impasto":"{card}"}},{tensor}}}"#), 4)).to_string();
    assert!(error.contains("its card is ambiguous: the key `name` occurs twice"), "{error}");
}

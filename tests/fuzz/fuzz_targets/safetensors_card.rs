//! Style-model files: the header, the card in it, and whether both fit the tensors. What is read must be writable again,
//! and read back the same.
#![no_main]

use impasto_common::model_file::StyleModel;
use impasto_common::weights::StoredType;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = StyleModel::from_bytes(bytes, "fuzz") else { return };
    let written = model.to_bytes(StoredType::F32).expect("a model that was read can be written");
    let again = StyleModel::from_bytes(&written, "fuzz").expect("a model that was written can be read");
    assert_eq!(again.card.network, model.card.network);
    assert_eq!(again.tensors, model.tensors);
});

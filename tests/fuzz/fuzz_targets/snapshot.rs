//! Snapshots of trainings. What is read must be writable again, and read back the same.
#![no_main]

use candle_core::Device;
use impasto_fuzz::with_file;
use impasto_trainer::snapshot::TrainingState;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    with_file(bytes, |path| {
        let Ok((state, identity)) = TrainingState::open(path, &Device::Cpu) else { return };
        let _ = state.is_finite();
        state.save(path, &identity).expect("a snapshot that was read can be written");
        let (again, _) = TrainingState::open(path, &Device::Cpu).expect("a snapshot that was written can be read");
        assert_eq!((again.step, &again.skipped), (state.step, &state.skipped));
        assert!(again.weights().keys().eq(state.weights().keys()));
    });
});

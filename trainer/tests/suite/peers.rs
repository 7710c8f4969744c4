//! Several processes give the same training as one. Here they are threads that connect over TCP.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use impasto_common::error::ErrorKind;
use impasto_common::model_file::StyleModel;
use impasto_trainer::config::TrainConfig;
use impasto_trainer::metrics::Metrics;
use impasto_trainer::peers::Seat;
use impasto_trainer::train::{EarlierTraining, Observer, TrainingJob, train};

use crate::fixture::{Fixture, config};

struct Silent;

impl Observer for Silent {}

/// Asks for a stop after a step.
struct Stopper<'a>(&'a AtomicBool, usize);

impl Observer for Stopper<'_> {
    fn stepped(&mut self, metrics: &Metrics) {
        self.0.store(metrics.step >= self.1, Ordering::Relaxed);
    }
}

fn seats(count: usize) -> Vec<Seat> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    (0..count).map(|index| Seat { index, count, local: index, address: ("127.0.0.1".into(), port) }).collect()
}

/// Trains with one thread for each of `count` seats; the last is asked to stop after step `stop`.
fn together(job: &TrainingJob, config: &TrainConfig, count: usize, stop: usize) -> Vec<impasto_common::Result<usize>> {
    let run = |seat: Seat| {
        let flag = AtomicBool::new(false);
        let last = seat.index + 1 == count;
        let job = TrainingJob { seat, ..job.clone() };
        let mut observer: Box<dyn Observer + '_> = if last { Box::new(Stopper(&flag, stop)) } else { Box::new(Silent) };
        train(&job, config, observer.as_mut(), &flag).map(|outcome| outcome.steps)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = seats(count).into_iter().map(|seat| scope.spawn(move || run(seat))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// The rows of a run's table.
fn table(job: &TrainingJob) -> Vec<Vec<f64>> {
    let text = fs::read_to_string(job.run_dir.join("metrics.csv")).unwrap();
    text.lines().skip(1).map(|row| row.split(',').map(|cell| cell.parse().unwrap()).collect()).collect()
}

fn assert_same_course(one: &TrainingJob, many: &TrainingJob) {
    let (one_table, many_table) = (table(one), table(many));
    assert_eq!(one_table.len(), many_table.len());
    // In the first step the weights are equal, and only the order of sums differs.
    for (one, many) in one_table[0].iter().zip(&many_table[0]) {
        assert!((one - many).abs() <= 1e-5 * one.abs() + 1e-8, "{one} and {many}");
    }
    // The gradient of a bias before a normalisation is only rounding error, but Adam scales it to full steps. So the norm drifts;
    // the objective hardly changes.
    for (one, many) in one_table.iter().zip(&many_table) {
        assert!((one[2] - many[2]).abs() <= 1e-4 * one[2].abs(), "{} and {}", one[2], many[2]);
    }
}

#[test]
fn several_processes_have_the_losses_of_one_at_the_same_batch() {
    let fixture = Fixture::new();
    for (name, temporal_weight) in [("still", 0.0), ("moving", 2.0)] {
        let config = TrainConfig { batch: 6, temporal_weight, ..config() };
        let one = fixture.job(&format!("{name}-one"));
        train(&one, &config, &mut Silent, &AtomicBool::new(false)).unwrap();
        for count in [2, 3] {
            let many = fixture.job(&format!("{name}-{count}"));
            for steps in together(&many, &config, count, usize::MAX) {
                assert_eq!(steps.unwrap(), 8);
            }
            assert_same_course(&one, &many);
            assert_eq!(StyleModel::open(&many.output).unwrap().card.steps, 8);
        }
    }
}

#[test]
fn stopping_one_process_stops_all_and_they_continue_together() {
    let fixture = Fixture::new();
    let config = TrainConfig { batch: 2, ..config() };
    let (whole, parts) = (fixture.job("whole"), fixture.job("parts"));
    for steps in together(&whole, &config, 2, usize::MAX) {
        assert_eq!(steps.unwrap(), 8);
    }
    for stopped in together(&parts, &config, 2, 3) {
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Interrupted);
    }
    let parts = TrainingJob { earlier: EarlierTraining::Resume, ..parts };
    for steps in together(&parts, &config, 2, usize::MAX) {
        assert_eq!(steps.unwrap(), 8);
    }
    assert!(fs::read(&whole.output).unwrap() == fs::read(&parts.output).unwrap());
    let error = together(&parts, &TrainConfig { batch: 3, ..config }, 2, usize::MAX).remove(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

//! Runs that are killed again and again: 500 times a process gets SIGKILL at a random moment of a
//! small run and is started anew, until the run has ended; every file must then be that of a run
//! that was left alone, byte for byte but for times. The loops take turns.
//!
//! ```sh
//! cargo bench --bench soak                                   # 500 cycles
//! cargo bench --bench soak -- 50 7                           # 50 cycles, another seed
//! ```
//!
//! Ends with an error unless nothing was lost and nothing differs.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that fails stops, and tells what it counted"
)]

#[path = "../tests/resume/kills.rs"]
mod kills;

use std::collections::BTreeMap;
use std::process::{Child, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant};

use kills::{Files, KINDS, Tally, finish, outcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn main() -> ExitCode {
    let numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let numbers: Vec<u64> = numbers.collect();
    let most = numbers.first().map_or(500, |&n| n as usize);
    let mut rng = StdRng::seed_from_u64(numbers.get(1).copied().unwrap_or(1));
    let root = tempfile::tempdir().unwrap();
    let mut longest = Duration::ZERO;
    let mut wholes: BTreeMap<&str, Files> = BTreeMap::new();
    for kind in KINDS {
        let (run, started) = (root.path().join(kind.name), Instant::now());
        finish(kind, &[], &run);
        longest = longest.max(started.elapsed());
        wholes.insert(kind.name, outcome(&run));
    }
    // Half of a run at most, so that most of the runs are killed several times.
    let mut moment = |_: &mut Child| sleep(longest.mul_f64(rng.random_range(0.0..0.5)));
    let mut tally = Tally::default();
    for kind in KINDS.iter().cycle() {
        if tally.cycles == most {
            break;
        }
        let run = root.path().join(format!("killed-{}", tally.runs));
        let before = tally.n_faults();
        tally.add(*kind, (&run, &wholes[kind.name]), most, &mut moment);
        if tally.n_faults() == before {
            std::fs::remove_dir_all(run).unwrap();
        }
        let (lost, different) = (tally.lost.len(), tally.different.len());
        let (cycles, runs) = (tally.cycles, tally.runs);
        println!("cycles {cycles}, runs {runs}, results lost {lost}, files different {different}");
    }
    if tally.n_faults() == 0 {
        return ExitCode::SUCCESS;
    }
    eprintln!("lost {:?}, different {:?}", tally.lost, tally.different);
    eprintln!("what these runs left is in {}", root.keep().display());
    ExitCode::FAILURE
}

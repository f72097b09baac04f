//! Replays the committed corpus through every fuzz target, each seed also cut short and with single bits and
//! bytes changed. What `cargo fuzz` finds is added to the corpus and stays found.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // a test's helpers may fail loudly

use std::{fs, path::Path};

use cardea_fuzz::TARGETS;

/// Every seed, and a bounded number of its neighbours: enough to walk into each parser's error paths.
fn neighbours(seed: &[u8], run: &mut dyn FnMut(&[u8])) {
    run(seed);
    let step = seed.len() / 64 + 1;
    for cut in (0..seed.len()).step_by(step) {
        run(&seed[..cut]);
        run(&seed[cut..]);
    }
    let mut changed = seed.to_vec();
    for at in (0..seed.len()).step_by(step) {
        for change in [0x01, 0x10, 0x80, 0xFF] {
            changed[at] ^= change;
            run(&changed);
            changed[at] ^= change;
        }
    }
}

#[test]
fn corpus_and_its_neighbours_panic_nowhere() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, target) in TARGETS {
        let seeds = fs::read_dir(corpus.join(name)).unwrap_or_else(|_| panic!("{name} has no corpus"));
        let (mut count, start) = (0, std::time::Instant::now());
        for seed in seeds {
            let path = seed.unwrap().path();
            let seed = fs::read(&path).unwrap();
            neighbours(&seed, &mut |data| {
                let caught = std::panic::catch_unwind(|| target(data));
                assert!(caught.is_ok(), "{name} panicked on a neighbour of {}: {data:02x?}", path.display());
            });
            count += 1;
        }
        assert!(count > 0, "{name} has no seed");
        println!("{name}: {count} seeds, {:.1} s", start.elapsed().as_secs_f32());
    }
}

/// A target without its libFuzzer binary, or a corpus without a target, would never be fuzzed.
#[test]
fn targets_binaries_and_corpora_are_the_same_set() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |dir: &str| -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(here.join(dir))
            .unwrap()
            .map(|e| e.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let mut targets: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    targets.sort();
    assert_eq!(targets, names("fuzz_targets"));
    assert_eq!(targets, names("corpus"));
}

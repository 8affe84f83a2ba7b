//! Replays a corpus and mutants of it on a target; or the one input that a fuzzer outside has chosen.

use schemas::proof::Random;
use std::{env, fs, path::Path};

/// Mutants that the test command tries; a long run counts seconds.
const MUTANTS: u64 = 3_000;

pub fn run(name: &str, target: impl Fn(&[u8])) {
    // One input from a fuzzer outside, which chooses the next by what this one reached.
    if let Some(path) = env::var_os("FUZZ_INPUT") {
        return target(&fs::read(path).unwrap_or_default());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let corpus: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(corpus.len() >= 3, "{}", folder.display());
    corpus.iter().for_each(|seed| target(seed));
    let number = |key: &str| env::var(key).ok().and_then(|text| text.parse::<u64>().ok());
    let (mutants, seed) = (number("FUZZ_MUTANTS").unwrap_or(MUTANTS), number("FUZZ_SEED").unwrap_or(0));
    for i in 0..mutants {
        let mut random = Random(seed.wrapping_mul(1 << 40).wrapping_add(i));
        let input = mutant(&corpus, &mut random);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&input)));
        // What was found becomes a file of the corpus: bytes in hex, as a person can keep them.
        assert!(outcome.is_ok(), "{name}, FUZZ_SEED={seed}, mutant {i}: {}", hex(&input));
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn mutant(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const PIECES: [&[u8]; 16] = [
        b"\x00",
        b"\x01",
        b"\x02",
        b"\x7f",
        b"\x80\x80\x04",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x80\xa8\xd6\xb9\x07",
        b"\xff\xff\xff\xff\x0f",
        b"\"null\"",
        b"\"type\":",
        b"[]",
        b"{}",
        b"-1",
        b"\"default\":",
        b"\"aliases\":[\"a\"],",
        b"\xc3\x28",
    ];
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(24)).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => drop(bytes.drain(at..end)),
            3 => drop(bytes.splice(at..end, PIECES[random.below(PIECES.len())].iter().copied())),
            4 => drop(bytes.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            5 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => {
                let part = bytes[at..end].to_vec();
                let again = random.below(64);
                (0..again).for_each(|_| drop(bytes.splice(at..at, part.iter().copied())));
            }
        }
        bytes.truncate(70_000);
    }
    bytes
}

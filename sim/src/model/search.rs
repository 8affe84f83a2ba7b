//! Breadth-first search over all states of a model, so that the first counterexample found is a shortest one.
//!
//! Of visited states only a 64-bit digest is kept, with the step that led there: two states that share one among ten
//! million are expected once in some 400,000 searches.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// Something that did not hold in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(pub &'static str);

/// Something with states, to be searched through.
pub trait Model {
    type State: Clone + Hash;
    type Step: Copy;

    fn initial(&self) -> Vec<Self::State>;

    /// Adds every step that can be taken.
    fn steps(&self, state: &Self::State, steps: &mut Vec<Self::Step>);

    /// # Errors
    /// The step breaks an invariant.
    fn after(&self, state: &Self::State, step: Self::Step) -> Result<Self::State, Broken>;

    /// Whether everything has come to rest here.
    ///
    /// # Errors
    /// It has, and something is missing.
    fn at_rest(&self, state: &Self::State) -> Result<bool, Broken>;
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct Searched<S> {
    pub states: u64,
    /// Steps taken, those to known states included.
    pub transitions: u64,
    pub depth: u32,
    /// States in which everything had come to rest and was judged whole.
    pub rests: u64,
    /// Every state was visited; otherwise the search ended at its limit or at a counterexample.
    pub is_complete: bool,
    pub broken: Option<(Broken, Vec<S>)>,
}

/// Folds words as wyhash does: a multiplication of 64 by 64 bits, its halves joined.
#[derive(Default)]
pub struct Digest {
    hash: u64,
    word: u64,
    filled: u32,
}

impl Digest {
    fn mix(&mut self, word: u64) {
        let product =
            u128::from(word ^ self.hash ^ 0x9e37_79b9_7f4a_7c15) * u128::from(self.hash | 0xa076_1d64_78bd_642f);
        self.hash = ((product >> 64) as u64) ^ (product as u64) ^ word.rotate_left(29);
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u8(*byte));
    }
    fn write_u8(&mut self, byte: u8) {
        self.word = self.word << 8 | u64::from(byte);
        self.filled += 1;
        if self.filled == 8 {
            self.mix(self.word);
            (self.word, self.filled) = (0, 0);
        }
    }
    fn write_i8(&mut self, byte: i8) {
        self.write_u8(byte as u8);
    }
    fn write_isize(&mut self, discriminant: isize) {
        self.write_u8(discriminant as u8);
    }
    fn finish(&self) -> u64 {
        let mut last = Self { hash: self.hash, word: 0, filled: 0 };
        last.mix(self.word << 4 | u64::from(self.filled));
        last.mix(0);
        last.hash
    }
}

/// Digests are spread already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, _: &[u8]) {}
    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

fn digest(state: &impl Hash) -> u64 {
    let mut digest = Digest::default();
    state.hash(&mut digest);
    digest.finish()
}

/// Visits every state, or `states_max` of them.
pub fn search<M: Model>(model: &M, states_max: usize) -> Searched<M::Step> {
    let mut seen: HashSet<u64, BuildHasherDefault<AsItIs>> = HashSet::default();
    let mut came: Vec<(u32, Option<M::Step>)> = Vec::new();
    let mut found = Searched { states: 0, transitions: 0, depth: 0, rests: 0, is_complete: true, broken: None };
    let mut frontier: Vec<(u32, M::State)> = Vec::new();
    for state in model.initial() {
        if seen.insert(digest(&state)) {
            frontier.push((came.len() as u32, state));
            came.push((0, None));
        }
    }
    let mut steps = Vec::new();
    'all: while !frontier.is_empty() {
        let mut next = Vec::with_capacity(frontier.len() * 2);
        for (index, state) in &frontier {
            match model.at_rest(state) {
                Ok(rests) => found.rests += u64::from(rests),
                Err(broken) => {
                    found.broken = Some((broken, path(&came, *index)));
                    break 'all;
                }
            }
            steps.clear();
            model.steps(state, &mut steps);
            for step in &steps {
                found.transitions += 1;
                let after = match model.after(state, *step) {
                    Ok(after) => after,
                    Err(broken) => {
                        let mut steps = path(&came, *index);
                        steps.push(*step);
                        found.broken = Some((broken, steps));
                        break 'all;
                    }
                };
                if seen.insert(digest(&after)) {
                    if came.len() >= states_max {
                        found.is_complete = false;
                        break 'all;
                    }
                    next.push((came.len() as u32, after));
                    came.push((*index, Some(*step)));
                }
            }
        }
        found.depth += 1;
        frontier = next;
    }
    found.states = came.len() as u64;
    found.is_complete &= found.broken.is_none();
    found
}

fn path<S: Copy>(came: &[(u32, Option<S>)], mut index: u32) -> Vec<S> {
    let mut steps = Vec::new();
    while let Some((before, Some(step))) = came.get(index as usize) {
        steps.push(*step);
        index = *before;
    }
    steps.reverse();
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts to nine by ones and threes; eight is forbidden.
    struct Counter;

    impl Model for Counter {
        type State = u8;
        type Step = u8;
        fn initial(&self) -> Vec<u8> {
            vec![0]
        }
        fn steps(&self, state: &u8, steps: &mut Vec<u8>) {
            steps.extend([1, 3].into_iter().filter(|step| state + step <= 9));
        }
        fn after(&self, state: &u8, step: u8) -> Result<u8, Broken> {
            if state + step == 8 { Err(Broken("eight")) } else { Ok(state + step) }
        }
        fn at_rest(&self, _: &u8) -> Result<bool, Broken> {
            Ok(false)
        }
    }

    #[test]
    fn the_counterexample_is_a_shortest_one() {
        let found = search(&Counter, 100);
        let (broken, steps) = found.broken.unwrap();
        assert_eq!((broken, steps.len(), steps.iter().sum::<u8>()), (Broken("eight"), 4, 8));
    }

    #[test]
    fn digests_differ_where_states_do() {
        let all: HashSet<u64> = (0..=255u8).flat_map(|a| (0..=255u8).map(move |b| digest(&[a, b]))).collect();
        assert_eq!(all.len(), 65_536);
        assert_ne!(digest(&[0u8; 8]), digest(&[0u8; 9]));
    }
}

//! Randomness as a parameter. ring's own trait is sealed, so this is ours.

use ring::rand::{SecureRandom, SystemRandom};

/// A source of random bytes.
pub trait Rng: std::fmt::Debug + Send + Sync + 'static {
    /// Fills `out` entirely.
    ///
    /// # Panics
    /// When the operating system's generator fails: nothing safe can be done without it.
    fn fill(&self, out: &mut [u8]);
}

impl dyn Rng {
    /// `N` random bytes.
    pub fn array<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A number in `0..bound`, close enough to uniform for jitter and tie-breaks; 0 when `bound` is 0.
    pub fn below(&self, bound: u64) -> u64 {
        u64::from_le_bytes(self.array()).checked_rem(bound).unwrap_or(0)
    }
}

/// The operating system's generator.
#[derive(Debug, Clone)]
pub struct SystemRng(SystemRandom);

impl SystemRng {
    /// Opens the generator.
    #[expect(clippy::disallowed_methods, reason = "the one place that opens the system generator")]
    pub fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Default for SystemRng {
    fn default() -> Self {
        Self::new()
    }
}

impl Rng for SystemRng {
    fn fill(&self, out: &mut [u8]) {
        assert!(self.0.fill(out).is_ok(), "the operating system's random generator failed");
    }
}

/// A generator that gives the same bytes for the same seed: SHA-256 over (seed, counter). For tests and simulation only.
#[derive(Debug)]
pub struct SeededRng {
    seed: u64,
    counter: std::sync::atomic::AtomicU64,
}

impl SeededRng {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed, counter: std::sync::atomic::AtomicU64::new(0) }
    }
}

impl Rng for SeededRng {
    fn fill(&self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let n = self.counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut input = [0; 16];
            input[..8].copy_from_slice(&self.seed.to_le_bytes());
            input[8..].copy_from_slice(&n.to_le_bytes());
            let block = ring::digest::digest(&ring::digest::SHA256, &input);
            chunk.copy_from_slice(&block.as_ref()[..chunk.len()]);
        }
    }
}

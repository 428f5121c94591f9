//! The seeds of the targets: what each starts its corpus from, golden bytes and the samples beside the properties.

use std::fs;
use std::path::Path;

/// Writes seeds to `corpus/TARGET/`, before the corpus is read.
pub fn seed(target: &str, seeds: impl IntoIterator<Item = Vec<u8>>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&dir).expect("a folder for the corpus");
    for (n, seed) in seeds.into_iter().enumerate() {
        fs::write(dir.join(format!("seed-{n}")), seed).expect("a seed");
    }
}

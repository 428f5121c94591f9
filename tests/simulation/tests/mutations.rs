//! The planted faults of `scripts/mutations` fit the code as it stands: whoever moves a line they change moves them along.

use std::path::{Path, PathBuf};
use std::process::Command;

fn patches(root: &Path) -> Vec<PathBuf> {
    let folder = root.join("tests/simulation/mutations");
    let entries = std::fs::read_dir(folder).expect("the folder of mutations is there");
    let mut patches: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    patches.sort();
    patches
}

#[test]
fn every_mutation_still_applies() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let patches = patches(&root);
    assert!(patches.len() >= 12, "{} mutations", patches.len());
    for patch in patches {
        let check = Command::new("git").args(["apply", "--check"]).arg(&patch).current_dir(&root).output();
        let check = check.expect("git runs");
        let said = String::from_utf8_lossy(&check.stderr);
        assert!(check.status.success(), "{}: {said}", patch.display());
        // git passes over what lies outside the tree it is called in.
        let changes =
            Command::new("git").args(["apply", "--numstat"]).arg(&patch).current_dir(&root).output();
        assert!(!changes.expect("git runs").stdout.is_empty(), "{} changes nothing", patch.display());
    }
}

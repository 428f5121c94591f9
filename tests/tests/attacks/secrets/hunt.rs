//! Secrets that were used, and a search for them in everything that was said.
//!
//! Owns the forms that a secret can take on its way into a text. Invariants: a secret that was never used fails the hunt, as does a hunt
//! that has heard nothing; each text is searched as it stands, and with the escapes of its JSON undone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use shared_msgs::rng::{Rng, SystemRng};

/// The search looks up so many bytes at once, so nothing shorter can be found.
const BYTES_MIN: usize = 8;
/// A long text may be cut before it is shown: each piece of so many bytes is looked for as well.
const PIECE_BYTES: usize = 12;

struct Secret {
    bytes: Vec<u8>,
    is_used: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Hunt {
    secrets: BTreeMap<String, Secret>,
    /// Who said what.
    heard: Vec<(String, String)>,
}

impl Hunt {
    /// A fresh secret, to be used.
    pub(crate) fn make(&mut self, name: &str) -> String {
        let rng: &dyn Rng = &SystemRng::new();
        let text: String = rng.array::<12>().into_iter().map(hex).collect();
        self.keep(name, &text);
        text
    }

    /// A secret to be used.
    pub(crate) fn keep(&mut self, name: &str, text: &str) {
        self.add(name, text.as_bytes(), false);
    }

    /// A secret that is in use.
    pub(crate) fn found(&mut self, name: &str, bytes: impl AsRef<[u8]>) {
        self.add(name, bytes.as_ref(), true);
    }

    fn add(&mut self, name: &str, bytes: &[u8], is_used: bool) {
        assert!(bytes.len() >= BYTES_MIN, "{name} is too short to be looked for");
        let secret = Secret { bytes: bytes.to_vec(), is_used };
        assert!(self.secrets.insert(name.to_owned(), secret).is_none(), "two secrets called {name}");
    }

    /// A secret of [`Hunt::make`] or [`Hunt::keep`], about to be used.
    pub(crate) fn spend(&mut self, name: &str) -> String {
        let secret = self.secrets.get_mut(name).unwrap_or_else(|| panic!("no secret called {name}"));
        secret.is_used = true;
        String::from_utf8(secret.bytes.clone()).unwrap()
    }

    /// Everything that somebody has said.
    pub(crate) fn heard(&mut self, who: &str, text: impl Into<String>) {
        self.heard.push((who.to_owned(), text.into()));
    }

    /// How many secrets, and how many bytes.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.secrets.len(), self.heard.iter().map(|(_, text)| text.len()).sum())
    }

    /// No secret in anything that was heard. Panics at what there is, by name.
    pub(crate) fn finds_nothing(&self) {
        let unused: Vec<_> = self.secrets.iter().filter(|(_, secret)| !secret.is_used).collect();
        let unused: Vec<_> = unused.into_iter().map(|(name, _)| name).collect();
        assert!(unused.is_empty(), "never used: {unused:?}");
        assert!(!self.secrets.is_empty() && self.size().1 > 0, "nothing to look for, or nowhere");
        let found = self.findings();
        assert!(found.is_empty(), "secrets were told:\n{}", found.join("\n"));
    }

    fn findings(&self) -> Vec<String> {
        let mut wanted: HashMap<[u8; BYTES_MIN], Vec<(&str, Vec<u8>)>> = HashMap::new();
        for (name, secret) in &self.secrets {
            for form in forms(&secret.bytes) {
                if let Some(start) = form.first_chunk() {
                    wanted.entry(*start).or_default().push((name, form));
                }
            }
        }
        let mut found = BTreeSet::new();
        for (who, text) in &self.heard {
            for line in text.lines() {
                for view in views(line) {
                    for (at, window) in view.as_bytes().windows(BYTES_MIN).enumerate() {
                        for (name, form) in wanted.get(window).into_iter().flatten() {
                            if view.as_bytes()[at..].starts_with(form) {
                                found.insert(format!("{name}, said by {who}: {line:.400}"));
                            }
                        }
                    }
                }
            }
        }
        found.into_iter().collect()
    }
}

/// A line as it stands; if it is JSON, each text in it as well.
fn views(line: &str) -> Vec<String> {
    fn texts(value: &serde_json::Value, out: &mut Vec<String>) {
        match value {
            serde_json::Value::String(text) => out.push(text.clone()),
            serde_json::Value::Array(list) => list.iter().for_each(|value| texts(value, out)),
            serde_json::Value::Object(members) => members.values().for_each(|value| texts(value, out)),
            _ => {}
        }
    }
    let mut views = vec![line.to_owned()];
    if let Ok(value) = serde_json::from_str(line) {
        texts(&value, &mut views);
    }
    views
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}")
}

/// What a secret looks like to whoever prints it.
fn forms(secret: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut forms = BTreeSet::from([secret.to_vec()]);
    if let Ok(text) = std::str::from_utf8(secret) {
        let json = serde_json::to_string(text).unwrap();
        let told = [text.escape_debug().to_string(), text.escape_default().to_string()];
        forms.extend(told.map(String::into_bytes));
        forms.insert(json.trim_matches('"').as_bytes().to_vec());
        if secret.len() >= 3 * PIECE_BYTES {
            forms.extend(secret.chunks_exact(PIECE_BYTES).map(<[u8]>::to_vec));
        }
    }
    let mut spelled = vec![
        secret.escape_ascii().to_string(),
        format!("{:?}", bytes::Bytes::copy_from_slice(secret)).trim_start_matches("b\"").to_owned(),
        format!("{secret:?}"),
        format!("{secret:x?}"),
        format!("{secret:02x?}"),
        format!("{secret:X?}"),
        format!("{secret:?}").replace(' ', ""),
    ];
    let mut all = String::new();
    let (mut needed, mut plain) = (String::new(), String::new());
    for &byte in secret {
        write!(all, "%{byte:02X}").unwrap();
        plain.push_str(&hex(byte));
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            needed.push(byte.into());
        } else {
            write!(needed, "%{byte:02X}").unwrap();
        }
    }
    for text in [all, needed, plain] {
        spelled.push(text.to_lowercase());
        spelled.push(text.to_uppercase());
        spelled.push(text);
    }
    // Inside of something longer it begins at any of three places; what is sought has no letter that its neighbours share.
    for skipped in 0..3 {
        let shifted = [&[0; 2][..skipped], secret].concat();
        let whole = shifted.len() * 8 / 6;
        for text in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
            spelled.push(text[(skipped * 8).div_ceil(6)..whole].to_owned());
        }
    }
    let trimmed = |text: String| text.trim_matches(['[', ']', '"']).as_bytes().to_vec();
    forms.extend(spelled.into_iter().map(trimmed));
    forms.retain(|form| form.len() >= BYTES_MIN);
    forms
}

#[test]
fn every_form_of_a_secret_is_found() {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let secret = "pass\"wörd \\ {7}?>~ÿÿ";
    let bytes = secret.as_bytes();
    let upper = bytes.iter().copied().map(hex).collect::<String>().to_uppercase();
    let longer = format!("ada:{secret}!");
    let said = [
        format!("password {secret}"),
        format!("{:?}", Some(secret)),
        serde_json::json!({ "error": format!("{:?}", [secret]) }).to_string(),
        serde_json::json!([secret]).to_string(),
        format!("{:?}", bytes::Bytes::copy_from_slice(longer.as_bytes())),
        format!("{:?}", longer.as_bytes()),
        format!("{:x?}", longer.as_bytes()),
        serde_json::json!(bytes).to_string(),
        bytes.iter().copied().map(hex).collect(),
        upper.clone(),
        bytes.iter().flat_map(|byte| ["%".to_owned(), hex(*byte)]).collect(),
        "/a?b=pass%22w%C3%B6rd%20%5C%20%7B7%7D%3F%3E~%C3%BF%C3%BF".to_owned(),
        STANDARD.encode(secret),
        URL_SAFE.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        STANDARD.encode(&longer),
        STANDARD.encode(format!("a{longer}")),
        URL_SAFE_NO_PAD.encode(format!("bo{longer}")),
    ];
    for said in said {
        let mut hunt = Hunt::default();
        hunt.found("it", secret);
        hunt.heard("somebody", format!("a line\n{said}\nand another"));
        assert_eq!(hunt.findings().len(), 1, "{said}");
    }
    let mut hunt = Hunt::default();
    hunt.found("it", secret);
    hunt.heard("somebody", "pass wörd and nothing more");
    hunt.finds_nothing();
}

#[test]
fn half_of_a_long_secret_is_found_and_an_unused_one_is_an_error() {
    let mut hunt = Hunt::default();
    let (token, other) = (hunt.make("one") + &hunt.make("two"), hunt.make("unused"));
    hunt.found("token", &token);
    hunt.heard("somebody", format!("it began with {}…", &token[..23]));
    assert_eq!(hunt.findings().len(), 1);
    let unused = std::panic::catch_unwind(|| hunt.finds_nothing()).unwrap_err();
    let text = unused.downcast_ref::<String>().unwrap();
    assert!(text.contains("never used") && text.contains("unused") && !text.contains(&other), "{text}");
}

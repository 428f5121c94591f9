//! What other players see: one spelling for one look, nothing that hides, no letters borrowed from another script.
//!
//! Owns the policy, and knows who asks for neither: the API, the command line and the import go through the same [`FromStr`].
//! Names are not unique, so a whole name that looks like another is allowed; players are told apart by their ids.
//! Invariant: a name that was accepted is accepted again, unchanged.

use std::fmt;
use std::str::FromStr;

use shared_msgs::limits::DISPLAY_NAME_BYTES_MAX;
use unicode_normalization::UnicodeNormalization as _;
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory as _};
use unicode_script::{Script, ScriptExtension, UnicodeScript as _};

/// Marks in a row: no script needs more, and piles of them reach into the lines above.
pub const MARKS_MAX: usize = 4;

/// Scripts that are written together.
const TOGETHER: [&[Script]; 3] = [
    &[Script::Latin, Script::Han, Script::Hiragana, Script::Katakana],
    &[Script::Latin, Script::Han, Script::Bopomofo],
    &[Script::Latin, Script::Han, Script::Hangul],
];

/// Why a text cannot be a display name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DisplayNameError {
    /// Nothing left, or too long.
    #[error("a display name has 1 to {DISPLAY_NAME_BYTES_MAX} bytes, as UTF-8 and normalised")]
    Length,
    /// A character that hides, that steers the text around it, or that has no fixed look.
    #[error(
        "a display name has no control, format, invisible, private or unassigned characters; joiners count as such"
    )]
    Character,
    /// A mark without a letter, or too many on one.
    #[error("a display name has combining marks only behind other characters, at most {MARKS_MAX} in a row")]
    Marks,
    /// Letters of scripts that are not written together.
    #[error("a display name keeps to one script; only Latin goes with Chinese, Japanese and Korean")]
    Scripts,
}

/// What other players see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DisplayName(String);

impl DisplayName {
    /// The normalised text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// One that the database holds: shown as it is, also if it is older than a rule. Nothing without a bound, and nothing that could
    /// steer a terminal.
    pub(super) fn from_stored(text: &str) -> Option<Self> {
        let fits = (1..=DISPLAY_NAME_BYTES_MAX).contains(&text.len());
        (fits && !text.chars().any(char::is_control)).then(|| Self(text.to_owned()))
    }
}

impl FromStr for DisplayName {
    type Err = DisplayNameError;
    fn from_str(text: &str) -> Result<Self, DisplayNameError> {
        let name = normalised(text);
        if name.chars().any(is_barred) {
            return Err(DisplayNameError::Character);
        }
        if !(1..=DISPLAY_NAME_BYTES_MAX).contains(&name.len()) {
            return Err(DisplayNameError::Length);
        }
        if !marks_sit_well(&name) {
            return Err(DisplayNameError::Marks);
        }
        if !scripts_go_together(&name) {
            return Err(DisplayNameError::Scripts);
        }
        Ok(Self(name))
    }
}

impl fmt::Display for DisplayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// NFKC; spaces at the ends go, several are one. The two selectors that keyboards put behind an emoji only choose its style: they go as well.
fn normalised(text: &str) -> String {
    let plain = text.chars().filter(|c| !matches!(c, '\u{fe0e}' | '\u{fe0f}'));
    let mut name = String::with_capacity(text.len());
    for c in plain.nfkc() {
        if c.general_category() != GeneralCategory::SpaceSeparator {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with(' ') {
            name.push(' ');
        }
    }
    if name.ends_with(' ') {
        name.pop();
    }
    name
}

fn is_barred(c: char) -> bool {
    let group = c.general_category_group();
    // After normalisation the only separator that is a space is ' '; the others break lines.
    matches!(group, GeneralCategoryGroup::Other)
        || (group == GeneralCategoryGroup::Separator && c != ' ')
        || is_blank(c)
}

/// Letters, marks and symbols that show nothing.
const fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{34f}' // joins graphemes
            | '\u{115f}'..='\u{1160}' | '\u{3164}' | '\u{ffa0}' // fillers of Hangul
            | '\u{17b4}'..='\u{17b5}' // inherent vowels of Khmer
            | '\u{180b}'..='\u{180d}' | '\u{180f}' | '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' // selectors
            | '\u{2800}' // the Braille cell without dots
            | '\u{16fe4}' // fills a Khitan sign
            | '\u{1d159}' // the musical head without a note
    )
}

fn marks_sit_well(name: &str) -> bool {
    // As many as may follow: none at the start.
    let mut room = 0_usize;
    name.chars().all(|c| match c.general_category_group() {
        GeneralCategoryGroup::Mark => {
            let sits = room > 0;
            room = room.saturating_sub(1);
            sits
        }
        // A mark on a space stands alone.
        GeneralCategoryGroup::Separator => {
            room = 0;
            true
        }
        _ => {
            room = MARKS_MAX;
            true
        }
    })
}

fn scripts_go_together(name: &str) -> bool {
    // What has no script of its own, like digits and emoji, is in all of them.
    let in_set =
        |c: char, set: &[Script]| set.iter().any(|script| c.script_extension().contains_script(*script));
    !ScriptExtension::for_str(name).is_empty()
        || TOGETHER.iter().any(|set| name.chars().all(|c| in_set(c, set)))
}

#[cfg(test)]
mod tests;

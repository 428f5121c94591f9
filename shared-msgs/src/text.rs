//! Texts that people and configurations write: labels, and one line that any screen can show.
//!
//! Knows characters, no message. Invariant: what [`one_line`] gives has no character that is not seen or that moves others about.

use crate::limits;

/// The form of a label, for those who check it elsewhere.
pub const LABEL_PATTERN: &str = "^[a-z0-9][a-z0-9.=-]{0,31}$";
const _: () = assert!(limits::LABEL_BYTES_MAX == 32, "the pattern says so, too");

/// Whether this is a label: a letter or digit of ASCII, lower-case, then up to 31 of those, `-`, `=` and `.`.
pub fn is_label(text: &str) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_allowed = |byte: &u8| is_plain(byte) || b"-=.".contains(byte);
    text.len() <= limits::LABEL_BYTES_MAX
        && text.as_bytes().first().is_some_and(is_plain)
        && text.as_bytes().iter().all(is_allowed)
}

/// The text on one line: runs of spaces as one, nothing invisible, no control of writing direction, and no longer than so many bytes.
pub fn one_line(text: &str, bytes_max: usize) -> String {
    let mut line = String::new();
    let mut has_gap = false;
    for c in text.chars() {
        if c.is_whitespace() {
            has_gap = !line.is_empty();
        } else if !is_unseen(c) {
            let bytes = c.len_utf8() + usize::from(has_gap);
            if line.len() + bytes > bytes_max {
                break;
            }
            if std::mem::take(&mut has_gap) {
                line.push(' ');
            }
            line.push(c);
        }
    }
    line
}

/// Whether a character may stand in a line as it is: none that is not seen, breaks the line or moves others about.
pub fn is_plain(c: char) -> bool {
    !is_unseen(c) && !matches!(c, '\u{2028}' | '\u{2029}')
}

fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_short_and_plain() {
        for good in ["pvp", "mode=ranked", "0", "a-b.c=d", "rules=v1.2", &"x".repeat(32)] {
            assert!(is_label(good), "{good}");
        }
        for bad in ["", "-a", "=a", ".a", "PvP", "a b", "a_b", "ä", "a\n", &"x".repeat(33)] {
            assert!(!is_label(bad), "{bad}");
        }
    }

    #[test]
    fn a_line_has_nothing_that_is_not_seen() {
        assert_eq!(
            one_line("  Season\t2 \r\n starts\u{202e} at\u{200b} 8\u{7}!  ", 99),
            "Season 2 starts at 8!"
        );
        assert_eq!(one_line("\u{1b}[31mred", 99), "[31mred");
        assert_eq!(one_line("äöü", 5), "äö", "cut between characters");
        assert_eq!(one_line("ab c", 3), "ab", "and not after a space");
        assert_eq!(one_line(" \n ", 9), "");
    }

    #[test]
    fn what_moves_others_about_is_not_plain() {
        for c in [
            '\n', '\u{1b}', '\u{85}', '\u{ad}', '\u{200b}', '\u{202e}', '\u{2028}', '\u{2029}', '\u{2066}',
            '\u{feff}',
        ] {
            assert!(!is_plain(c), "{c:?}");
        }
        // Spaces of any script are seen.
        assert!("a Ä 漢\u{3000}字 שלום 🎉\u{fe0f} '\u{a0}\u{2026}".chars().all(is_plain));
    }

    proptest! {
        #[test]
        fn a_line_is_short_and_stays_as_it_is(text in ".{0,200}", bytes_max in 0_usize..100) {
            let line = one_line(&text, bytes_max);
            prop_assert!(line.len() <= bytes_max);
            prop_assert!(!line.chars().any(is_unseen) && line.chars().all(is_plain));
            prop_assert_eq!(one_line(&line, bytes_max), line);
        }
    }
}

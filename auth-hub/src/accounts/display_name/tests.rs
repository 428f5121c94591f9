//! The policy of display names, case by case, and what holds for any text.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<String, DisplayNameError> {
    text.parse::<DisplayName>().map(|name| name.as_str().to_owned())
}

#[test]
fn names_are_normalised() {
    for (typed, shown) in [
        ("Ada", "Ada"),
        ("  Bob \u{2602} ", "Bob \u{2602}"),
        ("Ada \u{a0}\u{2003} Lovelace", "Ada Lovelace"),
        ("\u{3000}Ada\u{1680}", "Ada"),
        ("Zoe\u{308}", "Zo\u{eb}"),
        ("\u{ff21}\u{ff44}\u{ff41}", "Ada"), // full width
        ("\u{1d400}da", "Ada"),              // mathematical bold
        ("\u{fb01}n", "fin"),
        ("\u{212a}elvin", "Kelvin"),
        ("I \u{2764}\u{fe0f} tea", "I \u{2764} tea"),
        ("o\u{fe0f}\u{308}", "\u{f6}"),
        ("1\u{fe0f}\u{20e3}", "1\u{20e3}"),
    ] {
        assert_eq!(read(typed).as_deref(), Ok(shown), "{typed:?}");
    }
}

#[test]
fn length_is_counted_in_bytes_after_normalising() {
    assert_eq!(read(&"x".repeat(64)), Ok("x".repeat(64)));
    assert_eq!(read(&"x".repeat(65)), Err(DisplayNameError::Length));
    assert_eq!(read(&"\u{ff41}".repeat(64)), Ok("a".repeat(64)));
    assert_eq!(read(&"\u{e9}".repeat(33)), Err(DisplayNameError::Length));
    // One character that becomes eighteen.
    assert_eq!(read(&"\u{fdfa}".repeat(2)), Err(DisplayNameError::Length));
    for nothing in ["", "   ", "\u{a0}\u{2003}", "\u{fe0f}"] {
        assert_eq!(read(nothing), Err(DisplayNameError::Length), "{nothing:?}");
    }
}

#[test]
fn what_hides_or_steers_is_refused() {
    for c in [
        '\0',
        '\t',
        '\n',
        '\r',
        '\u{1b}',
        '\u{7f}',
        '\u{85}',
        '\u{2028}',
        '\u{2029}', // control and line ends
        '\u{ad}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{2060}',
        '\u{feff}',
        '\u{e0041}', // no width
        '\u{61c}',
        '\u{200e}',
        '\u{200f}',
        '\u{202a}',
        '\u{202e}',
        '\u{2066}',
        '\u{2069}', // direction
        '\u{34f}',
        '\u{115f}',
        '\u{1160}',
        '\u{3164}',
        '\u{ffa0}',
        '\u{2800}',
        '\u{180e}',
        '\u{fe00}',
        '\u{e0100}',
        '\u{e000}',
        '\u{f8ff}',
        '\u{10fffd}', // private use
        '\u{378}',
        '\u{ffff}',
        '\u{fdd0}',
        '\u{e01f0}', // unassigned
        '\u{fff9}',
    ] {
        for text in [format!("a{c}b"), format!("{c}ab"), format!("ab{c}"), c.to_string()] {
            assert_eq!(read(&text), Err(DisplayNameError::Character), "{text:?}");
        }
    }
}

#[test]
fn marks_are_few_and_sit_on_something() {
    let q = |marks: usize| format!("q{}", "\u{323}\u{302}".repeat(marks / 2));
    assert!(read(&q(4)).is_ok());
    assert_eq!(read(&q(6)), Err(DisplayNameError::Marks));
    for alone in ["\u{301}", "\u{301}a", "a \u{301}", "\u{b4}", " \u{302}x"] {
        assert_eq!(read(alone), Err(DisplayNameError::Marks), "{alone:?}");
    }
}

#[test]
fn scripts_are_not_mixed_except_where_people_do() {
    for fine in [
        "Ada-1_x",
        "Ольга 7",
        "Ελένη",
        "محمد",
        "שרה",
        "สมชาย",
        "कृष्ण",
        "さくらサクラ桜",
        "Sakura 桜",
        "김철수 Kim",
        "ㄅㄆ王 Wang",
        "Zoë \u{1f98a} 2",
        "\u{1f98a}",
        "ーAda", // said to be of both kana
        "аррӏе", // all Cyrillic: looks like Latin, and is allowed
    ] {
        assert!(read(fine).is_ok(), "{fine}: {:?}", read(fine));
    }
    for mixed in ["p\u{430}ypal", "Ad\u{3b1}", "\u{410}da", "Ольга桜", "kim\u{5d0}", "a\u{431}桜"] {
        assert_eq!(read(mixed), Err(DisplayNameError::Scripts), "{mixed}");
    }
}

#[test]
fn what_is_stored_is_shown_as_it_is() {
    for older in ["p\u{430}ypal", "  two  ", "a\u{200b}b", "\u{ff21}"] {
        assert_eq!(DisplayName::from_stored(older).unwrap().as_str(), older);
    }
    for broken in ["", "a\u{1b}b", &"x".repeat(65)] {
        assert_eq!(DisplayName::from_stored(broken), None, "{broken:?}");
    }
}

/// Any characters, with those that the policy is about among them.
fn texts() -> impl Strategy<Value = String> {
    let telling = proptest::sample::select(
        "aZ9_ \u{a0}\u{3000}éö\u{301}\u{308}\u{323}\u{fe0f}\u{fdfa}\u{212b}\u{1100}\u{1161}\u{11a8}가桜さбα\u{b4}\u{2fa1d}"
            .chars()
            .collect::<Vec<_>>(),
    );
    let any = prop_oneof![4 => telling, 1 => any::<char>()];
    proptest::collection::vec(any, 0..24).prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn normalising_twice_is_normalising_once(text in texts()) {
        let once = normalised(&text);
        prop_assert_eq!(normalised(&once), once);
    }

    #[test]
    fn what_is_accepted_is_accepted_again_and_can_be_stored(text in texts()) {
        if let Ok(name) = text.parse::<DisplayName>() {
            prop_assert_eq!(name.as_str().parse::<DisplayName>(), Ok(name.clone()));
            prop_assert_eq!(DisplayName::from_stored(name.as_str()), Some(name.clone()));
            let shown = name.as_str();
            prop_assert!(!shown.contains("  ") && shown.trim() == shown && shown.len() <= DISPLAY_NAME_BYTES_MAX);
            prop_assert!(shown.chars().any(|c| !c.is_whitespace()));
        }
    }
}

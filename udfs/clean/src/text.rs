//! Text as people type it: forms of Unicode, blanks, full width, Hangul.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::DataType;
use maru_core::{Error, ErrorKind, did_you_mean};
use unicode_normalization::{UnicodeNormalization, char::decompose_canonical};

use crate::function::{Spec, Texts};

const FORMS: [&str; 4] = ["NFC", "NFD", "NFKC", "NFKD"];

macro_rules! of_text {
    ($name:literal, $doc:literal, $each:expr) => {
        Spec {
            name: $name,
            syntax: concat!($name, "(text)"),
            doc: $doc,
            takes: (1, 1),
            gives: |_| Ok(DataType::Utf8),
            run: |texts: &Texts| Ok(Arc::new(texts.map($each).collect::<StringArray>())),
        }
    };
}

pub(crate) const FUNCTIONS: &[Spec] = &[
    of_text!(
        "clean_text",
        "Gives text in form NFKC (half-width letters and digits, whole syllables) without what cannot be seen, with single blanks and none at its ends; NULL if nothing is left.",
        |text| {
            let clean = clean(text);
            (!clean.is_empty()).then(|| clean.into_owned())
        }
    ),
    Spec {
        name: "normalize",
        syntax: "normalize(text [, 'NFC'|'NFD'|'NFKC'|'NFKD'])",
        doc: "Gives text in a form of Unicode, NFC if none is named.",
        takes: (1, 2),
        gives: |_| Ok(DataType::Utf8),
        run: |texts| {
            let form = texts.constant(1, "the form")?.unwrap_or("NFC").to_ascii_uppercase();
            let apply: fn(&str) -> String = match form.as_str() {
                "NFC" => |text| text.nfc().collect(),
                "NFD" => |text| text.nfd().collect(),
                "NFKC" => |text| text.nfkc().collect(),
                "NFKD" => |text| text.nfkd().collect(),
                _ => {
                    let error = Error::new(
                        ErrorKind::InvalidParameter,
                        format!("'{form}' is no form of Unicode"),
                    );
                    return Err(match did_you_mean(&form, FORMS) {
                        Some(near) => error.with_hint(format!("Did you mean '{near}'?")),
                        None => error.with_hint("The forms are NFC, NFD, NFKC and NFKD."),
                    });
                }
            };
            Ok(Arc::new(texts.map(|text| Some(apply(text))).collect::<StringArray>()))
        },
    },
    of_text!(
        "to_half_width",
        "Puts half-width letters, digits, signs and blanks in the place of full-width ones.",
        |text| Some(text.chars().map(half_width).collect::<String>())
    ),
    of_text!(
        "to_full_width",
        "Puts full-width letters, digits, signs and blanks in the place of half-width ones.",
        |text| Some(text.chars().map(full_width).collect::<String>())
    ),
    of_text!(
        "hangul_compose",
        "Joins single letters of Hangul into syllables, whether conjoining (as file names have them) or typed one by one.",
        |text| Some(compose(text))
    ),
    of_text!("hangul_decompose", "Takes syllables of Hangul apart into single letters.", |text| {
        let mut out = String::with_capacity(text.len() * 2);
        for c in text.chars() {
            decompose_canonical(c, |part| out.push(compatible(part).unwrap_or(part)));
        }
        Some(out)
    }),
    of_text!(
        "hangul_initials",
        "Returns the first letter of each syllable of Hangul; other characters stay.",
        |text| {
            let initial = |c: char| match c {
                '가'..='힣' => compatible_leading((u32::from(c) - 0xAC00) / 588).unwrap_or(c),
                other => other,
            };
            Some(text.nfc().map(initial).collect::<String>())
        }
    ),
];

/// What has no width and no meaning of its own: zero-width blanks and joiners, marks of direction, soft hyphens, byte order marks.
fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{FEFF}' | '\u{00AD}' | '\u{3164}' | '\u{115F}' | '\u{1160}')
        || c.is_control() && !c.is_whitespace()
}

pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    // Most text is clean already: a pass over its bytes tells.
    let mut before = b' ';
    let plain = text.bytes().all(|byte| {
        let seen = (b' '..0x7F).contains(&byte) && !(byte == b' ' && before == b' ');
        before = byte;
        seen
    });
    if plain && (before != b' ' || text.is_empty()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut blank = false;
    for c in text.chars().filter(|c| !is_unseen(*c)).nfkc() {
        if c.is_whitespace() {
            blank = !out.is_empty();
            continue;
        }
        if std::mem::take(&mut blank) {
            out.push(' ');
        }
        out.push(c);
    }
    Cow::Owned(out)
}

fn half_width(c: char) -> char {
    match c {
        '\u{3000}' => ' ',
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        '￠' => '¢',
        '￡' => '£',
        '￥' => '¥',
        '￦' => '₩',
        other => other,
    }
}

fn full_width(c: char) -> char {
    match c {
        ' ' => '\u{3000}',
        '!'..='~' => char::from_u32(u32::from(c) + 0xFEE0).unwrap_or(c),
        '₩' => '￦',
        other => other,
    }
}

// The letters of Hangul in the order of their conjoining forms, as those that stand alone.
const LEADING: [char; 19] = [
    'ㄱ', 'ㄲ', 'ㄴ', 'ㄷ', 'ㄸ', 'ㄹ', 'ㅁ', 'ㅂ', 'ㅃ', 'ㅅ', 'ㅆ', 'ㅇ', 'ㅈ', 'ㅉ', 'ㅊ', 'ㅋ',
    'ㅌ', 'ㅍ', 'ㅎ',
];
const TRAILING: [char; 27] = [
    'ㄱ', 'ㄲ', 'ㄳ', 'ㄴ', 'ㄵ', 'ㄶ', 'ㄷ', 'ㄹ', 'ㄺ', 'ㄻ', 'ㄼ', 'ㄽ', 'ㄾ', 'ㄿ', 'ㅀ', 'ㅁ',
    'ㅂ', 'ㅄ', 'ㅅ', 'ㅆ', 'ㅇ', 'ㅈ', 'ㅊ', 'ㅋ', 'ㅌ', 'ㅍ', 'ㅎ',
];

fn compatible_leading(index: u32) -> Option<char> {
    LEADING.get(index as usize).copied()
}

fn compatible(c: char) -> Option<char> {
    match u32::from(c) {
        at @ 0x1100..=0x1112 => compatible_leading(at - 0x1100),
        at @ 0x1161..=0x1175 => char::from_u32(at - 0x1161 + 0x314F),
        at @ 0x11A8..=0x11C2 => TRAILING.get((at - 0x11A8) as usize).copied(),
        _ => None,
    }
}

/// Vowels that are typed as two.
const DOUBLE_VOWELS: [(char, char, char); 7] = [
    ('ㅗ', 'ㅏ', 'ㅘ'),
    ('ㅗ', 'ㅐ', 'ㅙ'),
    ('ㅗ', 'ㅣ', 'ㅚ'),
    ('ㅜ', 'ㅓ', 'ㅝ'),
    ('ㅜ', 'ㅔ', 'ㅞ'),
    ('ㅜ', 'ㅣ', 'ㅟ'),
    ('ㅡ', 'ㅣ', 'ㅢ'),
];

fn compose(text: &str) -> String {
    let leading = |c: char| LEADING.iter().position(|known| *known == c);
    let vowel = |c: char| ('ㅏ'..='ㅣ').contains(&c).then(|| u32::from(c) - 0x314F);
    let trailing = |c: char| TRAILING.iter().position(|known| *known == c);
    let letters = text.nfc().collect::<Vec<_>>();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = letters.get(at).copied() {
        at += 1;
        let first = letters.get(at).copied();
        let (Some(lead), Some(first)) = (leading(c), first.filter(|c| vowel(*c).is_some())) else {
            out.push(c);
            continue;
        };
        at += 1;
        let second = letters.get(at).copied();
        let double = DOUBLE_VOWELS.iter().find(|(a, b, _)| *a == first && Some(*b) == second);
        at += usize::from(double.is_some());
        let middle = vowel(double.map_or(first, |(_, _, both)| *both)).unwrap_or(0);
        // A letter before a vowel begins the next syllable.
        let next = letters.get(at).copied().and_then(trailing);
        let followed = letters.get(at + 1).copied().and_then(vowel).is_some();
        let begins = letters.get(at).copied().and_then(leading).is_some();
        let end = match next {
            Some(index) if !(followed && begins) => {
                at += 1;
                index as u32 + 1
            }
            _ => 0,
        };
        let syllable = 0xAC00 + (lead as u32 * 21 + middle) * 28 + end;
        out.push(char::from_u32(syllable).unwrap_or(c));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_text() {
        assert_eq!(clean("  ＡＢＣ　１２３ \u{200B}"), "ABC 123");
        assert_eq!(clean("a\t\n b"), "a b");
        assert_eq!(clean("\u{1112}\u{1161}\u{11AB}글"), "한글");
    }

    #[test]
    fn joins_letters() {
        assert_eq!(compose("ㅎㅏㄴㄱㅡㄹ"), "한글");
        assert_eq!(compose("ㅇㅗㅏㄴㅅㅓㅇ"), "완성");
        assert_eq!(compose("ㄱㅏㅂㅅ ㅋㅋ"), "갑ㅅ ㅋㅋ");
        assert_eq!(compose("\u{1112}\u{1161}\u{11AB}"), "한");
    }
}

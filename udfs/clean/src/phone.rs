//! `parse_phone`: Korean telephone numbers, however they were written.
//!
//! Source: the Republic of Korea's numbering plan (ITU-T E.164 national numbering plans, +82).

use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use crate::function::Spec;
use crate::text::clean;

pub(crate) const FUNCTIONS: &[Spec] = &[Spec {
    name: "parse_phone",
    syntax: "parse_phone(text)",
    doc: "Reads a Korean telephone number: number (010-1234-5678), e164 (+821012345678), kind (mobile, landline, voip, toll_free, personal, premium, representative) and extension. What is none is NULL.",
    takes: (1, 1),
    gives: |_| Ok(DataType::Struct(fields())),
    run: |texts| {
        let mut columns: [StringBuilder; 4] = Default::default();
        let mut valid = Vec::with_capacity(texts.n_rows);
        for row in 0..texts.n_rows {
            let phone = texts.get(0, row).and_then(Phone::read);
            valid.push(phone.is_some());
            let parts = phone.map(|phone| {
                let number = phone.parts.join("-");
                let digits = phone.parts.concat();
                let e164 = format!("+82{}", digits.strip_prefix('0').unwrap_or(&digits));
                [Some(number), Some(e164), Some(phone.kind.to_owned()), phone.extension]
            });
            for (column, part) in columns.iter_mut().zip(parts.unwrap_or_default()) {
                column.append_option(part);
            }
        }
        let arrays = columns.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef).collect();
        Ok(Arc::new(StructArray::try_new(fields(), arrays, Some(NullBuffer::from(valid)))?))
    },
}];

fn fields() -> Fields {
    ["number", "e164", "kind", "extension"]
        .map(|name| Field::new(name, DataType::Utf8, true))
        .to_vec()
        .into()
}

/// A number in its groups.
pub(crate) struct Phone {
    pub parts: Vec<String>,
    pub kind: &'static str,
    pub extension: Option<String>,
}

impl Phone {
    /// Reads a number; `None` for what cannot be one.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = clean(text).to_lowercase();
        let (number, extension) = split_extension(&text)?;
        let plus = number.starts_with('+');
        let mut digits = String::with_capacity(12);
        for c in number.trim_start_matches('+').chars() {
            match c {
                '0'..='9' => digits.push(c),
                '-' | '.' | ' ' | '(' | ')' | '/' | '‐' | '–' | '−' | '~' => {}
                _ => return None,
            }
        }
        let abroad = match (plus, digits.strip_prefix("0082").or_else(|| digits.strip_prefix("82")))
        {
            (true, None) => return None,
            // 82 on its own begins no number at home.
            (_, Some(rest)) => Some(rest.trim_start_matches('0').to_owned()),
            (false, None) => None,
        };
        if let Some(rest) = abroad {
            let representative = rest.len() == 8 && is_representative(&rest);
            digits = if representative { rest } else { format!("0{rest}") };
        } else if digits.len() == 10 && digits.starts_with("10") {
            // A spreadsheet has taken the zero for one that says nothing.
            digits.insert(0, '0');
        }
        let (kind, area) = kind_of(&digits)?;
        let rest = &digits[area..];
        let parts = match kind {
            "representative" => vec![digits[..4].to_owned(), digits[4..].to_owned()],
            _ => {
                let middle = rest.len() - 4;
                vec![
                    digits[..area].to_owned(),
                    rest[..middle].to_owned(),
                    rest[middle..].to_owned(),
                ]
            }
        };
        Some(Self { parts, kind, extension })
    }
}

fn split_extension(text: &str) -> Option<(&str, Option<String>)> {
    // Most numbers are signs and digits alone.
    if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.() /~".contains(&byte)) {
        return Some((text, None));
    }
    for word in ["내선", "교환", "구내", "ext.", "ext", "x", "#"] {
        if let Some((number, rest)) = text.split_once(word) {
            let extension = rest.trim_matches(|c: char| !c.is_ascii_digit());
            let fits = !extension.is_empty() && extension.bytes().all(|b| b.is_ascii_digit());
            return fits
                .then(|| (number.trim_end_matches([' ', '(', ',']), Some(extension.to_owned())));
        }
    }
    Some((text, None))
}

fn is_representative(digits: &str) -> bool {
    ["15", "16", "18"].iter().any(|begin| digits.starts_with(begin))
}

/// Returns the kind of a number and the length of its first group.
fn kind_of(digits: &str) -> Option<(&'static str, usize)> {
    let n = digits.len();
    let rest = |area: usize| n.saturating_sub(area);
    let usual = |area: usize| (7..=8).contains(&rest(area));
    if !digits.starts_with('0') {
        return (n == 8 && is_representative(digits)).then_some(("representative", 4));
    }
    let two = digits.get(..2)?;
    let three = digits.get(..3)?;
    match (two, three) {
        ("02", _) => usual(2).then_some(("landline", 2)),
        (_, "010") => (rest(3) == 8).then_some(("mobile", 3)),
        (_, "011" | "016" | "017" | "018" | "019") => usual(3).then_some(("mobile", 3)),
        (
            _,
            "031" | "032" | "033" | "041" | "042" | "043" | "044" | "051" | "052" | "053" | "054"
            | "055" | "061" | "062" | "063" | "064",
        ) => usual(3).then_some(("landline", 3)),
        (_, "070") => (rest(3) == 8).then_some(("voip", 3)),
        (_, "080") => usual(3).then_some(("toll_free", 3)),
        (_, "060") => usual(3).then_some(("premium", 3)),
        (_, "050") => usual(4).then_some(("personal", 4)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers() {
        let read = |text| Phone::read(text).map(|phone| (phone.parts.join("-"), phone.kind));
        for (text, number, kind) in [
            ("010-1234-5678", "010-1234-5678", "mobile"),
            ("+82 10 1234 5678", "010-1234-5678", "mobile"),
            ("+82-(0)10-1234-5678", "010-1234-5678", "mobile"),
            ("０１０．１２３４．５６７８", "010-1234-5678", "mobile"),
            ("1012345678", "010-1234-5678", "mobile"),
            ("011-234-5678", "011-234-5678", "mobile"),
            ("(02)123-4567", "02-123-4567", "landline"),
            ("02 1234 5678", "02-1234-5678", "landline"),
            ("+82 2 1234 5678", "02-1234-5678", "landline"),
            ("031.123.4567", "031-123-4567", "landline"),
            ("1588-1234", "1588-1234", "representative"),
            ("0505-123-4567", "0505-123-4567", "personal"),
        ] {
            assert_eq!(read(text), Some((number.to_owned(), kind)), "{text}");
        }
        for text in [
            "",
            "119",
            "010-1234-567",
            "+1 202 555 0100",
            "034-123-4567",
            "010-1234-5678-9",
            "없음",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(
            Phone::read("02-123-4567 (내선 12)").and_then(|p| p.extension).as_deref(),
            Some("12")
        );
    }
}

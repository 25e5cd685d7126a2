//! Templates of numbers: `FM999,999,990.00`, `S9G999D99`, `999MI`, `RN`, `9.99EEEE`.
//!
//! Source: PostgreSQL 16, table 9.29, and `NUM_processor` of its `formatting.c`; the locale is C, whose group is a comma, whose
//! point is a point, and whose currency has no sign.

use datafusion::common::ScalarValue;
use maru_core::{Error, ErrorKind, Result};

/// Digits that a template has at most.
const DIGITS_MAX: usize = 400;

/// What stands at one place of a template.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// A digit; one that is `0` is written even where the number has none.
    Digit {
        zero: bool,
    },
    Point,
    Group,
    /// A text that stays.
    Text(String),
    /// The sign where it is asked for.
    Sign(Sign),
    /// The ordinal, `TH` or `th`.
    Ordinal {
        upper: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sign {
    /// `S`: plus or minus.
    Both,
    /// `MI`: a minus, or a blank.
    Minus,
    /// `PL`: a plus, or a blank.
    Plus,
    /// `SG`.
    Always,
}

/// A template, read.
#[derive(Debug, Default)]
struct Template {
    parts: Vec<Part>,
    fill: bool,
    /// `PR`: angle brackets around what is negative.
    brackets: bool,
    /// Digits that the number is multiplied by ten for.
    shift: u32,
    roman: bool,
    exponent: bool,
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Syntax, what)
}

impl Template {
    fn read(text: &str) -> Result<Self> {
        let mut template = Self { fill: true, ..Self::default() };
        let mut rest = text;
        let mut after_v = false;
        let mut has_point = false;
        while let Some(first) = rest.chars().next() {
            let starts = |pattern: &str| {
                rest.get(..pattern.len()).is_some_and(|start| start.eq_ignore_ascii_case(pattern))
            };
            let mut taken = first.len_utf8();
            if first == '"' {
                let (quoted, after) = rest[1..].split_once('"').unwrap_or((&rest[1..], ""));
                template.parts.push(Part::Text(quoted.to_owned()));
                rest = after;
                continue;
            }
            if starts("FM") {
                (template.fill, taken) = (false, 2);
            } else if starts("MI") {
                template.parts.push(Part::Sign(Sign::Minus));
                taken = 2;
            } else if starts("PL") {
                template.parts.push(Part::Sign(Sign::Plus));
                taken = 2;
            } else if starts("SG") {
                template.parts.push(Part::Sign(Sign::Always));
                taken = 2;
            } else if starts("PR") {
                (template.brackets, taken) = (true, 2);
            } else if starts("TH") {
                template.parts.push(Part::Ordinal { upper: rest.starts_with("TH") });
                taken = 2;
            } else if starts("RN") {
                (template.roman, taken) = (true, 2);
            } else if starts("EEEE") {
                (template.exponent, taken) = (true, 4);
            } else if starts("S") {
                template.parts.push(Part::Sign(Sign::Both));
            } else if first == '9' || first == '0' {
                template.parts.push(Part::Digit { zero: first == '0' });
                template.shift += u32::from(after_v);
            } else if first == '.' || starts("D") {
                if has_point || after_v {
                    return Err(wrong("a template of a number has one decimal point"));
                }
                has_point = true;
                template.parts.push(Part::Point);
            } else if first == ',' || starts("G") {
                template.parts.push(Part::Group);
            } else if starts("V") {
                if has_point || after_v {
                    return Err(wrong("V of a template stands once, and without a decimal point"));
                }
                after_v = true;
            } else if starts("L") {
                // The C locale has no sign for money, and PostgreSQL writes a blank.
                template.parts.push(Part::Text(" ".to_owned()));
            } else {
                template.parts.push(Part::Text(first.to_string()));
            }
            rest = &rest[taken..];
        }
        if template.parts.iter().filter(|part| matches!(part, Part::Digit { .. })).count()
            > DIGITS_MAX
        {
            return Err(wrong(format!("a template of a number has at most {DIGITS_MAX} digits")));
        }
        Ok(template)
    }

    /// Digits before the point and behind it.
    fn places(&self) -> (usize, usize) {
        let digit = |part: &&Part| matches!(part, Part::Digit { .. });
        let at = self.parts.iter().position(|part| *part == Part::Point);
        match at {
            Some(at) => (
                self.parts[..at].iter().filter(digit).count(),
                self.parts[at..].iter().filter(digit).count(),
            ),
            None => (self.parts.iter().filter(digit).count(), 0),
        }
    }
}

/// Writes a number by a template.
///
/// # Errors
/// 42601 for a template that contradicts itself.
pub(super) fn written(value: &ScalarValue, template: &str) -> Result<String> {
    let template = Template::read(template)?;
    if template.roman {
        return Ok(roman(value, template.fill));
    }
    let (n_before, n_behind) = template.places();
    if template.exponent {
        return scientific(value, &template, n_behind);
    }
    let Some((negative, before, behind)) = rounded(value, n_behind, template.shift) else {
        return Ok(special(value, &template, n_before, n_behind));
    };
    // Nothing is negative that shows no digit but zeros.
    let negative =
        negative && (before.bytes().any(|c| c != b'0') || behind.bytes().any(|c| c != b'0'));
    // A whole part of zero is one digit.
    let overflow = before.len().max(1) > n_before;
    let before = if overflow { "#".repeat(n_before) } else { before };
    let behind = if overflow { "#".repeat(n_behind) } else { behind };
    Ok(put(&template, negative, &before, &behind, n_before))
}

/// Puts the digits into the parts of a template.
fn put(template: &Template, negative: bool, before: &str, behind: &str, n_before: usize) -> String {
    let asks = |part: &Part| matches!(part, Part::Sign(Sign::Both | Sign::Minus | Sign::Always));
    let explicit = template.parts.iter().any(asks) || template.brackets;
    // From the first `0` of the template on, and from the first digit of the number on, digits are written.
    let digits_before = |part: &&Part| matches!(part, Part::Digit { .. });
    let first_zero = template
        .parts
        .iter()
        .take_while(|part| **part != Part::Point)
        .filter(digits_before)
        .position(|part| *part == Part::Digit { zero: true })
        .unwrap_or(n_before);
    let lead = n_before - before.len().min(n_before);
    // Behind the point FM leaves trailing zeros away, up to the last `0` of the template.
    let point = template.parts.iter().position(|part| *part == Part::Point);
    let kept_behind = match (template.fill, point) {
        (false, Some(at)) => {
            let digits = template.parts[at..].iter().filter(digits_before).collect::<Vec<_>>();
            let last_zero = digits
                .iter()
                .rposition(|part| **part == Part::Digit { zero: true })
                .map_or(0, |at| at + 1);
            behind.trim_end_matches('0').len().max(last_zero)
        }
        _ => behind.len(),
    };
    // The zero before the point stays away, unless nothing else is shown.
    let is_zero = before.is_empty();
    let shows_zero = behind.is_empty() || (!template.fill && kept_behind == 0);
    let mut out = String::new();
    // The sign that nobody asked for stands before the first digit, and so does a bracket.
    let mut waiting = match (explicit, negative) {
        (false, true) => Some("-"),
        (false, false) if template.fill => Some(" "),
        (true, true) if template.brackets => Some("<"),
        (true, false) if template.brackets && template.fill => Some(" "),
        _ => None,
    };
    // Where the sign is asked for at the start, it moves up to the first digit.
    let mut floating = None;
    let (mut n_seen, mut n_behind) = (0, 0);
    let mut started = false;
    let mut in_fraction = false;
    for part in &template.parts {
        match part {
            Part::Digit { .. } if in_fraction => {
                if let Some(digit) =
                    behind.get(n_behind..n_behind + 1).filter(|_| n_behind < kept_behind)
                {
                    out.push_str(digit);
                }
                n_behind += 1;
            }
            Part::Digit { .. } => {
                let at = n_seen;
                n_seen += 1;
                let significant = at >= lead;
                if significant || at >= first_zero {
                    if !started {
                        started = true;
                        out.extend(floating.take());
                        out.extend(waiting.take());
                    }
                    out.push_str(if significant { &before[at - lead..=at - lead] } else { "0" });
                } else if is_zero && at + 1 == n_before && shows_zero {
                    started = true;
                    out.extend(floating.take());
                    out.extend(waiting.take());
                    out.push('0');
                } else if template.fill {
                    out.push(' ');
                }
            }
            Part::Point => {
                if !started {
                    started = true;
                    out.extend(floating.take());
                    out.extend(waiting.take());
                }
                in_fraction = true;
                // PostgreSQL writes the point even where FM leaves nothing behind it.
                out.push('.');
            }
            Part::Group => {
                if started {
                    out.push(',');
                } else if template.fill {
                    out.push(' ');
                }
            }
            Part::Text(text) => out.push_str(text),
            Part::Sign(sign) => {
                let shown = match (sign, negative) {
                    (Sign::Both | Sign::Always, true) | (Sign::Minus, true) => "-",
                    (Sign::Both | Sign::Always, false) | (Sign::Plus, false) => "+",
                    (Sign::Minus, false) | (Sign::Plus, true) if template.fill => " ",
                    _ => "",
                };
                match sign {
                    Sign::Both if n_seen == 0 && !started => floating = Some(shown),
                    _ => out.push_str(shown),
                }
            }
            Part::Ordinal { upper } => {
                if !negative && !in_fraction {
                    let number = before.parse::<u128>().unwrap_or(0);
                    let word = match (number % 100, number % 10) {
                        (11..=13, _) => "th",
                        (_, 1) => "st",
                        (_, 2) => "nd",
                        (_, 3) => "rd",
                        _ => "th",
                    };
                    out.push_str(&if *upper { word.to_uppercase() } else { word.to_owned() });
                }
            }
        }
    }
    if !started {
        out.extend(floating.take());
        out.extend(waiting.take());
    }
    if template.brackets {
        match (negative, template.fill) {
            (true, _) => out.push('>'),
            (false, true) => out.push(' '),
            _ => {}
        }
    }
    out
}

/// Returns sign, digits before the point (none for zero) and behind it; `None` for what is no finite number.
fn rounded(value: &ScalarValue, n_behind: usize, shift: u32) -> Option<(bool, String, String)> {
    let text = match value {
        ScalarValue::Int64(Some(number)) => number.to_string(),
        ScalarValue::Decimal128(Some(number), _, places) => decimal_text(*number, *places),
        ScalarValue::Float64(Some(number)) if number.is_finite() => {
            // Fifteen digits are true of a double; the rest are zeros, as in PostgreSQL.
            let whole = if *number == 0.0 { 1 } else { number.abs().log10().floor() as i64 + 1 };
            let places = (15 - whole.max(1)).max(0) as usize;
            format!("{number:.places$}")
        }
        _ => return None,
    };
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest.to_owned()),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut digits = whole.bytes().chain(fraction.bytes()).map(|c| c - b'0').collect::<Vec<_>>();
    let mut point = whole.len() + shift as usize;
    while digits.len() < point + n_behind {
        digits.push(0);
    }
    let cut = point + n_behind;
    let up = digits.get(cut).is_some_and(|digit| *digit >= 5);
    digits.truncate(cut);
    if up {
        let nines = digits.iter().rev().take_while(|digit| **digit == 9).count();
        for digit in digits.iter_mut().rev().take(nines) {
            *digit = 0;
        }
        match digits.len().checked_sub(nines + 1) {
            Some(at) => digits[at] += 1,
            None => {
                digits.insert(0, 1);
                point += 1;
            }
        }
    }
    let text =
        |digits: &[u8]| digits.iter().map(|digit| char::from(b'0' + digit)).collect::<String>();
    let before = text(&digits[..point]);
    Some((negative, before.trim_start_matches('0').to_owned(), text(&digits[point..])))
}

fn decimal_text(number: i128, places: i8) -> String {
    let places = usize::try_from(places).unwrap_or(0);
    let digits = format!("{:0width$}", number.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction}")
}

/// NaN and infinities, as words where there is room before the point.
fn special(value: &ScalarValue, template: &Template, n_before: usize, n_behind: usize) -> String {
    let ScalarValue::Float64(Some(number)) = value else { return String::new() };
    if number.is_nan() && n_before >= 3 {
        return if template.fill {
            format!("{:>width$}", "NaN", width = n_before + 1)
        } else {
            "NaN".to_owned()
        };
    }
    put(template, *number < 0.0, &"#".repeat(n_before), &"#".repeat(n_behind), n_before)
}

fn scientific(value: &ScalarValue, template: &Template, n_behind: usize) -> Result<String> {
    let number = match value.cast_to(&arrow::datatypes::DataType::Float64)? {
        ScalarValue::Float64(Some(number)) => number,
        _ => return Ok(String::new()),
    };
    let text = format!("{number:.n_behind$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent = exponent.parse::<i32>().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    let blank = if number >= 0.0 && template.fill { " " } else { "" };
    Ok(format!("{blank}{mantissa}e{sign}{:02}", exponent.abs()))
}

fn roman(value: &ScalarValue, fill: bool) -> String {
    const NUMERALS: [(i64, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let number = match rounded(value, 0, 0) {
        Some((false, before, _)) => before.parse::<i64>().unwrap_or(0),
        _ => 0,
    };
    let shown = if (1..4000).contains(&number) {
        let mut rest = number;
        let mut shown = String::new();
        for (worth, numeral) in NUMERALS {
            while rest >= worth {
                shown.push_str(numeral);
                rest -= worth;
            }
        }
        shown
    } else {
        "#".repeat(15)
    };
    if fill { format!("{shown:>15}") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_in_postgresql() {
        let decimal = |number, places| ScalarValue::Decimal128(Some(number), 38, places);
        let int = |number| ScalarValue::Int64(Some(number));
        for (value, template, shown) in [
            (decimal(1_234_567_891, 3), "9,999,999.99", " 1,234,567.89"),
            (decimal(1_234_567_891, 3), "FM9,999,999.00", "1,234,567.89"),
            (decimal(-55, 1), "FM999.0", "-5.5"),
            (int(12), "000", " 012"),
            (int(12_345), "FM999,999,999", "12,345"),
            (decimal(5, 1), "0.99", " 0.50"),
            (int(485), "RN", "        CDLXXXV"),
            (int(-485), "999MI", "485-"),
            (int(485), "999MI", "485 "),
            (int(-485), "999PR", "<485>"),
            (int(485), "S999", "+485"),
            (int(12), "9", " #"),
            (int(0), "FM999", "0"),
            (int(0), "9,999", "     0"),
            (int(0), "FM99.9", "0."),
            (decimal(5, 1), ".99", " .##"),
            (int(-7), "PL999", "   -7"),
            (int(12), "99V999", " 12000"),
            (int(482), "999th", " 482nd"),
            (int(-12), "S9999", "  -12"),
            (decimal(148_500, 3), "999.999", " 148.500"),
            (decimal(148_500, 3), "FM999.999", "148.5"),
            (ScalarValue::Float64(Some(0.000_485_9)), "9.99EEEE", " 4.86e-04"),
        ] {
            assert_eq!(written(&value, template).unwrap(), shown, "{value} by {template}");
        }
    }
}

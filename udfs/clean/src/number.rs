//! Numbers as people write them: separators, signs of money, units, 만 and 억.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Builder, StringBuilder, StructArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};

use crate::function::Spec;
use crate::text::clean;

const SCALE: u32 = 10;

pub(crate) const FUNCTIONS: &[Spec] = &[
    Spec {
        name: "parse_number",
        syntax: "parse_number(text)",
        doc: "Reads a number with separators, money's signs, a unit, 만 and 억 (1,234 kg; ₩1억 2,345만; (5%)) as double precision; NULL for what is none.",
        takes: (1, 1),
        gives: |_| Ok(DataType::Float64),
        run: |texts| {
            // What is too great for a double is not infinite.
            let finite = |number: &f64| number.is_finite();
            let each =
                texts.map(|text| read(text).map(|found| found.number.approximate()).filter(finite));
            Ok(Arc::new(each.collect::<arrow::array::Float64Array>()))
        },
    },
    Spec {
        name: "parse_decimal",
        syntax: "parse_decimal(text)",
        doc: "Reads what parse_number reads, exactly, as numeric(38,10); NULL for what is none or has more digits.",
        takes: (1, 1),
        gives: |_| Ok(DataType::Decimal128(38, SCALE as i8)),
        run: |texts| {
            let each = texts.map(|text| read(text).and_then(|found| found.number.at_scale(SCALE)));
            let array =
                each.collect::<Decimal128Array>().with_precision_and_scale(38, SCALE as i8)?;
            Ok(Arc::new(array))
        },
    },
    Spec {
        name: "parse_quantity",
        syntax: "parse_quantity(text)",
        doc: "Reads a number with its unit: value (double precision) and unit (NULL if there is none).",
        takes: (1, 1),
        gives: |_| Ok(DataType::Struct(fields())),
        run: |texts| {
            let (mut values, mut units) = (Float64Builder::new(), StringBuilder::new());
            let mut valid = Vec::with_capacity(texts.n_rows);
            for row in 0..texts.n_rows {
                let found = texts.get(0, row).and_then(read);
                let found = found.filter(|found| found.number.approximate().is_finite());
                valid.push(found.is_some());
                values.append_option(found.as_ref().map(|found| found.number.approximate()));
                units.append_option(found.and_then(|found| found.unit));
            }
            let arrays: Vec<ArrayRef> = vec![Arc::new(values.finish()), Arc::new(units.finish())];
            Ok(Arc::new(StructArray::try_new(fields(), arrays, Some(NullBuffer::from(valid)))?))
        },
    },
    Spec {
        name: "parse_boolean",
        syntax: "parse_boolean(text)",
        doc: "Reads yes and no: true, t, yes, y, on, 1, o, 예, 네, 참, 사용; false, f, no, n, off, 0, x, 아니오, 아니요, 거짓, 미사용; NULL for anything else.",
        takes: (1, 1),
        gives: |_| Ok(DataType::Boolean),
        run: |texts| {
            let each = texts.map(|text| match clean(text).to_lowercase().as_str() {
                "true" | "t" | "yes" | "y" | "on" | "1" | "o" | "예" | "네" | "참" | "사용" => {
                    Some(true)
                }
                "false" | "f" | "no" | "n" | "off" | "0" | "x" | "아니오" | "아니요" | "거짓"
                | "미사용" => Some(false),
                _ => None,
            });
            Ok(Arc::new(each.collect::<BooleanArray>()))
        },
    },
];

fn fields() -> Fields {
    vec![Field::new("value", DataType::Float64, true), Field::new("unit", DataType::Utf8, true)]
        .into()
}

/// An exact number: `digits × 10^exponent`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Exact {
    digits: i128,
    exponent: i32,
}

impl Exact {
    const ZERO: Self = Self { digits: 0, exponent: 0 };
    const ONE: Self = Self { digits: 1, exponent: 0 };

    fn plus(self, other: Self) -> Option<Self> {
        let exponent = self.exponent.min(other.exponent);
        let at = |number: Self| {
            let zeros = u32::try_from(number.exponent - exponent).ok()?;
            number.digits.checked_mul(10_i128.checked_pow(zeros)?)
        };
        if self.digits == 0 {
            return Some(other);
        }
        if other.digits == 0 {
            return Some(self);
        }
        Some(Self { digits: at(self)?.checked_add(at(other)?)?, exponent })
    }

    fn times_ten_to(self, power: i32) -> Self {
        Self { exponent: self.exponent.saturating_add(power), ..self }
    }

    /// The nearest double.
    fn approximate(self) -> f64 {
        // Both are doubles without loss, so that the one operation rounds right.
        const DIGITS_MAX: u128 = 1 << 53;
        const EXPONENT_MAX: u32 = 22;
        let power = self.exponent.unsigned_abs();
        if self.digits.unsigned_abs() <= DIGITS_MAX && power <= EXPONENT_MAX {
            let power = 10_u128.pow(power) as f64;
            let digits = self.digits as f64;
            return if self.exponent < 0 { digits / power } else { digits * power };
        }
        format!("{}e{}", self.digits, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// The digits at a scale, if all of them fit.
    fn at_scale(self, scale: u32) -> Option<i128> {
        if self.digits == 0 {
            return Some(0);
        }
        let zeros = self.exponent.checked_add(i32::try_from(scale).ok()?)?;
        let power = 10_i128.checked_pow(zeros.unsigned_abs())?;
        let digits = match zeros >= 0 {
            true => self.digits.checked_mul(power)?,
            false if self.digits % power == 0 => self.digits / power,
            false => return None,
        };
        (digits.unsigned_abs() < 10_u128.pow(38)).then_some(digits)
    }
}

struct Quantity {
    number: Exact,
    unit: Option<String>,
}

/// Signs and words of money that may stand before a number.
const MONEY: [&str; 11] = ["₩", "\\", "$", "€", "£", "¥", "krw", "usd", "eur", "jpy", "원"];

/// Returns whether a text is a number, whatever its unit.
pub(crate) fn is_number(text: &str) -> bool {
    read(text).is_some()
}

fn read(text: &str) -> Option<Quantity> {
    let text = clean(text);
    let mut rest = text.as_ref();
    let mut negative = false;
    // In books a number in brackets, or behind a triangle, is below zero.
    if let Some(inner) = rest.strip_prefix('(') {
        rest = inner.strip_suffix(')')?.trim();
        negative = true;
    }
    let mut unit = None;
    while !rest.starts_with(|c: char| c.is_ascii_digit()) {
        let lower = rest.to_lowercase();
        if let Some(after) = rest.strip_prefix(['-', '−', '–', '△', '▲']) {
            if negative {
                return None;
            }
            negative = true;
            rest = after.trim_start();
        } else if let Some(after) = rest.strip_prefix('+') {
            rest = after.trim_start();
            if rest.starts_with(['-', '+']) {
                return None;
            }
        } else if let Some(sign) =
            MONEY.iter().find(|sign| lower.starts_with(*sign) && unit.is_none())
        {
            unit = Some(rest[..sign.len()].to_owned());
            rest = rest[sign.len()..].trim_start();
        } else {
            break;
        }
    }
    let (number, rest) = magnitude(rest)?;
    let rest = rest.trim();
    if !rest.is_empty() {
        // A unit begins with a letter or sign, and a digit in it is a power.
        let begins =
            rest.chars().next().is_some_and(|c| c.is_alphabetic() || "%‰°′″℃$€£¥₩μ/".contains(c));
        let one = !rest.contains([',', '(', '~', ':', '=']) && rest.split(' ').count() <= 2;
        let powers = rest.chars().zip(rest.chars().skip(1)).all(|(before, c)| {
            !c.is_ascii_digit() || before.is_alphabetic() || before == '^' || before == '-'
        });
        if !(begins && one && powers) {
            return None;
        }
        unit = Some(rest.to_owned());
    }
    let number = if negative { Exact { digits: -number.digits, ..number } } else { number };
    Some(Quantity { number, unit })
}

/// Reads digits and the words for powers of ten among them: 1억 2,345만 6천.
fn magnitude(text: &str) -> Option<(Exact, &str)> {
    let mut rest = text;
    let (mut total, mut section) = (Exact::ZERO, Exact::ZERO);
    let mut current = None;
    let mut last_power = i32::MAX;
    let mut last_small = i32::MAX;
    let mut any = false;
    loop {
        let trimmed = rest.trim_start();
        if current.is_none()
            && let Some((number, after)) = plain(trimmed)
        {
            // Further digits stand only behind a word for a power.
            current = Some(number);
            any = true;
            rest = after;
            continue;
        }
        if !any {
            return None;
        }
        let power = trimmed.chars().next().and_then(|c| match c {
            '십' => Some(1),
            '백' => Some(2),
            '천' => Some(3),
            '만' => Some(4),
            '억' => Some(8),
            '조' => Some(12),
            '경' => Some(16),
            _ => None,
        });
        let Some(power) = power else { break };
        let number = current.take();
        if power < 4 {
            if power >= last_small {
                return None;
            }
            last_small = power;
            section = section.plus(number.unwrap_or(Exact::ONE).times_ten_to(power))?;
        } else {
            if power >= last_power {
                return None;
            }
            (last_power, last_small) = (power, i32::MAX);
            let sum = section.plus(number.unwrap_or(Exact::ZERO))?;
            let sum = if number.is_none() && section == Exact::ZERO { Exact::ONE } else { sum };
            total = total.plus(sum.times_ten_to(power))?;
            section = Exact::ZERO;
        }
        rest = &trimmed[trimmed.chars().next().map_or(0, char::len_utf8)..];
    }
    let sum = total.plus(section)?.plus(current.unwrap_or(Exact::ZERO))?;
    Some((sum, rest))
}

/// Reads digits with commas between thousands, a fraction, an exponent.
fn plain(text: &str) -> Option<(Exact, &str)> {
    let bytes = text.as_bytes();
    let run = |at: usize| bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut digits = String::new();
    let mut at = run(0);
    digits.push_str(&text[..at]);
    let mut commas = false;
    while bytes.get(at) == Some(&b',') && run(at + 1) > 0 {
        // 1,234,567: three digits each, behind one to three.
        let group = run(at + 1);
        let first = if commas { true } else { (1..=3).contains(&at) };
        if group != 3 || !first {
            return None;
        }
        digits.push_str(&text[at + 1..at + 1 + group]);
        at += 1 + group;
        commas = true;
    }
    let mut exponent = 0_i32;
    if bytes.get(at) == Some(&b'.') && at + 1 < bytes.len() {
        let fraction = run(at + 1);
        if fraction > 0 {
            digits.push_str(&text[at + 1..at + 1 + fraction]);
            exponent = -i32::try_from(fraction).ok()?;
            at += 1 + fraction;
        }
    }
    if digits.is_empty() {
        return None;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let power = bytes.get(at + 1 + sign..).map_or(0, |_| run(at + 1 + sign));
        if power > 0 {
            exponent =
                exponent.checked_add(text[at + 1..at + 1 + sign + power].parse::<i32>().ok()?)?;
            at += 1 + sign + power;
        }
    }
    // 1.2.3 and 1,2 are no numbers.
    if matches!(bytes.get(at), Some(b'.' | b','))
        && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)
    {
        return None;
    }
    Some((Exact { digits: digits.parse().ok()?, exponent }, &text[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_numbers() {
        let value = |text| read(text).map(|found| found.number.approximate());
        for (text, number) in [
            ("1,234 kg", 1234.0),
            ("1234567.5", 1_234_567.5),
            ("₩1,234,567", 1_234_567.0),
            ("1억 2,345만원", 123_450_000.0),
            ("3.5만", 35_000.0),
            ("2만 5천", 25_000.0),
            ("1천만", 10_000_000.0),
            ("(1,000)", -1000.0),
            ("△5.5%", -5.5),
            ("-3", -3.0),
            ("1e-3", 0.001),
            ("１２３", 123.0),
            (".5", 0.5),
            ("30 km/h", 30.0),
            ("12㎡", 12.0),
            ("5만㎡", 50_000.0),
        ] {
            assert_eq!(value(text), Some(number), "{text}");
        }
        for text in [
            "",
            "kg",
            "천안",
            "1,23",
            "1.2.3",
            "1 2",
            "3-4",
            "--5",
            "10:20",
            "1만 2억",
            "12,3456",
            "a1",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
        assert_eq!(read("12 ㎏").and_then(|found| found.unit).as_deref(), Some("kg"));
        assert_eq!(read("0.1").and_then(|found| found.number.at_scale(10)), Some(1_000_000_000));
        assert_eq!(read("0.12345678901").and_then(|found| found.number.at_scale(10)), None);
    }
}

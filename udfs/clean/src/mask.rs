//! `mask_*`: personal data made unreadable, so much of it left that people recognise their own.
//!
//! Text that does not look as it should is masked as a whole: what cannot be read must not get through.

use std::sync::Arc;

use arrow::array::StringArray;
use arrow::datatypes::DataType;

use crate::function::{Spec, Texts};
use crate::phone::Phone;
use crate::text::clean;

macro_rules! masks {
    ($($name:literal $doc:literal $each:path;)*) => {
        pub(crate) const FUNCTIONS: &[Spec] = &[$(Spec {
            name: $name,
            syntax: concat!($name, "(text)"),
            doc: $doc,
            takes: (1, 1),
            gives: |_| Ok(DataType::Utf8),
            run: |texts: &Texts| {
                Ok(Arc::new(texts.map(|text| Some($each(&clean(text)))).collect::<StringArray>()))
            },
        }),*];
    };
}

masks! {
    "mask_name" "Hides a name: 홍*동, 남**수, J*** S****." name;
    "mask_phone" "Hides the middle of a telephone number: 010-****-5678." phone;
    "mask_email" "Hides an address of mail up to its first two characters: ho***@example.com." email;
    "mask_rrn" "Hides a resident registration number behind birthday and sex: 900101-1******." rrn;
    "mask_card" "Hides a card number between its first six and last four digits: 1234-56**-****-3456." card;
    "mask_account" "Hides an account number up to its last four digits." account;
    "mask_ip" "Hides the host in an address of the Internet: 192.168.10.*, or all but the first 48 bits of version 6." ip;
}

fn everything(text: &str) -> String {
    text.chars().map(|c| if c.is_alphanumeric() { '*' } else { c }).collect()
}

/// Puts stars in the place of digits, but for those that `keep` tells by their number from the first and the last.
fn digits(text: &str, keep: impl Fn(usize, usize) -> bool) -> String {
    let n = text.chars().filter(char::is_ascii_digit).count();
    let mut at = 0;
    let each = |c: char| {
        if !c.is_ascii_digit() {
            return c;
        }
        at += 1;
        if keep(at, n + 1 - at) { c } else { '*' }
    };
    text.chars().map(each).collect()
}

fn only_digits_and(text: &str, others: &[char]) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || others.contains(&c))
}

fn name(text: &str) -> String {
    let word = |word: &str| {
        let letters = word.chars().collect::<Vec<_>>();
        let n = letters.len();
        // Of names of three syllables and more the last one stays; of other scripts the first letter alone.
        let hangul = letters.iter().all(|c| ('가'..='힣').contains(c));
        let each = letters.iter().enumerate().map(|(at, c)| {
            let stays = n > 1 && at == 0 || hangul && n > 2 && at + 1 == n;
            if stays || !c.is_alphanumeric() { *c } else { '*' }
        });
        each.collect::<String>()
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn phone(text: &str) -> String {
    let Some(phone) = Phone::read(text) else { return everything(text) };
    let mut parts = phone.parts;
    // Of a representative's two groups the last one is the number.
    let hidden = 1;
    parts[hidden] = "*".repeat(parts[hidden].len());
    parts.join("-")
}

fn email(text: &str) -> String {
    let Some((local, host)) = text.rsplit_once('@') else { return everything(text) };
    if local.is_empty() || host.is_empty() || text.contains(' ') {
        return everything(text);
    }
    let n = local.chars().count();
    let shown = local.chars().take(if n > 3 { 2 } else { usize::from(n > 1) }).collect::<String>();
    // The number of stars does not tell the length.
    format!("{shown}***@{host}")
}

fn rrn(text: &str) -> String {
    let n = text.chars().filter(char::is_ascii_digit).count();
    if n != 13 || !only_digits_and(text, &['-', ' ']) {
        return everything(text);
    }
    digits(text, |at, _| at <= 7)
}

fn card(text: &str) -> String {
    let n = text.chars().filter(char::is_ascii_digit).count();
    if !(13..=19).contains(&n) || !only_digits_and(text, &['-', ' ']) {
        return everything(text);
    }
    digits(text, |at, from_end| at <= 6 || from_end <= 4)
}

fn account(text: &str) -> String {
    let n = text.chars().filter(char::is_ascii_digit).count();
    if n < 8 || !only_digits_and(text, &['-', ' ']) {
        return everything(text);
    }
    digits(text, |_, from_end| from_end <= 4)
}

fn ip(text: &str) -> String {
    match text.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(address)) => {
            let [a, b, c, _] = address.octets();
            format!("{a}.{b}.{c}.*")
        }
        Ok(std::net::IpAddr::V6(address)) => {
            let [a, b, c, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:*")
        }
        Err(_) => everything(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides() {
        assert_eq!(name("홍길동"), "홍*동");
        assert_eq!(name("홍길"), "홍*");
        assert_eq!(name("남궁민수"), "남**수");
        assert_eq!(name("John Smith"), "J*** S****");
        assert_eq!(name("홍"), "*");
        assert_eq!(phone("01012345678"), "010-****-5678");
        assert_eq!(phone("전화 12"), "** **");
        assert_eq!(email("hong@example.com"), "ho***@example.com");
        assert_eq!(email("ab@example.com"), "a***@example.com");
        assert_eq!(email("no mail"), "** ****");
        assert_eq!(rrn("900101-1234567"), "900101-1******");
        assert_eq!(rrn("900101-12345"), "******-*****");
        assert_eq!(card("1234-5678-9012-3456"), "1234-56**-****-3456");
        assert_eq!(account("110-123-456789"), "***-***-**6789");
        assert_eq!(ip("192.168.10.77"), "192.168.10.*");
        assert_eq!(ip("2001:db8:1:2::3"), "2001:db8:1:*");
    }
}

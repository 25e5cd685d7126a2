//! PostgreSQL's text of bytes, read.

/// Reads `\x…` and PostgreSQL's older escaped form; `None` if the text is neither.
pub fn read_bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let hex: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let figure = |byte: u8| char::from(byte).to_digit(16);
        return hex
            .len()
            .is_multiple_of(2)
            .then(|| {
                hex.chunks(2).map(|pair| Some((figure(pair[0])? * 16 + figure(pair[1])?) as u8))
            })?
            .collect();
    }
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        match bytes.next()? {
            b'\\' => out.push(b'\\'),
            first @ b'0'..=b'3' => {
                let octal = |byte: u8| matches!(byte, b'0'..=b'7').then(|| byte - b'0');
                let value = (first - b'0') * 64 + octal(bytes.next()?)? * 8;
                out.push(value + octal(bytes.next()?)?);
            }
            _ => return None,
        }
    }
    Some(out)
}

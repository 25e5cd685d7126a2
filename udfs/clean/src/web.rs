//! Addresses of the web: their parts, their parameters, percent-encoding.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, ListBuilder, StringArray, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use url::Url;

use crate::function::Spec;

pub(crate) const FUNCTIONS: &[Spec] = &[
    Spec {
        name: "url_parse",
        syntax: "url_parse(url)",
        doc: "Takes an address apart: scheme, username, host, port, path, query, fragment. A path alone has no scheme and host; what is no address is NULL.",
        takes: (1, 1),
        gives: |_| Ok(DataType::Struct(fields())),
        run: |texts| {
            let mut columns: [StringBuilder; 6] = Default::default();
            let mut ports = Int32Builder::new();
            let mut valid = Vec::with_capacity(texts.n_rows);
            for row in 0..texts.n_rows {
                let parts = texts.get(0, row).and_then(parts);
                valid.push(parts.is_some());
                let (parts, port) = parts.unwrap_or_default();
                for (column, part) in columns.iter_mut().zip(parts) {
                    column.append_option(part);
                }
                ports.append_option(port);
            }
            let mut arrays =
                columns.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef).collect::<Vec<_>>();
            arrays.insert(3, Arc::new(ports.finish()));
            Ok(Arc::new(StructArray::try_new(fields(), arrays, Some(NullBuffer::from(valid)))?))
        },
    },
    Spec {
        name: "url_query_param",
        syntax: "url_query_param(url, name)",
        doc: "Returns the first value of a parameter of an address, decoded; NULL if there is none, or what is there is no UTF-8.",
        takes: (2, 2),
        gives: |_| Ok(DataType::Utf8),
        run: |texts| {
            let found = (0..texts.n_rows).map(|row| {
                let name = texts.get(1, row)?;
                parameters(texts.get(0, row)?)
                    .find(|(key, _)| key == name)
                    .and_then(|(_, value)| value)
            });
            Ok(Arc::new(found.collect::<StringArray>()))
        },
    },
    Spec {
        name: "url_query_params",
        syntax: "url_query_params(url, name)",
        doc: "Returns all values of a parameter of an address, decoded, in their order; an empty list if there is none.",
        takes: (2, 2),
        gives: |_| Ok(DataType::new_list(DataType::Utf8, true)),
        run: |texts| {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for row in 0..texts.n_rows {
                let (Some(url), Some(name)) = (texts.get(0, row), texts.get(1, row)) else {
                    lists.append_null();
                    continue;
                };
                for (_, value) in parameters(url).filter(|(key, _)| key == name) {
                    lists.values().append_option(value);
                }
                lists.append(true);
            }
            Ok(Arc::new(lists.finish()))
        },
    },
    Spec {
        name: "url_decode",
        syntax: "url_decode(text)",
        doc: "Puts characters in the place of percent-encoded ones; + stays. What is no UTF-8 is NULL.",
        takes: (1, 1),
        gives: |_| Ok(DataType::Utf8),
        run: |texts| Ok(Arc::new(texts.map(decode).collect::<StringArray>())),
    },
    Spec {
        name: "url_encode",
        syntax: "url_encode(text)",
        doc: "Percent-encodes all but letters, digits and - _ . ~, so that the text can stand in an address.",
        takes: (1, 1),
        gives: |_| Ok(DataType::Utf8),
        run: |texts| Ok(Arc::new(texts.map(|text| Some(encode(text))).collect::<StringArray>())),
    },
];

fn fields() -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    vec![
        text("scheme"),
        text("username"),
        text("host"),
        Field::new("port", DataType::Int32, true),
        text("path"),
        text("query"),
        text("fragment"),
    ]
    .into()
}

type Parts = ([Option<String>; 6], Option<i32>);

fn parts(text: &str) -> Option<Parts> {
    let text = text.trim();
    let owned = |part: &str| (!part.is_empty()).then(|| part.to_owned());
    // The address of a request is a path.
    if text.starts_with('/') && !text.starts_with("//") {
        let base = Url::parse("http://host/").ok()?;
        let url = base.join(text).ok()?;
        let path = Some(url.path().to_owned());
        let rest = (url.query().map(str::to_owned), url.fragment().map(str::to_owned));
        return Some(([None, None, None, path, rest.0, rest.1], None));
    }
    let url = Url::parse(text).ok()?;
    let port = url.port_or_known_default().map(i32::from);
    Some((
        [
            Some(url.scheme().to_owned()),
            owned(url.username()),
            url.host_str().and_then(owned),
            Some(url.path().to_owned()),
            url.query().map(str::to_owned),
            url.fragment().map(str::to_owned),
        ],
        port,
    ))
}

/// Returns the parameters of an address, of a path, or of a query alone (`a=1&b=2`).
/// A value that is no UTF-8 is none.
fn parameters(text: &str) -> impl Iterator<Item = (String, Option<String>)> {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    let query = match text.split_once('?') {
        Some((_, query)) => query,
        None if text.contains("://") || text.starts_with('/') => "",
        None => text,
    };
    query.split('&').filter(|part| !part.is_empty()).filter_map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let read = |text: &str| decode(&text.replace('+', " "));
        Some((read(name)?, read(value)))
    })
}

fn decode(text: &str) -> Option<String> {
    if !text.contains('%') {
        return Some(text.to_owned());
    }
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte))
            }
            _ => {
                const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(DIGITS[usize::from(byte >> 4)]));
                out.push(char::from(DIGITS[usize::from(byte & 15)]));
            }
        }
    }
    out
}

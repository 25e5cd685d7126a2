//! Formats, told by the end of a file's name or by the user's word and options.

use maru_connect::FileFormatSpec;
use maru_core::{Error, ErrorKind, Options, Result};
use object_store::path::Path;

/// A format as users name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    Parquet,
    Orc,
    Csv,
    Json,
    Avro,
}

/// Ends of names, lower case, with what they say. Those of text may be followed by one of [`PACKED`].
const EXTENSIONS: &[(&str, Format, Option<u8>)] = &[
    ("parquet", Format::Parquet, None),
    ("parq", Format::Parquet, None),
    ("pq", Format::Parquet, None),
    ("orc", Format::Orc, None),
    ("csv", Format::Csv, None),
    ("tsv", Format::Csv, Some(b'\t')),
    ("json", Format::Json, None),
    ("jsonl", Format::Json, None),
    ("ndjson", Format::Json, None),
    ("avro", Format::Avro, None),
];

/// Ends of packed files that are unpacked while they are read.
const PACKED: &[&str] = &["gz", "bz2", "zst", "zstd", "xz", "deflate"];

/// Ends of packed files that cannot be unpacked here.
const FOREIGN: &[&str] =
    &["lz4", "snappy", "sz", "lzo", "lzo_deflate", "zip", "7z", "rar", "br", "lzma", "z"];

/// What the name of a file says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    /// The name without the ends that were understood.
    pub(crate) stem: &'a str,
    pub(crate) format: Format,
    /// The delimiter that the end stands for.
    pub(crate) delimiter: Option<u8>,
}

impl Format {
    /// Reads a file's name; `None` if its end says nothing.
    pub(crate) fn of_name(name: &str) -> Option<Named<'_>> {
        let (rest, end) = name.rsplit_once('.')?;
        let packed = PACKED.iter().any(|packed| packed.eq_ignore_ascii_case(end));
        let (stem, end) = if packed { rest.rsplit_once('.')? } else { (rest, end) };
        let (_, format, delimiter) =
            EXTENSIONS.iter().find(|(known, ..)| known.eq_ignore_ascii_case(end))?;
        if packed && matches!(format, Self::Parquet | Self::Orc | Self::Avro) || stem.is_empty() {
            return None;
        }
        Some(Named { stem, format: *format, delimiter: *delimiter })
    }

    /// Reads the word after `STORED AS`.
    ///
    /// # Errors
    /// 0A000 for a word that is none of these.
    pub(crate) fn of_word(word: &str) -> Result<Self> {
        match word.to_ascii_lowercase().as_str() {
            "parquet" => Ok(Self::Parquet),
            "orc" => Ok(Self::Orc),
            "csv" | "tsv" => Ok(Self::Csv),
            "json" | "jsonl" | "ndjson" => Ok(Self::Json),
            "avro" => Ok(Self::Avro),
            _ => Err(Error::unsupported(format!("files of format \"{word}\" cannot be read"))
                .with_hint("Use PARQUET, ORC, CSV, JSON, AVRO or DELTA.")),
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parquet => "Parquet",
            Self::Orc => "ORC",
            Self::Csv => "CSV",
            Self::Json => "JSON",
            Self::Avro => "Avro",
        }
    }

    /// Returns the layout of files that look like `example`.
    ///
    /// # Errors
    /// HV024 for an option that is not one ASCII character.
    pub(crate) fn spec(self, options: &Options, example: &Path) -> Result<FileFormatSpec> {
        match self {
            Self::Parquet => Ok(FileFormatSpec::Parquet),
            Self::Orc => Ok(FileFormatSpec::Orc),
            Self::Json => Ok(FileFormatSpec::Json),
            Self::Avro => Ok(FileFormatSpec::Avro),
            Self::Csv => {
                let by_name = example.filename().and_then(Self::of_name);
                let tab = by_name.and_then(|named| named.delimiter);
                Ok(FileFormatSpec::Csv {
                    has_header: options.boolean("header").unwrap_or(true),
                    delimiter: one_byte(options, "delimiter")?.or(tab).unwrap_or(b','),
                    quote: match options.text("quote") {
                        None => Some(b'"'),
                        Some(_) => one_byte(options, "quote")?,
                    },
                    escape: one_byte(options, "escape")?,
                    null: Some(options.text("null").unwrap_or_default().to_owned()),
                    lenient: false,
                })
            }
        }
    }
}

/// A file that is packed otherwise than can be unpacked has rows, too, which would be missing. `declared` is what all files are
/// said to be, whatever their names.
///
/// # Errors
/// 0A000 with the file's name.
pub(crate) fn refuse_packed(path: &Path, declared: Option<Format>) -> Result<()> {
    if matches!(declared, Some(Format::Parquet | Format::Orc | Format::Avro)) {
        return Ok(());
    }
    let name = path.filename().unwrap_or_default();
    let end = name.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
    let why = if FOREIGN.contains(&end.as_str()) {
        format!("files packed as .{end} cannot be unpacked")
    } else if declared.is_none()
        && PACKED.contains(&end.as_str())
        && Format::of_name(name).is_none()
    {
        format!("its name does not say which text is packed as .{end}")
    } else {
        return Ok(());
    };
    Err(Error::unsupported(format!("file \"{path}\" cannot be read: {why}")).with_hint(
        "Pack text as .gz, .bz2, .zst or .xz behind .csv, .tsv or .json, Parquet, ORC and Avro not at all, or move the file away.",
    ))
}

/// Reads an option that is one character; `\t` is a tab and `\x01` or `\001` any byte. Empty is none.
fn one_byte(options: &Options, name: &str) -> Result<Option<u8>> {
    let Some(text) = options.text(name) else { return Ok(None) };
    let escaped = match text {
        "" => return Ok(None),
        "\\t" => Some(b'\t'),
        _ => text.strip_prefix("\\x").and_then(|hex| u8::from_str_radix(hex, 16).ok()).or_else(
            || {
                let octal = text.strip_prefix('\\').filter(|octal| octal.len() == 3)?;
                u8::from_str_radix(octal, 8).ok()
            },
        ),
    };
    let byte = escaped.or(match text.as_bytes() {
        [byte] => Some(*byte),
        _ => None,
    });
    match byte {
        Some(byte) if byte.is_ascii() && byte != b'\n' && byte != b'\r' => Ok(Some(byte)),
        _ => Err(Error::new(
            ErrorKind::InvalidOption,
            format!("invalid value \"{text}\" for option \"{name}\""),
        )
        .with_hint("Give one ASCII character, such as ; or \\t or \\x01.")),
    }
}

/// Returns whether a file or directory of this name is passed over: `_SUCCESS`, `.hidden`, half-written `.tmp`.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with('_') && !name.contains('=') || name.starts_with('.') || name.ends_with(".tmp")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_ends_of_names() {
        let of = |name| Format::of_name(name).map(|named| (named.stem, named.format));
        assert_eq!(of("a.parquet"), Some(("a", Format::Parquet)));
        assert_eq!(of("a.b.CSV.gz"), Some(("a.b", Format::Csv)));
        assert_eq!(of("a.jsonl.zst"), Some(("a", Format::Json)));
        assert_eq!(of("a.tsv.zstd"), Some(("a", Format::Csv)));
        assert_eq!(of("a.parquet.gz"), None);
        assert_eq!(of("README.md"), None);
        assert_eq!(of(".csv"), None);
    }

    #[test]
    fn packed_files_that_cannot_be_read_are_refused() {
        let refused = |name: &str, declared| refuse_packed(&Path::from(name), declared).is_err();
        for name in ["t/a.csv.lz4", "a.snappy", "a.csv.ZIP", "a.parquet.gz", "part-0.gz"] {
            assert!(refused(name, None), "{name}");
        }
        for name in ["a.csv.gz", "a.csv.zstd", "a.csv", "README.md", "a.parquet", "gz"] {
            assert!(!refused(name, None), "{name}");
        }
        assert!(refused("part-0.lzo", Some(Format::Csv)));
        assert!(!refused("part-0.gz", Some(Format::Csv)));
        assert!(!refused("part-0.snappy", Some(Format::Parquet)));
    }

    #[test]
    fn reads_characters() {
        let read = |text: &str| {
            let options =
                Options::check("table", crate::LOCATION_OPTIONS, [("delimiter", text)]).unwrap();
            one_byte(&options, "delimiter")
        };
        assert_eq!(read(";").unwrap(), Some(b';'));
        assert_eq!(read("\\t").unwrap(), Some(b'\t'));
        assert_eq!(read("\\x01").unwrap(), Some(1));
        assert_eq!(read("\\001").unwrap(), Some(1));
        assert_eq!(read("가").unwrap_err().sqlstate(), "HV024");
        assert_eq!(read("||").unwrap_err().sqlstate(), "HV024");
    }
}

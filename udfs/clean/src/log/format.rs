//! Formats of logs: the names there are, the servers' own ways to describe them, and how a line is read by one.

mod line;
mod template;

use arrow::datatypes::{Field, Fields};
use maru_core::{Error, ErrorKind, Result, did_you_mean};
use regex::Regex;

use super::columns::{Kind, Part};
use line::{read_blanks, read_pieces};
use template::{apache, nginx};

const COMMON: &str =
    "$remote_addr $ident $remote_user [$time_local] \"$request\" $status $body_bytes_sent";
const COMBINED: &str = "$remote_addr $ident $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";
const NGINX: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";
const NGINX_MAIN: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\" \"$http_x_forwarded_for\"";
/// What IIS writes unless it is told otherwise.
const IIS: &str = "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken";
const NAMES: [&str; 4] = ["combined", "common", "nginx", "iis"];

/// How a column of a line is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    Plain(Kind),
    /// `10/Oct/2000:13:55:36 -0700`
    LocalTime,
    /// `2000-10-10T13:55:36-07:00`
    IsoTime,
    /// The first line of a request: method, url and protocol.
    Request,
}

/// A variable of nginx, the directive of Apache and the field of IIS that mean the same, and the column they become.
const VARIABLES: &[(&str, &[&str], &str, Meaning)] = &[
    ("remote_addr", &["h", "a", "c-ip"], "remote_host", Meaning::Plain(Kind::Text)),
    ("ident", &["l"], "ident", Meaning::Plain(Kind::Text)),
    ("remote_user", &["u", "cs-username"], "remote_user", Meaning::Plain(Kind::Text)),
    ("time_local", &["t"], "time", Meaning::LocalTime),
    ("time_iso8601", &[], "time", Meaning::IsoTime),
    ("request", &["r"], "", Meaning::Request),
    ("request_method", &["m", "cs-method"], "method", Meaning::Plain(Kind::Text)),
    ("request_uri", &[], "url", Meaning::Plain(Kind::Text)),
    ("uri", &["U", "cs-uri-stem"], "url", Meaning::Plain(Kind::Text)),
    ("args", &["q", "cs-uri-query"], "query", Meaning::Plain(Kind::Text)),
    ("server_protocol", &["H", "cs-version"], "protocol", Meaning::Plain(Kind::Text)),
    ("status", &["s", ">s", "sc-status"], "status", Meaning::Plain(Kind::Short)),
    ("body_bytes_sent", &["b", "B", "sc-bytes"], "bytes", Meaning::Plain(Kind::Long)),
    ("bytes_sent", &["O"], "bytes_sent", Meaning::Plain(Kind::Long)),
    ("request_length", &["I", "cs-bytes"], "bytes_in", Meaning::Plain(Kind::Long)),
    ("http_referer", &["{referer}i", "cs(referer)"], "referer", Meaning::Plain(Kind::Text)),
    (
        "http_user_agent",
        &["{user-agent}i", "cs(user-agent)"],
        "user_agent",
        Meaning::Plain(Kind::Text),
    ),
    (
        "http_x_forwarded_for",
        &["{x-forwarded-for}i", "cs(x-forwarded-for)"],
        "forwarded_for",
        Meaning::Plain(Kind::Text),
    ),
    ("http_host", &["{host}i", "cs-host"], "host", Meaning::Plain(Kind::Text)),
    ("host", &["v", "V", "s-computername"], "server_name", Meaning::Plain(Kind::Text)),
    ("server_addr", &["A", "s-ip"], "server_ip", Meaning::Plain(Kind::Text)),
    ("server_port", &["p", "s-port"], "port", Meaning::Plain(Kind::Short)),
    ("request_time", &[], "request_time", Meaning::Plain(Kind::Number)),
    ("msec", &[], "msec", Meaning::Plain(Kind::Number)),
    ("time_taken_s", &["T"], "time_taken_s", Meaning::Plain(Kind::Long)),
    ("time_taken_us", &["D"], "time_taken_us", Meaning::Plain(Kind::Long)),
    ("time_taken_ms", &["time-taken"], "time_taken_ms", Meaning::Plain(Kind::Long)),
    ("substatus", &["sc-substatus"], "substatus", Meaning::Plain(Kind::Short)),
    ("win32_status", &["sc-win32-status"], "win32_status", Meaning::Plain(Kind::Long)),
];

#[derive(Debug, PartialEq)]
enum Piece {
    Literal(String),
    Value(Meaning),
}

/// Reads lines of one format.
#[derive(Debug)]
pub(super) struct Reader {
    how: How,
    columns: Vec<(String, Kind)>,
}

#[derive(Debug)]
enum How {
    /// Alternatives, the longest first; those that end earlier leave the last columns NULL.
    Pieces(Vec<Vec<Piece>>),
    /// Fields between blanks; `time` says where date and time stand, which become one column at the first of their places.
    Blanks {
        fields: Vec<IisField>,
    },
    Regex(Regex),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IisField {
    Date,
    Time,
    Value(Meaning),
    /// A header: + stands for a blank.
    Header,
}

impl Reader {
    /// # Errors
    /// 22023 for what is no format.
    pub(super) fn new(format: &str) -> Result<Self> {
        let pieces = |formats: &[&str]| {
            let read = formats.iter().map(|format| nginx(format)).collect::<Result<Vec<_>>>()?;
            Self::of_pieces(read)
        };
        match format.to_ascii_lowercase().as_str() {
            "common" => return pieces(&[COMMON]),
            "combined" => return pieces(&[COMBINED]),
            "nginx" => return pieces(&[NGINX_MAIN, NGINX]),
            "iis" | "w3c" => return Self::iis(IIS),
            _ => {}
        }
        if format.contains("(?<") || format.contains("(?P<") {
            return Self::regex(format);
        }
        if format.trim_start().to_ascii_lowercase().starts_with("#fields:") {
            return Self::iis(format.trim());
        }
        if format.contains('$') {
            return Self::of_pieces(vec![nginx(format)?]);
        }
        if format.contains('%') {
            return Self::of_pieces(vec![apache(format)?]);
        }
        let error = wrong(format!("'{format}' is no format of a log"));
        Err(match did_you_mean(format, NAMES) {
            Some(near) => error.with_hint(format!("Did you mean '{near}'?")),
            None => error.with_hint(
                "The names are combined, common, nginx and iis; a log_format of nginx, a LogFormat of Apache, '#Fields: …' and a regular expression with named groups are others.",
            ),
        })
    }

    pub(super) fn columns(&self) -> &[(String, Kind)] {
        &self.columns
    }

    pub(super) fn fields(&self) -> Fields {
        let each = self.columns.iter().map(|(name, kind)| Field::new(name, kind.data_type(), true));
        each.collect()
    }

    fn of_pieces(mut formats: Vec<Vec<(Piece, String)>>) -> Result<Self> {
        let mut columns = Vec::new();
        for (piece, name) in formats.first().into_iter().flatten() {
            match piece {
                Piece::Literal(_) => {}
                Piece::Value(Meaning::Request) => {
                    columns.extend(
                        ["method", "url", "protocol"].map(|name| (name.to_owned(), Kind::Text)),
                    );
                }
                Piece::Value(meaning) => columns.push((name.clone(), meaning.kind())),
            }
        }
        let how =
            formats.drain(..).map(|pieces| pieces.into_iter().map(|(piece, _)| piece).collect());
        Self { how: How::Pieces(how.collect()), columns }.checked()
    }

    fn iis(text: &str) -> Result<Self> {
        let mut columns = Vec::<(String, Kind)>::new();
        let mut fields = Vec::new();
        let mut time = false;
        for name in text.split(char::is_whitespace).skip(1).filter(|name| !name.is_empty()) {
            let lower = name.to_ascii_lowercase();
            let field = match lower.as_str() {
                "date" => IisField::Date,
                "time" => IisField::Time,
                _ => {
                    let (column, meaning) =
                        variable(&lower).unwrap_or((snake(&lower), Meaning::Plain(Kind::Text)));
                    columns.push((column, meaning.kind()));
                    if lower.starts_with("cs(") {
                        IisField::Header
                    } else {
                        IisField::Value(meaning)
                    }
                }
            };
            if matches!(field, IisField::Date | IisField::Time) && !time {
                columns.push(("time".to_owned(), Kind::Time));
                time = true;
            }
            fields.push(field);
        }
        let both = fields.contains(&IisField::Date) == fields.contains(&IisField::Time);
        if fields.is_empty() || !both {
            return Err(wrong("fields of IIS are named, date and time together".to_owned())
                .with_hint("Take the line that begins with #Fields: from the log."));
        }
        Self { how: How::Blanks { fields }, columns }.checked()
    }

    fn regex(text: &str) -> Result<Self> {
        let regex = Regex::new(text).map_err(|error| {
            wrong("the pattern is no regular expression".to_owned()).with_detail(error.to_string())
        })?;
        let columns = regex.capture_names().flatten().map(|name| (name.to_owned(), Kind::Text));
        let columns = columns.collect();
        Self { how: How::Regex(regex), columns }.checked()
    }

    fn checked(self) -> Result<Self> {
        if self.columns.is_empty() {
            return Err(wrong("the format of a log names no column".to_owned()));
        }
        for (at, (name, _)) in self.columns.iter().enumerate() {
            if self.columns[..at].iter().any(|(before, _)| before == name) {
                return Err(wrong(format!(
                    "the format of a log gives the column \"{name}\" twice"
                )));
            }
        }
        Ok(self)
    }

    /// Lines that tell of the log itself.
    pub(super) fn is_remark(&self, line: &str) -> bool {
        matches!(self.how, How::Blanks { .. }) && line.starts_with('#')
    }

    /// Reads a line into parts, one for each column; false if it has another form.
    pub(super) fn read<'a>(&self, line: &'a str, parts: &mut Vec<Part<'a>>) -> bool {
        let found = match &self.how {
            How::Pieces(formats) => formats.iter().any(|pieces| {
                parts.clear();
                read_pieces(pieces, line, parts).is_some()
            }),
            How::Blanks { fields } => {
                parts.clear();
                !line.starts_with('#') && read_blanks(fields, line, parts).is_some()
            }
            How::Regex(regex) => {
                parts.clear();
                regex.captures(line).is_some_and(|found| {
                    parts.extend(self.columns.iter().map(|(name, _)| {
                        found.name(name).map_or(Part::Null, |text| Part::Text(text.as_str().into()))
                    }));
                    true
                })
            }
        };
        if found {
            parts.resize(self.columns.len(), Part::Null);
        }
        found
    }
}

impl Meaning {
    fn kind(self) -> Kind {
        match self {
            Self::Plain(kind) => kind,
            Self::LocalTime | Self::IsoTime => Kind::Time,
            Self::Request => Kind::Text,
        }
    }
}

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::InvalidParameter, what)
}

fn snake(name: &str) -> String {
    let each =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' });
    each.collect::<String>().trim_matches('_').to_owned()
}

fn variable(name: &str) -> Option<(String, Meaning)> {
    let (.., column, meaning) =
        VARIABLES.iter().find(|(nginx, others, ..)| *nginx == name || others.contains(&name))?;
    Some(((*column).to_owned(), *meaning))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a line is made of, as text; `None` for a line of another form.
    fn read(format: &str, line: &str) -> Option<Vec<String>> {
        let reader = Reader::new(format).unwrap();
        let mut parts = Vec::new();
        let shown = |part: &Part<'_>| match part {
            Part::Null => "NULL".to_owned(),
            Part::Text(text) => text.to_string(),
            Part::Integer(n) => n.to_string(),
            Part::Number(n) => n.to_string(),
        };
        reader.read(line, &mut parts).then(|| {
            assert_eq!(parts.len(), reader.columns().len());
            parts.iter().map(shown).collect()
        })
    }

    #[test]
    fn reads_lines_of_apache() {
        let line = r#"10.0.0.1 - kim lee [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.0" 200 - "-" "say \"hi\" \xEA\xB0\x80""#;
        let parts = read("combined", line).unwrap();
        let time = "971211336000000";
        let expected = [
            "10.0.0.1",
            "NULL",
            "kim lee",
            time,
            "GET",
            "/a",
            "HTTP/1.0",
            "200",
            "NULL",
            "NULL",
            "say \"hi\" 가",
        ];
        assert_eq!(parts, expected);
        assert_eq!(read("common", line), None);
        for wrong in [
            "",
            "10.0.0.1",
            &line[..60],
            &line.replace(" 200 ", " ok "),
            &line.replace("Oct", "Foo"),
            &format!("{line} more"),
        ] {
            assert_eq!(read("combined", wrong), None, "{wrong}");
        }
        let odd = read("common", r#"h - - [10/Oct/2000:13:55:36 +0000] "\x16\x03" 400 0"#).unwrap();
        assert_eq!(odd[4..7], ["NULL", "\u{16}\u{3}", "NULL"]);
    }

    #[test]
    fn reads_what_formats_describe() {
        let nginx = r#"::1 - - [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" 200 612 "-" "curl""#;
        assert_eq!(read("nginx", nginx).unwrap().last().unwrap(), "NULL");
        assert_eq!(
            read("nginx", &format!("{nginx} \"1.2.3.4\"")).unwrap().last().unwrap(),
            "1.2.3.4"
        );
        assert_eq!(
            read("$host|$status|${request_time}", "a|200|0.25").unwrap(),
            ["a", "200", "0.25"]
        );
        let apache = r#"%v:%p %h %t \"%r\" %>s %{X-Id}i 100%%"#;
        let line = r#"web:443 h [10/Oct/2000:13:55:36 +0000] "GET / HTTP/1.1" 200 x 100%"#;
        let time = "971186136000000";
        assert_eq!(
            read(apache, line).unwrap(),
            ["web", "443", "h", time, "GET", "/", "HTTP/1.1", "200", "x"]
        );
        let iis = "#Fields: date time c-ip cs(User-Agent) sc-status";
        let parts = read(iis, "2000-10-10 13:55:36 10.0.0.1 Mozilla/5.0+(X11) 200").unwrap();
        assert_eq!(parts, [time, "10.0.0.1", "Mozilla/5.0 (X11)", "200"]);
        assert_eq!(read(iis, "#Software: x"), None);
        assert_eq!(read(r"^(?<a>\d+) (?<b>.*)$", "1 two").unwrap(), ["1", "two"]);
    }

    #[test]
    fn refuses_what_is_no_format() {
        for format in ["combinde", "$a$b", "$ a", "%", "(?<a", "#Fields: date c-ip", "$a $a"] {
            assert_eq!(Reader::new(format).unwrap_err().sqlstate(), "22023", "{format}");
        }
    }
}

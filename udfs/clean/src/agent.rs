//! `user_agent`: what a browser says of itself.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanBuilder, StringBuilder, StructArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Field, Fields};
use woothee::parser::Parser;

use crate::function::Spec;

pub(crate) const FUNCTIONS: &[Spec] = &[Spec {
    name: "user_agent",
    syntax: "user_agent(text)",
    doc: "Reads the User-Agent of a request: browser, version, os, os_version, device and is_bot. What is not known is NULL.",
    takes: (1, 1),
    gives: |_| Ok(DataType::Struct(fields())),
    run: |texts| {
        let parser = Parser::new();
        let mut known = HashMap::<&str, Agent>::new();
        let mut columns: [StringBuilder; 5] = Default::default();
        let mut bots = BooleanBuilder::new();
        let mut valid = Vec::with_capacity(texts.n_rows);
        for row in 0..texts.n_rows {
            let text = texts.get(0, row);
            valid.push(text.is_some());
            let Some(text) = text else {
                columns.iter_mut().for_each(StringBuilder::append_null);
                bots.append_null();
                continue;
            };
            // There are far fewer browsers than rows.
            let agent = known.entry(text).or_insert_with(|| Agent::read(&parser, text));
            for (column, part) in columns.iter_mut().zip(&agent.parts) {
                column.append_option(part.as_deref());
            }
            bots.append_value(agent.is_bot);
        }
        let mut arrays =
            columns.iter_mut().map(|c| Arc::new(c.finish()) as ArrayRef).collect::<Vec<_>>();
        arrays.push(Arc::new(bots.finish()));
        Ok(Arc::new(StructArray::try_new(fields(), arrays, Some(NullBuffer::from(valid)))?))
    },
}];

fn fields() -> Fields {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    vec![
        text("browser"),
        text("version"),
        text("os"),
        text("os_version"),
        text("device"),
        Field::new("is_bot", DataType::Boolean, true),
    ]
    .into()
}

struct Agent {
    parts: [Option<String>; 5],
    is_bot: bool,
}

impl Agent {
    fn read(parser: &Parser, text: &str) -> Self {
        let Some(found) = parser.parse(text) else {
            return Self { parts: Default::default(), is_bot: is_robot(text) };
        };
        let known = |text: &str| (!text.is_empty() && text != "UNKNOWN").then(|| text.to_owned());
        let device = match found.category {
            "smartphone" | "mobilephone" => Some("mobile".to_owned()),
            "crawler" => Some("bot".to_owned()),
            other => known(other),
        };
        Self {
            parts: [
                known(found.name),
                known(found.version),
                known(found.os),
                known(&found.os_version),
                device,
            ],
            is_bot: found.category == "crawler" || is_robot(text),
        }
    }
}

/// Returns whether it says of itself that no person is there: robots give an address where they are explained, tools their name.
fn is_robot(text: &str) -> bool {
    const WORDS: [&str; 5] = ["crawler", "spider", "+http", "yeti/", "slurp"];
    const TOOLS: [&str; 8] = [
        "curl/",
        "wget/",
        "python-",
        "go-http-client/",
        "java/",
        "okhttp/",
        "libwww-perl/",
        "apache-httpclient/",
    ];
    let text = text.to_ascii_lowercase();
    // A maker of telephones is called Cubot.
    let bot = text.match_indices("bot").any(|(at, _)| !text[..at].ends_with("cu"));
    bot || WORDS.iter().any(|word| text.contains(word))
        || TOOLS.iter().any(|tool| text.starts_with(tool))
}

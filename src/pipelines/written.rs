//! `SHOW CREATE PIPELINE`: the text that makes a pipeline again.

use std::fmt::Write as _;

use maru_core::{Error, Result, quote_ident, quote_literal};

use super::Entry;
use super::definition::{Definition, Options};

/// Returns the statement that makes a pipeline as it is now. Where its names are looked up, and what is secret, is told in remarks
/// before it.
///
/// # Errors
/// 0A000 for one that was made before its text was kept.
pub(crate) fn create_text(schema: &str, name: &str, entry: &Entry) -> Result<String> {
    let definition = &entry.definition;
    let Some(body) = &definition.body else {
        return Err(Error::unsupported(format!("the text of pipeline \"{name}\" was not kept"))
            .with_detail("It was made by an earlier version.")
            .with_hint(
                "EXPLAIN PIPELINE tells its steps; CREATE OR REPLACE PIPELINE keeps the text.",
            ));
    };
    let mut text = format!(
        "-- Names are looked up in catalog {} by search_path = {}, times are those of {}.\n",
        one_line(&definition.catalog),
        one_line(&definition.search_path),
        one_line(&definition.time_zone)
    );
    if entry.webhook.is_some() {
        text.push_str(
            "-- The address of on_failure is a secret: put it in the place of the stars.\n",
        );
    }
    let shown = crate::statement::redact(body);
    if shown != *body {
        text.push_str("-- Stars in the steps stand for texts that may be secrets.\n");
    }
    // Writing to a string does not fail.
    let _ = write!(text, "CREATE PIPELINE {}.{}", quote_ident(schema), quote_ident(name));
    let parameters = definition.parameters.iter().map(|parameter| {
        let name = quote_ident(&parameter.name);
        match &parameter.default {
            Some(default) => format!("{name} {} DEFAULT {default}", parameter.data_type),
            None => format!("{name} {}", parameter.data_type),
        }
    });
    let parameters = parameters.collect::<Vec<_>>();
    if !parameters.is_empty() {
        let _ = write!(text, " ({})", parameters.join(", "));
    }
    if let Some(schedule) = &definition.schedule {
        let (cron, zone) = (quote_literal(&schedule.cron), quote_literal(&schedule.time_zone));
        let _ = write!(text, "\n  SCHEDULE {cron} TIME ZONE {zone}");
    }
    let options = options(definition, entry.webhook.is_some());
    if !options.is_empty() {
        let _ = write!(text, "\n  WITH ({})", options.join(", "));
    }
    let tag = tag_for(&shown);
    // A dollar before the closing ones would be one of them.
    let end = if shown.ends_with('$') { "\n" } else { "" };
    let _ = write!(text, "\nAS {tag}{shown}{end}{tag}");
    Ok(text)
}

/// A remark ends with its line.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

/// The options that are not as they would be without being named.
fn options(definition: &Definition, has_webhook: bool) -> Vec<String> {
    let (given, plain) = (&definition.options, Options::default());
    let mut options = Vec::new();
    let mut add = |differs: bool, written: String| {
        if differs {
            options.push(written);
        }
    };
    add(given.retries != plain.retries, format!("retries = {}", given.retries));
    let times = [
        ("retry_wait", given.retry_wait_ms, plain.retry_wait_ms),
        ("timeout", given.timeout_ms, plain.timeout_ms),
        ("step_timeout", given.step_timeout_ms, plain.step_timeout_ms),
    ];
    for (name, ms, plain) in times {
        add(ms != plain, format!("{name} = '{}'", duration(ms)));
    }
    add(given.catch_up != plain.catch_up, format!("catch_up = '{}'", given.catch_up.word()));
    let runs = given.max_active_runs;
    add(runs != plain.max_active_runs, format!("max_active_runs = {runs}"));
    add(given.parallel != plain.parallel, format!("parallel = {}", given.parallel));
    add(given.publish_at_once, "publish = 'atomic'".to_owned());
    add(has_webhook, "on_failure = webhook('********')".to_owned());
    options
}

/// Writes a time in the largest unit that it is a multiple of.
fn duration(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1000, "s")];
    let unit = units.iter().find(|(size, _)| ms > 0 && ms.is_multiple_of(*size));
    match unit {
        Some((size, unit)) => format!("{}{unit}", ms / size),
        None => format!("{ms}ms"),
    }
}

/// Returns a quote in dollars that the text does not hold.
fn tag_for(body: &str) -> String {
    let is_free = |tag: &str| !body.contains(tag);
    let numbered = (1_u32..).map(|n| format!("$steps{n}$"));
    let mut tags = ["$$".to_owned(), "$steps$".to_owned()].into_iter().chain(numbered);
    tags.find(|tag| is_free(tag)).unwrap_or_else(|| "$$".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_texts_free_quotes() {
        let written = [0, 1, 1500, 30_000, 90_000, 7_200_000, 172_800_000].map(duration);
        assert_eq!(written, ["0ms", "1ms", "1500ms", "30s", "90s", "2h", "2d"]);
        assert_eq!(tag_for("STEP a AS SELECT 1;"), "$$");
        assert_eq!(tag_for("STEP a AS SELECT $$x$$;"), "$steps$");
        assert_eq!(tag_for("STEP a AS SELECT $steps$x$steps$, $$y$$;"), "$steps1$");
    }
}

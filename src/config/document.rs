//! `docs/configuration.md`, written from the list of settings.

use super::{Config, SETTINGS, Scope};

const HEAD: &str = "\
# Configuration

<!-- Written from src/config/settings.rs. After a change there: MARU_BLESS=1 cargo test -p maru configuration_page -->

Every setting can be given in four places. A flag beats the environment, the environment beats the file, the file beats
the default. `maru serve --print-config` shows the result, and for each value where it comes from.

| Place       | Form                                        | Example                          |
|-------------|---------------------------------------------|----------------------------------|
| Flag        | the name with hyphens                       | `--memory-limit 4GiB`            |
| Environment | `MARU_` and the name in capitals            | `MARU_MEMORY_LIMIT=4GiB`         |
| File        | the name as a key of `maru.toml`, no tables | `memory_limit = \"4GiB\"`          |

The file is the one named by `--config FILE` (`MARU_CONFIG`); else `maru.toml` in the data directory; else `maru.toml` in the
working directory. An unknown key in it is an error.

A SIZE is `512MB` (thousands) or `512MiB` (1024s); a DURATION is `250ms`, `30s`, `5min`, `2h` or `1d`. Settings marked with *server* mean
something to `maru serve` only.

## Settings
";

/// Returns the page as Markdown.
pub fn markdown() -> String {
    let defaults = Config::default();
    let mut page = HEAD.to_owned();
    for setting in SETTINGS {
        let default = match (setting.default_note, setting.toml_value(&defaults)) {
            (Some(note), _) => note.to_owned(),
            (None, Some(value)) => format!("`{}`", value.trim_matches('"')),
            (None, None) => "not set".to_owned(),
        };
        let scope = match setting.scope {
            Scope::Everywhere => "",
            Scope::Serve => " *server*",
        };
        page.push_str(&format!(
            "\n### `{}`{scope}\n\n{}\n\nValue: {}. Default: {default}. Flag `--{}`, variable `{}`.\n",
            setting.name,
            setting.doc,
            setting.shape,
            setting.flag(),
            setting.variable(),
        ));
    }
    page
}

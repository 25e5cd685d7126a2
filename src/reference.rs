//! The reference of connectors as a page, from the connectors' own declarations: `maru reference`.

use std::fmt::Write;

use crate::registry;

/// Returns `docs/connectors/reference.md`.
pub fn connectors() -> String {
    let mut page = String::from(
        "# Reference of connectors\n\n\
         Written by `maru reference` from what the program declares; a test holds this page to it. The same stands in\n\
         `SHOW CONNECTORS`, `SHOW CONNECTOR OPTIONS` and `SHOW CONNECTOR TYPES`.\n",
    );
    for connector in registry::connectors() {
        let spec = connector.spec();
        let example = spec.example;
        let _ = write!(page, "\n## `{}`\n\n{}\n\n```sql\n{example};\n```\n\n", spec.name, spec.doc);
        let _ = writeln!(page, "The source does: {}.\n", spec.capabilities.words().join(", "));
        page.push_str("| option | value | default | |\n|---|---|---|---|\n");
        for option in spec.options {
            let default = match (option.required, option.default) {
                (true, _) => "required".to_owned(),
                (false, Some("")) => "empty".to_owned(),
                (false, Some(default)) => format!("`{}`", cell(default)),
                (false, None) => String::new(),
            };
            let (name, kind) = (option.name, cell(&option.kind.words()));
            let _ = writeln!(page, "| `{name}` | {kind} | {default} | {} |", cell(option.doc));
        }
        page.push_str("\n| there | in Maru | left to the source |\n|---|---|---|\n");
        for types in spec.types {
            let (source, maru) = (cell(types.source), cell(types.maru));
            let _ = writeln!(page, "| {source} | {maru} | {} |", cell(types.pushed));
        }
    }
    page
}

/// Keeps a text inside its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_is_what_the_program_declares() {
        // Asked at run time, since a test built in one clone may be run from the cache in another.
        let here = std::env::var("CARGO_MANIFEST_DIR");
        let here = here.unwrap_or_else(|_| env!("CARGO_MANIFEST_DIR").to_owned());
        let page = std::fs::read_to_string(here + "/docs/connectors/reference.md").unwrap();
        assert!(
            page == super::connectors(),
            "docs/connectors/reference.md is old: maru reference > docs/connectors/reference.md"
        );
    }
}

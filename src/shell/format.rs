//! Results as text: psql's table, CSV, JSON, Markdown. All of them stream; none holds a whole result.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::backend::{Column, ColumnKind, Row};

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Table,
    Csv,
    Json,
    Markdown,
}

/// What can be set about the form of results.
#[derive(Debug, Clone)]
pub struct Style {
    pub format: Format,
    /// One line for each value instead of one for each row (`\x`).
    pub expanded: bool,
    /// What stands for NULL in a table.
    pub null: String,
    /// Header and footer are left out (`\t`).
    pub tuples_only: bool,
}

/// Rows that set the widths of a table. Later ones can only widen it.
const WIDTH_ROWS: usize = 1000;

/// Writes one result.
pub struct Printer {
    style: Style,
    columns: Vec<Column>,
    /// Names as JSON keys: a repeated name gets a number.
    keys: Vec<String>,
    widths: Vec<usize>,
    pending: Vec<Row>,
    started: bool,
    rows: u64,
}

impl Printer {
    pub fn new(style: Style, columns: Vec<Column>) -> Self {
        let mut keys: Vec<String> = Vec::with_capacity(columns.len());
        for column in &columns {
            let mut key = column.name.clone();
            let mut number = 2;
            while keys.contains(&key) {
                key = format!("{}_{number}", column.name);
                number += 1;
            }
            keys.push(key);
        }
        let widths = columns.iter().map(|column| lines(&column.name).1).collect();
        Self { style, columns, keys, widths, pending: Vec::new(), started: false, rows: 0 }
    }

    /// Takes rows and writes what can be written.
    pub fn rows(&mut self, rows: Vec<Row>, out: &mut dyn Write) -> io::Result<()> {
        if self.style.format == Format::Table && !self.style.expanded {
            self.pending.extend(rows);
            if self.pending.len() >= WIDTH_ROWS {
                self.flush_table(out)?;
            }
            return Ok(());
        }
        if !self.started && !rows.is_empty() {
            self.start(out)?;
        }
        for row in rows {
            self.rows += 1;
            match self.style.format {
                Format::Table => self.record(&row, out)?,
                Format::Csv => csv_line(row.iter().map(|value| value.as_deref()), out)?,
                Format::Json => self.json_row(&row, out)?,
                Format::Markdown => self.markdown_row(&row, out)?,
            }
        }
        Ok(())
    }

    /// Ends the result and returns the number of its rows.
    pub fn finish(&mut self, out: &mut dyn Write) -> io::Result<u64> {
        if self.style.format == Format::Table && !self.style.expanded {
            self.flush_table(out)?;
        } else if !self.started {
            self.start(out)?;
        }
        match self.style.format {
            Format::Json => out.write_all(if self.rows == 0 { b"]\n" } else { b"\n]\n" })?,
            Format::Table if self.style.tuples_only => {}
            Format::Table if self.style.expanded && self.rows > 0 => writeln!(out)?,
            Format::Table if self.rows == 1 => writeln!(out, "(1 row)\n")?,
            Format::Table => writeln!(out, "({} rows)\n", self.rows)?,
            Format::Csv | Format::Markdown => {}
        }
        Ok(self.rows)
    }

    fn start(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.started = true;
        let names = self.columns.iter().map(|column| column.name.as_str());
        match self.style.format {
            Format::Csv if !self.style.tuples_only => csv_line(names.map(Some), out),
            Format::Json => out.write_all(b"["),
            Format::Markdown => {
                let names: Vec<_> = names.map(|name| Some(name.to_owned())).collect();
                self.markdown_row(&names, out)?;
                let rules = self.columns.iter().map(|column| match column.kind {
                    ColumnKind::Number => " ---: |",
                    ColumnKind::Text | ColumnKind::Boolean => " --- |",
                });
                writeln!(out, "|{}", rules.collect::<String>())
            }
            Format::Table | Format::Csv => Ok(()),
        }
    }

    fn flush_table(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let pending: Vec<Vec<Cell>> = std::mem::take(&mut self.pending)
            .iter()
            .map(|row| row.iter().map(|value| self.cell(value)).collect())
            .collect();
        for row in &pending {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width);
            }
        }
        if !self.started {
            self.started = true;
            if !self.style.tuples_only {
                self.table_head(out)?;
            }
        }
        for row in &pending {
            self.rows += 1;
            self.table_row(row, out)?;
        }
        Ok(())
    }

    fn cell(&self, value: &Option<String>) -> Cell {
        let (lines, width) = lines(value.as_deref().unwrap_or(&self.style.null));
        Cell { lines, width }
    }

    fn table_head(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut head = String::new();
        let mut rule = String::new();
        for (i, (column, width)) in self.columns.iter().zip(&self.widths).enumerate() {
            if i > 0 {
                head.push('|');
                rule.push('+');
            }
            let name = lines(&column.name).0.join(" ");
            let space = width - name.width().min(*width);
            let left = space / 2;
            head.push_str(&format!(" {}{name}{} ", " ".repeat(left), " ".repeat(space - left)));
            rule.push_str(&"-".repeat(width + 2));
        }
        writeln!(out, "{}\n{rule}", head.trim_end_matches('\n'))
    }

    fn table_row(&self, row: &[Cell], out: &mut dyn Write) -> io::Result<()> {
        let height = row.iter().map(|cell| cell.lines.len()).max().unwrap_or(1);
        for line in 0..height {
            let mut text = String::new();
            for (i, cell) in row.iter().enumerate() {
                if i > 0 {
                    text.push('|');
                }
                let part = cell.lines.get(line).map_or("", String::as_str);
                let space = " ".repeat(self.widths[i].saturating_sub(part.width()));
                // A value that goes on in the next line is marked, as psql does.
                let more = if line + 1 < cell.lines.len() { '+' } else { ' ' };
                let last = i + 1 == row.len();
                match self.columns[i].kind {
                    ColumnKind::Number => text.push_str(&format!(" {space}{part}{more}")),
                    _ if last && more == ' ' => text.push_str(&format!(" {part}")),
                    _ => text.push_str(&format!(" {part}{space}{more}")),
                }
            }
            writeln!(out, "{}", text.trim_end_matches(' '))?;
        }
        Ok(())
    }

    /// One row as psql's `\x` shows it.
    fn record(&self, row: &Row, out: &mut dyn Write) -> io::Result<()> {
        let names = self.widths.iter().copied().max().unwrap_or(0);
        let cells: Vec<_> = row.iter().map(|value| self.cell(value)).collect();
        if !self.style.tuples_only {
            let values = cells.iter().map(|cell| cell.width).max().unwrap_or(0);
            let title = format!("-[ RECORD {} ]", self.rows);
            let mut rule: String = title;
            let total = names + 3 + values;
            while rule.len() < total {
                rule.push(if rule.len() == names + 1 { '+' } else { '-' });
            }
            writeln!(out, "{rule}")?;
        }
        for (column, cell) in self.columns.iter().zip(cells) {
            let name = lines(&column.name).0.join(" ");
            let space = " ".repeat(names.saturating_sub(name.width()));
            let indent = format!("\n{} | ", " ".repeat(names));
            writeln!(
                out,
                "{}",
                format!("{name}{space} | {}", cell.lines.join(&indent)).trim_end()
            )?;
        }
        Ok(())
    }

    fn json_row(&self, row: &Row, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(if self.rows == 1 { b"\n{" } else { b",\n{" })?;
        for (i, (value, column)) in row.iter().zip(&self.columns).enumerate() {
            if i > 0 {
                out.write_all(b",")?;
            }
            serde_json::to_writer(&mut *out, &self.keys[i])?;
            out.write_all(b":")?;
            match (value.as_deref(), column.kind) {
                (None, _) => out.write_all(b"null")?,
                (Some("t"), ColumnKind::Boolean) => out.write_all(b"true")?,
                (Some("f"), ColumnKind::Boolean) => out.write_all(b"false")?,
                (Some(number), ColumnKind::Number) if is_json_number(number) => {
                    out.write_all(number.as_bytes())?;
                }
                (Some(text), _) => serde_json::to_writer(&mut *out, text)?,
            }
        }
        out.write_all(b"}")
    }

    fn markdown_row(&self, row: &Row, out: &mut dyn Write) -> io::Result<()> {
        let mut text = "|".to_owned();
        for value in row {
            let value = value.as_deref().unwrap_or(&self.style.null);
            let value =
                value.replace('\\', "\\\\").replace('|', "\\|").replace(['\n', '\r'], "<br>");
            text.push_str(&format!(" {value} |"));
        }
        writeln!(out, "{text}")
    }
}

struct Cell {
    lines: Vec<String>,
    width: usize,
}

/// Splits a value into lines a terminal can show, and measures them. What would move the cursor or colour the screen
/// is written as an escape.
fn lines(text: &str) -> (Vec<String>, usize) {
    let plain = !text.chars().any(char::is_control);
    let lines: Vec<String> = match plain {
        true => vec![text.to_owned()],
        false => text.split('\n').map(escaped).collect(),
    };
    let width = lines.iter().map(|line| line.width()).max().unwrap_or(0);
    (lines, width)
}

fn escaped(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for c in line.chars() {
        match c {
            '\t' => text.push_str(&" ".repeat(8 - text.width() % 8)),
            '\r' => text.push_str("\\r"),
            c if c.is_control() => text.push_str(&format!("\\x{:02X}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

/// NULL is nothing between two commas; an empty text is `""`.
fn csv_line<'a>(
    values: impl Iterator<Item = Option<&'a str>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    for (i, value) in values.enumerate() {
        if i > 0 {
            out.write_all(b",")?;
        }
        let Some(text) = value else { continue };
        if text.is_empty() || text.contains([',', '"', '\n', '\r']) || text == "\\." {
            write!(out, "\"{}\"", text.replace('"', "\"\""))?;
        } else {
            out.write_all(text.as_bytes())?;
        }
    }
    out.write_all(b"\n")
}

/// PostgreSQL writes `NaN` and `Infinity` too, which JSON does not know.
fn is_json_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests;

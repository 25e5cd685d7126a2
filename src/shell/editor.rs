//! The conversation with a person: the line editor, its prompt and its history.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use reedline::{
    Color, ColumnarMenu, Emacs, FileBackedHistory, Highlighter, KeyCode, KeyModifiers, MenuBuilder,
    Prompt, PromptEditMode, PromptHistorySearch, PromptHistorySearchStatus, Reedline,
    ReedlineEvent, ReedlineMenu, Signal, StyledText, ValidationResult, Validator,
    default_emacs_keybindings,
};

use super::complete::{Edited, KEYWORDS, Names, SqlCompleter};
use super::script;
use super::{Exit, Shell, Stop};

/// Statements kept in the history file.
const HISTORY_MAX: usize = 5000;

const MENU: &str = "completion";

/// Reads and runs until the person leaves.
pub(super) async fn converse(shell: &mut Shell, history: Option<PathBuf>) -> Exit {
    if !shell.quiet {
        println!("Maru {} — \\? for help, \\q to leave.", env!("CARGO_PKG_VERSION"));
    }
    // Completion has a session of its own; without one there are only keywords.
    let names = match shell.backend.companion().await {
        Ok(companion) => Some(Arc::new(Names::new(companion))),
        Err(failure) => {
            tracing::debug!(%failure, "no session for completion");
            None
        }
    };
    let mut editor = editor(names.clone(), history);
    loop {
        // The editor blocks, so it lives on a thread of its own while the person types.
        let read = tokio::task::spawn_blocking(move || {
            let signal = editor.read_line(&SqlPrompt);
            (editor, signal)
        });
        let signal = match read.await {
            Ok((back, signal)) => {
                editor = back;
                signal
            }
            Err(_) => return Exit::Failure,
        };
        let text = match signal {
            Ok(Signal::Success(text)) => text,
            Ok(Signal::CtrlC) => continue,
            Ok(Signal::CtrlD) => return Exit::Success,
            Ok(_) => continue,
            Err(error) => {
                eprintln!("cannot read from the terminal: {error}");
                return Exit::Failure;
            }
        };
        match text.trim().trim_end_matches(';').trim() {
            "" => continue,
            "quit" | "exit" => return Exit::Success,
            "help" => {
                let _ = shell.script("\\?").await;
                continue;
            }
            _ => {}
        }
        match shell.script(&text).await {
            Ok(flow) if flow.is_break() => return Exit::Success,
            Ok(_) | Err(Stop::Failed | Stop::Fatal) => {}
            Err(Stop::Lost) => {
                eprintln!("The connection to the server is lost.");
                return Exit::Connection;
            }
        }
        // A statement may have made or dropped something.
        if let Some(names) = &names {
            names.forget();
        }
    }
}

fn editor(names: Option<Arc<Names>>, history: Option<PathBuf>) -> Reedline {
    let mut keys = default_emacs_keybindings();
    keys.add_binding(
        KeyModifiers::NONE,
        KeyCode::Tab,
        ReedlineEvent::UntilFound(vec![
            ReedlineEvent::Menu(MENU.to_owned()),
            ReedlineEvent::MenuNext,
        ]),
    );
    let menu = Box::new(ColumnarMenu::default().with_name(MENU));
    let edited = Edited::default();
    let mut editor = Reedline::create()
        .with_validator(Box::new(Statements))
        .with_highlighter(Box::new(Keywords { edited: Arc::clone(&edited) }))
        .with_completer(Box::new(SqlCompleter::new(names, edited)))
        .with_menu(ReedlineMenu::EngineCompleter(menu))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .use_bracketed_paste(true)
        .with_ansi_colors(std::env::var_os("NO_COLOR").is_none());
    if let Some(path) = history {
        match FileBackedHistory::with_file(HISTORY_MAX, path) {
            Ok(history) => editor = editor.with_history(Box::new(history)),
            Err(error) => eprintln!("no history: {error}"),
        }
    }
    editor
}

/// Enter runs a text that is complete and opens another line otherwise.
struct Statements;

impl Validator for Statements {
    fn validate(&self, text: &str) -> ValidationResult {
        let bare = text.trim();
        let runs = bare.is_empty()
            || bare.starts_with('\\')
            || matches!(bare, "quit" | "exit" | "help")
            || script::is_complete(text);
        if runs { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}

/// Colours keywords, texts and numbers.
struct Keywords {
    edited: Edited,
}

impl Highlighter for Keywords {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        line.clone_into(&mut self.edited.lock());
        let mut styled = StyledText::new();
        let mut rest = line;
        while let Some(first) = rest.chars().next() {
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let (length, paint) = if first == '\'' {
                let end = rest[1..].find('\'').map_or(rest.len(), |end| end + 2);
                (end, Color::Green.normal())
            } else if is_word(first) {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                let word = &rest[..end];
                let paint = if KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word)) {
                    Color::LightBlue.normal()
                } else if first.is_ascii_digit() {
                    Color::Cyan.normal()
                } else {
                    Color::Default.normal()
                };
                (end, paint)
            } else {
                let end = rest.find(|c| c == '\'' || is_word(c)).unwrap_or(rest.len());
                (end, Color::Default.normal())
            };
            styled.push((paint, rest[..length].to_owned()));
            rest = &rest[length..];
        }
        styled
    }
}

struct SqlPrompt;

impl Prompt for SqlPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        "maru".into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        "=> ".into()
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        "maru-> ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        let failing = match search.status {
            PromptHistorySearchStatus::Passing => "",
            PromptHistorySearchStatus::Failing => "failing ",
        };
        format!("({failing}search: {}) ", search.term).into()
    }

    fn get_prompt_color(&self) -> Color {
        Color::Default
    }
}

//! What a session has chosen for itself (settings, catalog, role), and what of it a transaction gives back: `SET LOCAL` and
//! `set_config(…, true)` hold until its end, `SET` is undone when it is rolled back, to a savepoint too. As PostgreSQL 16 has it.

use maru_core::Result;

use super::Session;
use super::settings::Settings;

/// What holds now.
#[derive(Debug, Clone)]
pub(super) struct Choices {
    settings: Settings,
    catalog: String,
    role: Option<String>,
}

/// What a transaction gives back.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// As it was before the transaction's first change.
    before: Option<Choices>,
    /// As it is after `COMMIT`, since something was chosen for the transaction alone.
    after: Option<Choices>,
}

/// What holds at a savepoint.
#[derive(Debug, Clone)]
pub(super) struct AtSavepoint {
    now: Choices,
    after: Option<Choices>,
}

impl Session {
    /// Sets a setting (`None`: to its default), for the transaction alone if `local`. Returns whether it was: outside of a
    /// transaction nothing can be set for one.
    ///
    /// # Errors
    /// As [`Session::set`].
    pub(crate) fn choose(&self, name: &str, value: Option<&str>, local: bool) -> Result<bool> {
        if local && !self.in_transaction() {
            let mut unused = self.settings.read().clone();
            if let Some(value) = value.filter(|_| !super::settings::is_catalog(name)) {
                unused.set(name, value)?;
            }
            return Ok(false);
        }
        self.changing(local, |session| match value {
            Some(value) => session.set(name, value),
            None => session.reset(Some(name)),
        })?;
        Ok(true)
    }

    /// Puts one setting, or all of them, back to its default, until the transaction is rolled back.
    pub(crate) fn choose_default(&self, name: Option<&str>) -> Result<()> {
        self.changing(false, |session| session.reset(name))
    }

    /// `None` goes back to the user. Undone with the transaction.
    pub(crate) fn choose_role(&self, role: Option<String>) -> Result<()> {
        self.changing(false, |session| {
            session.set_role(role.clone());
            Ok(())
        })
    }

    /// Makes a change, and keeps what the transaction gives back.
    fn changing(&self, local: bool, change: impl Fn(&Self) -> Result<()>) -> Result<()> {
        if !self.in_transaction() {
            return change(self);
        }
        let was = self.choices();
        change(self)?;
        let given = &mut self.block.lock().given;
        given.before.get_or_insert_with(|| was.clone());
        if local {
            given.after.get_or_insert(was);
            return Ok(());
        }
        // What is chosen for the session holds after the transaction, beside what it held before for it alone.
        if let Some(after) = given.after.take() {
            let now = self.choices();
            self.take_up(after);
            let changed = change(self);
            given.after = Some(self.choices());
            self.take_up(now);
            changed?;
        }
        Ok(())
    }

    fn choices(&self) -> Choices {
        Choices {
            settings: self.settings.read().clone(),
            catalog: self.catalog.read().clone(),
            role: self.role.read().clone(),
        }
    }

    fn take_up(&self, choices: Choices) {
        *self.settings.write() = choices.settings;
        *self.catalog.write() = choices.catalog;
        *self.role.write() = choices.role;
    }

    /// Ends what the transaction has chosen.
    pub(super) fn give_back(&self, commit: bool) {
        let Given { before, after } = std::mem::take(&mut self.block.lock().given);
        if let Some(choices) = if commit { after } else { before } {
            self.take_up(choices);
        }
    }

    pub(super) fn choices_at_savepoint(&self) -> AtSavepoint {
        AtSavepoint { now: self.choices(), after: self.block.lock().given.after.clone() }
    }

    pub(super) fn put_choices_back(&self, at: AtSavepoint) {
        self.block.lock().given.after = at.after;
        self.take_up(at.now);
    }
}

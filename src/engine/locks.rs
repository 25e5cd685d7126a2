//! Advisory locks: numbers that sessions agree on. One session has such a lock, or several share it; others wait in their order.
//!
//! Those that a session takes are kept until it gives them back or ends, as often as it has taken them; those of a transaction until
//! that ends, or goes back to a savepoint before them.
//!
//! Source: PostgreSQL 16, sections 9.27.10 and 13.3.5.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::SystemTime;

use maru_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What is locked: one number of eight bytes, or two of four, which are locks of their own. Each database has its own ones.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) database: String,
    pub(crate) number: Number,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Number {
    One(i64),
    Two(i32, i32),
}

/// Who wants a lock, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) session: i32,
    pub(crate) shared: bool,
    /// It ends with the transaction.
    pub(crate) transaction: bool,
}

impl Claim {
    fn conflicts(self, other: Self) -> bool {
        self.session != other.session && !(self.shared && other.shared)
    }
}

/// A lock that somebody has or waits for, to be shown.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) number: Number,
    pub(crate) session: i32,
    pub(crate) shared: bool,
    /// Since when it is waited for.
    pub(crate) waits: Option<SystemTime>,
}

/// The locks of an engine.
#[derive(Debug, Default)]
pub(crate) struct Locks {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    locks: BTreeMap<Key, Lock>,
    /// Claims so far, which tells them apart.
    claims: u64,
}

/// A lock that somebody has.
#[derive(Debug, Default)]
struct Lock {
    held: Vec<(u64, Claim)>,
    /// In the order in which they came.
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    claim: Claim,
    since: SystemTime,
    granted: oneshot::Sender<()>,
}

impl Lock {
    /// Returns whether somebody can have it at once, with so many waiting before. Who has it already passes them by.
    fn admits(&self, claim: Claim, before: usize) -> bool {
        if self.held.iter().any(|(_, held)| held.conflicts(claim)) {
            return false;
        }
        let mut before = self.waiting.iter().take(before);
        self.held.iter().any(|(_, held)| held.session == claim.session)
            || !before.any(|waiting| waiting.claim.conflicts(claim))
    }

    /// Gives it to those who have waited for it and can have it now.
    fn grant(&mut self) {
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            if !self.admits(waiting.claim, at) {
                at += 1;
                continue;
            }
            let Some(waiting) = self.waiting.remove(at) else { return };
            self.held.push((waiting.number, waiting.claim));
            // Who does not wait any more gives it back: see `Wait`.
            let _ = waiting.granted.send(());
        }
    }
}

impl Table {
    /// Takes away what is not to stay, of what is held and of what is waited for, and lets others have it.
    fn retain(&mut self, stays: impl Fn(u64, Claim) -> bool) {
        for lock in self.locks.values_mut() {
            let n_held = lock.held.len() + lock.waiting.len();
            lock.held.retain(|(number, claim)| stays(*number, *claim));
            lock.waiting.retain(|waiting| stays(waiting.number, waiting.claim));
            if lock.held.len() + lock.waiting.len() < n_held {
                lock.grant();
            }
        }
        self.locks.retain(|_, lock| !lock.held.is_empty() || !lock.waiting.is_empty());
    }

    /// Returns the sessions that a session waits for.
    fn blockers(&self, session: i32) -> BTreeSet<i32> {
        let mut blockers = BTreeSet::new();
        for lock in self.locks.values() {
            for (at, waiting) in lock.waiting.iter().enumerate() {
                if waiting.claim.session != session {
                    continue;
                }
                let held = lock.held.iter().map(|(_, claim)| *claim);
                let before = lock.waiting.iter().take(at).map(|waiting| waiting.claim);
                let all = held.chain(before).filter(|claim| claim.conflicts(waiting.claim));
                blockers.extend(all.map(|claim| claim.session));
            }
        }
        blockers
    }

    /// Returns whether a session waits for itself, through others.
    fn is_circle(&self, session: i32) -> bool {
        let mut seen = BTreeSet::new();
        let mut next = vec![session];
        while let Some(one) = next.pop() {
            for blocker in self.blockers(one) {
                if blocker == session {
                    return true;
                }
                if seen.insert(blocker) {
                    next.push(blocker);
                }
            }
        }
        false
    }
}

impl Locks {
    /// Takes a lock if that is possible at once.
    pub(crate) fn try_take(&self, key: Key, claim: Claim) -> bool {
        let mut table = self.table.lock();
        table.claims += 1;
        let number = table.claims;
        let lock = table.locks.entry(key).or_default();
        // A lock that nobody has is free for all, so that none stays here without an owner.
        let admits = lock.admits(claim, lock.waiting.len());
        if admits {
            lock.held.push((number, claim));
        }
        admits
    }

    /// Takes a lock as soon as that is possible.
    ///
    /// # Errors
    /// 40P01 if it never would be: who has it waits for this session.
    ///
    /// # Cancel
    /// Nothing is taken when the future is dropped.
    pub(crate) async fn take(&self, key: Key, claim: Claim) -> Result<()> {
        if self.try_take(key.clone(), claim) {
            return Ok(());
        }
        let (granted, mut wait) = {
            let mut table = self.table.lock();
            table.claims += 1;
            let number = table.claims;
            let (sender, receiver) = oneshot::channel();
            let since = SystemTime::now();
            let lock = table.locks.entry(key).or_default();
            lock.waiting.push_back(Waiting { number, claim, since, granted: sender });
            // It may have become free meanwhile.
            lock.grant();
            if table.is_circle(claim.session) {
                table.retain(|other, _| other != number);
                return Err(deadlock());
            }
            (receiver, Wait { locks: self, number, granted: false })
        };
        wait.granted = granted.await.is_ok();
        match wait.granted {
            true => Ok(()),
            // The session has ended.
            false => Err(Error::cancelled()),
        }
    }

    /// Gives a lock of the session back, once; returns whether it had it.
    pub(crate) fn release(&self, key: &Key, session: i32, shared: bool) -> bool {
        let mut table = self.table.lock();
        let claim = Claim { session, shared, transaction: false };
        let held = table.locks.get(key).and_then(|lock| {
            lock.held.iter().find(|(_, held)| *held == claim).map(|(number, _)| *number)
        });
        let Some(held) = held else { return false };
        table.retain(|number, _| number != held);
        true
    }

    /// Gives back what the session has taken for itself, and not for a transaction.
    pub(crate) fn release_all(&self, session: i32) {
        self.retain(|_, claim| claim.session != session || claim.transaction);
    }

    /// Ends those of the session's transaction.
    pub(crate) fn end_transaction(&self, session: i32) {
        self.end_since(session, 0);
    }

    /// Returns where the claims are now, for [`Locks::end_since`].
    pub(crate) fn mark(&self) -> u64 {
        self.table.lock().claims
    }

    /// Ends those that the session's transaction has taken since then.
    pub(crate) fn end_since(&self, session: i32, mark: u64) {
        self.retain(|number, claim| {
            claim.session != session || !claim.transaction || number <= mark
        });
    }

    /// Ends all of a session that has gone.
    pub(crate) fn forget(&self, session: i32) {
        self.retain(|_, claim| claim.session != session);
    }

    fn retain(&self, stays: impl Fn(u64, Claim) -> bool) {
        let mut table = self.table.lock();
        if !table.locks.is_empty() {
            table.retain(stays);
        }
    }

    /// Returns who has what and who waits, each once.
    pub(crate) fn all(&self) -> Vec<Shown> {
        let table = self.table.lock();
        let mut all = Vec::<Shown>::new();
        for (key, lock) in &table.locks {
            let held = lock.held.iter().map(|(_, claim)| (claim, None));
            let waiting = lock.waiting.iter().map(|one| (&one.claim, Some(one.since)));
            let mut seen = Vec::new();
            for (claim, waits) in held.chain(waiting) {
                let one = (claim.session, claim.shared, waits.is_some());
                if !seen.contains(&one) {
                    seen.push(one);
                    let (session, shared) = (claim.session, claim.shared);
                    all.push(Shown { number: key.number, session, shared, waits });
                }
            }
        }
        all
    }
}

/// Somebody waits. Who stops doing so leaves nothing behind.
struct Wait<'a> {
    locks: &'a Locks,
    number: u64,
    granted: bool,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if !self.granted {
            self.locks.retain(|number, _| number != self.number);
        }
    }
}

fn deadlock() -> Error {
    Error::new(ErrorKind::Deadlock, "deadlock detected")
        .with_detail("Who has the lock waits for one of this session's.")
        .with_hint("Take locks in the same order everywhere. pg_locks shows who has which.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: i64) -> Key {
        Key { database: "maru".to_owned(), number: Number::One(number) }
    }

    fn claim(session: i32, shared: bool) -> Claim {
        Claim { session, shared, transaction: false }
    }

    #[test]
    fn one_has_it_or_several_share_it() {
        let locks = Locks::default();
        assert!(locks.try_take(key(1), claim(1, false)));
        assert!(locks.try_take(key(1), claim(1, true)));
        assert!(!locks.try_take(key(1), claim(2, true)));
        assert!(locks.try_take(key(2), claim(2, true)));
        assert!(locks.try_take(key(2), claim(3, true)));
        assert!(!locks.release(&key(1), 2, false));
        assert!(locks.release(&key(1), 1, false));
        assert!(locks.try_take(key(1), claim(2, true)));
        locks.forget(1);
        locks.forget(2);
        locks.forget(3);
        assert!(locks.table.lock().locks.is_empty());
    }

    #[tokio::test]
    async fn who_comes_first_is_first() {
        let locks = Locks::default();
        assert!(locks.try_take(key(1), claim(1, true)));
        let mut writer = Box::pin(locks.take(key(1), claim(2, false)));
        assert!(futures::poll!(writer.as_mut()).is_pending());
        // A reader that came later does not pass the writer, but one that reads already does.
        assert!(!locks.try_take(key(1), claim(3, true)));
        assert!(locks.try_take(key(1), claim(1, true)));
        locks.forget(1);
        writer.await.unwrap();
        assert!(!locks.try_take(key(1), claim(3, true)));
        let gone = Box::pin(locks.take(key(1), claim(3, true)));
        drop(gone);
        locks.forget(2);
        assert!(locks.table.lock().locks.is_empty());
    }

    #[tokio::test]
    async fn nobody_waits_for_oneself() {
        let locks = Locks::default();
        assert!(locks.try_take(key(1), claim(1, false)));
        assert!(locks.try_take(key(2), claim(2, false)));
        let mut first = Box::pin(locks.take(key(2), claim(1, false)));
        assert!(futures::poll!(first.as_mut()).is_pending());
        let error = locks.take(key(1), claim(2, false)).await.unwrap_err();
        assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Deadlock, "40P01"));
        locks.forget(2);
        first.await.unwrap();
    }

    #[test]
    fn those_of_a_transaction_end_with_it() {
        let locks = Locks::default();
        let of_transaction = Claim { session: 1, shared: false, transaction: true };
        assert!(locks.try_take(key(1), of_transaction));
        let mark = locks.mark();
        assert!(locks.try_take(key(2), of_transaction));
        assert!(locks.try_take(key(3), claim(1, false)));
        assert!(!locks.release(&key(1), 1, false));
        locks.end_since(1, mark);
        assert!(locks.try_take(key(2), claim(2, false)));
        assert!(!locks.try_take(key(1), claim(2, false)));
        locks.end_transaction(1);
        assert!(locks.try_take(key(1), claim(2, false)));
        assert!(!locks.try_take(key(3), claim(2, false)));
        locks.release_all(1);
        assert!(locks.try_take(key(3), claim(2, false)));
    }
}

//! Admission: which statements run, and which wait for how long.
//!
//! Statements run in resource groups, groups lie within groups, and the engine is around them all. A place that gets free goes
//! to the group that has the fewest running for its weight, there to the user who has the fewest running, and of the user's to
//! the one that has waited longest. An eighth of the places of each group is kept for users who have none of them, so that
//! somebody who runs everything at once keeps nobody waiting.

mod queue;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use maru_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::memory::Governor;
use crate::access::{DEFAULT_GROUP, Rules};
use queue::{Group, Limits, Places};

/// The group around all.
const ENGINE: &str = "";

/// The gate.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    places: Places,
    /// What the groups were last made of.
    followed: Option<Arc<Rules>>,
    governors: HashMap<String, Arc<Governor>>,
}

/// How a group stands.
#[derive(Debug)]
pub struct GroupState {
    pub name: String,
    pub running: usize,
    pub queued: usize,
    pub memory_bytes: usize,
}

/// A place; it is given back when this is dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Arc<Admission>,
    group: String,
    user: String,
    /// How long the group lets a statement run.
    pub run_time: Option<Duration>,
}

impl Admission {
    pub fn new(running_max: usize, waiting_max: usize, governor: Arc<Governor>) -> Arc<Self> {
        let limits = Limits { running_max: running_max.max(1), waiting_max, weight: 1 };
        let mut places = Places::default();
        places.put(ENGINE, None, limits);
        places.put(DEFAULT_GROUP, Some(ENGINE), Limits::NONE);
        let governors = HashMap::from([
            (ENGINE.to_owned(), Arc::clone(&governor)),
            (DEFAULT_GROUP.to_owned(), Governor::within(governor, DEFAULT_GROUP, usize::MAX)),
        ]);
        let state = State { places, followed: None, governors };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Takes over groups as the rules have them; those that wait may go on by them.
    pub fn follow(&self, rules: &Arc<Rules>) {
        self.state.lock().follow(rules);
    }

    /// Returns the budget that statements of a group have together.
    pub fn governor(&self, rules: &Arc<Rules>, group: &str) -> Arc<Governor> {
        let mut state = self.state.lock();
        state.follow(rules);
        let found = state.governors.get(group).or_else(|| state.governors.get(DEFAULT_GROUP));
        found.or_else(|| state.governors.get(ENGINE)).map_or_else(|| Governor::new(0), Arc::clone)
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// 53000 at once if too many wait already.
    /// # Cancel
    /// Dropping the future leaves the queue.
    pub async fn enter(
        self: &Arc<Self>,
        rules: &Arc<Rules>,
        group: &str,
        user: &str,
    ) -> Result<Permit> {
        let (sender, receiver) = oneshot::channel();
        let waiting = {
            let mut state = self.state.lock();
            state.follow(rules);
            let group = if state.places.has(group) { group } else { DEFAULT_GROUP };
            let id = state.places.wait(group, user, sender);
            state.dispatch();
            let waiting =
                Waiting { admission: self, group: group.to_owned(), user: user.to_owned(), id };
            if let Some(full) = state.places.overfull(group, id) {
                let error = queue_full(full, state.places.waiting_max(full));
                drop(state);
                return Err(error);
            }
            waiting
        };
        // It is there from the dispatch on; the sender is only gone with the engine.
        let _ = receiver.await;
        Ok(waiting.admitted(rules))
    }

    pub fn n_waiting(&self) -> usize {
        self.state.lock().places.waiting(ENGINE)
    }

    /// Returns how the groups stand, by name, those that no statement has used too.
    pub fn groups(&self, rules: &Arc<Rules>) -> Vec<GroupState> {
        let mut state = self.state.lock();
        state.follow(rules);
        let names = rules.groups.keys().map(String::as_str).chain([DEFAULT_GROUP]);
        let mut groups = names
            .map(|name| GroupState {
                name: name.to_owned(),
                running: state.places.running(name),
                queued: state.places.waiting(name),
                memory_bytes: state.governors.get(name).map_or(0, |governor| governor.used_bytes()),
            })
            .collect::<Vec<_>>();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        groups
    }

    fn leave(&self, group: &str, user: &str) {
        let mut state = self.state.lock();
        state.places.leave(group, user);
        state.dispatch();
    }
}

impl State {
    fn follow(&mut self, rules: &Arc<Rules>) {
        if self.followed.as_ref().is_some_and(|followed| Arc::ptr_eq(followed, rules)) {
            return;
        }
        let same = self.followed.as_ref().is_some_and(|followed| followed.groups == rules.groups);
        self.followed = Some(Arc::clone(rules));
        if same {
            return;
        }
        // Outer groups first: those within them point to them.
        let mut open = rules.groups.iter().collect::<Vec<_>>();
        let mut known = vec![ENGINE.to_owned()];
        while !open.is_empty() {
            let (now, later): (Vec<_>, Vec<_>) = open.into_iter().partition(|(_, group)| {
                group.parent.as_ref().is_none_or(|parent| known.contains(parent))
            });
            if now.is_empty() {
                break;
            }
            for (name, group) in now {
                let parent = group.parent.as_deref().unwrap_or(ENGINE);
                let limits = Limits {
                    running_max: group.concurrency.unwrap_or(usize::MAX),
                    waiting_max: group.queue.unwrap_or(usize::MAX),
                    weight: group.weight,
                };
                self.places.put(name, Some(parent), limits);
                let bytes = group.memory.and_then(|bytes| usize::try_from(bytes).ok());
                let bytes = bytes.unwrap_or(usize::MAX);
                match self.governors.get(name) {
                    Some(governor) => governor.set_limit(bytes),
                    None => {
                        if let Some(around) = self.governors.get(parent) {
                            let governor = Governor::within(Arc::clone(around), name, bytes);
                            self.governors.insert(name.clone(), governor);
                        }
                    }
                }
                known.push(name.clone());
            }
            open = later;
        }
        known.push(DEFAULT_GROUP.to_owned());
        for gone in self.places.retain(|name| known.iter().any(|known| known == name)) {
            self.governors.remove(&gone);
        }
        self.dispatch();
    }

    fn dispatch(&mut self) {
        let governors = &self.governors;
        // One that runs is let run, whatever the group holds: the memory it frees is what the others wait for.
        let has_memory = |name: &str, group: &Group| {
            group.running() == 0
                || governors
                    .get(name)
                    .is_none_or(|governor| governor.used_bytes() < governor.limit_bytes())
        };
        while self.places.admit_one(ENGINE, &has_memory) {}
    }
}

/// A place in the queue, left on drop.
struct Waiting<'a> {
    admission: &'a Arc<Admission>,
    group: String,
    user: String,
    id: u64,
}

impl Waiting<'_> {
    fn admitted(self, rules: &Rules) -> Permit {
        let run_time = rules.groups.get(&self.group).and_then(|group| group.run_time);
        let permit = Permit {
            admission: Arc::clone(self.admission),
            group: self.group.clone(),
            user: self.user.clone(),
            run_time: run_time.map(Duration::from_millis),
        };
        std::mem::forget(self);
        permit
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock();
        // What is not in the queue any more has been admitted.
        if !state.places.forget(&self.group, &self.user, self.id) {
            state.places.leave(&self.group, &self.user);
            state.dispatch();
        }
    }
}

impl Permit {
    /// Returns the error of a statement that has run for longer than its group allows.
    pub fn ran_too_long(&self, run_time: Duration) -> Error {
        let group = &self.group;
        Error::new(
            ErrorKind::TimedOut,
            "canceling statement due to the run time of its resource group",
        )
        .with_detail(format!(
            "Resource group \"{group}\" lets statements run for {} ms.",
            run_time.as_millis()
        ))
        .with_hint(format!(
            "A superuser says: ALTER RESOURCE GROUP {} SET (run_time = '…').",
            maru_core::quote_ident(group)
        ))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.leave(&self.group, &self.user);
    }
}

fn queue_full(group: &str, waiting_max: usize) -> Error {
    let error = Error::new(ErrorKind::QueueFull, "too many statements are waiting");
    match group {
        ENGINE => error
            .with_detail(format!("{waiting_max} statements wait already (queued_queries_max)."))
            .with_hint("Try again later, or cancel some: system.queries lists them."),
        group => error
            .with_detail(format!(
                "{waiting_max} statements of resource group \"{group}\" wait already."
            ))
            .with_hint("Try again later: system.resource_groups shows how the groups stand."),
    }
}

/// Groups by name.
type Groups = BTreeMap<String, Group>;

#[cfg(test)]
mod tests;

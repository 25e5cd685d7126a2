//! Who waits where, and who is next.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::sync::oneshot;

use super::Groups;

/// Of how many places one is kept for users who have none.
const KEPT_OF: usize = 8;

/// What a group allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) running_max: usize,
    pub(super) waiting_max: usize,
    pub(super) weight: u32,
}

impl Limits {
    /// Those of the group around it alone.
    pub(super) const NONE: Self =
        Self { running_max: usize::MAX, waiting_max: usize::MAX, weight: 1 };
}

/// One group. Numbers count what is in the groups within it too.
#[derive(Debug)]
pub(super) struct Group {
    parent: Option<String>,
    limits: Limits,
    running: usize,
    waiting: usize,
    running_by_user: HashMap<String, usize>,
    /// Of this group itself, by user; the longest first.
    queues: BTreeMap<String, VecDeque<Waiter>>,
    /// Statements of this group itself that run.
    own: usize,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    admit: oneshot::Sender<()>,
}

impl Group {
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// Returns whether one more of a user's may run here.
    fn has_place(&self, user: &str) -> bool {
        let free = self.limits.running_max.saturating_sub(self.running);
        let kept = match self.limits.running_max {
            usize::MAX => 0,
            max => max / KEPT_OF,
        };
        let has_some = self.running_by_user.contains_key(user);
        free > if has_some { kept } else { 0 }
    }
}

/// All groups.
#[derive(Debug, Default)]
pub(super) struct Places {
    groups: Groups,
    next: u64,
}

impl Places {
    /// Makes a group, or changes its limits.
    pub(super) fn put(&mut self, name: &str, parent: Option<&str>, limits: Limits) {
        let group = self.groups.entry(name.to_owned()).or_insert_with(|| Group {
            parent: parent.map(str::to_owned),
            limits,
            running: 0,
            waiting: 0,
            running_by_user: HashMap::new(),
            queues: BTreeMap::new(),
            own: 0,
        });
        group.limits = limits;
        if group.running + group.waiting == 0 {
            group.parent = parent.map(str::to_owned);
        }
    }

    /// Forgets groups that are not kept, as soon as nothing is in them; returns those that are gone.
    pub(super) fn retain(&mut self, kept: impl Fn(&str) -> bool) -> Vec<String> {
        let gone = |name: &String, group: &Group| !kept(name) && group.running + group.waiting == 0;
        let names = self.groups.iter().filter(|(name, group)| gone(name, group));
        let names = names.map(|(name, _)| name.clone()).collect::<Vec<_>>();
        self.groups.retain(|name, _| !names.contains(name));
        names
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.groups.contains_key(name)
    }

    pub(super) fn running(&self, name: &str) -> usize {
        self.groups.get(name).map_or(0, |group| group.running)
    }

    pub(super) fn waiting(&self, name: &str) -> usize {
        self.groups.get(name).map_or(0, |group| group.waiting)
    }

    pub(super) fn waiting_max(&self, name: &str) -> usize {
        self.groups.get(name).map_or(0, |group| group.limits.waiting_max)
    }

    /// Puts a statement at the end of its user's queue and returns its number.
    pub(super) fn wait(&mut self, name: &str, user: &str, admit: oneshot::Sender<()>) -> u64 {
        self.next += 1;
        let id = self.next;
        if let Some(group) = self.groups.get_mut(name) {
            group.queues.entry(user.to_owned()).or_default().push_back(Waiter { id, admit });
        }
        self.around(name, |group| group.waiting += 1);
        id
    }

    /// Returns the group in which more wait than may, if the statement `id` is one of those that wait.
    pub(super) fn overfull(&self, name: &str, id: u64) -> Option<&str> {
        let own = self.groups.get(name)?;
        if !own.queues.values().flatten().any(|waiter| waiter.id == id) {
            return None;
        }
        let mut at = self.groups.get_key_value(name);
        while let Some((name, group)) = at {
            if group.waiting > group.limits.waiting_max {
                return Some(name);
            }
            at = group.parent.as_ref().and_then(|parent| self.groups.get_key_value(parent));
        }
        None
    }

    /// Takes a statement off its queue; returns false if it is in none.
    pub(super) fn forget(&mut self, name: &str, user: &str, id: u64) -> bool {
        let Some(group) = self.groups.get_mut(name) else { return false };
        let Some(queue) = group.queues.get_mut(user) else { return false };
        let Some(at) = queue.iter().position(|waiter| waiter.id == id) else { return false };
        queue.remove(at);
        if queue.is_empty() {
            group.queues.remove(user);
        }
        self.around(name, |group| group.waiting -= 1);
        true
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, name: &str, user: &str) {
        if let Some(group) = self.groups.get_mut(name) {
            group.own = group.own.saturating_sub(1);
        }
        self.around(name, |group| {
            group.running = group.running.saturating_sub(1);
            if let Some(n) = group.running_by_user.get_mut(user) {
                *n -= 1;
                if *n == 0 {
                    group.running_by_user.remove(user);
                }
            }
        });
    }

    /// Admits the next one, if one may be; returns whether one was.
    pub(super) fn admit_one(&mut self, top: &str, may: &impl Fn(&str, &Group) -> bool) -> bool {
        let mut outer = Vec::new();
        let Some((name, user)) = self.pick(top, &mut outer, may) else { return false };
        let waiter = self.groups.get_mut(&name).and_then(|group| {
            let queue = group.queues.get_mut(&user)?;
            let waiter = queue.pop_front();
            if queue.is_empty() {
                group.queues.remove(&user);
            }
            group.own += 1;
            waiter
        });
        let Some(waiter) = waiter else { return false };
        self.around(&name, |group| {
            group.waiting -= 1;
            group.running += 1;
            *group.running_by_user.entry(user.clone()).or_default() += 1;
        });
        // Whoever does not wait any more gives the place back.
        let _ = waiter.admit.send(());
        true
    }

    /// Returns the group and user whose turn it is.
    fn pick<'a>(
        &'a self,
        name: &'a str,
        outer: &mut Vec<&'a Group>,
        may: &impl Fn(&str, &Group) -> bool,
    ) -> Option<(String, String)> {
        let group = self.groups.get(name)?;
        if group.waiting == 0 || group.running >= group.limits.running_max || !may(name, group) {
            return None;
        }
        outer.push(group);
        let within = self
            .groups
            .iter()
            .filter(|(_, inner)| inner.parent.as_deref() == Some(name) && inner.waiting > 0);
        // Statements of the group itself share with the groups within it as if they were one of them.
        let mut sharing = within
            .map(|(name, inner)| (share(inner.running, inner.limits.weight), Some(name.as_str())))
            .collect::<Vec<_>>();
        if !group.queues.is_empty() {
            sharing.push((share(group.own, 1), None));
        }
        sharing.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        let found = sharing.into_iter().find_map(|(_, inner)| match inner {
            Some(inner) => self.pick(inner, outer, may),
            None => {
                let next = group
                    .queues
                    .iter()
                    .filter(|(user, _)| outer.iter().all(|group| group.has_place(user)));
                let next = next.min_by_key(|(user, queue)| {
                    let running = group.running_by_user.get(*user).copied().unwrap_or_default();
                    (running, queue.front().map(|waiter| waiter.id))
                });
                next.map(|(user, _)| (name.to_owned(), user.clone()))
            }
        });
        outer.pop();
        found
    }

    /// Does something to a group and to those around it.
    fn around(&mut self, name: &str, mut change: impl FnMut(&mut Group)) {
        let mut at = Some(name.to_owned());
        while let Some(group) = at.and_then(|name| self.groups.get_mut(&name)) {
            change(group);
            at = group.parent.clone();
        }
    }
}

fn share(running: usize, weight: u32) -> f64 {
    running as f64 / f64::from(weight.max(1))
}

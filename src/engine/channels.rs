//! Channels: short texts that sessions send to those who listen. Each database has its own ones.
//!
//! What a transaction says is published at its end, all at once. A session that listens has a box, which its door empties between
//! statements; nothing is kept for those who do not listen.
//!
//! Source: PostgreSQL 16, commands `LISTEN`, `NOTIFY` and `UNLISTEN`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use maru_core::limits;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A text on its way over a channel: one for all who get it.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) channel: String,
    pub(crate) payload: String,
    /// Bytes of all texts that there are.
    total: Arc<AtomicUsize>,
}

impl Text {
    /// Returns about how many bytes it holds in memory.
    fn size(&self) -> usize {
        64 + self.channel.len() + self.payload.len()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.total.fetch_sub(self.size(), Ordering::Relaxed);
    }
}

/// A text and who has sent it.
#[derive(Debug, Clone)]
pub(crate) struct Notification {
    /// The number of the session.
    pub(crate) sender: i32,
    pub(crate) text: Arc<Text>,
}

/// What a statement does to channels, done when its transaction ends well.
#[derive(Debug)]
pub(crate) enum Act {
    Listen(String),
    /// `None` is all of them.
    Unlisten(Option<String>),
    Notify(Notification),
}

/// What has come for one session and has not been told yet.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    waiting: Mutex<Waiting>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    notifications: VecDeque<Notification>,
    bytes: usize,
}

impl Mailbox {
    /// Returns once something has come since it was last asked.
    ///
    /// # Cancel
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Takes everything out, the oldest first.
    pub(crate) fn take(&self) -> VecDeque<Notification> {
        let mut waiting = self.waiting.lock();
        waiting.bytes = 0;
        std::mem::take(&mut waiting.notifications)
    }

    fn put(&self, notification: Notification) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += notification.text.size();
        waiting.notifications.push_back(notification);
        drop(waiting);
        self.bell.notify_one();
    }

    /// Forgets what has come by other channels than those that are still listened to.
    fn keep(&self, is_heard: impl Fn(&str) -> bool) {
        let mut waiting = self.waiting.lock();
        waiting.notifications.retain(|one| is_heard(&one.text.channel));
        waiting.bytes = waiting.notifications.iter().map(|one| one.text.size()).sum();
    }

    fn is_full(&self) -> bool {
        self.waiting.lock().bytes >= limits::NOTIFICATIONS_BYTES_MAX
    }
}

type Listeners = BTreeMap<i32, Arc<Mailbox>>;

/// Who listens to what, by database and channel.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    listeners: Mutex<BTreeMap<(String, String), Listeners>>,
    total: Arc<AtomicUsize>,
}

impl Channels {
    /// Makes a text; `None` if there are too many that nobody has read.
    pub(crate) fn text(&self, channel: &str, payload: &str) -> Option<Arc<Text>> {
        let (channel, payload) = (channel.to_owned(), payload.to_owned());
        let text = Arc::new(Text { channel, payload, total: Arc::clone(&self.total) });
        let before = self.total.fetch_add(text.size(), Ordering::Relaxed);
        (before + text.size() <= limits::NOTIFICATIONS_TOTAL_BYTES_MAX).then_some(text)
    }

    /// Does what a transaction has said, in its order; a text that it has sent twice over one channel is sent once.
    pub(crate) fn publish(
        &self,
        session: i32,
        database: &str,
        mailbox: &Arc<Mailbox>,
        acts: Vec<Act>,
    ) {
        let mut listeners = self.listeners.lock();
        let mut sent = Vec::new();
        let leaves = acts.iter().any(|act| matches!(act, Act::Unlisten(_)));
        for act in acts {
            match act {
                Act::Listen(channel) => {
                    let key = (database.to_owned(), channel);
                    listeners.entry(key).or_default().insert(session, Arc::clone(mailbox));
                }
                Act::Unlisten(Some(channel)) => {
                    let key = (database.to_owned(), channel);
                    let left = listeners.get_mut(&key).is_some_and(|those| {
                        those.remove(&session);
                        those.is_empty()
                    });
                    if left {
                        listeners.remove(&key);
                    }
                }
                Act::Unlisten(None) => leave_all(&mut listeners, session),
                Act::Notify(notification) => sent.push(notification),
            }
        }
        if leaves {
            mailbox.keep(|channel| {
                let those = listeners.get(&(database.to_owned(), channel.to_owned()));
                those.is_some_and(|those| those.contains_key(&session))
            });
        }
        // Those who begin to listen in a transaction get what it sends.
        let mut seen = BTreeSet::new();
        for notification in &sent {
            let text = &notification.text;
            if !seen.insert((text.channel.as_str(), text.payload.as_str())) {
                continue;
            }
            let key = (database.to_owned(), text.channel.clone());
            for mailbox in listeners.get(&key).into_iter().flat_map(BTreeMap::values) {
                mailbox.put(notification.clone());
            }
        }
    }

    /// Returns whether everybody who listens to a channel has room for more.
    pub(crate) fn have_room(&self, database: &str, channel: &str) -> bool {
        let listeners = self.listeners.lock();
        let those = listeners.get(&(database.to_owned(), channel.to_owned()));
        !those.into_iter().flat_map(BTreeMap::values).any(|mailbox| mailbox.is_full())
    }

    /// Returns the number of channels that a session listens to.
    pub(crate) fn count(&self, session: i32) -> usize {
        self.listeners.lock().values().filter(|those| those.contains_key(&session)).count()
    }

    /// Forgets a session.
    pub(crate) fn forget(&self, session: i32) {
        leave_all(&mut self.listeners.lock(), session);
    }
}

fn leave_all(listeners: &mut BTreeMap<(String, String), Listeners>, session: i32) {
    listeners.retain(|_, those| {
        those.remove(&session);
        !those.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notify(channels: &Channels, channel: &str, payload: &str) -> Act {
        Act::Notify(Notification { sender: 1, text: channels.text(channel, payload).unwrap() })
    }

    fn payloads(mailbox: &Mailbox) -> Vec<String> {
        mailbox.take().into_iter().map(|one| one.text.payload.clone()).collect()
    }

    #[test]
    fn those_who_listen_get_each_text_once() {
        let channels = Channels::default();
        let (one, two) = (Arc::<Mailbox>::default(), Arc::<Mailbox>::default());
        channels.publish(1, "maru", &one, vec![notify(&channels, "a", "early")]);
        channels.publish(2, "maru", &two, vec![Act::Listen("a".to_owned())]);
        channels.publish(3, "other", &one, vec![Act::Listen("a".to_owned())]);
        let acts = vec![
            notify(&channels, "a", "x"),
            notify(&channels, "a", "y"),
            notify(&channels, "a", "x"),
            notify(&channels, "b", "x"),
        ];
        channels.publish(1, "maru", &one, acts);
        assert_eq!(payloads(&two), ["x", "y"]);
        assert!(payloads(&one).is_empty() && payloads(&two).is_empty());
        assert_eq!((channels.count(2), channels.count(1)), (1, 0));
        let both = ["a", "b"].map(|channel| Act::Listen(channel.to_owned())).into();
        channels.publish(2, "maru", &two, both);
        let acts = ["a", "b"].map(|channel| notify(&channels, channel, channel)).into();
        channels.publish(1, "maru", &one, acts);
        channels.publish(2, "maru", &two, vec![Act::Unlisten(Some("a".to_owned()))]);
        assert_eq!(payloads(&two), ["b"]);
        channels.publish(2, "maru", &two, vec![Act::Unlisten(None)]);
        channels.publish(1, "maru", &one, vec![notify(&channels, "a", "late")]);
        assert!(payloads(&two).is_empty());
        channels.forget(3);
        assert!(channels.listeners.lock().is_empty());
    }

    #[test]
    fn a_full_box_is_told() {
        let channels = Channels::default();
        let slow = Arc::<Mailbox>::default();
        channels.publish(2, "maru", &slow, vec![Act::Listen("a".to_owned())]);
        assert!(channels.have_room("maru", "a"));
        let large = "x".repeat(limits::NOTIFICATIONS_BYTES_MAX);
        channels.publish(1, "maru", &slow, vec![notify(&channels, "a", &large)]);
        assert!(!channels.have_room("maru", "a") && channels.have_room("maru", "b"));
        slow.take();
        assert!(channels.have_room("maru", "a"));
        assert_eq!(channels.total.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn texts_that_nobody_reads_are_bounded() {
        let channels = Channels::default();
        let payload = "x".repeat(limits::NOTIFICATIONS_TOTAL_BYTES_MAX / 2);
        let first = channels.text("a", &payload);
        assert!(first.is_some() && channels.text("a", &payload).is_none());
        drop(first);
        assert!(channels.text("a", &payload).is_some());
    }
}

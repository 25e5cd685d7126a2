//! Entries that are written by one task in the background, so that no statement waits for the disk.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Entries that are written together.
const BATCH: usize = 256;

enum Message<T> {
    Entry(T),
    Flush(oneshot::Sender<()>),
}

/// A channel to a writer, and the writer.
pub(crate) struct Journal<T> {
    sender: Mutex<Option<mpsc::UnboundedSender<Message<T>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl<T> std::fmt::Debug for Journal<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Journal")
    }
}

impl<T: Send + 'static> Journal<T> {
    /// `write` writes entries, oldest first, and deals with its errors itself. An entry waits for others to be written with
    /// for at most `gather`, which is what is lost if the process is killed.
    pub(crate) fn open<F>(
        gather: Duration,
        mut write: impl FnMut(Vec<T>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let writer = tokio::spawn(async move {
            while let Some(first) = receiver.recv().await {
                let (mut entries, mut flushed) = (Vec::new(), None);
                let until = Instant::now() + gather;
                let mut next = Some(first);
                loop {
                    match next {
                        Some(Message::Entry(entry)) => entries.push(entry),
                        Some(Message::Flush(done)) => flushed = Some(done),
                        None => break,
                    }
                    if flushed.is_some() || entries.len() >= BATCH {
                        break;
                    }
                    // What is there already is taken even if there is no time left.
                    next = match receiver.try_recv() {
                        Ok(message) => Some(message),
                        Err(_) => timeout_at(until, receiver.recv()).await.ok().flatten(),
                    };
                }
                if !entries.is_empty() {
                    write(entries).await;
                }
                if let Some(done) = flushed {
                    let _ = done.send(());
                }
            }
        });
        Self { sender: Mutex::new(Some(sender)), writer: Mutex::new(Some(writer)) }
    }

    /// Hands an entry to the writer. It outlives all senders but at shutdown, when the entry may be lost.
    pub(crate) fn record(&self, entry: T) {
        if let Some(sender) = self.sender.lock().as_ref() {
            let _ = sender.send(Message::Entry(entry));
        }
    }

    /// Waits until what was handed over is written.
    pub(crate) async fn flush(&self) {
        let (done, wait) = oneshot::channel();
        let sent =
            self.sender.lock().as_ref().is_some_and(|s| s.send(Message::Flush(done)).is_ok());
        if sent {
            let _ = wait.await;
        }
    }

    /// Writes what is left and ends the writer.
    pub(crate) async fn close(&self) {
        drop(self.sender.lock().take());
        let writer = self.writer.lock().take();
        if let Some(writer) = writer {
            let _ = writer.await;
        }
    }
}

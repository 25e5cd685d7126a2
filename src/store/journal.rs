//! Entries that are written by one task in the background, so that no statement waits for the disk.

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

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
    /// `write` writes one entry and deals with its errors itself.
    pub(crate) fn open<F>(mut write: impl FnMut(T) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send,
    {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let writer = tokio::spawn(async move {
            while let Some(message) = receiver.recv().await {
                match message {
                    Message::Entry(entry) => write(entry).await,
                    Message::Flush(done) => {
                        let _ = done.send(());
                    }
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

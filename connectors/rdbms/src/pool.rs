//! A bounded pool of connections whose failures say what is wrong.
//!
//! sqlx's pool alone retries a refused connection until its time is up and then only says "timed out", the same as when
//! all connections are busy. Here a place is waited for first, and a server that is slow to answer is tried by plain TCP.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use maru_core::Result;
use parking_lot::Mutex;
use sqlx::pool::{PoolConnection, PoolOptions};
use sqlx::{Connection, Database, Pool};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::failure::Peer;
use crate::network::Address;
use crate::pace::Pace;
use crate::stream::Sink;

/// How long a query waits for one of its catalog's connections. Long, since other queries may read for a while; not
/// for ever, since streams that wait for each other would.
const WAIT_FOR_CONNECTION: Duration = Duration::from_secs(120);

/// How long a new connection may take before somebody looks whether the server is there at all.
const KNOCK_AFTER: Duration = Duration::from_millis(300);

/// How long a connection may have rested and still be taken for alive. One that served a moment ago is as likely to be lost
/// before the next statement as in the middle of it, and asking it costs a read of one row a third of its time. Not so when another
/// one of the catalog has been lost since.
const ALIVE_FOR: Duration = Duration::from_millis(200);

/// How long the end of a transaction that has only read may take. Its rows have been handed over by then.
const END_WITHIN: Duration = Duration::from_secs(5);

/// When a connection was closed in the middle of something, the last time.
#[derive(Debug, Default)]
struct LastLost(Mutex<Option<Instant>>);

impl LastLost {
    fn now(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Returns whether a connection that has rested for so long is taken for alive.
    fn trusts(&self, rested: Duration) -> bool {
        rested < ALIVE_FOR && self.0.lock().is_none_or(|lost| lost.elapsed() > rested)
    }
}

/// Connections of one catalog.
#[derive(Debug)]
pub(crate) struct Connections<DB: Database> {
    pool: Pool<DB>,
    places: Arc<Semaphore>,
    /// Places that may be lent to reads which have one already: half of all.
    spare: Arc<Semaphore>,
    /// Queries that wait for a place.
    waiting: AtomicUsize,
    pace: Option<Pace>,
    last_lost: Arc<LastLost>,
    pub peer: Peer,
    /// Where to knock.
    socket: (String, u16),
    connect_timeout: Duration,
    max_connections: u32,
}

/// A connection and its place in the pool.
pub(crate) struct Lease<DB: Database> {
    pub connection: PoolConnection<DB>,
    _place: OwnedSemaphorePermit,
    _lent: Option<OwnedSemaphorePermit>,
    last_lost: Arc<LastLost>,
}

/// A place for one more connection of a read that has one.
pub(crate) struct Spare {
    place: OwnedSemaphorePermit,
    lent: OwnedSemaphorePermit,
}

impl<DB: Database> Lease<DB> {
    /// Closes the connection without farewell, for one that is in the middle of something. The socket is dropped as it is:
    /// to shut down a TLS stream waits for the other side, and MySQL may have nothing to say.
    pub fn discard(self) {
        self.last_lost.now();
        drop(self.connection.detach());
    }

    /// Gives the connection back once `end` has ended what it did; closes it if that fails or takes long.
    pub async fn end(mut self, end: impl AsyncFnOnce(&mut DB::Connection) -> sqlx::Result<()>) {
        match timeout(END_WITHIN, end(&mut self.connection)).await {
            Ok(Ok(())) => {}
            _ => self.discard(),
        }
    }
}

impl<DB: Database> Connections<DB> {
    /// Makes the pool of a database on the network; nothing is opened yet.
    pub fn remote(
        address: &Address,
        peer: Peer,
        options: <DB::Connection as Connection>::Options,
        pool: PoolOptions<DB>,
    ) -> Self {
        let last_lost = Arc::new(LastLost::default());
        let lost = Arc::clone(&last_lost);
        let pool = pool
            .max_connections(address.max_connections)
            .acquire_timeout(address.connect_timeout)
            .idle_timeout(Duration::from_secs(300))
            .test_before_acquire(false)
            .before_acquire(move |connection, metadata| {
                let trusted = lost.trusts(metadata.idle_for);
                Box::pin(async move {
                    if !trusted {
                        connection.ping().await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Self {
            pool,
            places: Arc::new(Semaphore::new(address.max_connections as usize)),
            spare: Arc::new(Semaphore::new(address.max_connections as usize / 2)),
            waiting: AtomicUsize::new(0),
            pace: address.max_queries_per_second.map(Pace::new),
            last_lost,
            peer,
            socket: (address.host.clone(), address.port),
            connect_timeout: address.connect_timeout,
            max_connections: address.max_connections,
        }
    }

    /// Returns a connection that answers, for one query.
    ///
    /// # Errors
    /// HV00N if there is no server or the catalog is closed, HV00L if it refuses the login, HV024 if it lacks the
    /// database, 53300 if no connection becomes free in time.
    pub async fn lease(&self) -> Result<Lease<DB>> {
        let place = self.turn(self.place()).await?;
        self.connection(place, None).await
    }

    /// Returns places for up to `most` more connections of a read that has one, without waiting. All reads together are lent
    /// half of the catalog's places, so that a read which needs its first one finds as many as a catalog of half the size has,
    /// whoever holds the others and waits for something else. None while somebody waits, and none if queries are counted.
    pub fn spare(&self, most: usize) -> Vec<Spare> {
        let mut spare = Vec::new();
        while spare.len() < most && self.pace.is_none() && !self.is_awaited() {
            let Ok(lent) = Arc::clone(&self.spare).try_acquire_owned() else { break };
            let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else { break };
            spare.push(Spare { place, lent });
        }
        spare
    }

    /// Returns whether a query waits for a place.
    pub fn is_awaited(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Returns a connection that answers, for one more part of a read.
    ///
    /// # Errors
    /// Those of [`Connections::lease`], but for 53300.
    pub async fn lease_spare(&self, Spare { place, lent }: Spare) -> Result<Lease<DB>> {
        self.connection(place, Some(lent)).await
    }

    async fn connection(
        &self,
        place: OwnedSemaphorePermit,
        lent: Option<OwnedSemaphorePermit>,
    ) -> Result<Lease<DB>> {
        let mut acquired = pin!(self.pool.acquire());
        let acquired = match timeout(KNOCK_AFTER, &mut acquired).await {
            Ok(acquired) => acquired,
            Err(_) => {
                self.knock().await?;
                acquired.await
            }
        };
        match acquired {
            Ok(connection) => {
                let last_lost = Arc::clone(&self.last_lost);
                Ok(Lease { connection, _place: place, _lent: lent, last_lost })
            }
            Err(sqlx::Error::PoolTimedOut) => {
                self.knock().await?;
                Err(self.peer.timed_out(self.connect_timeout))
            }
            Err(sqlx::Error::PoolClosed) => Err(self.peer.closed()),
            Err(error) => Err(self.peer.connect_error(error)),
        }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        /// Counts until it is dropped, so that a query which is given up does not go on waiting.
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Ok(place);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(&self.waiting);
        match timeout(WAIT_FOR_CONNECTION, Arc::clone(&self.places).acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) => Err(self.peer.closed()),
            Err(_) => Err(self.peer.all_busy(self.max_connections)),
        }
    }

    /// Does `first`, with which a query begins, when the limit of queries per second allows.
    pub async fn turn<T>(&self, first: impl Future<Output = Result<T>>) -> Result<T> {
        match &self.pace {
            None => first.await,
            Some(pace) => pace.turn(first).await,
        }
    }

    /// Returns how long queries have waited for that limit, all together.
    pub fn waited(&self) -> Duration {
        self.pace.as_ref().map_or(Duration::ZERO, Pace::waited)
    }

    /// Connects afresh, past the pool: to check the options, or to cancel what a pooled connection does.
    pub async fn connect(&self) -> Result<DB::Connection> {
        let options = self.pool.connect_options();
        match timeout(self.connect_timeout, DB::Connection::connect_with(&options)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.peer.connect_error(error)),
            // Somebody may listen who waits to be spoken to first.
            Err(_) => {
                let error = self.peer.timed_out(self.connect_timeout);
                Err(error.with_hint(format!(
                    "Check that a {} server listens there, or raise the option \"connect_timeout\".",
                    self.peer.product
                )))
            }
        }
    }

    /// Learns whether anybody listens. Only when a connection is long in coming: MySQL counts whoever knocks and
    /// leaves, and after a hundred shuts the whole machine out.
    async fn knock(&self) -> Result<()> {
        let (host, port) = &self.socket;
        match timeout(self.connect_timeout, TcpStream::connect((host.as_str(), *port))).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(cause)) => Err(self.peer.unreachable().with_cause(cause)),
            Err(_) => Err(self.peer.timed_out(self.connect_timeout)),
        }
    }

    #[cfg(test)]
    pub fn options(&self) -> Arc<<DB::Connection as Connection>::Options> {
        self.pool.connect_options()
    }

    #[cfg(test)]
    pub fn set_options(&self, options: <DB::Connection as Connection>::Options) {
        self.pool.set_connect_options(options);
    }

    /// Is ready once [`Connections::close`] was called.
    pub async fn closed(&self) {
        self.pool.close_event().await;
    }

    /// Runs `work` unless the reader of `sink` goes away first, which is `None`.
    ///
    /// # Errors
    /// Those of `work`; HV00N if the catalog is closed first.
    pub async fn unless_over<T>(
        &self,
        sink: &Sink,
        work: impl Future<Output = Result<T>>,
    ) -> Result<Option<T>> {
        tokio::select! {
            biased;
            () = sink.abandoned() => Ok(None),
            () = self.closed() => Err(self.peer.closed()),
            result = work => result.map(Some),
        }
    }

    /// Closes all connections; waits for those that are lent out, whose readers notice.
    pub async fn close(&self) {
        self.places.close();
        self.pool.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_rested_since_another_was_lost_is_asked() {
        let last = LastLost::default();
        assert!(last.trusts(Duration::from_millis(100)));
        assert!(!last.trusts(ALIVE_FOR));
        last.now();
        assert!(!last.trusts(Duration::from_millis(100)));
        std::thread::sleep(Duration::from_millis(20));
        assert!(last.trusts(Duration::from_millis(1)));
    }
}

//! Requests to S3: on which threads their connections live, and how many are under way at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::poll_fn;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use maru_core::Result;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpResponseBody, HttpService, ReqwestConnector,
};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Pieces of an answer that wait for their reader before its request no longer counts as under way.
const PIECES_AHEAD: usize = 16;

/// Makes the connections of one store.
#[derive(Debug)]
pub(super) struct Connections {
    /// The threads for input and output, if there are any: a thread that decodes does not drive connections.
    pub(super) threads: Option<Handle>,
    /// Places for requests that are under way at once.
    pub(super) places: Option<Arc<Semaphore>>,
}

impl HttpConnector for Connections {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let mut client = ReqwestConnector::default().connect(options)?;
        if let Some(threads) = self.threads.clone() {
            client = HttpClient::new(OnThreads { inner: client, threads });
        }
        if let Some(places) = self.places.clone() {
            client = HttpClient::new(Limited { inner: client, places });
        }
        Ok(client)
    }
}

/// Has connections live on threads of their own, whoever asks for them.
#[derive(Debug)]
struct OnThreads {
    inner: HttpClient,
    threads: Handle,
}

#[async_trait]
impl HttpService for OnThreads {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let mut answer = self.inner.execute(request).boxed();
        // What the call starts runs where it is polled.
        poll_fn(|context| {
            let _there = self.threads.enter();
            answer.poll_unpin(context)
        })
        .await
    }
}

/// Has requests wait for a place.
///
/// A request is under way from its first byte to the last one of its answer, but not while its reader is busy elsewhere: two
/// files that are read in turn must not wait for each other. For the same reason each request has a task, which goes on whether
/// or not somebody polls.
#[derive(Debug)]
struct Limited {
    inner: HttpClient,
    places: Arc<Semaphore>,
}

#[async_trait]
impl HttpService for Limited {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (answer, answered) = oneshot::channel();
        tokio::spawn(serve(self.inner.clone(), Arc::clone(&self.places), request, answer));
        answered.await.unwrap_or_else(|_| Err(broken_off()))
    }
}

/// Sends one request when there is a place, and passes its answer on. Ends as soon as nobody waits for it.
async fn serve(
    client: HttpClient,
    places: Arc<Semaphore>,
    request: HttpRequest,
    mut answer: oneshot::Sender<Result<HttpResponse, HttpError>>,
) {
    let sent = async {
        let place = Arc::clone(&places).acquire_owned().await;
        (place, client.execute(request).await)
    };
    let (mut place, response) = tokio::select! {
        sent = sent => sent,
        () = answer.closed() => return,
    };
    let (pieces, read) = mpsc::channel(PIECES_AHEAD);
    let mut body = None;
    let response = response.map(|response| {
        response.map(|inner| {
            body = Some(inner);
            HttpResponseBody::new(Passed { pieces: read, ended: false })
        })
    });
    if answer.send(response).is_err() {
        return;
    }
    let Some(mut body) = body else { return };
    loop {
        let room = match pieces.try_reserve() {
            Ok(room) => room,
            Err(mpsc::error::TrySendError::Closed(())) => return,
            Err(mpsc::error::TrySendError::Full(())) => {
                drop(place);
                let Ok(room) = pieces.reserve().await else { return };
                place = Arc::clone(&places).acquire_owned().await;
                room
            }
        };
        let piece = tokio::select! {
            piece = body.frame() => piece,
            () = pieces.closed() => return,
        };
        match piece {
            Some(piece) => room.send(Some(piece)),
            None => return room.send(None),
        }
    }
}

/// The body of an answer that a task passes on: pieces, and `None` at the end, so that a task that broke off is not taken for one.
struct Passed {
    pieces: mpsc::Receiver<Option<Result<Frame<Bytes>, HttpError>>>,
    ended: bool,
}

fn broken_off() -> HttpError {
    HttpError::new(HttpErrorKind::Interrupted, io::Error::other("a request broke off"))
}

impl Body for Passed {
    type Data = Bytes;
    type Error = HttpError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        self.pieces.poll_recv(context).map(|piece| {
            let piece = piece.unwrap_or_else(|| Some(Err(broken_off())));
            self.ended = !matches!(piece, Some(Ok(_)));
            piece
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures::future::join_all;
    use object_store::client::HttpRequestBody;

    use super::*;

    /// Answers with as many pieces as it is told, and counts how many requests are open at once.
    #[derive(Debug)]
    struct Counting {
        n_pieces: usize,
        delay: Duration,
        open: Arc<AtomicUsize>,
        most: AtomicUsize,
    }

    struct Pieces(usize, Arc<AtomicUsize>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = HttpError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, HttpError>>> {
            let Some(left) = self.0.checked_sub(1) else { return Poll::Ready(None) };
            self.0 = left;
            Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }

    impl Drop for Pieces {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[async_trait]
    impl HttpService for &'static Counting {
        async fn call(&self, _: HttpRequest) -> Result<HttpResponse, HttpError> {
            let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(open, Ordering::SeqCst);
            // Given up or answered, its end is counted.
            let pieces = Pieces(self.n_pieces, Arc::clone(&self.open));
            tokio::time::sleep(self.delay).await;
            Ok(HttpResponse::new(HttpResponseBody::new(pieces)))
        }
    }

    const SOON: Duration = Duration::from_millis(5);

    fn limited(
        n_places: usize,
        n_pieces: usize,
        delay: Duration,
    ) -> (&'static Counting, HttpClient) {
        let (open, most) = (Arc::default(), AtomicUsize::new(0));
        let counting: &'static Counting =
            Box::leak(Box::new(Counting { n_pieces, delay, open, most }));
        let inner = HttpClient::new(counting);
        let places = Arc::new(Semaphore::new(n_places));
        (counting, HttpClient::new(Limited { inner, places }))
    }

    fn request() -> HttpRequest {
        HttpRequest::new(HttpRequestBody::empty())
    }

    async fn length(response: HttpResponse) -> usize {
        response.into_body().collect().await.unwrap().to_bytes().len()
    }

    #[tokio::test]
    async fn no_more_are_open_than_there_are_places() {
        // So few pieces that no request stops counting because of its reader.
        let (counting, client) = limited(3, PIECES_AHEAD / 2, SOON);
        let whole = async || length(client.execute(request()).await.unwrap()).await;
        let lengths = join_all((0..40).map(|_| whole())).await;
        assert_eq!(lengths, [PIECES_AHEAD / 2; 40]);
        assert_eq!(counting.most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn readers_that_wait_for_each_other_come_to_an_end() {
        let (counting, client) = limited(1, PIECES_AHEAD * 4, SOON);
        // Nobody reads on in the first ones while the last one is read.
        let mut begun = Vec::new();
        for _ in 0..5 {
            begun.push(client.execute(request()).await.unwrap());
        }
        let last = length(client.execute(request()).await.unwrap()).await;
        assert_eq!(last, PIECES_AHEAD * 4);
        for response in begun {
            assert_eq!(length(response).await, PIECES_AHEAD * 4);
        }
        assert_eq!(counting.open.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn what_nobody_wants_gives_its_place_back() {
        // Much later than it is given up, so that a machine which has other things to do meanwhile has no answer by then.
        let (counting, client) = limited(1, PIECES_AHEAD * 4, Duration::from_millis(200));
        for _ in 0..5 {
            // Before the answer, and in the middle of it.
            let wait = Duration::from_millis(1);
            assert!(tokio::time::timeout(wait, client.execute(request())).await.is_err());
            drop(client.execute(request()).await.unwrap());
        }
        let wait = Duration::from_secs(30);
        let answer = tokio::time::timeout(wait, client.execute(request())).await.unwrap();
        drop(answer.unwrap());
        while counting.open.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

//! Addresses, and what is said of things that are no metastore.

use tokio::net::TcpListener;

use super::*;
use crate::metastore::Metastore;

#[test]
fn reads_addresses() {
    let list = |text: &str| {
        let list = Endpoint::parse_list(text)?;
        Ok::<_, Error>(list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(list("thrift://a:1").unwrap(), "a:1");
    assert_eq!(list("thrift://a, thrift://b:2/").unwrap(), "a:9083 b:2");
    assert_eq!(list("thrift://[::1]:7").unwrap(), "[::1]:7");
    for bad in
        ["", "a:9083", "http://a:1", "thrift://", "thrift://a/db", "thrift://u@a", "thrift://a,"]
    {
        let error = list(bad).unwrap_err();
        assert_eq!(error.sqlstate(), "HV024", "{bad}");
        assert!(error.hint().is_some());
    }
}

/// Accepts one connection after the other and answers each with the same bytes, reading first if there are any.
async fn peer(answer: &'static [u8]) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(answer).await;
            if answer == b"..." {
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
        }
    });
    Endpoint { host: "127.0.0.1".into(), port }
}

async fn said(endpoints: Vec<Endpoint>) -> Error {
    // Longer than a busy machine needs for an answer.
    let metastore = Metastore::new(endpoints, "maru", Duration::from_secs(3));
    metastore.databases().await.unwrap_err()
}

#[tokio::test]
async fn names_what_is_no_metastore() {
    for (answer, sqlstate, detail) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "HV00N", "It answers HTTP."),
        (b"\x15\x03\x01\x00\x02\x02\x46", "HV00N", "It wants TLS"),
        (b"", "HV00N", "It closed the connection."),
        (b"E\x00\x00\x00\x90SFATAL", "HV00N", "It answers with the bytes [45, 00, 00, 00]."),
        (b"\x80\x01\x00\x02\x7f\xff\xff\xff", "HV00N", "The first call failed"),
        (b"\x04\x00\x00\x00\x13Invalid status -128", "0A000", ""),
    ] {
        let endpoint = peer(answer).await;
        let error = said(vec![endpoint.clone()]).await;
        assert_eq!(error.sqlstate(), sqlstate, "{error:?}");
        assert!(error.detail().unwrap_or_default().contains(detail), "{error:?}");
        assert!(error.primary().contains(&endpoint.to_string()), "{error:?}");
    }
}

#[tokio::test]
async fn does_not_wait_for_ever() {
    let error = said(vec![peer(b"...").await]).await;
    assert_eq!(error.sqlstate(), "HV00N", "{error:?}");
}

#[tokio::test]
async fn tries_every_address_and_tells_of_each() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let nobody = Endpoint { host: "127.0.0.1".into(), port: nobody };
    let error = said(vec![nobody.clone()]).await;
    assert_eq!(error.sqlstate(), "HV00N");
    assert_eq!(error.primary(), format!("could not connect to Hive metastore at {nobody}"));
    let web = peer(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let error = said(vec![nobody.clone(), web.clone()]).await;
    assert!(error.primary().contains(&nobody.to_string()), "{error:?}");
    assert!(error.detail().unwrap().contains(&web.to_string()), "{error:?}");
}

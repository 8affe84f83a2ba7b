use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{Door, Wire};

const NO: &[u8] = b"HTTP/1.1 204 No Content\r\nx-no: 1\r\n\r\n";

/// Turns away by a fixed pattern.
struct Pattern(Vec<bool>);

impl Door for Pattern {
    fn turned_away(&mut self) -> Option<&[u8]> {
        self.0.rotate_left(1);
        self.0.last().copied().unwrap_or(false).then_some(NO)
    }
}

/// Answers with the body, or at once where the path says so.
async fn serve(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().query() == Some("unread") {
        return Ok(Response::new(Full::new(Bytes::from_static(b"unread"))));
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    Ok(Response::new(Full::new(body)))
}

/// Sends pieces to a server behind such a door and takes what comes back, to the end.
fn spoken(pieces: Vec<Vec<u8>>, pattern: &[bool]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let (mut peer, server): (DuplexStream, DuplexStream) = duplex(1 << 20);
        let wire = TokioIo::new(Wire::new(server, Pattern(pattern.to_vec())));
        let served = http1::Builder::new().serve_connection(wire, service_fn(serve));
        let asked = async {
            for piece in pieces {
                // A server that has hung up takes nothing more.
                let _ = peer.write_all(&piece).await;
                // The server gets to see each piece by itself.
                for _ in 0..8 {
                    tokio::task::yield_now().await;
                }
            }
            let _ = peer.shutdown().await;
            let mut said = Vec::new();
            peer.read_to_end(&mut said).await.expect("nothing fails here");
            String::from_utf8(said).expect("text")
        };
        tokio::join!(served, asked).1
    })
}

/// Each answer: `None` where the door gave it, else the body.
fn answers(said: &str) -> Vec<Option<String>> {
    let mut answers = Vec::new();
    let mut rest = said;
    while let Some((head, after)) = rest.split_once("\r\n\r\n") {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let (body, next) = after.split_at(length.unwrap_or(0));
        answers.push((!head.contains("x-no")).then(|| body.to_owned()));
        rest = next;
    }
    assert_eq!(rest, "", "{said}");
    answers
}

fn bid(body: &str) -> String {
    format!("POST /openrtb2/bid HTTP/1.1\r\nhost: b\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn who_is_turned_away_is_told_so_and_the_others_are_served_in_their_order() {
    let pieces = ["a", "b", "c", "d"].map(|body| bid(body).into_bytes()).to_vec();
    let found = answers(&spoken(pieces, &[true, false, true, false]));
    assert_eq!(found, [None, Some("b".to_owned()), None, Some("d".to_owned())]);
}

#[test]
fn several_in_one_piece_are_told_apart() {
    let all = ["a", "b", "c", "d", "e"].map(bid).concat().into_bytes();
    let found = answers(&spoken(vec![all], &[false, true, true, false, true]));
    assert_eq!(found, [Some("a".to_owned()), None, None, Some("d".to_owned()), None]);
}

#[test]
fn a_body_that_comes_after_its_answer_is_no_request() {
    // Whoever answers before a body is there must not take that body for the next request.
    let inner = bid("smuggled");
    let head = format!("POST /openrtb2/bid?unread HTTP/1.1\r\nhost: b\r\ncontent-length: {}\r\n\r\n", inner.len());
    let said = spoken(vec![head.into_bytes(), inner.into_bytes()], &[false, true]);
    let found = answers(&said);
    assert_eq!(found.first(), Some(&Some("unread".to_owned())), "{said}");
    assert!(!said.contains("x-no") && !said.contains("smuggled"), "{said}");
}

#[test]
fn a_body_that_looks_like_a_request_is_a_body() {
    let inner = bid("inner");
    let found = answers(&spoken(vec![bid(&inner).into_bytes(), bid("next").into_bytes()], &[false, true]));
    assert_eq!(found, [Some(inner), None]);
}

fn some_request() -> impl Strategy<Value = (String, String)> {
    (0usize..3, prop_oneof!["[a-z]{0,12}", "[a-z]{200,400}", Just(bid("inner"))]).prop_map(|(kind, body)| {
        let said = match kind {
            0 => format!("POST /t/conv HTTP/1.1\r\nhost: b\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
            _ => bid(&body),
        };
        (said, body)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn however_it_is_cut_each_request_has_its_own_answer_in_its_turn(
        requests in proptest::collection::vec(some_request(), 1..8),
        cuts in proptest::collection::vec(0.0f64..1.0, 0..12),
        pattern in proptest::collection::vec(any::<bool>(), 1..8),
    ) {
        let all: String = requests.iter().map(|(said, _)| said.as_str()).collect();
        let mut cuts: Vec<usize> = cuts.iter().map(|share| (share * all.len() as f64) as usize).collect();
        cuts.extend([0, all.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| all.as_bytes()[pair[0]..pair[1]].to_vec()).collect();
        let found = answers(&spoken(pieces, &pattern));
        prop_assert_eq!(found.len(), requests.len());
        for (answer, (said, body)) in found.iter().zip(&requests) {
            match answer {
                Some(answer) => prop_assert_eq!(answer, body),
                None => prop_assert!(said.starts_with("POST /openrtb2/bid")),
            }
        }
    }
}

//! The connection under hyper, where two things are said before hyper has a say.
//!
//! Heads that are too long: hyper answers them by itself, with 431 or 414; ours is 413, as for bodies.
//!
//! Bid requests that came too late to be worth an answer (`line`): a request that goes through hyper only to be turned away
//! costs a fifth of one that is served, and at twice the capacity that fifth is what the others lack. So a whole request is
//! turned away here, unread, where it is certain that it is one: everything before it is answered, and nothing of it is
//! with hyper. Where that is not certain, hyper has the connection to its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::bid_request_bytes;

const TOO_LONG: [&[u8]; 2] = [b"HTTP/1.1 431 ", b"HTTP/1.1 414 "];
const OURS: &[u8] = b"HTTP/1.1 413 ";
/// What a peer sends before it has the answer to its last request is kept up to this.
const HELD_MAX_BYTES: usize = 16 << 10;
const PART_BYTES: usize = 4 << 10;

/// Who decides whether a bid request is turned away.
pub trait Door {
    /// Asked once for each whole request that stands at the door; the answer to it, if it does not get in.
    fn turned_away(&mut self) -> Option<&[u8]>;
}

/// Where in the sequence of requests hyper is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Everything is answered, and hyper has nothing of what comes next.
    Between,
    /// Within a body, of which so many bytes are still to come.
    Within(usize),
    /// It has one whole request; `is_answering` once it writes.
    Asked { is_answering: bool },
    /// Known to hyper alone, for good.
    Unknown,
}

/// A stream whose answers keep to our list, and whose requests meet a door.
pub struct Wire<S, D> {
    stream: S,
    door: D,
    place: Place,
    /// Came, and is not yet with hyper.
    held: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: Door> Wire<S, D> {
    pub fn new(stream: S, door: D) -> Self {
        Self { stream, door, place: Place::Between, held: Vec::new() }
    }

    /// At most `limit` bytes of what came; 0 at the end of the stream.
    fn poll_part(&mut self, cx: &mut Context<'_>, limit: usize, into: &mut Vec<u8>) -> Poll<io::Result<usize>> {
        let mut part = [0; PART_BYTES];
        let mut part = ReadBuf::new(&mut part[..limit.min(PART_BYTES)]);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut part))?;
        into.extend_from_slice(part.filled());
        Poll::Ready(Ok(part.filled().len()))
    }

    /// What is held first, then the stream.
    fn poll_all(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let length = self.held.len().min(buf.remaining());
        buf.put_slice(&self.held[..length]);
        self.held.drain(..length);
        Poll::Ready(Ok(()))
    }

    fn poll_within(&mut self, cx: &mut Context<'_>, owed: usize, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let limit = owed.min(buf.remaining());
        if self.held.is_empty() {
            let mut part = Vec::new();
            ready!(self.poll_part(cx, limit, &mut part))?;
            self.held = part;
        }
        let length = self.held.len().min(limit);
        buf.put_slice(&self.held[..length]);
        self.held.drain(..length);
        self.place = match owed - length {
            0 => Place::Asked { is_answering: false },
            owed => Place::Within(owed),
        };
        Poll::Ready(Ok(()))
    }

    /// Hyper looks whether the peer is still there: what comes instead is the next request, and waits.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.len() < HELD_MAX_BYTES {
            let mut held = std::mem::take(&mut self.held);
            let polled = self.poll_part(cx, HELD_MAX_BYTES - held.len(), &mut held);
            self.held = held;
            if ready!(polled)? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    fn poll_between(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let start = buf.filled().len();
        loop {
            ready!(self.poll_all(cx, buf))?;
            let came = &buf.filled()[start..];
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let Some(length) = bid_request_bytes(came) else {
                self.place = Place::Unknown;
                return Poll::Ready(Ok(()));
            };
            if let Some(owed) = length.checked_sub(came.len()).filter(|owed| *owed > 0) {
                self.place = Place::Within(owed);
                return Poll::Ready(Ok(()));
            }
            // The start of the next one keeps its place before whatever else is held.
            self.held.splice(..0, came[length..].iter().copied());
            let Some(answer) = self.door.turned_away() else {
                buf.set_filled(start + length);
                self.place = Place::Asked { is_answering: false };
                return Poll::Ready(Ok(()));
            };
            buf.set_filled(start);
            match Pin::new(&mut self.stream).poll_write(cx, answer) {
                Poll::Ready(Ok(written)) if written == answer.len() => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                _ => return Poll::Ready(Err(io::Error::other("the peer does not take its answers"))),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: Door + Unpin> AsyncRead for Wire<S, D> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match wire.place {
            Place::Between => wire.poll_between(cx, buf),
            Place::Within(owed) => wire.poll_within(cx, owed, buf),
            Place::Asked { .. } => wire.poll_end(cx),
            Place::Unknown => wire.poll_all(cx, buf),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, D: Door + Unpin> AsyncWrite for Wire<S, D> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        wire.place = match wire.place {
            Place::Asked { .. } => Place::Asked { is_answering: true },
            // An answer before the request was whole: what follows on the wire is between hyper and the peer.
            Place::Between | Place::Within(_) | Place::Unknown => Place::Unknown,
        };
        if TOO_LONG.iter().any(|head| bytes.starts_with(head)) {
            let changed = [OURS, &bytes[OURS.len()..]].concat();
            return Pin::new(&mut wire.stream).poll_write(cx, &changed);
        }
        Pin::new(&mut wire.stream).poll_write(cx, bytes)
    }

    /// Hyper flushes when it has written everything: an answer of ours is one piece.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        ready!(Pin::new(&mut wire.stream).poll_flush(cx))?;
        if wire.place == (Place::Asked { is_answering: true }) {
            wire.place = Place::Between;
            if !wire.held.is_empty() {
                // No byte more may come, and what came is to be looked at.
                cx.waker().wake_by_ref();
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

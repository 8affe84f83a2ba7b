//! The calls of the client library that its safe binding does not offer: partitions read in batches into queues of
//! their own, and the offsets of many partitions in one question. Everything `unsafe` of the Kafka log is in this file.
//!
//! A safe poll gives one message at a time at four times the cost (measured: 0.05 us against 0.22 us on the reading
//! thread), and its stream may lose a wake-up. The library's functions used here are thread-safe by its documentation;
//! each block says which lifetime it relies on.
#![allow(unsafe_code)] // the C library has no safe form of these calls (architecture: seams of the log)

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaResult;
use rdkafka::types::RDKafkaType;
use tokio::sync::Notify;

use crate::log::Offset;

/// The binding's callbacks are not used: what the library says is taken from its queue (`Reading::housekeep`).
struct Quiet;

impl ClientContext for Quiet {}

/// A client that reads partitions, each at most once at a time.
pub(super) struct Reading {
    client: Client<Quiet>,
}

impl Reading {
    pub(super) fn new(config: &ClientConfig) -> KafkaResult<Arc<Self>> {
        let native = config.create_native_config()?;
        let client = Client::new(config, native, RDKafkaType::RD_KAFKA_CONSUMER, Quiet)?;
        Ok(Arc::new(Self { client }))
    }

    /// Takes what the library has to say; otherwise it would pile up.
    pub(super) fn housekeep(&self) {
        // The queue is referenced until it is destroyed below; the client outlives this call.
        let main = unsafe { sys::rd_kafka_queue_get_main(self.client.native_ptr()) };
        loop {
            let event = unsafe { sys::rd_kafka_queue_poll(main, 0) };
            if event.is_null() {
                break;
            }
            let (mut facility, mut text): (*const c_char, *const c_char) = (ptr::null(), ptr::null());
            let mut level: c_int = 0;
            // The strings belong to the event, which is destroyed after the last use.
            unsafe {
                if sys::rd_kafka_event_log(event, &mut facility, &mut text, &mut level) == 0 && !text.is_null() {
                    tracing::warn!(level, "kafka: {}", CStr::from_ptr(text).to_string_lossy());
                }
                sys::rd_kafka_event_destroy(event);
            }
        }
        unsafe { sys::rd_kafka_queue_destroy(main) };
    }

    /// First offset, one past the last, or that of a time (below 0: no record is so late), of many partitions. Blocks for at
    /// most `limit`. An error for one of them leaves all out: it is about leaders that move, and the next question finds them.
    ///
    /// Not the library's newer `ListOffsets`: while a broker is away, that wakes the client at every change of a
    /// connection, which makes it try to connect, which is a change: a core a process, until the broker is back.
    pub(super) fn offsets(&self, of: &[(&CStr, u32)], end: End, limit: Duration) -> Vec<Option<Offset>> {
        let mut found = vec![None; of.len()];
        let may_be_none = matches!(end, End::At { .. });
        if of.is_empty() {
            return found;
        }
        let millis = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
        // The list is made and destroyed here, and copies the names. It keeps its order.
        unsafe {
            let list = sys::rd_kafka_topic_partition_list_new(of.len() as c_int);
            for (topic, partition) in of {
                let entry = sys::rd_kafka_topic_partition_list_add(list, topic.as_ptr(), *partition as i32);
                (*entry).offset = match end {
                    End::First => -2,
                    End::Next => -1,
                    // What is below is a name for an end.
                    End::At { timestamp_ms } => timestamp_ms.max(0),
                };
            }
            let answered = sys::rd_kafka_offsets_for_times(self.client.native_ptr(), list, millis);
            if answered == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                let answers = std::slice::from_raw_parts((*list).elems, of.len());
                for (found, answer) in found.iter_mut().zip(answers) {
                    *found = (answer.err as i32 == 0 && (answer.offset >= 0 || may_be_none)).then_some(answer.offset);
                }
            }
            sys::rd_kafka_topic_partition_list_destroy(list);
        }
        found
    }
}

/// Which place in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    First,
    Next,
    At { timestamp_ms: i64 },
}

/// What a message turned out to be.
pub(super) enum Taken<'a> {
    Record {
        offset: Offset,
        timestamp_ms: i64,
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: Headers<'a>,
    },
    /// Nothing behind this offset, markers of transactions included.
    End(Offset),
    /// The offset asked for is not there any more, or not yet.
    OutOfRange,
    /// The checksum did not match what was sent.
    Corrupt(String),
    /// Other errors; the library goes on by itself.
    Other(String),
}

/// Headers of a message, lent by it.
pub(super) type Headers<'a> = Vec<(&'a [u8], &'a [u8])>;

/// One partition being read, from an offset on. Stopping waits for the library: `stop` belongs on a thread that may.
pub(super) struct Stream {
    reading: Arc<Reading>,
    topic: *mut sys::rd_kafka_topic_t,
    queue: *mut sys::rd_kafka_queue_t,
    partition: i32,
    /// Told by the library's thread when the queue is no longer empty; freed after the queue.
    wake: *const Notify,
    taken: Vec<*mut sys::rd_kafka_message_t>,
}

// The library's handles may be used from any thread, and a Stream is used by one at a time (`&mut self`).
unsafe impl Send for Stream {}

/// Called by a thread of the library.
unsafe extern "C" fn not_empty(_: *mut sys::rd_kafka_t, wake: *mut c_void) {
    // The stream keeps the Notify until after it has taken this callback back and destroyed the queue.
    unsafe { (*wake.cast::<Notify>()).notify_one() };
}

impl Stream {
    pub(super) fn start(
        reading: &Arc<Reading>,
        topic: &CString,
        partition: u32,
        from: Offset,
        wake: Arc<Notify>,
    ) -> Result<Self, String> {
        let rk = reading.client.native_ptr();
        let partition = partition as i32;
        // Handles live until `drop`; the client is held by `reading`, and so outlives them.
        unsafe {
            let handle = sys::rd_kafka_topic_new(rk, topic.as_ptr(), ptr::null_mut());
            if handle.is_null() {
                return Err(last_error());
            }
            let queue = sys::rd_kafka_queue_new(rk);
            let wake = Arc::into_raw(wake);
            sys::rd_kafka_queue_cb_event_enable(queue, Some(not_empty), wake.cast_mut().cast());
            let stream = Self { reading: reading.clone(), topic: handle, queue, partition, wake, taken: Vec::new() };
            if sys::rd_kafka_consume_start_queue(handle, partition, from, queue) != 0 {
                return Err(last_error());
            }
            Ok(stream)
        }
    }

    /// Hands what is there to `each`, at most `limit` messages; how many there were. Does not wait.
    pub(super) fn take(&mut self, limit: usize, mut each: impl FnMut(Taken<'_>)) -> usize {
        self.taken.clear();
        self.taken.reserve(limit);
        // The library writes at most `limit` pointers; each message is ours until it is destroyed.
        unsafe {
            let count = sys::rd_kafka_consume_batch_queue(self.queue, 0, self.taken.as_mut_ptr(), limit);
            self.taken.set_len(usize::try_from(count).unwrap_or(0));
        }
        let guard = Messages(&mut self.taken);
        for message in guard.0.iter() {
            // Valid until the guard destroys it; what is lent to `each` ends before.
            each(unsafe { read(*message) });
        }
        guard.0.len()
    }
}

/// Destroys messages, also when their reader panics.
struct Messages<'a>(&'a mut Vec<*mut sys::rd_kafka_message_t>);

impl Drop for Messages<'_> {
    fn drop(&mut self) {
        for message in self.0.drain(..) {
            // Not destroyed before, not used after.
            unsafe { sys::rd_kafka_message_destroy(message) };
        }
    }
}

unsafe fn read<'a>(message: *mut sys::rd_kafka_message_t) -> Taken<'a> {
    use sys::rd_kafka_resp_err_t as Code;
    let found = unsafe { &*message };
    match found.err {
        Code::RD_KAFKA_RESP_ERR_NO_ERROR => Taken::Record {
            offset: found.offset,
            timestamp_ms: unsafe { sys::rd_kafka_message_timestamp(message, ptr::null_mut()) },
            key: unsafe { bytes(found.key, found.key_len) },
            value: unsafe { bytes(found.payload, found.len) },
            headers: unsafe { headers(message) },
        },
        Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => Taken::End(found.offset),
        Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE => Taken::OutOfRange,
        Code::RD_KAFKA_RESP_ERR__BAD_MSG => Taken::Corrupt(unsafe { message_error(message) }),
        _ => Taken::Other(unsafe { message_error(message) }),
    }
}

unsafe fn bytes<'a>(at: *const c_void, length: usize) -> Option<&'a [u8]> {
    (!at.is_null()).then(|| unsafe { std::slice::from_raw_parts(at.cast(), length) })
}

unsafe fn headers<'a>(message: *mut sys::rd_kafka_message_t) -> Headers<'a> {
    let mut list = ptr::null_mut();
    let mut found = Vec::new();
    // The list and what it points to belong to the message.
    unsafe {
        if sys::rd_kafka_message_headers(message, &mut list) != sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return found;
        }
        let (mut name, mut value, mut length) = (ptr::null(), ptr::null(), 0);
        while sys::rd_kafka_header_get_all(list, found.len(), &mut name, &mut value, &mut length)
            == sys::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
        {
            found.push((CStr::from_ptr(name).to_bytes(), bytes(value, length).unwrap_or_default()));
        }
    }
    found
}

unsafe fn message_error(message: *const sys::rd_kafka_message_t) -> String {
    let text = unsafe { sys::rd_kafka_message_errstr(message) };
    if text.is_null() { "unknown".into() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}

fn last_error() -> String {
    // A static string of the library.
    unsafe { CStr::from_ptr(sys::rd_kafka_err2str(sys::rd_kafka_last_error())) }.to_string_lossy().into_owned()
}

impl Drop for Stream {
    /// Blocks until the library has stopped fetching.
    fn drop(&mut self) {
        // In this order: no more messages, no more callbacks, then what they used.
        unsafe {
            sys::rd_kafka_consume_stop(self.topic, self.partition);
            sys::rd_kafka_queue_cb_event_enable(self.queue, None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue);
            sys::rd_kafka_topic_destroy(self.topic);
            drop(Arc::from_raw(self.wake));
        }
        self.reading.housekeep();
    }
}

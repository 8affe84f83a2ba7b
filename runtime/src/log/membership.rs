//! Membership in a group that shares the partitions of one topic out among processes (rule P20): what the group gives and
//! takes comes as messages in order, each with an answer, so that a partition is let go before somebody else has it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver as Answered, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Messages without an answer; a backend sends the next one when the last was answered.
const MESSAGES_MAX: usize = 16;

/// What a group has decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// These partitions are ours, beside those that are ours already.
    Assigned(Vec<u32>),
    /// These are ours no longer. `is_lost`: somebody else has them already, there is nothing to finish.
    Revoked { partitions: Vec<u32>, is_lost: bool },
}

/// A change that waits for its answer.
#[derive(Debug)]
pub struct GroupMessage {
    pub change: Change,
    answer: SyncSender<()>,
}

impl GroupMessage {
    /// The group may go on.
    pub fn answer(self) {
        // Whoever asked may have given up.
        let _ = self.answer.try_send(());
    }
}

/// This process as the service's runtime sees it: what the group says. Dropping it leaves the group.
#[derive(Debug)]
pub struct Membership {
    changes: Receiver<GroupMessage>,
    leaving: Arc<AtomicBool>,
}

/// This process as the backend sees it: whom to tell.
#[derive(Debug)]
pub struct Member {
    changes: Sender<GroupMessage>,
    leaving: Arc<AtomicBool>,
}

/// Why a group cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("group {group}: {reason}; check the settings under `kafka`")]
    Refused { group: String, reason: String },
}

impl JoinError {
    /// Stable name of the class.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "GROUP_REFUSED",
        }
    }
}

/// Both ends of a membership.
pub fn membership() -> (Membership, Member) {
    let (sender, changes) = channel(MESSAGES_MAX);
    let leaving = Arc::new(AtomicBool::new(false));
    (Membership { changes, leaving: leaving.clone() }, Member { changes: sender, leaving })
}

impl Membership {
    /// The next decision; `None` when the group was left.
    pub async fn next(&mut self) -> Option<GroupMessage> {
        self.changes.recv().await
    }

    /// Set to leave the group; what is taken with that still comes as a message.
    pub fn leaving(&self) -> Arc<AtomicBool> {
        self.leaving.clone()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Release);
    }
}

impl Member {
    /// Whether the group is to be left.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Tells of a change; the answer comes there. `None`: nobody listens any more.
    pub fn tell(&self, change: Change) -> Option<Answered<()>> {
        let (answer, answered) = sync_channel(1);
        self.changes.try_send(GroupMessage { change, answer }).is_ok().then_some(answered)
    }

    /// Tells of a change and blocks until it is answered, at most for `limit`; whether it was.
    pub fn tell_and_wait(&self, change: Change, limit: Duration) -> bool {
        self.tell(change).is_some_and(|answered| answered.recv_timeout(limit).is_ok())
    }
}

//! What an external registry is asked while records come in. Questions are few, each answer is kept, on disk too, and nobody
//! waits for one: who asks is told to come again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use runtime::env::Clock;
use runtime::writers::{Found, WriterSchemas};
use schemas::frame::Writer;
use schemas::model::Schema;
use schemas::registry::Guid;
use tokio::sync::mpsc;

use super::api::{RegistryFailure, SchemaRegistry, with_references};
use super::cache::{CachedSchema, SchemaCache};

/// Between two questions: at most 20 a second, whatever ids come in.
const QUESTION_PAUSE: Duration = Duration::from_millis(50);
/// Ids that wait to be asked for.
const QUESTIONS_MAX: usize = 64;
/// An id that the registry does not have is asked for again after this: it may be registered late.
const ABSENT_US: u64 = 30_000_000;
/// A registry that is away is asked again after this.
const AWAY_US: u64 = 1_000_000;
/// Ids that are remembered in memory.
const KNOWN_MAX: usize = 4_096;

/// Who asks, and what is known.
pub struct Enquiries {
    book: Arc<Book>,
    questions: mpsc::Sender<Writer>,
}

/// Where an id stands.
#[derive(Clone)]
enum Slot {
    Asked,
    Known(Arc<Schema>),
    Absent { until_us: u64 },
    Away { why: String, until_us: u64 },
}

struct Book {
    slots: Mutex<BTreeMap<Writer, Slot>>,
    cache: SchemaCache,
    clock: Clock,
}

impl Enquiries {
    /// The other half is what asks, one question after the other: it runs for as long as this is there.
    pub fn new(
        clock: &Clock,
        cache: SchemaCache,
        registry: Arc<dyn SchemaRegistry>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let book = Arc::new(Book { slots: Mutex::default(), cache, clock: clock.clone() });
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        (Self { book: book.clone(), questions }, answer(book, registry, asked))
    }
}

impl WriterSchemas for Enquiries {
    fn find(&self, writer: Writer) -> Found {
        let now_us = self.book.clock.mono_us();
        let slot = self.book.lock().get(&writer).cloned();
        match slot {
            Some(Slot::Known(schema)) => return Found::Schema(schema),
            Some(Slot::Asked) => return Found::Away("it is being asked for".to_owned()),
            Some(Slot::Absent { until_us }) if now_us < until_us => return Found::Absent,
            Some(Slot::Away { why, until_us }) if now_us < until_us => return Found::Away(why),
            _ => {}
        }
        if let Some(schema) = self.book.cache.get(writer).and_then(|cached| cached.parse().ok()) {
            let schema = Arc::new(schema);
            self.book.put(writer, Slot::Known(schema.clone()));
            return Found::Schema(schema);
        }
        // Noted before it is asked for: an answer may be there at once, and must stand. Full: the line moves on by itself, and
        // whoever asks comes again.
        self.book.put(writer, Slot::Asked);
        if self.questions.try_send(writer).is_err() {
            self.book.lock().remove(&writer);
        }
        Found::Away("it is being asked for".to_owned())
    }
}

impl Book {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Writer, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, writer: Writer, slot: Slot) {
        let mut slots = self.lock();
        if slots.len() >= KNOWN_MAX {
            // Ids that somebody made up go first; what is known is on disk as well.
            slots.retain(|_, slot| matches!(slot, Slot::Known(_) | Slot::Asked));
            if slots.len() >= KNOWN_MAX {
                slots.retain(|_, slot| matches!(slot, Slot::Asked));
            }
        }
        slots.insert(writer, slot);
    }
}

/// Asks for one id after the other.
async fn answer(book: Arc<Book>, registry: Arc<dyn SchemaRegistry>, mut asked: mpsc::Receiver<Writer>) {
    while let Some(writer) = asked.recv().await {
        let fetched = fetch(registry.as_ref(), writer).await;
        let now_us = book.clock.mono_us();
        let slot = match fetched {
            Ok(fetched) => match fetched.parse() {
                Ok(schema) => {
                    if let Err(error) = book.cache.put(writer, &fetched) {
                        tracing::warn!(%writer, %error, "a schema could not be kept on disk");
                    }
                    Slot::Known(Arc::new(schema))
                }
                Err(error) => {
                    tracing::warn!(%writer, %error, "the registry keeps a schema that is no Avro");
                    Slot::Absent { until_us: now_us + ABSENT_US }
                }
            },
            Err(failure) if failure.is_absent() => Slot::Absent { until_us: now_us + ABSENT_US },
            Err(failure) => Slot::Away { why: failure.to_string(), until_us: now_us + AWAY_US },
        };
        book.put(writer, slot);
        book.clock.sleep(QUESTION_PAUSE).await;
    }
}

async fn fetch(registry: &dyn SchemaRegistry, writer: Writer) -> Result<CachedSchema, RegistryFailure> {
    let found = match writer {
        Writer::Id(id) => registry.by_id(id),
        Writer::Guid(guid) => registry.by_guid(Guid(guid)),
    };
    let (text, references) = found.await?;
    // A reference that is gone does not make the id unknown: the schema is there, and cannot be read now.
    let referenced = with_references(registry, &references).await;
    let referenced = referenced.map_err(|failure| RegistryFailure::Garbage(format!("a reference of it: {failure}")))?;
    Ok(CachedSchema { text, referenced })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::EmbeddedRegistry;
    use runtime::env::{BulkheadRuntime, Env};
    use runtime::log::Log as _;
    use runtime::log::segment::{EmbeddedLog, SegmentLogConfig};
    use runtime::log::storage::MemoryStorage;
    use schemas::registry::Submission;

    /// A registry and who asks it, in virtual time.
    fn world<F: Future>(test: impl FnOnce(Env, Arc<EmbeddedRegistry>, Enquiries) -> F) -> F::Output {
        let directory = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let env = Env::simulation(1, 1_700_000_000_000);
            let storage = Arc::new(MemoryStorage::new());
            let log = EmbeddedLog::open(&env, storage, SegmentLogConfig::small()).expect("a log");
            let registry = Arc::new(EmbeddedRegistry::open(&env, log.clone()).await.expect("opens"));
            let cache = SchemaCache::new(directory.path(), "http://r");
            let (enquiries, answering) = Enquiries::new(&env.clock, cache, registry.clone());
            let thread = BulkheadRuntime::new(&env, "registry", 1, 0).expect("the current one");
            thread.spawn(answering);
            let result = test(env, registry, enquiries).await;
            log.close().await;
            result
        })
    }

    async fn wait(env: &Env, ms: u64) {
        env.clock.sleep(Duration::from_millis(ms)).await;
    }

    #[test]
    fn an_id_that_is_not_there_is_asked_for_again_after_half_a_minute() {
        world(async |env, registry, enquiries| {
            let own = Writer::Id(schemas::registry::FIRST_FREE_ID);
            assert!(matches!(enquiries.find(own), Found::Away(_)), "nobody waits for the answer");
            wait(&env, 10).await;
            assert!(matches!(enquiries.find(own), Found::Absent));
            let late = registry.write(|r| r.register("late", &Submission::of("\"int\""))).await.expect("kept");
            assert_eq!(Writer::Id(late.id), own);
            // "Unknown" is an answer for 30 s: that it came late is not seen before.
            wait(&env, 29_900).await;
            assert!(matches!(enquiries.find(own), Found::Absent));
            wait(&env, 200).await;
            assert!(matches!(enquiries.find(own), Found::Away(_)));
            wait(&env, 100).await;
            assert!(matches!(enquiries.find(own), Found::Schema(_)));
        });
    }

    #[test]
    fn made_up_ids_cost_the_registry_twenty_questions_a_second() {
        world(async |env, _, enquiries| {
            let ids = || (1_000_000..1_000_200).map(Writer::Id);
            let answered = || ids().filter(|id| matches!(enquiries.find(*id), Found::Absent)).count();
            assert_eq!(answered(), 0);
            let mut seen = 0;
            for second in 1..=5 {
                for _ in 0..10 {
                    wait(&env, 100).await;
                    seen = answered();
                }
                // One more than twenty a second: the first is asked at once.
                assert!((20 * second - 1..=20 * second + 1).contains(&seen), "{seen} after {second} s");
            }
        });
    }
}

//! A copy taken between appends holds what was acknowledged until then, whatever befalls the log afterwards.

use super::super::restore;
use super::*;

#[test]
fn a_copy_opens_with_what_was_acknowledged() {
    let (storage, copy, restored) = (MemoryStorage::new(), MemoryStorage::new(), MemoryStorage::new());
    block_on(async {
        let log = reopen(&storage).unwrap();
        let group = log.producer_group("test", 1 << 20);
        let topic = log.ensure_topic(&config("t")).unwrap();
        let of = TopicPartition { topic, partition: 1 };
        let append = async |n: usize| {
            let bytes = batch(&[vec![n as u8; 900]], n as i64);
            log.append(of, bytes, AppendOptions { group, fence: None }).await.unwrap();
        };
        for n in 0..40 {
            append(n).await;
        }
        let before = read_all(log.as_ref(), of).unwrap();
        let copied = log.copy_to(&copy).unwrap().unwrap();
        assert!(copied.files > 3 && copied.bytes > 40 * 900, "{copied:?}");
        // Later appends, a trim and the end of the process change nothing of the copy.
        for n in 40..80 {
            append(n).await;
        }
        log.trim(of, 70).await.unwrap();
        storage.kill();
        drop(log);
        assert_eq!(restore(&copy, &restored).unwrap(), copied);
        let log = reopen(&restored).unwrap();
        assert_eq!(read_all(log.as_ref(), of).unwrap(), before);
        assert_eq!(log.extent(of).unwrap().high_watermark, 40);
    });
}

#[test]
fn half_a_copy_and_a_directory_that_runs_are_refused() {
    let (storage, copy, other) = (MemoryStorage::new(), MemoryStorage::new(), MemoryStorage::new());
    filled(&storage, 4);
    block_on(async {
        let log = reopen(&storage).unwrap();
        log.copy_to(&copy).unwrap().unwrap();
        let error = restore(&storage, &other).unwrap_err().to_string();
        assert!(error.contains("journal.00") && error.contains("bulkhead backup"), "{error}");
    });
    copy.remove("checkpoint").unwrap();
    let error = restore(&copy, &other).unwrap_err().to_string();
    assert!(error.contains("cut off"), "{error}");
    assert!(other.list("").unwrap().is_empty(), "nothing was begun");
}

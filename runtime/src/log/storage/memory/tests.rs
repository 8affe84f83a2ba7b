use super::*;

fn create(storage: &MemoryStorage, name: &str) -> Arc<dyn StorageFile> {
    storage.open(name, OpenMode::Create).unwrap()
}

fn content(storage: &MemoryStorage, name: &str) -> Option<Vec<u8>> {
    super::super::read_whole(storage, name, 1 << 20).ok()
}

#[test]
fn synced_bytes_survive_and_others_are_torn_by_sector() {
    let mut kept = 0;
    let mut lost = 0;
    for seed in 0..50 {
        let storage = MemoryStorage::new();
        let file = create(&storage, "f");
        file.write_at(&[1; 2048], 0).unwrap();
        file.sync().unwrap();
        storage.sync_dir("").unwrap();
        file.write_at(&[2; 2048], 1024).unwrap();
        storage.crash(&mut fastrand::Rng::with_seed(seed));
        let found = content(&storage, "f").unwrap();
        assert_eq!(found[..1024], [1; 1024]);
        assert!(found.len() >= 2048);
        for (at, sector) in found.chunks(512).enumerate().skip(2) {
            assert!(sector.iter().all(|byte| byte == &sector[0]), "a sector is never torn");
            match sector[0] {
                2 => kept += 1,
                1 if at < 4 => lost += 1,
                0 if at >= 4 => lost += 1,
                other => panic!("byte {other} in sector {at}"),
            }
        }
        assert!(matches!(file.sync(), Err(StorageError::Dead { .. })));
    }
    assert!(kept > 0 && lost > 0);
}

#[test]
fn names_are_durable_after_their_directory_is_synced() {
    let storage = MemoryStorage::new();
    storage.create_dir("d").unwrap();
    assert!(storage.open("absent/f", OpenMode::Create).is_err());
    let file = create(&storage, "d/f");
    file.write_at(b"x", 0).unwrap();
    file.sync().unwrap();
    storage.sync_dir("d").unwrap();
    storage.sync_dir("").unwrap();
    create(&storage, "d/g");
    let mut seen = BTreeSet::new();
    for seed in 0..40 {
        let copy = MemoryStorage::new();
        copy.create_dir("d").unwrap();
        copy.sync_dir("").unwrap();
        create(&copy, "d/g");
        copy.crash(&mut fastrand::Rng::with_seed(seed));
        seen.insert(copy.list("d").unwrap());
    }
    assert_eq!(seen.len(), 2, "a name that was not synced may be lost or kept");
    storage.crash(&mut fastrand::Rng::with_seed(1));
    assert_eq!(content(&storage, "d/f").unwrap(), b"x");
}

#[test]
fn a_replaced_file_is_old_or_new_and_whole() {
    for seed in 0..200 {
        let storage = MemoryStorage::new();
        super::super::replace_whole(&storage, "f", &[1; 3000]).unwrap();
        storage.set_hook(Some(Box::new(KillAt { left: seed % 7 })));
        let done = super::super::replace_whole(&storage, "f", &[2; 5000]).is_ok();
        storage.set_hook(None);
        storage.crash(&mut fastrand::Rng::with_seed(seed));
        let found = content(&storage, "f").unwrap();
        assert!(found == [1; 3000] && !done || found == [2; 5000]);
    }
}

#[test]
fn a_full_disk_and_a_second_process_are_refused() {
    let storage = MemoryStorage::new();
    storage.set_capacity(1000);
    let file = create(&storage, "f");
    file.write_at(&[0; 900], 0).unwrap();
    assert!(matches!(file.write_at(&[0; 200], 900), Err(StorageError::Full { .. })));
    file.write_at(&[1; 200], 0).unwrap();
    assert_eq!(storage.free_bytes().unwrap(), 100);
    let held = storage.lock().unwrap();
    assert!(matches!(storage.lock(), Err(StorageError::InUse { .. })));
    drop(held);
    assert!(storage.lock().is_ok());
}

struct KillAt {
    left: u64,
}

impl StorageHook for KillAt {
    fn decide(&mut self, _call: &Call<'_>) -> Fault {
        if self.left == 0 {
            return Fault::Kill { bytes: 700 };
        }
        self.left -= 1;
        Fault::None
    }
}

use std::collections::BTreeSet;

use std::collections::BTreeMap;

use proptest::prelude::*;
use smol_str::SmolStr;

use super::{AnyTable, Table};

crate::row! {
    struct Row version 1 { amount: i64, due_ms: Option<i64>, name: SmolStr }
}

fn table() -> Table<u32, Row> {
    Table::scheduled("rows", |row: &Row| row.due_ms)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, i64),
    Remove(u32),
    Add(u32, i64),
    PopDue(i64),
    Fail,
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = 0u32..8;
    let step = prop_oneof![
        (key.clone(), any::<i32>()).prop_map(|(k, v)| Step::Insert(k, v.into())),
        key.clone().prop_map(Step::Remove),
        (key, any::<i32>()).prop_map(|(k, v)| Step::Add(k, v.into())),
        (0i64..100).prop_map(Step::PopDue),
        Just(Step::Fail),
        Just(Step::Commit),
    ];
    proptest::collection::vec(step, 0..60)
}

fn row(amount: i64) -> Row {
    Row { amount, due_ms: (amount % 3 == 0).then_some(amount.rem_euclid(100)), name: format!("name {amount}").into() }
}

fn contents(table: &Table<u32, Row>) -> BTreeMap<u32, Row> {
    table.sorted().into_iter().map(|(k, v)| (*k, v.clone())).collect()
}

proptest! {
    /// A table behaves as a plain map with rollback; its deltas rebuild it; its due index is that of its rows.
    #[test]
    fn table_is_a_map_whose_deltas_rebuild_it(steps in steps()) {
        let (mut subject, mut replica) = (table(), table());
        let mut model: BTreeMap<u32, Row> = BTreeMap::new();
        let mut event_start = model.clone();
        subject.begin_event();
        for step in steps {
            match step {
                Step::Insert(k, v) => {
                    subject.insert(k, row(v));
                    model.insert(k, row(v));
                }
                Step::Remove(k) => prop_assert_eq!(subject.remove(&k), model.remove(&k)),
                Step::Add(k, v) => {
                    subject.update(&k, || row(0), |r| *r = row(r.amount + v));
                    let r = model.entry(k).or_insert_with(|| row(0));
                    *r = row(r.amount + v);
                }
                Step::PopDue(now) => {
                    let next = model.iter().filter_map(|(k, r)| r.due_ms.filter(|at| *at <= now).map(|at| (at, *k))).min();
                    let popped = subject.pop_due(now).map(|(k, _)| k);
                    prop_assert_eq!(popped, next.map(|(_, k)| k));
                    if let Some(k) = popped {
                        model.remove(&k);
                    }
                }
                Step::Fail => {
                    subject.rollback();
                    model = event_start.clone();
                }
                Step::Commit => {
                    subject.take_delta(&mut |k, v| replica.apply(1, k, v).unwrap());
                    prop_assert_eq!(contents(&replica), model.clone());
                }
            }
            if !matches!(step, Step::Insert(..)) {
                subject.begin_event();
                event_start = model.clone();
            }
            prop_assert_eq!(contents(&subject), model.clone());
        }
        let mut restored = table();
        subject.snapshot_begin();
        while !subject.snapshot_next(16, &mut |k, v| restored.apply(1, k, Some(v)).unwrap()) {}
        prop_assert_eq!(contents(&restored), model);
        prop_assert_eq!(subject.heap_bytes_for_test(), restored.heap_bytes_for_test());
    }

    /// Arbitrary bytes never panic a row.
    #[test]
    fn hostile_rows_are_errors(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = table().apply(1, &bytes, Some(&bytes));
    }
}

#[test]
fn newer_versions_are_refused_and_older_ones_named() {
    let mut key = Vec::new();
    crate::state::Field::put(&1u32, &mut key);
    let newer = table().apply(2, &key, Some(&[])).unwrap_err().to_string();
    assert!(newer.contains("newer program"), "{newer}");
    let older = table().apply(0, &key, Some(&[])).unwrap_err().to_string();
    assert!(older.contains("no way to resolve"), "{older}");
}

#[test]
fn the_first_change_of_a_restored_row_enters_the_delta() {
    let mut source = table();
    source.insert(1, row(10));
    source.insert(2, row(20));
    let mut restored = table();
    source.take_delta(&mut |k, v| restored.apply(1, k, v).unwrap());
    restored.insert(1, row(11));
    restored.update(&2, || row(0), |r| *r = row(21));
    let mut changed = 0;
    restored.take_delta(&mut |_, _| changed += 1);
    assert_eq!(changed, 2);
}

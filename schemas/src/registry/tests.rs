//! The state machine by itself; over HTTP it is tested with the transcript and with other people's clients.

use super::*;
use crate::compat::Level;
use proptest::prelude::*;

fn record(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"R","namespace":"n","fields":[{fields}]}}"#)
}

fn id() -> String {
    record(r#"{"name":"id","type":"string"}"#)
}

struct Kit(Registry);

impl Kit {
    fn new() -> Self {
        Self(Registry::new(1))
    }

    fn take<T>(&mut self, decided: Result<Decided<T>, RegistryError>) -> Result<T, RegistryError> {
        let decided = decided?;
        for record in &decided.records {
            self.0.apply(record);
        }
        Ok(decided.answer)
    }

    fn register(&mut self, subject: &str, schema: &str) -> Result<Versioned, RegistryError> {
        let decided = self.0.register(subject, &Submission::of(schema));
        self.take(decided)
    }
}

#[test]
fn layout_is_not_identity_but_docs_and_defaults_are() {
    let mut kit = Kit::new();
    let first = kit.register("a", &id()).unwrap();
    let laid_out =
        r#"{ "namespace":"n", "fields":[{"type":{"type":"string"}, "name":"id"}], "name":"R", "type":"record" }"#;
    assert_eq!(kit.register("a", laid_out).unwrap(), first);
    assert_eq!(kit.register("b", laid_out).unwrap().id, first.id);
    let full = id().replace(r#""name":"R","namespace":"n""#, r#""name":"n.R""#);
    assert_eq!(kit.register("a", &full).unwrap().id, first.id);
    let doc = record(r#"{"name":"id","type":"string","doc":"an id"}"#);
    let second = kit.register("a", &doc).unwrap();
    assert_eq!((second.id, second.version), (2, 2));
}

#[test]
fn canonical_text_is_javas() {
    let text = r#"{"fields":[{"default":null,"type":["null","n.E"],"name":"e","order":"ignore"},
        {"type":{"logicalType":"decimal","type":"bytes","scale":2,"precision":9},"name":"m"},
        {"type":{"type":"enum","name":"E","symbols":["A"],"default":"A","doc":"d"},"name":"d"},
        {"name":"x","type":{"type":"fixed","name":"o.F","size":2,"aliases":["G"]}},{"name":"y","type":"o.F"}],
        "doc":"D","namespace":"n","name":"R","type":"record"}"#;
    let plain = canonical(text, &[], false).unwrap().text;
    assert_eq!(
        plain,
        r#"{"type":"record","name":"R","namespace":"n","doc":"D","fields":[{"name":"e","type":["null","E"],"default":null,"order":"ignore"},{"name":"m","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},{"name":"d","type":{"type":"enum","name":"E","doc":"d","symbols":["A"],"default":"A"}},{"name":"x","type":{"type":"fixed","name":"F","namespace":"o","size":2,"aliases":["o.G"]}},{"name":"y","type":"o.F"}]}"#
    );
    // A canonical text is its own, and means the same.
    assert_eq!(canonical(&plain, &[], false).unwrap().text, plain);
    let parsed = Schema::parse(text).unwrap();
    assert_eq!(parsed.canonical_form(), Schema::parse(&plain).unwrap().canonical_form());
    let normal = canonical(text, &[], true).unwrap().text;
    assert!(normal.starts_with(r#"{"type":"record","name":"n.R","doc":"D""#), "{normal}");
    assert_eq!(canonical(&normal, &[], true).unwrap().text, normal);
    assert_eq!(canonical(&plain, &[], true).unwrap().text, normal);
}

use crate::model::Schema;

#[test]
fn levels_decide_what_comes_next() {
    let mut kit = Kit::new();
    kit.register("s", &id()).unwrap();
    let required = record(r#"{"name":"id","type":"string"},{"name":"n","type":"long"}"#);
    let error = kit.register("s", &required).unwrap_err();
    assert_eq!((error.code(), error.status()), (409, 409));
    assert!(error.to_string().contains("READER_FIELD_MISSING_DEFAULT_VALUE at $.n"), "{error}");
    let forward = kit.0.set_config(Some("s"), Config { level: Level::Forward, normalize: None });
    kit.take(forward).unwrap();
    assert_eq!(kit.register("s", &required).unwrap().version, 2);
    let verdict = kit.0.check("s", Some(VersionSpec::Number(1)), &Submission::of("\"int\"")).unwrap();
    assert!(!verdict.compatible && verdict.messages.len() == 2, "{verdict:?}");
}

#[test]
fn deletion_goes_in_two_steps() {
    let mut kit = Kit::new();
    kit.register("s", &id()).unwrap();
    let permanent = |kit: &Kit| kit.0.delete_subject("s", true).map(|d| d.answer).map_err(|e| e.code());
    assert_eq!(permanent(&kit), Err(40405));
    let soft = kit.0.delete_subject("s", false);
    assert_eq!(kit.take(soft), Ok(vec![1]));
    assert_eq!(kit.0.delete_subject("s", false).map_err(|e| e.code()).unwrap_err(), 40404);
    assert_eq!(kit.0.versions("s", Deleted::Without).map_err(|e| e.code()), Err(40401));
    assert_eq!(kit.0.versions("s", Deleted::With), Ok(vec![1]));
    // Records with the id may still be there.
    assert!(kit.0.by_id(1).is_ok());
    // The same content comes back as a new version under its old id.
    let back = kit.register("s", &id()).unwrap();
    assert_eq!((back.id, back.version), (1, 2));
    let gone = kit.0.delete_version("s", VersionSpec::Number(1), true);
    assert_eq!(kit.take(gone), Ok(1));
    assert_eq!(kit.0.versions("s", Deleted::With), Ok(vec![2]));
    let soft = kit.0.delete_version("s", VersionSpec::Latest, false);
    assert_eq!(kit.take(soft), Ok(2));
    let again = kit.0.delete_version("s", VersionSpec::Number(2), false);
    assert_eq!(again.unwrap_err().code(), 40406);
    let gone = kit.0.delete_subject("s", true);
    assert_eq!(kit.take(gone), Ok(vec![2]));
    assert_eq!(kit.0.by_id(1).unwrap_err().code(), 40403);
    // An id is never used twice, not even after a compaction.
    let mut folded = Registry::new(1);
    kit.0.snapshot().iter().for_each(|r| folded.apply(r));
    let next = folded.register("t", &Submission::of("\"int\"")).unwrap();
    assert_eq!((next.answer.id, next.answer.version), (2, 1));
}

#[test]
fn references_are_resolved_kept_and_guarded() {
    let mut kit = Kit::new();
    kit.register("base", &id()).unwrap();
    let wrap = r#"{"type":"record","name":"W","namespace":"n","fields":[{"name":"r","type":"n.R"}]}"#;
    let reference = |version| Reference { name: "n.R".into(), subject: "base".into(), version };
    let submission = |version| Submission { references: vec![reference(version)], ..Submission::of(wrap) };
    assert_eq!(kit.register("wrap", wrap).unwrap_err().code(), 42201);
    assert_eq!(kit.0.register("wrap", &submission(9)).unwrap_err().code(), 42201);
    // 0 stands for the latest: what is kept names the version.
    let decided = kit.0.register("wrap", &submission(0));
    let kept = kit.take(decided).unwrap();
    assert_eq!(kept.content.references[..], [reference(1)]);
    assert_eq!(kit.0.referenced_by("base", 1, Deleted::Without), [kept.id]);
    assert_eq!(kit.0.delete_subject("base", false).unwrap_err().code(), 42206);
    assert_eq!(kit.0.delete_version("base", VersionSpec::Number(1), false).unwrap_err().code(), 42206);
    assert!(kit.0.parse(&kept.content).unwrap().canonical_form().contains("\"n.R\""));
    // A soft-deleted schema is no obstacle to soft deletion, but its base must stay readable.
    let soft = kit.0.delete_subject("wrap", false);
    kit.take(soft).unwrap();
    let soft = kit.0.delete_subject("base", false);
    kit.take(soft).unwrap();
    assert_eq!(kit.0.delete_subject("base", true).unwrap_err().code(), 42206);
}

#[test]
fn modes_permit() {
    let mut kit = Kit::new();
    let import = kit.0.set_mode(Some("s"), Mode::Import, false);
    kit.take(import).unwrap();
    assert_eq!(kit.register("s", &id()).unwrap_err().code(), 42205);
    let with = |id_, version, schema: &str| Submission { id: Some(id_), version, ..Submission::of(schema) };
    let decided = kit.0.register("s", &with(77, Some(5), &id()));
    let kept = kit.take(decided).unwrap();
    assert_eq!((kept.id, kept.version), (77, 5));
    assert_eq!(kit.0.register("s", &with(77, None, "\"int\"")).unwrap_err().code(), 42205);
    assert_eq!(kit.0.register("s", &with(78, None, &id())).unwrap_err().code(), 42205);
    assert_eq!(kit.0.set_mode(None, Mode::Import, false).unwrap_err().code(), 42205);
    let read_only = kit.0.set_mode(Some("s"), Mode::ReadOnly, false);
    kit.take(read_only).unwrap();
    assert_eq!(kit.register("s", "\"int\"").unwrap_err().code(), 42205);
    assert_eq!(kit.0.delete_subject("s", false).unwrap_err().code(), 42205);
    assert_eq!(kit.register("s", &id()).unwrap().id, 77, "what is there already needs no permission");
    assert_eq!(kit.0.register("other", &with(5, None, &id())).unwrap_err().code(), 42205);
    assert_eq!(kit.register("other", "\"long\"").unwrap().id, 78);
}

#[test]
fn built_in_schemas_keep_their_ids() {
    let mut kit = Kit(Registry::new(FIRST_FREE_ID));
    for builtin in crate::builtin() {
        let decided = kit.0.place_builtin(builtin.name, builtin.id, builtin.avsc);
        assert_eq!(kit.take(decided).unwrap().id, builtin.id);
        assert!(kit.0.place_builtin(builtin.name, builtin.id, builtin.avsc).unwrap().records.is_empty());
    }
    assert_eq!(kit.register("own", &id()).unwrap().id, FIRST_FREE_ID);
    let clash = kit.0.place_builtin("x", 1, "\"int\"").unwrap_err();
    assert_eq!(clash.code(), 42205);
}

#[test]
fn what_cannot_be_kept_is_refused() {
    let mut kit = Kit::new();
    let code = |kit: &mut Kit, subject: &str, submission: Submission| {
        kit.0.register(subject, &submission).map_err(|e| e.code()).map(|d| d.answer.id)
    };
    let json = Submission { schema_type: Some("JSON".into()), ..Submission::of("{}") };
    for (subject, submission, expected) in [
        ("s", Submission::of(""), 42201),
        ("s", Submission::of("{oops"), 42201),
        ("s", Submission::of(r#"{"type":"record"}"#), 42201),
        ("s", json, 42201),
        ("", Submission::of("\"int\""), 42208),
        ("a\nb", Submission::of("\"int\""), 42208),
        ("__GLOBAL", Submission::of("\"int\""), 42208),
        (&"x".repeat(SUBJECT_BYTES_MAX + 1), Submission::of("\"int\""), 42208),
        ("s", Submission::of(format!("\"{}\"", "x".repeat(2 << 20))), 42209),
    ] {
        assert_eq!(code(&mut kit, subject, submission), Err(expected), "{subject:.20}");
    }
    assert_eq!(kit.register("odd/näme :?#", "\"int\"").unwrap().id, 1);
    assert_eq!("0".parse::<VersionSpec>().unwrap_err().code(), 42202);
    assert_eq!("9999999999".parse::<VersionSpec>().unwrap_err().code(), 42202);
    assert_eq!("sideward".parse::<Mode>().unwrap_err().code(), 42204);
}

/// Two processes on one topic: both have read the same, and both write. The first counts, the other finds out and asks anew.
#[test]
fn of_two_writers_the_first_stands() {
    let mut kit = Kit::new();
    let first = kit.0.register("s", &Submission::of("\"int\"")).unwrap();
    let second = kit.0.register("s", &Submission::of("\"long\"")).unwrap();
    let third = kit.0.register("t", &Submission::of("\"bytes\"")).unwrap();
    let same = kit.0.register("s", &Submission::of("\"int\"")).unwrap();
    assert_eq!((first.answer.id, second.answer.id, third.answer.id), (1, 1, 1));
    for decided in [&first, &second, &third, &same] {
        decided.records.iter().for_each(|record| kit.0.apply(record));
    }
    let stands = |decided: &Decided<Versioned>| decided.records.iter().all(|record| kit.0.stands(record));
    assert_eq!([&first, &second, &third, &same].map(stands), [true, false, false, true]);
    assert_eq!(&*kit.0.by_id(1).unwrap().text, "\"int\"");
    assert_eq!(kit.0.subjects("", Deleted::With), ["s"]);
    let again = kit.0.register("t", &Submission::of("\"bytes\"")).unwrap();
    assert_eq!((again.answer.id, again.answer.version), (2, 1));
}

#[test]
fn records_are_those_of_the_topic() {
    let content = SchemaRecord {
        subject: "s \"q\"".into(),
        version: 2,
        id: 7,
        schema: "\"int\"".into(),
        references: vec![Reference { name: "n.R".into(), subject: "b".into(), version: 1 }],
        deleted: false,
    };
    let record = Record::Schema(content);
    assert_eq!(record.key(), r#"{"keytype":"SCHEMA","subject":"s \"q\"","version":2,"magic":1}"#);
    let value = record.value().unwrap();
    assert!(value.starts_with(r#"{"subject":"s \"q\"","version":2,"id":7,"references":[{"#), "{value}");
    assert!(value.ends_with(r#""schema":"\"int\"","deleted":false}"#), "{value}");
    let own = [
        record,
        Record::SchemaGone { subject: "s".into(), version: 1 },
        Record::DeleteSubject { subject: "s".into(), version: 3 },
        Record::Config(None, Some(Config { level: Level::FullTransitive, normalize: Some(true) })),
        Record::Config(Some("s".into()), None),
        Record::Mode(Some("s".into()), Some(Mode::Import)),
        Record::IdMax(9),
        Record::Other { key: r#"{"keytype":"CONTEXT","magic":0}"#.into(), value: Some("{}".into()) },
    ];
    for record in own {
        let value = record.value();
        let read = Record::parse(record.key().as_bytes(), value.as_deref().map(str::as_bytes)).unwrap();
        assert_eq!(read, record);
    }
    for (key, value) in [
        ("{", None),
        (r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#, Some("{}")),
        (
            r#"{"keytype":"SCHEMA","subject":"s","version":1,"magic":1}"#,
            Some(r#"{"subject":"t","version":1,"id":1,"schema":""}"#),
        ),
        (r#"{"keytype":"CONFIG","subject":null,"magic":0}"#, Some(r#"{"compatibilityLevel":"SIDEWARD"}"#)),
        (r#"{"keytype":"MODE","subject":null,"magic":0}"#, Some("[]")),
    ] {
        assert!(Record::parse(key.as_bytes(), value.map(str::as_bytes)).is_err(), "{key}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Register(usize, usize),
    DeleteSubject(usize, bool),
    DeleteVersion(usize, u32, bool),
    Level(Option<usize>, usize),
    Unlevel(usize),
    Mode(usize, usize),
    Compact,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..3usize, 0..6usize).prop_map(|(s, t)| Step::Register(s, t)),
        1 => (0..3usize, any::<bool>()).prop_map(|(s, p)| Step::DeleteSubject(s, p)),
        2 => (0..3usize, 1..5u32, any::<bool>()).prop_map(|(s, v, p)| Step::DeleteVersion(s, v, p)),
        1 => (prop::option::of(0..3usize), 0..7usize).prop_map(|(s, l)| Step::Level(s, l)),
        1 => (0..3usize).prop_map(Step::Unlevel),
        1 => (0..3usize, 0..2usize).prop_map(|(s, m)| Step::Mode(s, m)),
        1 => Just(Step::Compact),
    ];
    prop::collection::vec(step, 1..40)
}

const SUBJECTS: [&str; 3] = ["a", "b-value", "ü/c"];

fn texts() -> Vec<String> {
    let wide = r#"{"name":"id","type":"string"},{"name":"n","type":"long","default":0}"#;
    let other = r#"{"name":"id","type":"string"},{"name":"n","type":"long"}"#;
    vec![id(), record(wide), record(other), "\"int\"".into(), "\"long\"".into(), record("")]
}

fn step(registry: &Registry, step: &Step) -> Vec<Record> {
    let modes = [Mode::ReadWrite, Mode::ReadOnly];
    let records = match step {
        Step::Register(s, t) => {
            registry.register(SUBJECTS[*s], &Submission::of(texts()[*t].as_str())).map(|d| d.records)
        }
        Step::DeleteSubject(s, p) => registry.delete_subject(SUBJECTS[*s], *p).map(|d| d.records),
        Step::DeleteVersion(s, v, p) => {
            registry.delete_version(SUBJECTS[*s], VersionSpec::Number(*v), *p).map(|d| d.records)
        }
        Step::Level(s, l) => {
            let config = Config { level: Level::ALL[*l], normalize: None };
            registry.set_config(s.map(|s| SUBJECTS[s]), config).map(|d| d.records)
        }
        Step::Unlevel(s) => registry.delete_config(Some(SUBJECTS[*s])).map(|d| d.records),
        Step::Mode(s, m) => registry.set_mode(Some(SUBJECTS[*s]), modes[*m], false).map(|d| d.records),
        Step::Compact => Ok(vec![]),
    };
    records.unwrap_or_default()
}

proptest! {
    /// Whatever is asked: ids mean one content for ever, the log's fold and a compacted log's fold are the state, and a
    /// level that is never changed holds over the versions in use.
    #[test]
    fn any_history_folds_to_the_same_registry(history in steps()) {
        let mut registry = Registry::new(1);
        let mut log: Vec<(String, Option<String>)> = vec![];
        let mut meaning = BTreeMap::new();
        let fold = |log: &[(String, Option<String>)]| {
            let mut folded = Registry::new(1);
            for (key, value) in log {
                let record = Record::parse(key.as_bytes(), value.as_deref().map(str::as_bytes)).unwrap();
                folded.apply(&record);
            }
            folded
        };
        for one in &history {
            for record in step(&registry, one) {
                registry.apply(&record);
                log.push((record.key(), record.value()));
            }
            if matches!(one, Step::Compact) {
                // A crash in the middle leaves the old records before the new: the same state.
                log.extend(registry.snapshot().iter().map(|r| (r.key(), r.value())));
                prop_assert_eq!(&fold(&log), &registry);
                log.drain(..log.len() - registry.snapshot().len());
            }
            prop_assert_eq!(&fold(&log), &registry);
            for (id, held) in &registry.contents {
                prop_assert_eq!(*meaning.entry(*id).or_insert(held.content.guid), held.content.guid);
                prop_assert_eq!(held.versions, registry.all_versions().filter(|(.., v)| v.id == *id).count());
                prop_assert!(*id <= registry.id_max);
            }
            prop_assert_eq!(registry.ids.len(), registry.contents.len());
        }
    }
}

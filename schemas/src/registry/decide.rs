//! Requests that change the registry: each is judged against the state and becomes records, or a refusal.

use super::{
    Config, Content, Decided, Deleted, Mode, REFERENCES_MAX, Record, Reference, Registry, RegistryError,
    SUBJECT_BYTES_MAX, Submission, VERSIONS_MAX, VersionSpec, Versioned, canonical, record_of,
};
use crate::model::{SCHEMA_BYTES_MAX, Schema};

/// A submission that is a schema.
pub(super) struct Prepared {
    pub schema: Schema,
    pub content: Content,
}

impl Registry {
    /// Parses a submission and gives it its identity.
    pub(super) fn prepare(&self, subject: &str, submission: &Submission) -> Result<Prepared, RegistryError> {
        check_subject(subject)?;
        let invalid = RegistryError::InvalidSchema;
        if let Some(other) = submission.schema_type.as_deref().filter(|t| *t != "AVRO") {
            return Err(invalid(format!("type {other} is not kept here, only AVRO")));
        }
        if submission.schema.trim().is_empty() {
            return Err(invalid("no schema was sent".to_owned()));
        }
        if submission.schema.len() > SCHEMA_BYTES_MAX {
            let bytes = submission.schema.len();
            return Err(RegistryError::TooLarge(format!("a schema of {bytes} bytes; at most {SCHEMA_BYTES_MAX}")));
        }
        if submission.references.len() > REFERENCES_MAX {
            return Err(invalid(format!("more than {REFERENCES_MAX} references")));
        }
        let normalize = submission.normalize.or(self.config(subject).normalize).unwrap_or(false);
        let mut references = submission.references.iter().map(|r| self.resolve(r)).collect::<Result<Vec<_>, _>>()?;
        if normalize {
            references.sort();
            references.dedup();
        }
        let texts = self.referenced(&references)?;
        let texts: Vec<&str> = texts.iter().map(|text| &**text).collect();
        let canonical = canonical(&submission.schema, &texts, normalize).map_err(|e| invalid(e.to_string()))?;
        Ok(Prepared { schema: canonical.schema, content: Content::new(canonical.text, references) })
    }

    /// `latest` becomes the version that it is now.
    fn resolve(&self, reference: &Reference) -> Result<Reference, RegistryError> {
        let Reference { name, subject, version } = reference;
        if *version > 0 {
            return Ok(reference.clone());
        }
        let latest = self.version(subject, VersionSpec::Latest, Deleted::Without);
        let latest = latest.map_err(|e| RegistryError::InvalidSchema(format!("the reference {name}: {e}")))?;
        Ok(Reference { version: latest.version, ..reference.clone() })
    }

    /// The version of a subject that has this content; the newest, if a soft-deleted one came back.
    ///
    /// # Errors
    /// No schema, or none that the subject knows.
    pub fn lookup(&self, subject: &str, submission: &Submission, deleted: Deleted) -> Result<Versioned, RegistryError> {
        self.versions(subject, deleted)?;
        let prepared = self.prepare(subject, submission)?;
        let found = self.find(subject, &prepared.content, deleted);
        found.ok_or_else(|| RegistryError::SchemaNotFound(format!("with this content under subject '{subject}'")))
    }

    fn find(&self, subject: &str, content: &Content, deleted: Deleted) -> Option<Versioned> {
        let versions = self.versions(subject, deleted).ok()?;
        let found = versions.into_iter().rev().map(|n| self.version(subject, VersionSpec::Number(n), Deleted::With));
        found.flatten().find(|version| version.content.guid == content.guid)
    }

    /// Makes a schema the next version of a subject, unless it is one already.
    ///
    /// # Errors
    /// Not a schema, not compatible, or not permitted by the mode.
    pub fn register(&self, subject: &str, submission: &Submission) -> Result<Decided<Versioned>, RegistryError> {
        let prepared = self.prepare(subject, submission)?;
        if let Some(known) = self.find(subject, &prepared.content, Deleted::Without)
            && submission.id.is_none_or(|id| id == known.id)
        {
            return Ok(Decided { records: vec![], answer: known });
        }
        match self.mode(subject) {
            Mode::ReadOnly => Err(read_only(subject)),
            Mode::Import => self.import(subject, submission, prepared.content),
            Mode::ReadWrite if submission.id.is_some() => {
                let what = format!("Subject '{subject}' is not in mode IMPORT: it takes no ids from outside.");
                Err(RegistryError::NotPermitted(what))
            }
            Mode::ReadWrite => {
                let versions = self.versions(subject, Deleted::Without).unwrap_or_default();
                let verdict = self.verdict(subject, &prepared, &versions)?;
                if !verdict.compatible {
                    let subject = subject.to_owned();
                    return Err(RegistryError::Incompatible { subject, messages: verdict.messages });
                }
                let known = self.id_of(prepared.content.guid).ok();
                let (id, version) = (known.unwrap_or_else(|| self.next_id()), self.next_version(subject));
                self.put(subject, version, id, prepared.content)
            }
        }
    }

    /// A schema with the id of another registry.
    fn import(
        &self,
        subject: &str,
        submission: &Submission,
        content: Content,
    ) -> Result<Decided<Versioned>, RegistryError> {
        let Some(id) = submission.id else {
            let what = format!("Subject '{subject}' is in mode IMPORT: it takes schemas with their ids only.");
            return Err(RegistryError::NotPermitted(what));
        };
        self.place(subject, id, submission.version, content)
    }

    /// Makes a schema of the binary known under its own id, whatever the mode and level say: its records carry it.
    ///
    /// # Errors
    /// The id already means another schema, or the content has another id.
    pub fn place_builtin(&self, subject: &str, id: u32, avsc: &str) -> Result<Decided<Versioned>, RegistryError> {
        let content = self.prepare(subject, &Submission::of(avsc))?.content;
        if let Some(known) = self.find(subject, &content, Deleted::Without)
            && known.id == id
        {
            return Ok(Decided { records: vec![], answer: known });
        }
        self.place(subject, id, None, content)
    }

    fn place(
        &self,
        subject: &str,
        id: u32,
        version: Option<u32>,
        content: Content,
    ) -> Result<Decided<Versioned>, RegistryError> {
        if self.content(id).is_some_and(|held| held.guid != content.guid) {
            let what = format!("Id {id} already means another schema here: it cannot be given to '{subject}'.");
            return Err(RegistryError::NotPermitted(what));
        }
        if let Ok(other) = self.id_of(content.guid)
            && other != id
        {
            let what = format!("This schema already has the id {other}, so '{subject}' cannot have it as {id}.");
            return Err(RegistryError::NotPermitted(what));
        }
        let version = version.unwrap_or_else(|| self.next_version(subject));
        let taken = self.version(subject, VersionSpec::Number(version), Deleted::With);
        if let Ok(taken) = taken
            && taken.id != id
        {
            let what = format!("Version {version} of '{subject}' already has the id {}.", taken.id);
            return Err(RegistryError::NotPermitted(what));
        }
        self.put(subject, version, id, content)
    }

    fn put(&self, subject: &str, version: u32, id: u32, content: Content) -> Result<Decided<Versioned>, RegistryError> {
        if self.all_versions().count() >= VERSIONS_MAX {
            let what = format!("there are {VERSIONS_MAX} versions already; delete some for good");
            return Err(RegistryError::TooLarge(what));
        }
        let record = Record::Schema(record_of(subject, version, id, &content, false));
        let answer = Versioned { subject: subject.to_owned(), version, id, content, deleted: false };
        Ok(Decided { records: vec![record], answer })
    }

    fn next_version(&self, subject: &str) -> u32 {
        self.subjects.get(subject).and_then(|all| all.keys().next_back()).map_or(1, |last| last + 1)
    }

    /// Deletes a subject: its versions are no longer given out, or, `permanent`, forgotten.
    ///
    /// # Errors
    /// Not there, deleted already, referenced, or not permitted by the mode.
    pub fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Decided<Vec<u32>>, RegistryError> {
        let all = self.versions(subject, Deleted::With)?;
        let live = self.versions(subject, Deleted::Without).unwrap_or_default();
        self.writable(subject)?;
        let name = || subject.to_owned();
        if permanent {
            if !live.is_empty() {
                return Err(RegistryError::SubjectNotSoftDeleted(name()));
            }
            self.unreferenced(subject, &all, Deleted::With)?;
            let records = all.iter().map(|version| Record::SchemaGone { subject: name(), version: *version }).collect();
            return Ok(Decided { records, answer: all });
        }
        let Some(last) = live.last() else { return Err(RegistryError::SubjectSoftDeleted(name())) };
        self.unreferenced(subject, &live, Deleted::Without)?;
        let mut records = vec![Record::DeleteSubject { subject: name(), version: *last }];
        records.extend(self.own_mode(subject).is_ok().then(|| Record::Mode(Some(name()), None)));
        records.extend(self.own_config(subject).is_ok().then(|| Record::Config(Some(name()), None)));
        Ok(Decided { records, answer: live })
    }

    /// Deletes a version, softly or for good.
    ///
    /// # Errors
    /// As [`Self::delete_subject`].
    pub fn delete_version(
        &self,
        subject: &str,
        version: VersionSpec,
        permanent: bool,
    ) -> Result<Decided<u32>, RegistryError> {
        let found = match version {
            VersionSpec::Latest => self.version(subject, version, Deleted::Without),
            VersionSpec::Number(_) => self.version(subject, version, Deleted::With),
        }?;
        self.writable(subject)?;
        let (name, number) = (subject.to_owned(), found.version);
        let record = match (permanent, found.deleted) {
            (false, true) => return Err(RegistryError::VersionSoftDeleted(name, number)),
            (true, false) => return Err(RegistryError::VersionNotSoftDeleted(name, number)),
            (true, true) => {
                self.unreferenced(subject, &[number], Deleted::With)?;
                Record::SchemaGone { subject: name, version: number }
            }
            (false, false) => {
                self.unreferenced(subject, &[number], Deleted::Without)?;
                Record::Schema(record_of(subject, number, found.id, &found.content, true))
            }
        };
        Ok(Decided { records: vec![record], answer: number })
    }

    fn unreferenced(&self, subject: &str, versions: &[u32], by: Deleted) -> Result<(), RegistryError> {
        for version in versions {
            let ids = self.referenced_by(subject, *version, by);
            if !ids.is_empty() {
                return Err(RegistryError::ReferenceExists(subject.to_owned(), *version, ids));
            }
        }
        Ok(())
    }

    fn writable(&self, subject: &str) -> Result<(), RegistryError> {
        if self.mode(subject) == Mode::ReadOnly { Err(read_only(subject)) } else { Ok(()) }
    }

    /// Sets the level of a subject, or of all (`None`).
    ///
    /// # Errors
    /// Not permitted by the mode, or a name that no subject may have.
    pub fn set_config(&self, subject: Option<&str>, config: Config) -> Result<Decided<Config>, RegistryError> {
        if let Some(subject) = subject {
            check_subject(subject)?;
            self.writable(subject)?;
        }
        Ok(Decided { records: vec![Record::Config(subject.map(str::to_owned), Some(config))], answer: config })
    }

    /// Takes the level away; the answer is what it was.
    ///
    /// # Errors
    /// There is none, or the mode does not permit it.
    pub fn delete_config(&self, subject: Option<&str>) -> Result<Decided<Config>, RegistryError> {
        let answer = match subject {
            Some(subject) => {
                self.writable(subject)?;
                self.own_config(subject).map_err(|_| RegistryError::SubjectNotFound(subject.to_owned()))?
            }
            None => self.global_config(),
        };
        Ok(Decided { records: vec![Record::Config(subject.map(str::to_owned), None)], answer })
    }

    /// Sets the mode of a subject, or of all (`None`). IMPORT wants an empty registry or subject, unless `force`.
    ///
    /// # Errors
    /// There are schemas already, or a name that no subject may have.
    pub fn set_mode(&self, subject: Option<&str>, mode: Mode, force: bool) -> Result<Decided<Mode>, RegistryError> {
        if let Some(subject) = subject {
            check_subject(subject)?;
        }
        let occupied = match subject {
            Some(subject) => self.versions(subject, Deleted::Without).is_ok(),
            None => !self.subjects("", Deleted::Without).is_empty(),
        };
        let already = subject.map_or_else(|| self.global_mode(), |s| self.mode(s)) == Mode::Import;
        if mode == Mode::Import && occupied && !force && !already {
            let what = "There are schemas already; force=true switches to IMPORT all the same.";
            return Err(RegistryError::NotPermitted(what.to_owned()));
        }
        Ok(Decided { records: vec![Record::Mode(subject.map(str::to_owned), Some(mode))], answer: mode })
    }

    /// Takes the mode of a subject away; the answer is what it was.
    ///
    /// # Errors
    /// It has none.
    pub fn delete_mode(&self, subject: &str) -> Result<Decided<Mode>, RegistryError> {
        let answer = self.own_mode(subject).map_err(|_| RegistryError::SubjectNotFound(subject.to_owned()))?;
        Ok(Decided { records: vec![Record::Mode(Some(subject.to_owned()), None)], answer })
    }
}

fn read_only(subject: &str) -> RegistryError {
    RegistryError::NotPermitted(format!("Subject '{subject}' is in mode READONLY."))
}

/// What may be a subject: any text that can stand in a line and in a path.
fn check_subject(subject: &str) -> Result<(), RegistryError> {
    let wrong = |what: String| Err(RegistryError::InvalidSubject(what));
    if subject.is_empty() || subject.len() > SUBJECT_BYTES_MAX {
        return wrong(format!("{} bytes; a subject has 1 to {SUBJECT_BYTES_MAX}", subject.len()));
    }
    if subject.chars().any(char::is_control) || matches!(subject, "." | ".." | "__GLOBAL" | "__EMPTY") {
        return wrong(format!("{subject:?}: control characters and reserved names are not allowed"));
    }
    Ok(())
}

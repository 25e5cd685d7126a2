//! The models of the engine: which there are, their versions, the jobs that train them.
//!
//! Rows of the metadata database say what there is; what a version has learnt is a file in `data_dir/models`, written whole
//! before its row is: a version is there with all of it, or not at all. Files without a row are swept at the start.

mod jobs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use maru_core::{Error, ErrorKind, Result, ResultExt, did_you_mean};
use maru_ml::{Library, Manifest, Trained, Version};
use maru_ml_kernels::artifact::Artifact;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};

use crate::store::Store;
use crate::store::models::{StoredModel, StoredVersion};

pub(crate) use jobs::{Job, Jobs};

/// What is kept of a model beside its versions; the stored form.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Body {
    /// The version that is meant where none is named.
    default_version: i64,
    /// Defaults before this one, the last one last: where ROLLBACK goes.
    before: Vec<i64>,
    aliases: BTreeMap<String, i64>,
    comment: Option<String>,
    /// Numbers are never given twice.
    last_version: i64,
}

#[derive(Debug, Clone)]
struct VersionEntry {
    manifest: Manifest,
    file: String,
    n_bytes: i64,
    loaded: Option<Arc<Version>>,
    /// Why its manifest cannot be read. Such a version can only be dropped; the others, and the server, go on.
    damaged: Option<Error>,
}

#[derive(Debug, Clone, Default)]
struct Entry {
    body: Body,
    versions: BTreeMap<i64, VersionEntry>,
}

/// What lists show of a model.
#[derive(Debug, Clone)]
pub(crate) struct ModelFacts {
    pub schema: String,
    pub name: String,
    pub default_version: i64,
    pub comment: Option<String>,
    pub versions: Vec<VersionFacts>,
}

#[derive(Debug, Clone)]
pub(crate) struct VersionFacts {
    pub version: i64,
    pub is_default: bool,
    pub aliases: Vec<String>,
    pub n_bytes: i64,
    /// Of a damaged version an empty one.
    pub manifest: Manifest,
    pub is_damaged: bool,
}

/// All models.
#[derive(Debug)]
pub(crate) struct Models {
    store: Store,
    folder: PathBuf,
    /// What runs models of others.
    pub(crate) library: Arc<Library>,
    entries: RwLock<BTreeMap<(String, String), Entry>>,
    /// One change at a time: each reads what is there and writes it anew.
    changing: tokio::sync::Mutex<()>,
    pub(crate) jobs: Jobs,
}

/// Returns the error for a model that is not there, or does not show.
pub(crate) fn undefined(name: &str, known: impl Iterator<Item = String>) -> Error {
    let known = known.collect::<Vec<_>>();
    let error = Error::new(ErrorKind::UndefinedObject, format!("model \"{name}\" does not exist"));
    match did_you_mean(name, known.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
        None => error.with_hint("SHOW MODELS lists them."),
    }
}

fn undefined_version(name: &str, version: &str, entry: &Entry) -> Error {
    let versions = entry.versions.keys().map(i64::to_string);
    let aliases = entry.body.aliases.keys().cloned();
    Error::new(ErrorKind::UndefinedObject, format!("model \"{name}\" has no version \"{version}\""))
        .with_detail(format!("It has {}.", versions.chain(aliases).collect::<Vec<_>>().join(", ")))
}

impl Models {
    /// `library` names the library of ONNX Runtime; without it, it is the one in `onnx` of the data directory.
    pub(crate) async fn open(
        store: Store,
        data_dir: &Path,
        library: Option<PathBuf>,
    ) -> Result<Self> {
        let library = Library::new(library, data_dir.join("onnx"));
        let folder = data_dir.join("models");
        std::fs::create_dir_all(&folder)
            .or_error(ErrorKind::Io, || format!("could not create {}", folder.display()))?;
        let (models, versions) = store.models().await?;
        let mut entries = BTreeMap::<(String, String), Entry>::new();
        for model in models {
            let body = serde_json::from_str(&model.body)
                .or_error(ErrorKind::DataCorrupted, || {
                    format!("stored model \"{}\" is damaged", model.name)
                })?;
            entries.insert((model.schema, model.name), Entry { body, versions: BTreeMap::new() });
        }
        let mut files = Vec::new();
        for version in versions {
            files.push(version.file.clone());
            let (manifest, damaged) = match Manifest::decode(&version.manifest) {
                Ok(manifest) => (manifest, None),
                Err(error) => {
                    tracing::error!(
                        schema = %version.schema,
                        model = %version.model,
                        version = version.version,
                        %error,
                        "a version of a model is damaged"
                    );
                    (Manifest::default(), Some(error))
                }
            };
            let entry = VersionEntry {
                manifest,
                file: version.file,
                n_bytes: version.n_bytes,
                loaded: None,
                damaged,
            };
            if let Some(model) = entries.get_mut(&(version.schema, version.model)) {
                model.versions.insert(version.version, entry);
            }
        }
        sweep(&folder, &files);
        let jobs = Jobs::open(store.clone()).await?;
        let changing = tokio::sync::Mutex::new(());
        Ok(Self { store, folder, library, entries: RwLock::new(entries), changing, jobs })
    }

    /// Lists models with their versions.
    pub(crate) fn all(&self) -> Vec<ModelFacts> {
        let entries = self.entries.read();
        let facts = |((schema, name), entry): (&(String, String), &Entry)| ModelFacts {
            schema: schema.clone(),
            name: name.clone(),
            default_version: entry.body.default_version,
            comment: entry.body.comment.clone(),
            versions: entry
                .versions
                .iter()
                .map(|(version, one)| VersionFacts {
                    version: *version,
                    is_default: *version == entry.body.default_version,
                    aliases: entry
                        .body
                        .aliases
                        .iter()
                        .filter(|(_, v)| *v == version)
                        .map(|(a, _)| a.clone())
                        .collect(),
                    n_bytes: one.n_bytes,
                    manifest: one.manifest.clone(),
                    is_damaged: one.damaged.is_some(),
                })
                .collect(),
        };
        entries.iter().map(facts).collect()
    }

    pub(crate) fn names(&self) -> Vec<(String, String)> {
        self.entries.read().keys().cloned().collect()
    }

    pub(crate) fn exists(&self, schema: &str, name: &str) -> bool {
        self.entries.read().contains_key(&(schema.to_owned(), name.to_owned()))
    }

    /// Returns a version ready for use: by its number, by an alias, or the default.
    ///
    /// # Errors
    /// 42704 if there is no such version, XX001 if its file or its manifest is damaged, 58P01 if the file is gone.
    pub(crate) fn version(
        &self,
        schema: &str,
        name: &str,
        which: Option<&str>,
    ) -> Result<Arc<Version>> {
        let key = (schema.to_owned(), name.to_owned());
        let (number, entry) = {
            let entries = self.entries.read();
            let model = entries.get(&key).ok_or_else(|| undefined(name, std::iter::empty()))?;
            let number = match which {
                None => model.body.default_version,
                Some(text) => match text.parse::<i64>() {
                    Ok(number) => number,
                    Err(_) => *model
                        .body
                        .aliases
                        .get(text)
                        .ok_or_else(|| undefined_version(name, text, model))?,
                },
            };
            let entry = model.versions.get(&number);
            (
                number,
                entry
                    .cloned()
                    .ok_or_else(|| undefined_version(name, &number.to_string(), model))?,
            )
        };
        if let Some(loaded) = entry.loaded {
            return Ok(loaded);
        }
        let path = self.folder.join(&entry.file);
        let place = |error: Error| error.with_context("model", format!("{schema}.{name}@{number}"));
        if let Some(error) = entry.damaged {
            return Err(place(error).with_hint(
                "CREATE OR REPLACE MODEL trains another version, DROP MODEL removes what is there.",
            ));
        }
        let bytes = std::fs::read(&path).map_err(|error| {
            let kind = match error.kind() {
                std::io::ErrorKind::NotFound => ErrorKind::FileNotFound,
                _ => ErrorKind::Io,
            };
            place(Error::new(kind, "could not read a model file").with_cause(error))
        })?;
        let artifact = Artifact::decode(&bytes).map_err(place)?;
        let version = Version::new(schema, name, number, entry.manifest, artifact, &self.library);
        if let Some(entry) =
            self.entries.write().get_mut(&key).and_then(|m| m.versions.get_mut(&number))
        {
            entry.loaded = Some(Arc::clone(&version));
        }
        Ok(version)
    }

    /// Returns the bytes of a version's file.
    pub(crate) fn file(&self, schema: &str, name: &str, version: i64) -> Result<Vec<u8>> {
        let entries = self.entries.read();
        let entry = entries
            .get(&(schema.to_owned(), name.to_owned()))
            .and_then(|model| model.versions.get(&version));
        let file = entry
            .map(|entry| self.folder.join(&entry.file))
            .ok_or_else(|| undefined(name, std::iter::empty()))?;
        std::fs::read(&file).or_error(ErrorKind::Io, || "could not read a model file".to_owned())
    }

    /// Keeps what training has given as the next version; returns its number.
    pub(crate) async fn publish(
        &self,
        schema: &str,
        name: &str,
        trained: Trained,
        set_default: bool,
    ) -> Result<i64> {
        let _changing = self.changing.lock().await;
        let bytes = trained.artifact.encode()?;
        // Before anything is written: numbers that cannot be kept make no version.
        let manifest = trained.manifest.encode()?;
        let key = (schema.to_owned(), name.to_owned());
        let mut body =
            self.entries.read().get(&key).map(|entry| entry.body.clone()).unwrap_or_default();
        let number = body.last_version + 1;
        body.last_version = number;
        if set_default || body.default_version == 0 {
            if body.default_version != 0 {
                body.before.push(body.default_version);
            }
            body.default_version = number;
        }
        let file = format!("{}.maruml", uuid::Uuid::now_v7().simple());
        write_whole(&self.folder, &file, bytes.clone()).await?;
        let n_bytes = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let version = StoredVersion {
            schema: schema.to_owned(),
            model: name.to_owned(),
            version: number,
            manifest,
            file: file.clone(),
            n_bytes,
        };
        self.store.put_model(&stored(schema, name, &body)?, Some(&version)).await?;
        // What was read back is what will be read after a restart.
        let artifact = Artifact::decode(&bytes)?;
        let manifest = trained.manifest.clone();
        let loaded = Version::new(schema, name, number, manifest, artifact, &self.library);
        let mut entries = self.entries.write();
        let entry = entries.entry(key).or_default();
        entry.body = body;
        let one = VersionEntry {
            manifest: trained.manifest,
            file,
            n_bytes,
            loaded: Some(loaded),
            damaged: None,
        };
        entry.versions.insert(number, one);
        Ok(number)
    }

    async fn change(
        &self,
        schema: &str,
        name: &str,
        change: impl FnOnce(&Entry, &mut Body) -> Result<()>,
    ) -> Result<()> {
        let _changing = self.changing.lock().await;
        let key = (schema.to_owned(), name.to_owned());
        let body = {
            let entries = self.entries.read();
            let entry = entries.get(&key).ok_or_else(|| undefined(name, std::iter::empty()))?;
            let mut body = entry.body.clone();
            change(entry, &mut body)?;
            body
        };
        self.store.put_model(&stored(schema, name, &body)?, None).await?;
        if let Some(entry) = self.entries.write().get_mut(&key) {
            entry.body = body;
        }
        Ok(())
    }

    pub(crate) async fn set_default(&self, schema: &str, name: &str, version: i64) -> Result<()> {
        self.change(schema, name, |entry, body| {
            require_version(entry, name, version)?;
            if body.default_version != version {
                body.before.push(body.default_version);
                body.default_version = version;
            }
            Ok(())
        })
        .await
    }

    /// # Errors
    /// 55000 if there was no default before.
    pub(crate) async fn rollback(&self, schema: &str, name: &str) -> Result<()> {
        self.change(schema, name, |entry, body| {
            while let Some(version) = body.before.pop() {
                if entry.versions.contains_key(&version) {
                    body.default_version = version;
                    return Ok(());
                }
            }
            Err(Error::new(
                ErrorKind::WrongState,
                format!("model \"{name}\" has no earlier default version"),
            )
            .with_hint(format!("ALTER MODEL {name} SET DEFAULT VERSION n names one.")))
        })
        .await
    }

    pub(crate) async fn set_alias(
        &self,
        schema: &str,
        name: &str,
        alias: &str,
        version: Option<i64>,
    ) -> Result<()> {
        self.change(schema, name, |entry, body| {
            match version {
                Some(version) => {
                    require_version(entry, name, version)?;
                    if alias.parse::<i64>().is_ok() {
                        return Err(Error::new(
                            ErrorKind::InvalidParameter,
                            "an alias is no number",
                        ));
                    }
                    body.aliases.insert(alias.to_owned(), version);
                }
                None => {
                    if body.aliases.remove(alias).is_none() {
                        return Err(undefined_version(name, alias, entry));
                    }
                }
            }
            Ok(())
        })
        .await
    }

    pub(crate) async fn set_comment(
        &self,
        schema: &str,
        name: &str,
        comment: Option<String>,
    ) -> Result<()> {
        self.change(schema, name, |_, body| {
            body.comment = comment;
            Ok(())
        })
        .await
    }

    pub(crate) async fn rename(&self, schema: &str, name: &str, new: &str) -> Result<()> {
        let _changing = self.changing.lock().await;
        if self.exists(schema, new) {
            return Err(duplicate(new));
        }
        self.store.rename_model(schema, name, new).await?;
        let mut entries = self.entries.write();
        if let Some(mut entry) = entries.remove(&(schema.to_owned(), name.to_owned())) {
            // What is loaded knows its old name.
            entry.versions.values_mut().for_each(|version| version.loaded = None);
            entries.insert((schema.to_owned(), new.to_owned()), entry);
        }
        Ok(())
    }

    /// Removes a model. Running statements keep the version that they were planned with.
    pub(crate) async fn drop_model(&self, schema: &str, name: &str) -> Result<()> {
        let _changing = self.changing.lock().await;
        self.store.delete_model(schema, name).await?;
        let gone = self.entries.write().remove(&(schema.to_owned(), name.to_owned()));
        for version in gone.into_iter().flat_map(|entry| entry.versions.into_values()) {
            let _ = std::fs::remove_file(self.folder.join(version.file));
        }
        Ok(())
    }

    /// # Errors
    /// 55000 for the default version.
    pub(crate) async fn drop_version(&self, schema: &str, name: &str, version: i64) -> Result<()> {
        let _changing = self.changing.lock().await;
        let key = (schema.to_owned(), name.to_owned());
        let (body, file) = {
            let entries = self.entries.read();
            let entry = entries.get(&key).ok_or_else(|| undefined(name, std::iter::empty()))?;
            require_version(entry, name, version)?;
            if entry.body.default_version == version {
                return Err(Error::new(
                    ErrorKind::WrongState,
                    format!("version {version} is the default of model \"{name}\""),
                )
                .with_hint(format!("Make another one the default first, or DROP MODEL {name}.")));
            }
            let mut body = entry.body.clone();
            body.aliases.retain(|_, v| *v != version);
            body.before.retain(|v| *v != version);
            (body, entry.versions.get(&version).map(|one| one.file.clone()))
        };
        self.store.delete_model_version(&stored(schema, name, &body)?, version).await?;
        if let Some(entry) = self.entries.write().get_mut(&key) {
            entry.body = body;
            entry.versions.remove(&version);
        }
        if let Some(file) = file {
            let _ = std::fs::remove_file(self.folder.join(file));
        }
        Ok(())
    }
}

pub(crate) fn duplicate(name: &str) -> Error {
    Error::new(ErrorKind::DuplicateObject, format!("model \"{name}\" already exists"))
        .with_hint("CREATE OR REPLACE MODEL trains a new version of it.")
}

fn require_version(entry: &Entry, name: &str, version: i64) -> Result<()> {
    match entry.versions.contains_key(&version) {
        true => Ok(()),
        false => Err(undefined_version(name, &version.to_string(), entry)),
    }
}

fn stored(schema: &str, name: &str, body: &Body) -> Result<StoredModel> {
    let body = serde_json::to_string(body)
        .or_error(ErrorKind::Internal, || "could not write a model".to_owned())?;
    Ok(StoredModel { schema: schema.to_owned(), name: name.to_owned(), body })
}

/// Writes a file under another name and gives it its own when all of it is on the disk.
async fn write_whole(folder: &Path, file: &str, bytes: Vec<u8>) -> Result<()> {
    let (path, unfinished) = (folder.join(file), folder.join(format!("{file}.unfinished")));
    let work = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        use std::io::Write;
        let mut out = std::fs::File::create(&unfinished)?;
        out.write_all(&bytes)?;
        out.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    });
    let written = work.await.map_err(|_| Error::internal("writing a model was broken off"))?;
    written.map_err(|error| {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull => ErrorKind::DiskFull,
            _ => ErrorKind::Io,
        };
        Error::new(kind, "could not write a model file").with_cause(error)
    })
}

/// Removes files that no version names: of a process that ended before it had written the row.
fn sweep(folder: &Path, known: &[String]) {
    let Ok(listing) = std::fs::read_dir(folder) else { return };
    for entry in listing.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = name.ends_with(".maruml") || name.ends_with(".unfinished");
        if ours && !known.contains(&name) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

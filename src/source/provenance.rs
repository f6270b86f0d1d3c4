//! Which git commit a manifest comes from, read by a library and without a git binary.
//!
//! Of a checkout only `HEAD`, its commit and the trees on the way to each manifest are read: no
//! configuration, no hook, nothing that would run, so it does not matter who owns it. A folder that is
//! no checkout costs a few looks for `.git` up to the border of its file system. Whatever cannot be
//! read leaves the commit unknown; nothing else depends on it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use gix_hash::{Kind, ObjectId, oid};
use gix_object::{CommitRef, Find as _, FindHeader as _, TreeRefIter};
use gix_ref::Target;

use crate::manifest::{EnvFile, Files, ManifestFile};
use crate::os;

/// Of a commit or a folder. Larger ones exist to exhaust our memory.
const MAX_OBJECT: u64 = 32 << 20;
/// `HEAD` names a branch, which is no name of another branch.
const MAX_HOPS: usize = 5;
/// What stands behind the commit of a manifest that differs from it, as in `git describe --dirty`.
const DIRTY: &str = "-dirty";
/// The reader takes it away.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Notes the commit at each manifest below `dir`; last good versions keep their own.
pub(super) fn trace(dir: &Path, files: &mut Files) {
    match Checkout::around(dir) {
        Ok(Some(mut checkout)) => {
            let current = files.manifests.iter_mut().filter(|file| !file.stale);
            for file in current {
                file.commit = checkout.name_for(file);
            }
        }
        Ok(None) => {}
        Err(error) => tracing::debug!(dir = %dir.display(), %error, "the git commit is unknown"),
    }
}

/// Names of a folder's files, and what the commit has under them.
type Listing = Rc<BTreeMap<Vec<u8>, ObjectId>>;
type Failure = Box<dyn std::error::Error>;

struct Checkout {
    /// The folder that holds `.git`, without links.
    root: PathBuf,
    objects: gix_odb::Handle,
    head: ObjectId,
    /// Of `head`.
    tree: ObjectId,
    /// Folders that were looked at; `None` for one that the commit does not have.
    listings: BTreeMap<PathBuf, Option<Listing>>,
}

impl Checkout {
    /// `None` when `dir` lies in no checkout, or in one without a commit.
    fn around(dir: &Path) -> Result<Option<Checkout>, Failure> {
        let options = gix_discover::upwards::Options {
            dot_git_only: true,
            ..gix_discover::upwards::Options::default()
        };
        let Ok((found, _)) = gix_discover::upwards_opts(dir, options) else {
            return Ok(None);
        };
        let (git_dir, Some(root)) = found.into_repository_and_work_tree_directories() else {
            return Ok(None);
        };
        let common = gix_discover::path::from_plain_file_relative_to_file(&git_dir.join("commondir"))
            .transpose()?
            .unwrap_or_else(|| git_dir.clone());
        let Some(head) = head(&git_dir, &common)? else {
            return Ok(None);
        };
        let objects = gix_odb::at(common.join("objects"), head.kind())?;
        let mut buffer = Vec::new();
        let data = read(&objects, &head, &mut buffer)?;
        let tree = CommitRef::from_bytes(data, head.kind())?.tree();
        Ok(Some(Checkout {
            root: os::canonicalize(&root)?,
            objects,
            head,
            tree,
            listings: BTreeMap::new(),
        }))
    }

    /// The commit, marked when it does not have the manifest as it is, or has one of its env files
    /// otherwise. An env file that was never committed says nothing.
    fn name_for(&mut self, file: &ManifestFile) -> Option<String> {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let text = file.text.as_ref().ok()?;
        let path = file.folder.join(name);
        let path = os::canonicalize(&path).unwrap_or(path);
        let mut same = self.committed(&path).is_some_and(|id| is_of(&id, text));
        let dot_env = file.dot_env.as_ref().and_then(|text| text.as_ref().ok());
        let dot_env = dot_env.map(|text| (file.folder.join(".env"), text));
        let env_files = file.env_files.values().filter_map(|file| match file {
            EnvFile::Text { real, text } => Some((real.clone(), text)),
            EnvFile::Missing | EnvFile::Unreadable(_) => None,
        });
        for (path, text) in dot_env.into_iter().chain(env_files) {
            same &= self.committed(&path).is_none_or(|id| is_of(&id, text));
        }
        let mark = if same { "" } else { DIRTY };
        Some(format!("{}{mark}", self.head))
    }

    /// What the commit has at a path.
    fn committed(&mut self, path: &Path) -> Option<ObjectId> {
        let relative = path.strip_prefix(&self.root).ok()?;
        let name = relative.file_name()?.as_encoded_bytes();
        let listing = self.listing(relative.parent()?)?;
        listing.get(name).copied()
    }

    fn listing(&mut self, folder: &Path) -> Option<Listing> {
        if let Some(known) = self.listings.get(folder) {
            return known.clone();
        }
        let id = match (folder.parent(), folder.components().next_back()) {
            (Some(parent), Some(Component::Normal(name))) => self
                .listing(parent)
                .and_then(|listing| listing.get(name.as_encoded_bytes()).copied()),
            _ => Some(self.tree),
        };
        // What is a file, a submodule or damaged is no folder.
        let listing = id.and_then(|id| self.list(&id).ok()).map(Rc::new);
        self.listings.insert(folder.to_owned(), listing.clone());
        listing
    }

    fn list(&self, id: &oid) -> Result<BTreeMap<Vec<u8>, ObjectId>, Failure> {
        let mut buffer = Vec::new();
        let data = read(&self.objects, id, &mut buffer)?;
        let mut found = BTreeMap::new();
        for entry in TreeRefIter::from_bytes(data, id.kind()) {
            let entry = entry?;
            found.insert(entry.filename.to_vec(), entry.oid.to_owned());
        }
        Ok(found)
    }
}

/// The commit that `HEAD` stands for; `None` before the first one. Which kind of id a repository has is
/// told by its configuration, which is not read.
fn head(git_dir: &Path, common: &Path) -> Result<Option<ObjectId>, Failure> {
    let of_kind = |kind| {
        let references =
            gix_ref::file::Store::for_linked_worktree(git_dir.to_owned(), common.to_owned(), kind);
        resolve(&references)
    };
    match of_kind(Kind::Sha1) {
        Ok(Some(head)) => Ok(Some(head)),
        Ok(None) | Err(_) => of_kind(Kind::Sha256),
    }
}

fn resolve(references: &gix_ref::file::Store) -> Result<Option<ObjectId>, Failure> {
    let mut found = references.try_find("HEAD")?;
    for _ in 0..MAX_HOPS {
        let Some(reference) = found else {
            return Ok(None);
        };
        match reference.target {
            Target::Object(id) => return Ok(Some(id)),
            Target::Symbolic(name) => found = references.try_find(name.as_ref())?,
        }
    }
    Ok(None)
}

/// The object's bytes, unless it is missing or larger than any honest one.
fn read<'b>(objects: &gix_odb::Handle, id: &oid, buffer: &'b mut Vec<u8>) -> Result<&'b [u8], Failure> {
    let header = objects.try_header(id)?.ok_or("an object is missing")?;
    if header.size > MAX_OBJECT {
        return Err("an object is too large".into());
    }
    let data = objects.try_find(id, buffer)?.ok_or("an object is missing")?;
    Ok(data.data)
}

/// Whether this text, as it was in the file, is that object.
fn is_of(id: &oid, text: &str) -> bool {
    let is = |bytes: &[u8]| {
        gix_object::compute_hash(id.kind(), gix_object::Kind::Blob, bytes).is_ok_and(|found| *found == *id)
    };
    is(text.as_bytes()) || is(&[BYTE_ORDER_MARK, text.as_bytes()].concat())
}

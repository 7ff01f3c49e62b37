//! Files and folders that are either complete or absent, whenever the process dies.
//!
//! New content is built beside its target under a hidden name, flushed to the disk and renamed.
//! The hidden name is fixed (`.name.tmp`), so that the next attempt clears away what a killed
//! process left; two processes must not write one target at the same time.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Replaces a file by what `fill` writes, creating the folders above it.
pub(crate) fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
) -> Result<()> {
    let temporary = hidden(path, "tmp")?;
    create_parent(path)?;
    let written = fill_file(&temporary, fill)
        .and_then(|()| fs::rename(&temporary, path).map_err(Error::io("replace", path)));
    if written.is_err() {
        // The first error is the one to report; a leftover is cleared by the next attempt.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_parent(path);
    Ok(())
}

/// Replaces a folder by what `fill` puts into the empty folder that it is given.
///
/// An old folder is moved aside for the instant between two renames; if the process dies right
/// there, the next call for the same path puts it back before it starts.
pub(crate) fn write_dir(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (temporary, old) = (hidden(path, "tmp")?, hidden(path, "old")?);
    create_parent(path)?;
    if old.exists() && !path.exists() {
        fs::rename(&old, path).map_err(Error::io("restore", path))?;
    }
    clear(&old)?;
    clear(&temporary)?;
    fs::create_dir(&temporary).map_err(Error::io("create", &temporary))?;
    let built = fill(&temporary)
        .and_then(|()| sync_tree(&temporary).map_err(Error::io("write", &temporary)))
        .and_then(|()| replace_dir(&temporary, path, &old));
    if built.is_err() {
        let _ = fs::remove_dir_all(&temporary);
        return built;
    }
    sync_parent(path);
    clear(&old)
}

/// Removes the folders that killed processes left beside the targets in `folder` whose names start
/// with `prefix`, none of which will be written again.
pub(super) fn clear_leftovers(folder: &Path, prefix: &str) -> Result<()> {
    let prefix = format!(".{prefix}");
    for entry in fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        if name.is_some_and(|name| name.starts_with(&prefix)) {
            clear(&path)?;
        }
    }
    Ok(())
}

fn fill_file(path: &Path, fill: impl FnOnce(&mut BufWriter<File>) -> Result<()>) -> Result<()> {
    let mut out = BufWriter::new(File::create(path).map_err(Error::io("create", path))?);
    fill(&mut out)?;
    out.flush()
        .and_then(|()| out.get_ref().sync_all())
        .map_err(Error::io("write", path))
}

fn replace_dir(new: &Path, path: &Path, old: &Path) -> Result<()> {
    if path.exists() {
        fs::rename(path, old).map_err(Error::io("replace", path))?;
    }
    fs::rename(new, path).map_err(|source| {
        let _ = fs::rename(old, path);
        Error::io("replace", path)(source)
    })
}

/// `folder/.name.suffix` for `folder/name`.
fn hidden(path: &Path, suffix: &str) -> Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| Error::file(path, "names no file or folder"))?;
    Ok(path.with_file_name(format!(".{}.{suffix}", name.to_string_lossy())))
}

fn create_parent(path: &Path) -> Result<()> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).map_err(Error::io("create", parent)),
        None => Ok(()),
    }
}

fn clear(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).map_err(Error::io("remove", folder))
}

fn sync_tree(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_tree(&path)?
        } else {
            File::open(&path)?.sync_all()?
        }
    }
    Ok(())
}

/// Makes a rename itself durable. Some systems cannot open a folder; the rename still happened.
fn sync_parent(path: &Path) {
    if let Some(folder) = path.parent().and_then(|parent| File::open(parent).ok()) {
        let _ = folder.sync_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| name(entry.unwrap()))
            .collect();
        names.sort();
        names
    }

    fn put(folder: &Path, text: &str) -> Result<()> {
        fs::write(folder.join("weights"), text).map_err(Error::io("write", folder))
    }

    #[test]
    fn a_folder_is_replaced_whole() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("sft/model");
        write_dir(&model, |folder| put(folder, "one")).unwrap();
        fs::write(model.join("stale"), "").unwrap();
        write_dir(&model, |folder| put(folder, "two")).unwrap();
        assert_eq!(fs::read_to_string(model.join("weights")).unwrap(), "two");
        assert_eq!(names(&model), ["weights"]);
        assert_eq!(names(model.parent().unwrap()), ["model"]);
    }

    #[test]
    fn a_failure_leaves_nothing_and_keeps_the_old() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("model");
        let fail = |folder: &Path| {
            put(folder, "half")?;
            Err(Error::Usage("no".into()))
        };
        write_dir(&model, fail).unwrap_err();
        assert!(names(root.path()).is_empty());
        write_dir(&model, |folder| put(folder, "one")).unwrap();
        write_dir(&model, fail).unwrap_err();
        assert_eq!(fs::read_to_string(model.join("weights")).unwrap(), "one");
        assert_eq!(names(root.path()), ["model"]);
    }

    #[test]
    fn leftovers_of_a_killed_process_are_cleared() {
        let root = tempfile::tempdir().unwrap();
        let model = root.path().join("model");
        // Killed while building, and between the two renames.
        fs::create_dir(root.path().join(".model.tmp")).unwrap();
        fs::write(root.path().join(".model.tmp/stale"), "").unwrap();
        fs::create_dir(root.path().join(".model.old")).unwrap();
        fs::write(root.path().join(".model.old/weights"), "one").unwrap();
        write_dir(&model, |_| Err(Error::Usage("no".into()))).unwrap_err();
        assert_eq!(fs::read_to_string(model.join("weights")).unwrap(), "one");
        write_dir(&model, |folder| put(folder, "two")).unwrap();
        assert_eq!(names(root.path()), ["model"]);
        assert_eq!(names(&model), ["weights"]);
    }

    #[test]
    fn a_file_is_complete_or_as_before() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/er/a.txt");
        let text = |text: &'static str| {
            move |out: &mut BufWriter<File>| {
                out.write_all(text.as_bytes())
                    .map_err(Error::io("write", "a.txt"))
            }
        };
        write_file(&path, text("one")).unwrap();
        let failed = write_file(&path, |out| {
            text("half")(out)?;
            Err(Error::Usage("no".into()))
        });
        failed.unwrap_err();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        assert_eq!(names(path.parent().unwrap()), ["a.txt"]);
    }
}

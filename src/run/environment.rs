//! `manifest.json`: with what a run was made, once for each program and machine that worked on it.
//!
//! Beside it, `config.toml` is the run file with every default written out, and `stages.json` has
//! for each stage its settings and the digests of the models and data that it read.

use std::fmt::Debug;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::RunDir;
use crate::error::{Error, Result};

const FILE: &str = "manifest.json";

/// A program at work on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this crate.
    pub version: String,
    /// Version of burn; `None` where the crate was built without its lock file.
    pub burn: Option<String>,
    /// Compiler that built the program.
    pub rustc: String,
    /// Commit of the folder that the program was started in, where that is a git repository;
    /// `-dirty` behind it where files were changed.
    pub commit: Option<String>,
    /// Operating system and processor architecture.
    pub system: String,
    /// Name of the processor, where the system tells.
    pub processor: Option<String>,
    /// The device that computes.
    pub device: String,
    /// Seed of the run file.
    pub seed: u64,
}

impl Environment {
    /// This program, here and now.
    pub fn current(device: &impl Debug, seed: u64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            burn: option_env!("RLAIF_BURN").map(String::from),
            rustc: env!("RLAIF_RUSTC").into(),
            commit: commit(Path::new(".")),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor: processor(),
            device: format!("{device:?}"),
            seed,
        }
    }

    /// In what another environment differs, in words.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        let absent = || "unknown".to_string();
        let parts = |one: &Self| {
            let optional = |text: &Option<String>| text.clone().unwrap_or_else(absent);
            [
                ("version", one.version.clone()),
                ("burn", optional(&one.burn)),
                ("rustc", one.rustc.clone()),
                ("commit", optional(&one.commit)),
                ("system", one.system.clone()),
                ("processor", optional(&one.processor)),
                ("device", one.device.clone()),
                ("seed", one.seed.to_string()),
            ]
        };
        let pairs = parts(self).into_iter().zip(parts(now));
        let changed = pairs.filter(|(before, now)| before != now);
        changed
            .map(|((name, was), (_, is))| format!("{name} was {was}, is {is}"))
            .collect()
    }
}

impl RunDir {
    /// With what the run was made so far, in order.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub fn environments(&self) -> Result<Vec<Environment>> {
        let path = self.path(FILE);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        serde_json::from_str(&text).map_err(|source| Error::file(&path, source.to_string()))
    }

    /// Remembers that a program is at work here, unless it was the last that did.
    ///
    /// # Errors
    /// The manifest cannot be read or written.
    pub fn note_environment(&self, environment: Environment) -> Result<()> {
        let mut known = self.environments()?;
        if known.last() == Some(&environment) {
            return Ok(());
        }
        known.push(environment);
        self.write_json(FILE, &known)
    }
}

/// The commit of the repository that `folder` is in, by git itself.
fn commit(folder: &Path) -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(args)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_string())
    };
    let head = git(&["rev-parse", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() {
        head
    } else {
        head + "-dirty"
    })
}

/// Linux tells what it runs on; elsewhere the architecture has to do.
fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_environment_is_noted_once() {
        let root = tempfile::tempdir().unwrap();
        let run = RunDir::create(root.path()).unwrap();
        let [one, two] = [17, 18].map(|seed| Environment::current(&"cpu", seed));
        assert!(
            one.rustc.starts_with("rustc ")
                && one
                    .burn
                    .as_ref()
                    .is_some_and(|burn| burn.starts_with("0.22"))
        );
        for found in [&one, &one, &two, &one] {
            run.note_environment(found.clone()).unwrap();
        }
        assert_eq!(one.changes(&two), ["seed was 17, is 18"]);
        assert_eq!(run.environments().unwrap(), [one.clone(), two, one]);
        std::fs::write(run.path(FILE), "[").unwrap();
        let error = run.environments().unwrap_err().to_string();
        assert!(error.contains("manifest.json: EOF"), "{error}");
    }

    #[test]
    fn a_commit_is_that_of_the_repository() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(commit(root.path()), None);
        let git = |args: &[&str]| {
            let identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"];
            let mut command = Command::new("git");
            command.arg("-C").arg(root.path()).args(identity).args(args);
            command.output().is_ok_and(|output| output.status.success())
        };
        if !git(&["init", "--quiet"]) {
            eprintln!("skipped: there is no git");
            return;
        }
        std::fs::write(root.path().join("a"), "1").unwrap();
        assert!(git(&["add", "a"]) && git(&["commit", "--quiet", "--message", "m"]));
        let clean = commit(root.path()).unwrap();
        assert!(clean.len() >= 40 && clean.bytes().all(|byte| byte.is_ascii_hexdigit()));
        std::fs::write(root.path().join("a"), "2").unwrap();
        assert_eq!(commit(root.path()), Some(clean + "-dirty"));
    }
}

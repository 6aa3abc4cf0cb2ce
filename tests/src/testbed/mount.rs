//! File systems that are full or hang. Mounting needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Error;

/// A small file system of its own, unmounted when dropped.
pub struct Mount {
    path: PathBuf,
    frozen: bool,
}

impl Mount {
    /// One in memory with this many bytes.
    pub fn memory(path: &Path, bytes: u64) -> Result<Self, Error> {
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "none"]).arg(path))?;
        Ok(Self { path: path.to_owned(), frozen: false })
    }

    /// One in a file, which can be frozen.
    pub fn disk(path: &Path, image: &Path, bytes: u64) -> Result<Self, Error> {
        let file = std::fs::File::create(image).map_err(medassist_stack::Error::file("cannot create", image))?;
        file.set_len(bytes).map_err(medassist_stack::Error::file("cannot size", image))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(image).arg(path))?;
        Ok(Self { path: path.to_owned(), frozen: false })
    }

    /// As after an error of the disk.
    pub fn read_only(&self) -> Result<(), Error> {
        run(Command::new("mount").args(["-o", "remount,ro"]).arg(&self.path))
    }

    /// From now on, whatever writes hangs until [`Mount::thaw`], and not even a kill ends it.
    pub fn freeze(&mut self) -> Result<(), Error> {
        run(Command::new("fsfreeze").arg("--freeze").arg(&self.path))?;
        self.frozen = true;
        Ok(())
    }

    pub fn thaw(&mut self) -> Result<(), Error> {
        self.frozen = false;
        run(Command::new("fsfreeze").arg("--unfreeze").arg(&self.path))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Best effort: a test that failed has said so already.
        if self.frozen {
            let _ = self.thaw();
        }
        let _ = run(Command::new("umount").arg("--lazy").arg(&self.path));
    }
}

fn run(command: &mut Command) -> Result<(), Error> {
    let output = command.output().map_err(medassist_stack::Error::io("cannot start a program"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Series(format!("{command:?} failed: {}", String::from_utf8_lossy(&output.stderr))))
}

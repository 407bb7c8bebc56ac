//! A disk that fills up soon.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A small volume, unmounted at the end.
pub struct Volume(PathBuf);

impl Volume {
    /// None where nothing may be mounted.
    pub fn new(folder: &Path, size: &str, owner: u32) -> Option<Self> {
        let options = format!("size={size},mode=0700,uid={owner}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(folder).output();
        mount.ok().filter(|output| output.status.success()).map(|_| Self(folder.to_owned()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
